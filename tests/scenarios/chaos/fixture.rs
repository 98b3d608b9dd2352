//! A router with a rule that names what a test wants, and three sinks behind receivers of the test's own: PagerDuty and a webhook, which
//! hear of everything, and a webhook that hears of what these do not take.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use router_test_postgres::Cluster;
use router_tests::{
    Config, Router, peers, processes,
    receivers::{Authority, Receiver},
    until,
};
use rustix::process::Signal;

use super::{
    ledger::Ledger,
    receivers::{ROUTING_KEY, Target},
    trigger::{Step, Trigger},
};

/// Who hears of everything.
pub(crate) const NOTIFIED: [&str; 2] = ["pager", "hook"];
/// A first start compiles plugins, on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// See the module.
pub(crate) struct Paged {
    pub(crate) router: Router,
    pub(crate) trigger: Arc<Trigger>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) targets: Vec<(Arc<Target>, Receiver)>,
    authority: Authority,
    /// The keys of conditions that hold, each with whether it is a P1, and not a P2.
    pub(crate) holding: BTreeMap<String, bool>,
    touches: u32,
}

impl Paged {
    /// One that does not run, and has compiled its plugins.
    pub(crate) async fn prepare(cluster: Option<&Cluster>) -> Self {
        let authority = Authority::new();
        let mut router = Router::prepared(
            &Config::new(),
            &[
                ("KEY", ROUTING_KEY),
                ("HOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            ],
        );
        for file in ["pagerduty.wasm", "webhook.wasm"] {
            let to = router.path("plugins").join(file);
            std::fs::copy(peers::bundled_plugin(file), to).unwrap();
        }
        let rule = "configured-rule.wasm";
        std::fs::copy(peers::guest(rule), router.path("plugins").join(rule)).unwrap();
        let journal = router.path("data/alerts");
        std::fs::create_dir_all(&journal).unwrap();
        let (ledger, trigger) = (Arc::default(), Trigger::watching(&journal));
        let mut targets = Vec::new();
        for sink in ["pager", "hook", "spare"] {
            targets.push(Target::start(sink, &authority, &ledger, &trigger).await);
        }
        if let Some(cluster) = cluster {
            let database = cluster.fresh_database().unwrap();
            router.set_variable("DATABASE_URL", &cluster.url(&database));
        }
        let mut paged = Self {
            router,
            trigger,
            ledger,
            targets,
            authority,
            holding: BTreeMap::new(),
            touches: 0,
        };
        paged.write_config();
        if cluster.is_some() {
            let migrated = paged.router.run(&["migrate"]).await;
            assert!(migrated.status.success(), "{migrated:?}");
        }
        paged.router.start_again().await;
        let router = &paged.router;
        for plugin in ["configured-rule", "sink.pager", "sink.hook", "sink.spare"] {
            until("the plugins", SOON, async || {
                let shown = router.get(&format!("/api/plugins/{plugin}")).await;
                match shown["state"].as_str() {
                    Some("serving") => Ok(()),
                    _ => Err(shown.to_string()),
                }
            })
            .await;
        }
        paged.router.kill().await;
        paged
    }

    /// Writes the configuration, another one each time.
    pub(crate) fn write_config(&mut self) {
        self.touches += 1;
        let holding = |is_urgent: bool| {
            let holding = self.holding.iter();
            let holding = holding.filter(|(_, one)| **one == is_urgent);
            let keys: Vec<String> = holding.map(|(key, _)| format!("{key:?}")).collect();
            keys.join(", ")
        };
        let config = Config::new()
            .set("health", "disk_share = 1.0")
            .set("alerts", "rules = [\"configured-rule\"]")
            .set("alerts", "resolve_after = \"1s\"")
            .set(
                "plugins.config.configured-rule",
                &format!("P1 = [{}]", holding(true)),
            )
            .set(
                "plugins.config.configured-rule",
                &format!("P2 = [{}]", holding(false)),
            )
            .set(
                "plugins.config.configured-rule",
                &format!("touched = {}", self.touches),
            );
        let ca_file = self.authority.ca_file();
        let [pager, hook, spare] = [0, 1, 2].map(|at| self.targets[at].1.url());
        let own = |url: &str| {
            format!(
                "allow = [{url:?}]\nca_file = {ca_file:?}\nrate = \"1000/s\"\ngrouping = \"none\"\n"
            )
        };
        let webhook = |name: &str, url: &str| {
            format!(
                "[sink.{name}]\nplugin = \"webhook\"\nsecrets = {{ secret = \"HOOK_SECRET\" }}\nconfig = {{ url = \"{url}/\" }}\n{}",
                own(url)
            )
        };
        let tail = format!(
            "[sink.pager]\nplugin = \"pagerduty\"\nsecrets = {{ routing_key = \"KEY\" }}\nconfig = {{ url = \"{pager}/v2/enqueue\" }}\n\
             fallback = \"spare\"\n{}{}fallback = \"spare\"\n{}[[alerts.route]]\nsinks = [\"pager\", \"hook\"]\n",
            own(&pager),
            webhook("hook", &hook),
            webhook("spare", &spare),
        );
        self.router.write_config(&config.tail(&tail));
    }

    /// Lets a running router take in its configuration: a change, for which rules are asked.
    pub(crate) fn touch(&mut self) {
        // One that does not listen yet may have no ear for signals, and would end at this one.
        if self.router.path("data/listen").exists() {
            self.write_config();
            processes::signal(self.router.pid(), Signal::HUP);
        }
    }

    /// `kill -9`, which the ledger's judge is to know of.
    pub(crate) async fn kill(&mut self) {
        self.trigger.arm(self.router.pid(), Step::AnyTime, 0);
        self.trigger.kill();
        self.router.kill().await;
    }

    /// Waits until both sinks have heard so much of the first firings of these: that they fire, and that they are over.
    pub(crate) async fn notified(&self, keys: &[&str], heard: (bool, bool), within: Duration) {
        until(&format!("{keys:?} to arrive"), within, async || {
            let mut missing = Vec::new();
            for key in keys {
                let firing = ((*key).to_owned(), 1);
                let of_it = NOTIFIED
                    .iter()
                    .filter(|sink| self.ledger.heard(sink, &firing) != heard);
                missing.extend(of_it.map(|sink| format!("{key} at {sink}")));
            }
            if missing.is_empty() {
                return Ok(());
            }
            Err(format!("{missing:?}\n{}", self.router.tail()))
        })
        .await;
    }

    pub(crate) fn assert_nothing_wrong(&self) {
        let wrongs = self.ledger.wrongs(&self.trigger.kills());
        assert!(wrongs.is_empty(), "{wrongs:#?}");
    }
}
