//! A series of rounds on one data directory: in each a router is started, conditions begin or end, and the router is killed at some step of
//! what follows, with receivers that fail and a database that is away in some. After so many rounds there is a calm: then everything has
//! to have arrived.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use router_test_postgres::Cluster;
use router_tests::until;

use super::{
    dice::Dice,
    fixture::{NOTIFIED, Paged},
    ledger::Firing,
    receivers::Mishap,
    trigger::{Step, Trigger},
};
use crate::database::{self, done};

/// Rules are asked a second after the start, and a second after each change: so much later a round has done what it was to do. It takes
/// longer where a sink is being left alone after failures.
const ROUND: Duration = Duration::from_secs(4);
/// An ended condition is over when two answers a second apart do not name it.
const TOUCH_EVERY: Duration = Duration::from_millis(1_100);
/// A sink's breaker stays open for half a minute, and a minute the second time; then all that waits is sent.
const CALM: Duration = Duration::from_secs(120);
/// A page whose attempts ended with their routers and then failed once waits as long as one that failed so often: five minutes at most. An
/// operator who sees it wait has it sent.
const PATIENCE: Duration = Duration::from_secs(15);

/// A key of a condition.
#[derive(Debug, Clone, Copy)]
struct Condition {
    is_urgent: bool,
    /// How often it began.
    begun: u32,
    holds: bool,
}

/// See the module.
pub(crate) struct Series {
    name: &'static str,
    seed: u64,
    dice: Dice,
    paged: Paged,
    cluster: Option<Arc<Cluster>>,
    conditions: BTreeMap<String, Condition>,
    /// How often each step was aimed at, and how often it was met.
    steps: BTreeMap<Step, (u32, u32)>,
    records_cut: u32,
    begun: Instant,
    rounds: u32,
}

impl Series {
    pub(crate) async fn start(
        name: &'static str,
        seed: u64,
        cluster: Option<Arc<Cluster>>,
    ) -> Self {
        Self {
            name,
            seed,
            dice: Dice::new(seed),
            paged: Paged::prepare(cluster.as_deref()).await,
            cluster,
            conditions: BTreeMap::new(),
            steps: BTreeMap::new(),
            records_cut: 0,
            begun: Instant::now(),
            rounds: 0,
        }
    }

    /// One round: a router that is killed.
    pub(crate) async fn round(&mut self) {
        self.rounds += 1;
        if self.dice.chance(25) {
            self.end_conditions(80);
        } else {
            self.begin_conditions();
        }
        self.paged.write_config();
        self.disturb_receivers();
        let is_away = self.take_database_away().await;
        let step = self.dice.pick(&Step::ALL);
        let passing = self.dice.below(3) as u32;
        let [early_ms, any_ms, later_ms, cut] =
            [700, 3_000, 300, 10_000].map(|end| self.dice.below(end));
        self.paged.router.launch();
        self.paged
            .trigger
            .arm(self.paged.router.pid(), step, passing);
        let is_met = match step {
            Step::Starting => self.touching_for(early_ms).await,
            Step::AnyTime => self.touching_for(any_ms).await,
            Step::DatabaseUpdated => {
                let is_answered = self.touching(ROUND, Trigger::is_answered).await;
                tokio::time::sleep(Duration::from_millis(later_ms)).await;
                is_answered
            }
            _ => self.touching(ROUND, Trigger::has_killed).await,
        };
        self.paged.trigger.kill();
        self.paged.router.kill().await;
        let (aimed, met) = self.steps.entry(step).or_default();
        *aimed += 1;
        *met += u32::from(is_met);
        if step == Step::BeforeFsync && is_met {
            self.lose_power(cut);
        }
        if is_away {
            self.bring_database_back().await;
        }
    }

    /// Lets time pass, in which the router takes in its configuration again now and then: a change, for which rules are asked.
    async fn touching_for(&mut self, time_ms: u64) -> bool {
        let end = Instant::now() + Duration::from_millis(time_ms);
        while Instant::now() < end {
            let rest = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(rest.min(TOUCH_EVERY)).await;
            self.paged.touch();
        }
        true
    }

