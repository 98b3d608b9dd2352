//! A router as the runbook sets one up for drills, with Slack and PagerDuty behind it, and what a drill looks at.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use router_tests::{
    Config, Router,
    blocks::{self, Block},
    peers,
    receivers::{Authority, PagerDuty, Receiver, Slack},
    shell, until,
};
use serde_json::Value;

use crate::{database, documents::headings};

/// Rules are asked every ten seconds; the rest is a machine that is busy with other tests.
pub(super) const SOON: Duration = Duration::from_secs(60);

const CHANNEL: &str = "/services/T0001/B0001/abcdefghijklmnop";
const SPARE_CHANNEL: &str = "/services/T0001/B0002/qrstuvwxyzabcdef";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The page that the runbook's own configuration links to.
const RUNBOOK: &str = "https://wiki.example.org/router-runbook#";

/// Who is behind the router: the channel and the service of the guide, and a channel whose webhook was withdrawn.
pub(super) struct Site {
    pub(super) router: Router,
    blocks: Vec<Block>,
    runbook: String,
    slack: Arc<Slack>,
    pub(super) spare: Arc<Slack>,
    pager_duty: Arc<PagerDuty>,
    pager: Receiver,
    _chats: [Receiver; 2],
    _authority: Authority,
}

impl Site {
    /// The router of `drill.toml`, on this database or its own file.
    pub(super) async fn start(database_url: Option<&str>) -> Self {
        let authority = Authority::new();
        let (slack, spare) = (Slack::at(CHANNEL), Slack::at(SPARE_CHANNEL));
        let pager_duty = PagerDuty::with_keys(&[KEY]);
        let chat = Receiver::start(&authority, Arc::clone(&slack)).await;
        let spare_chat = Receiver::start(&authority, Arc::clone(&spare)).await;
        let pager = Receiver::start(&authority, Arc::clone(&pager_duty)).await;
        let plugins = [
            "default-breaker.wasm",
            "default-capacity.wasm",
            "slack.wasm",
            "pagerduty.wasm",
        ];
        let files = Config::new().bundled_policy().bundled_alerts();
        let files = plugins.into_iter().fold(files, Config::plugin);
        let mut router = Router::prepared(&files, &[("KEY", KEY)]);
        let runbook = peers::repository().join("docs/runbook.md");
        let site = |router| Self {
            router,
            blocks: blocks::read(&runbook),
            runbook: std::fs::read_to_string(&runbook).unwrap(),
            slack,
            spare,
            pager_duty,
            pager,
            _chats: [chat, spare_chat],
            _authority: authority,
        };
        let home = |name: &str| router.path(name).display().to_string();
        let variables = [
            ("LISTEN", "127.0.0.1:0".to_owned()),
            ("GMR_PLUGINS__DIR", home("plugins")),
            ("GMR_INSTANCES__SOCKET_DIR", home("s")),
            ("HOOK_FILE", home("hook")),
            ("SPARE_FILE", home("spare")),
        ];
        for (name, value) in variables {
            router.set_variable(name, &value);
        }
        if let Some(url) = database_url {
            router.set_variable("DATABASE_URL", url);
        }
        let mut site = site(router);
        site.write_secret("hook", &format!("{}{CHANNEL}", site._chats[0].url()));
        site.write_secret(
            "spare",
            &format!("{}/services/T0001/withdrawn", site._chats[1].url()),
        );
        let text = format!("{}\n{}", site.block("drill-config").text, site.sinks());
        std::fs::write(site.router.config_path(), text).unwrap();
        if database_url.is_some() {
            let migrated = site.router.run(&["migrate"]).await;
            assert!(migrated.status.success(), "{migrated:?}");
        }
        // Before its start for the instances, and after it for the address, which is another one than the runbook's.
        site.run("drill-files").await;
        site.router.start_again().await;
        site.run("drill-files").await;
        site
    }

