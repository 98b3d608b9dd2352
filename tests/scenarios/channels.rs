//! What scenarios about alerts stand on: a rule whose alerts stand in its settings, and channels that keep what they are sent.

use std::{path::PathBuf, sync::Arc, time::Duration};

use router_tests::{
    Config, Router, peers,
    receivers::{Authority, Receiver, Webhooks},
    until,
};
use serde_json::Value;

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const RULE: &str = "plugins.config.hostile-rule";

/// A receiver of webhooks, and the sink that leads there.
pub(crate) struct Channel {
    pub(crate) name: &'static str,
    pub(crate) service: Arc<Webhooks>,
    receiver: Receiver,
    ca_file: PathBuf,
}

impl Channel {
    pub(crate) async fn start(authority: &Authority, name: &'static str) -> Self {
        let service = Webhooks::new();
        Self {
            name,
            receiver: Receiver::start(authority, service.clone()).await,
            service,
            ca_file: authority.ca_file(),
        }
    }

    /// The section of its sink, with further lines.
    pub(crate) fn section(&self, more: &str) -> String {
        let (name, url, ca_file) = (self.name, self.receiver.url(), &self.ca_file);
        format!(
            "[sink.{name}]\nplugin = \"webhook\"\nconfig = {{ url = \"{url}/\" }}\nsecrets = {{ secret = \"SIGNING\" }}\n\
             allow = [\"{url}\"]\nca_file = {ca_file:?}\ngrouping = \"none\"\n{more}\n"
        )
    }

    /// Waits until it has exactly this about an alert.
    pub(crate) async fn has(&self, router: &Router, key: &str, wanted: &[&str]) {
        self.has_within(router, key, wanted, SOON).await;
    }

    pub(crate) async fn has_within(
        &self,
        router: &Router,
        key: &str,
        wanted: &[&str],
        within: Duration,
    ) {
        let what = format!("{wanted:?} about {key} at {}", self.name);
        until(&what, within, async || {
            let about = self.service.about(key);
            if about == wanted {
                return Ok(());
            }
            Err(format!("{about:?}\n{}", router.tail()))
        })
        .await;
    }
}

/// A rule whose alerts stand in its settings.
pub(crate) fn config(alerts: &[&str]) -> Config {
    let config = Config::new()
        .set("health", "disk_share = 1.0")
        .set("alerts", "rules = [\"hostile-rule\"]")
        .set("alerts", "resolve_after = \"1s\"")
        .set("alerts", "group_wait = \"0s\"")
        .plugin("webhook.wasm")
        .server(peers::echo())
        .set(RULE, "mode = \"list\"");
    alerts.iter().fold(config, |config, alert| {
        config.set(RULE, &format!("alert.{alert}"))
    })
}

pub(crate) async fn start(config: &Config) -> Router {
    start_with(config, &[]).await
}

pub(crate) async fn start_with(config: &Config, environment: &[(&str, &str)]) -> Router {
    let environment = [&[("SIGNING", SECRET)], environment].concat();
    let mut router = Router::prepared(config, &environment);
    let text = config.rendered(router.home());
    for guest in ["hostile-rule", "hostile-sink"] {
        if text.contains(guest) {
            let file = format!("{guest}.wasm");
            std::fs::copy(peers::guest(&file), router.path("plugins").join(file)).unwrap();
        }
    }
    router.start_again().await;
    router
}

pub(crate) async fn reload(router: &Router, config: &Config) {
    router.write_config(config);
    router.post("/api/config/reload").await;
}

pub(crate) async fn alert(
    router: &Router,
    key: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    until(&format!("an alert {key} {what}"), SOON, async || {
        let all = router.get("/api/alerts?state=all").await;
        let mut alerts = all["alerts"].as_array().unwrap().iter();
        let found = alerts.find(|one| one["key"] == key && wanted(one));
        found
            .cloned()
            .ok_or_else(|| format!("{all}\n{}", router.tail()))
    })
    .await
}

/// What happened to an alert, in sentences.
pub(crate) async fn story(router: &Router, alert: &Value) -> String {
    let id = alert["id"].as_str().unwrap();
    let mut command = router.command();
    command
        .args(["alerts", "explain", id])
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    let output = command.output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ms(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    router_values::parse_rfc3339_ms(text).unwrap_or_else(|| panic!("no time: {text}"))
}

pub(crate) fn now_ms() -> i64 {
    i64::try_from(router_values::unix_ms_now()).unwrap()
}