    /// The same until something is so, or for so long.
    async fn touching(
        &mut self,
        within: Duration,
        wait: impl AsyncFn(&Trigger, Duration) -> bool,
    ) -> bool {
        let trigger = Arc::clone(&self.paged.trigger);
        let end = Instant::now() + within;
        while Instant::now() < end {
            if wait(&trigger, TOUCH_EVERY).await {
                return true;
            }
            self.paged.touch();
        }
        false
    }

    /// One to three conditions begin, most of them such as never were.
    fn begin_conditions(&mut self) {
        for _ in 0..=self.dice.below(3) {
            // Drawn whatever the state is, so that a seed makes the same decisions on any machine.
            let is_again = self.dice.chance(15);
            let is_over = |key: &str, one: &Condition| {
                let firing = (key.to_owned(), one.begun);
                // A third time would be flapping, which is another matter.
                !one.holds
                    && one.begun == 1
                    && NOTIFIED
                        .iter()
                        .all(|sink| self.paged.ledger.heard(sink, &firing).1)
            };
            let ended = self.conditions.iter().find(|(key, one)| is_over(key, one));
            let ended = ended.map(|(key, _)| key.clone());
            let key = match ended {
                Some(key) if is_again => key,
                _ => format!("c{}", self.conditions.len()),
            };
            let is_urgent = self.dice.chance(60);
            let condition = self.conditions.entry(key.clone()).or_insert(Condition {
                is_urgent,
                begun: 0,
                holds: false,
            });
            condition.begun += 1;
            condition.holds = true;
            let is_urgent = condition.is_urgent;
            self.paged.holding.insert(key, is_urgent);
        }
    }

    /// So many of the conditions end, of those that are known to fire.
    fn end_conditions(&mut self, percent: u64) {
        let fired = fired(&self.paged.router.path("data/alerts"));
        for (key, condition) in &mut self.conditions {
            let firing = (key.clone(), condition.begun);
            let is_drawn = self.dice.chance(percent);
            if is_drawn && condition.holds && fired.contains(&firing) {
                condition.holds = false;
                self.paged.holding.remove(key);
            }
        }
    }

    fn disturb_receivers(&mut self) {
        use Mishap::{Broken, Busy, Hang, Impostor, Reset};
        for at in 0..self.paged.targets.len() {
            self.paged.targets[at].0.is_well();
            if self.dice.chance(20) {
                let mishap = self.dice.pick(&[Busy, Broken, Hang, Reset, Impostor]);
                self.paged.targets[at].0.fails_next(mishap);
            }
        }
    }

    async fn take_database_away(&mut self) -> bool {
        let Some(cluster) = self.cluster.clone() else {
            return false;
        };
        match self.dice.below(10) {
            0..2 => done(&cluster, Cluster::freeze).await,
            2 => done(&cluster, Cluster::stop).await,
            _ => return false,
        }
        true
    }

    async fn bring_database_back(&self) {
        if let Some(cluster) = &self.cluster {
            done(cluster, Cluster::thaw).await;
            done(cluster, Cluster::start_again).await;
        }
    }

