//! How soon a P1 is at its sink, and what a delivery costs: a whole router with a rule that names new P1 each time it is asked, and
//! PagerDuty's plugin in front of a receiver over TLS that says when each request came.
//!
//! The clock runs from the moment for which the rule was asked (the `now-ms` of its facts, which is in each condition's key) to that at
//! which the receiver has the head of the request: evaluation, the engine's step, the journal's fsync, the sink's call, TCP, TLS and
//! HTTP are in it; waiting for the next evaluation, which may be ten seconds, is not.

use std::{
    collections::HashSet,
    time::{Duration, UNIX_EPOCH},
};

use tokio::time::{Instant, sleep_until};

use crate::{
    Config, Router, peers, processes,
    receivers::{Authority, PagerDuty, Received, Receiver},
};

const SOON: Duration = Duration::from_secs(60);
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Rules are asked once a second at most.
const ROUND: Duration = Duration::from_secs(1);

/// New P1 of one answer where time is measured: a sink makes so many attempts at once.
const AT_ONCE: usize = 4;

/// New P1 of one answer where cost is measured: half of what an answer may hold.
const MANY: usize = 500;

/// See the module.
pub struct Paging {
    router: Router,
    receiver: Receiver,
    authority: Authority,
    base: Config,
    /// Deliveries that came: none twice.
    seen: HashSet<String>,
    isolated: bool,
}

impl Paging {
    /// A router on this database that pages nobody yet.
    pub async fn start(storage: Option<&str>) -> Self {
        let authority = Authority::new();
        let receiver = Receiver::start(&authority, PagerDuty::with_keys(&[KEY])).await;
        let mut base = Config::new()
            .set("health", "disk_share = 1.0")
            // What the rule names no more is not over meanwhile.
            .set("alerts", "resolve_after = \"1h\"")
            .plugin("pagerduty.wasm")
            .server(peers::echo());
        if let Some(url) = storage {
            base = base.set("storage", &format!("url = {url:?}"));
        }
        let mut paging = Self {
            router: Router::prepared(&Config::new(), &[("KEY", KEY)]),
            receiver,
            authority,
            base,
            seen: HashSet::new(),
            isolated: false,
        };
        let router = &paging.router;
        let guest = router.path("plugins/hostile-rule.wasm");
        std::fs::copy(peers::guest("hostile-rule.wasm"), guest).unwrap();
        let plugin = router.path("plugins/pagerduty.wasm");
        std::fs::copy(peers::bundled_plugin("pagerduty.wasm"), plugin).unwrap();
        paging.router.write_config(&paging.config(0));
        if storage.is_some() {
            let migrated = paging.router.run(&["migrate"]).await;
            assert!(migrated.status.success(), "{migrated:?}");
        }
        paging.router.start_again().await;
        let serving = ["plugin generation in service", "sink.pager"];
        paging.router.logged(&serving, SOON).await;
        paging
    }

    /// With a rule that names so many new P1 each time.
    fn config(&self, count: usize) -> Config {
        let (url, ca_file) = (self.receiver.url(), self.authority.ca_file());
        self.base
            .clone()
            .set("alerts", "rules = [\"hostile-rule\"]")
            .set("plugins.config.hostile-rule", "mode = \"new\"")
            .set("plugins.config.hostile-rule", &format!("count = {count}"))
            .tail(&format!(
                "[[alerts.route]]\nsinks = [\"pager\"]\n\
                 [sink.pager]\nplugin = \"pagerduty\"\ngrouping = \"none\"\nrate = \"1000/s\"\n\
                 secrets = {{ routing_key = \"KEY\" }}\nconfig = {{ url = \"{url}/v2/enqueue\" }}\n\
                 allow = [\"{url}\"]\nca_file = {ca_file:?}"
            ))
    }

    async fn apply(&self, count: usize) {
        self.router.write_config(&self.config(count));
        self.router.post("/api/config/reload").await;
    }

    /// The milliseconds that each of at least so many pages took, the quickest first.
    pub async fn milliseconds(&mut self, pages: usize) -> Vec<u64> {
        let mut took = self.page(pages, AT_ONCE).await;
        took.sort_unstable();
        took
    }

    /// The processor time of the router for each of at least so many deliveries, the rule's and the engine's among it.
    pub async fn cost_each(&mut self, deliveries: usize) -> Duration {
        let begun = processes::processor_time(self.router.pid());
        let count = self.page(deliveries, MANY).await.len();
        let spent = processes::processor_time(self.router.pid()).saturating_sub(begun);
        spent / u32::try_from(count).unwrap()
    }

    /// The milliseconds that each of at least so many pages took, of so many in an answer. Something changes each second, as it does
    /// when things break, so that the rule is asked.
    async fn page(&mut self, pages: usize, in_answer: usize) -> Vec<u64> {
        self.apply(in_answer).await;
        let mut took = Vec::with_capacity(pages);
        while took.len() < pages {
            let round = Instant::now() + ROUND;
            self.isolated = !self.isolated;
            let verb = if self.isolated { "isolate" } else { "reset" };
            let path = format!("/api/instances/echo/breaker/{verb}");
            self.router.post(&path).await;
            for _ in 0..in_answer {
                let received = self.receiver.next().await;
                took.push(self.took_ms(&received));
            }
            sleep_until(round).await;
        }
        self.apply(0).await;
        self.drain(&mut took).await;
        took
    }

    /// Ends the router.
    pub async fn end(self) {
        self.router.end().await;
    }

    /// Takes what is still on its way.
    async fn drain(&mut self, took: &mut Vec<u64>) {
        loop {
            let waiting = self.router.get("/api/deliveries").await;
            for received in self.receiver.received() {
                took.push(self.took_ms(&received));
            }
            if waiting["waiting"].as_array().is_some_and(Vec::is_empty) {
                return;
            }
        }
    }

    fn took_ms(&mut self, received: &Received) -> u64 {
        let event = received.json();
        let key = event["dedup_key"].as_str().unwrap().to_owned();
        let asked_ms = key.split('-').next().and_then(|ms| ms.parse::<u64>().ok());
        let asked_ms = asked_ms.unwrap_or_else(|| panic!("{event}"));
        assert!(self.seen.insert(key), "twice: {event}");
        let at = received.at.duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(at.as_millis())
            .unwrap()
            .saturating_sub(asked_ms)
    }
}

/// The value that so many percent of a sorted list do not exceed.
#[must_use]
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted[rank.saturating_sub(1)]
}