    /// What a site adds to `drill.toml`: where messages go, and an instance that leaks.
    fn sinks(&self) -> String {
        let sink = |name: &str, secret: &str, receiver: &Receiver| {
            let (url, ca_file) = (receiver.url(), self._authority.ca_file());
            format!(
                "[sink.{name}]\nplugin = \"slack\"\nsecrets = {{ webhook_url = \"{secret}\" }}\nallow = [\"{url}\"]\n\
                 ca_file = {ca_file:?}\nrate = \"50/s\"\n"
            )
        };
        let (url, ca_file) = (self.pager.url(), self._authority.ca_file());
        let scripted = peers::scripted(&[]).command;
        format!(
            "{}{}[sink.pager]\nplugin = \"pagerduty\"\nsecrets = {{ routing_key = \"KEY\" }}\n\
             config = {{ url = \"{url}/v2/enqueue\" }}\nallow = [\"{url}\"]\nca_file = {ca_file:?}\n\
             [[alerts.route]]\nname = [\"PluginRefusesSettings\"]\nsinks = [\"spare\"]\ncontinue = true\n\
             [[alerts.route]]\nseverity = [\"P1\", \"P2\"]\nsinks = [\"pager\", \"chat\"]\n\
             [[alerts.route]]\nsinks = [\"chat\"]\n\
             [template.leaking]\ncommand = {scripted:?}\nmax_memory_mb = 200\n\
             [[instance]]\nid = \"leaking\"\ntemplate = \"leaking\"\nautostart = true\n",
            sink("chat", "HOOK", &self._chats[0]),
            sink("spare", "SPARE", &self._chats[1]),
        )
    }

    fn write_secret(&self, name: &str, value: &str) {
        std::fs::write(self.router.path(name), value).unwrap();
    }

    /// A new address for the channel whose webhook was withdrawn.
    pub(super) fn renew_spare(&self) {
        self.write_secret("spare", &format!("{}{SPARE_CHANNEL}", self._chats[1].url()));
    }

    fn block(&self, name: &str) -> &Block {
        let mut named = self
            .blocks
            .iter()
            .filter(|block| block.is_run && block.name == name);
        named
            .next()
            .unwrap_or_else(|| panic!("docs/runbook.md has no block run={name}"))
    }

    /// Does what a block of the runbook says; what it showed.
    pub(super) async fn run(&self, name: &str) -> String {
        self.run_for(name, "").await
    }

    /// The same where `X` stands for something.
    pub(super) async fn run_for(&self, name: &str, x: &str) -> String {
        let block = self.block(name);
        let (own, instance) = (format!(" {x}"), format!("--instance {x}"));
        let replacements = [
            ("drill.toml", "router.toml"),
            ("--instance X", instance.as_str()),
            (" X", own.as_str()),
        ];
        let output = shell::run(&self.router, &block.text, &replacements).await;
        let place = format!("docs/runbook.md:{}, run={name}", block.line);
        assert_eq!(
            output.code,
            0,
            "{place}: {output:#?}\n{}",
            self.router.tail()
        );
        for complaint in [
            "command not found",
            "parse error",
            "syntax error",
            "jq: error",
            "ERROR:",
        ] {
            assert!(!output.stderr.contains(complaint), "{place}: {output:#?}");
        }
        output.stdout
    }

    /// Waits until an alert fires, and looks at all that somebody learns of it.
    pub(super) async fn fires(&self, name: &str, instance: Option<&str>) -> Value {
        let alert = until(&format!("{name} of {instance:?}"), SOON, async || {
            let open = self.router.get("/api/alerts").await;
            let all = open["alerts"].as_array().unwrap();
            let is_it = |one: &&Value| {
                one["name"] == name
                    && one["versionId"].as_str() == instance
                    && one["state"] == "firing"
            };
            match all.iter().find(is_it) {
                Some(one) if one["notified"].to_string().contains("chat") => Ok(one.clone()),
                other => Err(format!("{other:?} among {open}\n{}", self.router.tail())),
            }
        })
        .await;
        let anchor = alert["runbook"].as_str().unwrap();
        assert!(headings(&self.runbook).contains(anchor), "{alert}");
        let message = self.message(&alert, "firing").await;
        assert!(message.contains("*What to do:* "), "{message}");
        assert!(message.contains(&format!("{RUNBOOK}{anchor}")), "{message}");
        assert!(message.contains("Changed lately: "), "{message}");
        self.paged(&alert, "triggered").await;
        until(&format!("the story of {alert}"), SOON, async || {
            let story = self.router.explain(&alert).await;
            let parts = [
                "for the first time",
                "chat by route ",
                "to chat: delivered with attempt ",
            ];
            parts
                .iter()
                .all(|part| story.contains(part))
                .then_some(())
                .ok_or(story)
        })
        .await;
        alert
    }