    /// What a loss of power makes of a record that the disk had not confirmed: a part of it is there, or nothing.
    fn lose_power(&mut self, cut: u64) {
        let Some(path) = self.paged.trigger.unsent_record() else {
            return;
        };
        let is_log = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("journal-"));
        let Ok(content) = std::fs::read(&path) else {
            return;
        };
        if !is_log || content.is_empty() {
            return;
        }
        let whole = &content[..content.len() - 1];
        let record = whole
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let kept = record + (cut % (content.len() - record) as u64) as usize;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(kept as u64).unwrap();
        self.records_cut += 1;
    }

    /// Nothing disturbs any more: what fired arrives, what is over is said to be, and nothing else.
    pub(crate) async fn calm(&mut self) {
        self.paged
            .targets
            .iter()
            .for_each(|(target, _)| target.is_well());
        self.paged.router.launch();
        self.paged.router.answers().await;
        let arrived = self.all_have("arrive", |heard| heard.0).await;
        self.end_conditions(100);
        let over = self.all_have("be over", |heard| heard.1).await;
        assert_eq!(arrived, over);
        until("no delivery to wait", CALM, async || {
            // What waits for the third sink, too.
            self.retry_waiting().await;
            let deliveries = self.paged.router.get("/api/deliveries").await;
            let is_empty = |name: &str| deliveries[name].as_array().unwrap().is_empty();
            match is_empty("waiting") && is_empty("deadLetters") {
                true => Ok(()),
                false => Err(deliveries.to_string()),
            }
        })
        .await;
        let wrongs = self.paged.ledger.wrongs(&self.paged.trigger.kills());
        assert!(
            wrongs.is_empty(),
            "{}, seed {}: {wrongs:#?}",
            self.name,
            self.seed
        );
        self.paged.router.kill().await;
        self.report(arrived);
    }

    /// Sends what waits again, as an operator does.
    async fn retry_waiting(&self) {
        let router = &self.paged.router;
        let deliveries = router.get("/api/deliveries").await;
        for one in deliveries["waiting"].as_array().unwrap() {
            let path = format!("/api/deliveries/{}/retry", one["id"].as_str().unwrap());
            // It may have gone meanwhile.
            router.ask(Method::POST, &path, None).await;
        }
    }

    /// Waits until every sink has heard so much of every firing. How many there were.
    async fn all_have(&mut self, what: &str, has: impl Fn((bool, bool)) -> bool) -> usize {
        let begun = Instant::now();
        loop {
            let firings: Vec<Firing> = self
                .conditions
                .iter()
                .flat_map(|(key, one)| (1..=one.begun).map(|number| (key.clone(), number)))
                .collect();
            let missing = firings
                .iter()
                .flat_map(|firing| NOTIFIED.map(|sink| (sink, firing)));
            let missing: Vec<_> = missing
                .filter(|(sink, firing)| !has(self.paged.ledger.heard(sink, firing)))
                .collect();
            if missing.is_empty() {
                return firings.len();
            }
            if begun.elapsed() > PATIENCE {
                self.retry_waiting().await;
            }
            if begun.elapsed() > CALM {
                let stories = self.stories(missing[0].1).await;
                panic!(
                    "{}, seed {}: what is to {what}, and did not in {CALM:?}: {missing:?}; {stories}",
                    self.name, self.seed
                );
            }
            self.paged.touch();
            tokio::time::sleep(TOUCH_EVERY).await;
        }
    }

    /// What the router says of an alert that is missed.
    async fn stories(&self, (key, _): &Firing) -> String {
        let router = &self.paged.router;
        let all = router.get("/api/alerts?state=all&limit=1000").await;
        let alerts = all["alerts"].as_array().unwrap();
        match alerts.iter().find(|one| one["key"] == key.as_str()) {
            Some(alert) => {
                let path = format!("/api/alerts/{}", alert["id"].as_str().unwrap());
                format!("{:#}", router.get(&path).await)
            }
            None => format!("{key} is not known"),
        }
    }

    fn report(&self, firings: usize) {
        let (taken, twice) = self.paged.ledger.counts();
        let mut steps = String::new();
        for (step, (aimed, met)) in &self.steps {
            let _ = write!(steps, " {step:?} {met}/{aimed}");
        }
        let pace = self.begun.elapsed().as_secs_f64() / f64::from(self.rounds);
        println!(
            "chaos {}, seed {}: {} rounds of {pace:.2} s, {firings} firings, {taken} deliveries taken, {twice} twice, {} records cut;{steps}",
            self.name, self.seed, self.rounds, self.records_cut
        );
    }

    /// Ends with nothing left behind.
    pub(crate) async fn end(mut self) {
        self.paged.router.start_again().await;
        self.paged.router.end().await;
    }
}

/// The firings that stand in a journal, in whole records.
fn fired(journal: &Path) -> Vec<Firing> {
    let mut fired = Vec::new();
    for entry in std::fs::read_dir(journal).unwrap() {
        let text = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let records = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        for record in records.filter_map(|line| line.split_once(' ')) {
            let Ok(rows) = serde_json::from_str::<Vec<(String, serde_json::Value)>>(record.1)
            else {
                continue;
            };
            for (_, value) in rows {
                let alert = &value["alert"]["alert"];
                let firing = alert["firing"].as_u64().unwrap_or(0);
                if let Some(key) = alert["condition"]["key"].as_str().filter(|_| firing > 0) {
                    fired.push((key.to_owned(), u32::try_from(firing).unwrap()));
                }
            }
        }
    }
    fired
}

/// A database that can be stopped and frozen.
pub(crate) async fn postgres() -> Arc<Cluster> {
    database::cluster(router_test_postgres::ClusterOptions::default()).await
}
