//! Ten thousand conditions of ten rules at once: the P1 among them is not behind the others, groups are counted and not listed, the API goes
//! on answering in pages, memory and the journal stay bounded, a restart in the middle pages nobody twice, and the end of all of them
//! is as bounded as their beginning.

#![allow(clippy::print_stdout, reason = "what it measured is worth reading")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use router_tests::{
    Config, Router, peers, processes,
    receivers::{Authority, Received, Receiver, Reply, Service},
    until,
};
use serde_json::Value;

use crate::chaos::{
    ledger::Ledger,
    receivers::{ROUTING_KEY, Target},
    trigger::Trigger,
};

const RULES: usize = 10;
/// As many as a rule may name.
const CONDITIONS: usize = 1_000;
const SOON: Duration = Duration::from_secs(120);
/// The target is 2 s, on a machine that does nothing else.
const PAGED_WITHIN: Duration = Duration::from_secs(10);
/// An alert takes about 6 KiB, with its history and what its sinks heard, and its row in the journal 2 KiB; a record, a snapshot and the
/// answer of a rule are there more than once for a moment, as texts and as what they are made of. 10,000 of them were 150 MiB; more than
/// 25 KiB for each would be something that grows.
const STORM_BYTES_MAX: u64 = 256 << 20;
/// The rows may have 32 MiB, and as much of log again.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;
/// A page of alerts: a hundred of two KiB.
const PAGE_BYTES_MAX: usize = 300_000;

/// A chat that gets groups: Standard Webhooks.
#[derive(Default)]
struct Chat(Mutex<Vec<Value>>);

impl Chat {
    /// How many alerts there were in the messages of a type, by severity: the most of any message. And the most listed in one.
    fn counted(&self, kinds: &[&str]) -> (BTreeMap<String, u64>, usize) {
        let (mut counts, mut listed_max) = (BTreeMap::new(), 0);
        for message in self.0.lock().iter() {
            if !kinds.contains(&message["type"].as_str().unwrap()) {
                continue;
            }
            let data = &message["data"];
            let listed = data["alerts"].as_array().unwrap().len();
            listed_max = listed_max.max(listed);
            let count: &mut u64 = counts
                .entry(data["group"].as_str().unwrap().to_owned())
                .or_default();
            *count = (*count).max(listed as u64 + data["more"].as_u64().unwrap());
        }
        (counts, listed_max)
    }
}

impl Service for Chat {
    fn reply(&self, request: &Received) -> Reply {
        assert!(request.body.len() <= 20_000, "{} bytes", request.body.len());
        self.0.lock().push(request.json());
        Reply::text(204, "")
    }
}

struct Storm {
    router: Router,
    ledger: Arc<Ledger>,
    trigger: Arc<Trigger>,
    _pager: Arc<Target>,
    pager_at: Receiver,
    chat: Arc<Chat>,
    chat_at: Receiver,
    authority: Authority,
}

impl Storm {
    async fn prepare() -> Self {
        let authority = Authority::new();
        let (ledger, trigger) = (Arc::default(), Arc::default());
        let (pager, pager_at) = Target::start("pager", &authority, &ledger, &trigger).await;
        let chat = Arc::new(Chat::default());
        let chat_at = Receiver::start(&authority, Arc::clone(&chat)).await;
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let variables = [("KEY", ROUTING_KEY), ("HOOK_SECRET", secret)];
        let router = Router::prepared(&Config::new(), &variables);
        for file in ["pagerduty.wasm", "webhook.wasm"] {
            let to = router.path("plugins").join(file);
            std::fs::copy(peers::bundled_plugin(file), to).unwrap();
        }
        for rule in 0..RULES {
            let to = router.path("plugins").join(format!("r{rule}.wasm"));
            std::fs::copy(peers::guest("configured-rule.wasm"), to).unwrap();
        }
        Self {
            router,
            ledger,
            trigger,
            _pager: pager,
            pager_at,
            chat,
            chat_at,
            authority,
        }
    }

