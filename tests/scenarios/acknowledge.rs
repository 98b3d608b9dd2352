//! Acknowledging from elsewhere, through whole routers: by the links in messages, and at PagerDuty; and the heartbeat.

mod heartbeat;
mod links;
mod pagerduty;

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use router_tests::{
    Config, Router,
    receivers::{Authority, PagerDuty, Receiver, Slack, WebhookCall},
    until,
};
use serde_json::Value;

use crate::alerts::{alert, config};

const SOON: Duration = Duration::from_secs(60);
const HOOK: &str = "/services/T0001/B0001/abcdefghijklmnop";
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// What the router seals links with.
const SESSION_KEY: &str = "4f1c9e3a7b2d8056e1f0a9c8b7d6e5f4";
/// What PagerDuty signs its calls with.
const SECRET: &str = "jnqPtOgGlvTRwWLqBZUv";
const PUBLIC: &str = "https://router.example";

/// A router with a channel and a pager, behind a proxy that people reach as `PUBLIC`.
struct World {
    router: Router,
    slack: Arc<Slack>,
    pager_duty: Arc<PagerDuty>,
    config: Config,
    // They end with it.
    _receivers: [Receiver; 2],
    _authority: Authority,
}

impl World {
    async fn start(
        settings: impl FnOnce(Config, &Receiver, &Receiver, &Authority) -> Config,
    ) -> Self {
        Self::start_after(settings, |_| ()).await
    }

    /// Its folder is made ready by `before`.
    async fn start_after(
        settings: impl FnOnce(Config, &Receiver, &Receiver, &Authority) -> Config,
        before: impl FnOnce(&Router),
    ) -> Self {
        let authority = Authority::new();
        let (slack, pager_duty) = (Slack::at(HOOK), PagerDuty::with_keys(&[KEY]));
        let chat = Receiver::start(&authority, slack.clone()).await;
        let pager = Receiver::start(&authority, pager_duty.clone()).await;
        let config = settings(config(), &chat, &pager, &authority)
            .set("server", &format!("session_key = {SESSION_KEY:?}"))
            .set("alerts", &format!("public_url = \"{PUBLIC}/\""));
        let hook = format!("{}{HOOK}", chat.url());
        let variables = [
            ("HOOK", hook.as_str()),
            ("KEY", KEY),
            ("WEBHOOK_FILE", "webhook-secret"),
        ];
        let mut router = Router::prepared(&config, &variables);
        std::fs::write(router.path("webhook-secret"), format!("{SECRET}\n")).unwrap();
        before(&router);
        router.start_again().await;
        Self {
            router,
            slack,
            pager_duty,
            config,
            _receivers: [chat, pager],
            _authority: authority,
        }
    }

    async fn state(&self, id: &str) -> Value {
        self.router.get(&format!("/api/alerts/{id}")).await["state"].clone()
    }

    /// The link of the channel's message of that number, from 0.
    async fn link(&self, number: usize, what: &str) -> String {
        let message = until(&format!("a message {what}"), SOON, async || {
            let messages = self.slack.messages();
            let found = messages.get(number).map(Value::to_string);
            found.ok_or_else(|| format!("{messages:?}\n{}", self.router.tail()))
        })
        .await;
        assert!(message.contains(what), "{message}");
        link_in(&message).unwrap_or_else(|| panic!("no link in {message}"))
    }

    /// As it comes from the proxy in front.
    async fn ask_outside(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client
            .request(method, self.router.url(path))
            .header("host", "router.example")
            .header("x-forwarded-for", "203.0.113.7");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// PagerDuty calls.
    async fn call(&self, sink: &str, call: &WebhookCall) -> (u16, String) {
        let headers = [
            ("x-pagerduty-signature", call.signature.as_str()),
            ("x-webhook-id", "a-header-that-nothing-vouches-for"),
            ("host", "whatever.example"),
        ];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let path = format!("/api/hooks/pagerduty/{sink}");
        let mut request = client.post(self.router.url(&path)).body(call.body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits for the incident of an instance's crash loop; the alert's id, and the incident's key.
    async fn incident(&self, instance: &str) -> (String, String) {
        let named = |one: &Value| one["versionId"] == instance && one["state"] == "firing";
        let shown = alert(&self.router, "InstanceCrashLoop", "that fires", named).await;
        let key = format!("{}#1", shown["key"].as_str().unwrap());
        until("the incident", SOON, async || {
            match self.pager_duty.incident(KEY, &key) {
                Some("triggered") => Ok(()),
                other => Err(format!("{other:?}\n{}", self.router.tail())),
            }
        })
        .await;
        (shown["id"].as_str().unwrap().to_owned(), key)
    }

    async fn expect(&self, method: Method, path: &str, status: u16, part: &str) -> String {
        let (got, text) = self.ask_outside(method.clone(), path, &[]).await;
        assert_eq!(got, status, "{method} {path}: {text}");
        assert!(text.contains(part), "{method} {path}: {text}");
        text
    }
}

/// What follows the public address, where it is a link to acknowledge by.
fn link_in(message: &str) -> Option<String> {
    let at = message.find(&format!("{PUBLIC}/ack/"))? + PUBLIC.len();
    let link = message[at..].split(['|', '"', '>', '\\']).next()?;
    Some(link.to_owned())
}