    /// Waits until it is over, and those who were notified hear of that.
    pub(super) async fn resolves(&self, alert: &Value) {
        let path = format!("/api/alerts/{}", alert["id"].as_str().unwrap());
        until(&format!("the end of {alert}"), SOON, async || {
            let now = self.router.get(&path).await;
            assert_eq!(now["firing"], alert["firing"], "{now}");
            match now["state"].as_str() {
                Some("resolved") => Ok(()),
                _ => Err(format!("{now}\n{}", self.router.tail())),
            }
        })
        .await;
        self.message(alert, "resolved").await;
        self.paged(alert, "resolved").await;
    }

    /// The channel's message about an alert.
    async fn message(&self, alert: &Value, occasion: &str) -> String {
        let name = alert["name"].as_str().unwrap();
        let about = match alert["versionId"].as_str() {
            Some(id) => format!("instance {id}: "),
            None => name.to_owned(),
        };
        let what = format!("a message that {name} is {occasion}");
        until(&what, SOON, async || {
            let messages = self.slack.messages();
            let is_it = |one: &&Value| {
                let title = one["text"].as_str().unwrap();
                let occasion = format!("{occasion}: {name}");
                title.contains(&occasion) && one.to_string().contains(&about)
            };
            let found = messages.iter().find(is_it).map(Value::to_string);
            found.ok_or_else(|| format!("{messages:#?}\n{}", self.router.tail()))
        })
        .await
    }

    /// Of a P1 or P2 there is an incident in this state, and of another none.
    async fn paged(&self, alert: &Value, state: &'static str) {
        let key = format!("{}#{}", alert["key"].as_str().unwrap(), alert["firing"]);
        let is_urgent = ["P1", "P2"].contains(&alert["severity"].as_str().unwrap());
        let wanted = is_urgent.then_some(state);
        until(&format!("{key} {state}"), SOON, async || {
            match self.pager_duty.incident(KEY, &key) {
                now if now == wanted => Ok(()),
                other => Err(format!(
                    "{other:?} in place of {wanted:?}\n{}",
                    self.router.tail()
                )),
            }
        })
        .await;
    }

    /// How many messages of the channel say that such an alert fires.
    pub(super) fn messages_about(&self, name: &str) -> usize {
        let messages = self.slack.messages();
        let titles = messages.iter().filter_map(|one| one["text"].as_str());
        titles
            .filter(|title| title.contains(&format!("firing: {name}")))
            .count()
    }

    /// How often each incident was triggered.
    pub(super) fn pages(&mut self) -> BTreeMap<String, usize> {
        let mut pages = BTreeMap::new();
        for event in self
            .pager
            .received()
            .iter()
            .map(router_tests::receivers::Received::json)
        {
            if event["event_action"] == "trigger" {
                *pages.entry(event["dedup_key"].to_string()).or_default() += 1;
            }
        }
        pages
    }

    /// The sum of the samples that begin so.
    pub(super) async fn metric(&self, sample: &str) -> f64 {
        let text = self.router.get("/api/metrics/prometheus").await;
        let lines = text.as_str().unwrap().lines();
        let values = lines.filter(|line| line.starts_with(sample));
        values
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }
}

/// A cluster whose connections are not the limit.
pub(super) async fn cluster() -> Arc<router_test_postgres::Cluster> {
    database::cluster(router_test_postgres::ClusterOptions::default()).await
}