    /// P1s of the first rule, and so many conditions of each: of one rule P2s, of the others P3s and P4s.
    fn write_config(&self, pages: &[&str], count: usize, rate: &str) {
        let rules: Vec<String> = (0..RULES).map(|rule| format!("\"r{rule}\"")).collect();
        let mut config = Config::new()
            .set("health", "disk_share = 1.0")
            .set("alerts", &format!("rules = [{}]", rules.join(", ")))
            .set("alerts", "resolve_after = \"1s\"")
            .set("alerts", "group_wait = \"1s\"")
            .set("alerts", "group_interval = \"1s\"");
        for rule in 0..RULES {
            let section = format!("plugins.config.r{rule}");
            let severity = ["P3", "P2", "P3", "P4"][rule.min(2 + rule % 2)];
            let own = if rule == 0 { pages } else { &[] };
            let own: Vec<String> = own.iter().map(|key| format!("{key:?}")).collect();
            let count = count.saturating_sub(own.len());
            for line in [
                format!("severity = {severity:?}"),
                format!("name = \"Storm{rule}\""),
                format!("prefix = \"storm{rule}:\""),
                format!("count = {count}"),
                format!("P1 = [{}]", own.join(", ")),
            ] {
                config = config.set(&section, &line);
            }
        }
        let (pager, chat, ca_file) = (
            self.pager_at.url(),
            self.chat_at.url(),
            self.authority.ca_file(),
        );
        self.router.write_config(&config.tail(&format!(
            "[sink.pager]\nplugin = \"pagerduty\"\nsecrets = {{ routing_key = \"KEY\" }}\nconfig = {{ url = \"{pager}/v2/enqueue\" }}\n\
             allow = [{pager:?}]\nca_file = {ca_file:?}\nrate = {rate:?}\ngrouping = \"none\"\n\
             [sink.chat]\nplugin = \"webhook\"\nsecrets = {{ secret = \"HOOK_SECRET\" }}\nconfig = {{ url = \"{chat}/\" }}\n\
             allow = [{chat:?}]\nca_file = {ca_file:?}\n\
             [[alerts.route]]\nseverity = [\"P1\", \"P2\"]\nsinks = [\"pager\", \"chat\"]\n\
             [[alerts.route]]\nsinks = [\"chat\"]\n"
        )));
    }

    /// Waits until so many alerts are open. The API has to answer all the while, in pages.
    async fn open(&self, count: u64) {
        until(&format!("{count} open alerts"), SOON, async || {
            let page = self.router.get("/api/alerts?state=open").await;
            assert!(page["alerts"].as_array().unwrap().len() <= 100);
            assert!(page.to_string().len() <= PAGE_BYTES_MAX);
            match page["total"].as_u64() == Some(count) {
                true => Ok(()),
                false => Err(format!("{} alerts\n{}", page["total"], self.router.tail())),
            }
        })
        .await;
    }

    /// Waits until the pager has a page. How long after it fired it came.
    async fn paged(&self, key: &str) -> Duration {
        let firing = (key.to_owned(), 1);
        until(&format!("the page {key}"), SOON, async || {
            let heard = self.ledger.heard("pager", &firing);
            heard.0.then_some(()).ok_or_else(|| self.router.tail())
        })
        .await;
        let page = self.router.get("/api/alerts?severity=P1").await;
        let alerts = page["alerts"].as_array().unwrap();
        let alert = alerts.iter().find(|one| one["key"] == key).unwrap();
        let fired_at = alert["firedAt"].as_str().unwrap();
        self.ledger.taken_after("pager", &firing, fired_at)
    }

    /// How long the last start read the journal.
    fn journal_read_ms(&self) -> u128 {
        let log = self.router.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("alert journal read"));
        let elapsed = line.unwrap().split("elapsed_ms=").nth(1).unwrap();
        let digits: String = elapsed.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }

    /// What everything in the journal's folder takes.
    fn journal_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.router.path("data/alerts")).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }

    fn assert_nothing_wrong(&self) {
        let wrongs = self.ledger.wrongs(&self.trigger.kills());
        assert!(wrongs.is_empty(), "{wrongs:#?}\n{}", self.router.tail());
    }

    async fn kill(&mut self) {
        self.trigger
            .arm(self.router.pid(), crate::chaos::trigger::Step::AnyTime, 0);
        self.trigger.kill();
        self.router.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_conditions_at_once_hide_no_page_and_fill_nothing() {
    let mut storm = Storm::prepare().await;
    storm.write_config(&[], 0, "120/m");
    storm.router.start_again().await;
    for rule in 0..RULES {
        until("the rules", SOON, async || {
            let shown = storm.router.get(&format!("/api/plugins/r{rule}")).await;
            match shown["state"] == "serving" {
                true => Ok(()),
                false => Err(shown.to_string()),
            }
        })
        .await;
    }
    let before = processes::resident_bytes(storm.router.pid());
    storm.router.kill().await;

    // All at once, before a pager that takes two in a second.
    storm.write_config(&["first"], CONDITIONS, "120/m");
    storm.router.start_again().await;
    let late = storm.paged("first").await;
    assert!(late < PAGED_WITHIN, "the page came {late:?} after it fired");
    storm.open((RULES * CONDITIONS) as u64).await;
    until("every group", SOON, async || {
        let (counts, listed_max) = storm.chat.counted(&["alert.firing", "alert.more_firing"]);
        assert!(listed_max <= 100, "{listed_max}");
        let total: u64 = counts.values().sum();
        match total == (RULES * CONDITIONS) as u64 {
            true => Ok(()),
            false => Err(format!("{counts:?}")),
        }
    })
    .await;
    let messages = storm.chat.0.lock().len();
    assert!(
        messages <= 4 * RULES,
        "{messages} messages of {RULES} groups"
    );
    let after = processes::resident_bytes(storm.router.pid());
    let (grown, journal) = (after.saturating_sub(before), storm.journal_bytes());
    println!(
        "storm: page after {late:?}, {messages} messages, {} MiB more, journal {} MiB",
        grown >> 20,
        journal >> 20
    );
    assert!(grown <= STORM_BYTES_MAX, "{before} and then {after} bytes");
    assert!(journal <= JOURNAL_BYTES_MAX, "{journal} bytes of journal");

    // In the middle of it, with a thousand pages on their way.
    storm.kill().await;
    storm.write_config(&["first", "second"], CONDITIONS, "120/m");
    let killed = Instant::now();
    storm.router.start_again().await;
    let late = storm.paged("second").await;
    println!(
        "storm: after a restart the next page came {late:?} after it fired, {:?} after the start",
        killed.elapsed()
    );
    assert!(late < PAGED_WITHIN, "the page came {late:?} after it fired");
    let read_ms = storm.journal_read_ms();
    println!("storm: the journal was read in {read_ms} ms");
    assert!(read_ms < PAGED_WITHIN.as_millis(), "{read_ms} ms");
    storm.assert_nothing_wrong();

    // Everything is over, and the pager takes more.
    let before = storm.chat.0.lock().len();
    storm.write_config(&[], 0, "1000/s");
    storm.router.post("/api/config/reload").await;
    storm.open(0).await;
    until("no delivery to wait", SOON, async || {
        let deliveries = storm.router.get("/api/deliveries").await;
        let (waiting, dead) = (
            deliveries["waiting"].as_array().unwrap(),
            deliveries["deadLetters"].as_array().unwrap(),
        );
        assert!(waiting.len() <= 1_000 && dead.is_empty(), "{dead:?}");
        waiting
            .is_empty()
            .then_some(())
            .ok_or_else(|| format!("{} wait", waiting.len()))
    })
    .await;
    let messages = storm.chat.0.lock().len() - before;
    assert!(
        messages <= 4 * RULES,
        "{messages} messages of the end of {RULES} groups"
    );
    for key in ["first", "second", "storm1:0", "storm1:999"] {
        let heard = storm.ledger.heard("pager", &(key.to_owned(), 1));
        assert_eq!(heard, (true, true), "{key}");
    }
    storm.assert_nothing_wrong();
    let journal = storm.journal_bytes();
    println!(
        "storm: {messages} messages of the end, journal {} MiB",
        journal >> 20
    );
    assert!(journal <= JOURNAL_BYTES_MAX, "{journal} bytes of journal");
    storm.router.end().await;
}
