//! The engine and the schedule together, as one router drives them: what one orders the other delivers, what the other reports the
//! first hears, and all that one moment leads to is one record. Sinks fail, throttle and are gone, and the router crashes before
//! and after such a record. At the end, with everything resolved and every sink working again, each firing of a P1 or P2 was
//! received somewhere, nobody heard of a resolve before its firing, and who received a firing received its resolve.

#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use router_alerts::{
    AlertEngine, AlertId, AlertRef, Condition, DeliveryId, Severity,
    delivery::{
        Attempt, DeliveryRow, DeliveryRowKey, Precedence, RowChange, Schedule, ScheduleEffects,
        ScheduleEvent, ScheduleLimits, SinkSchedule, SinkTable,
    },
    event::{AlertAction, AlertEvent, RuleAnswer},
    facts::FleetPage,
    matcher::Matcher,
    notice::{DeliveryError, Occasion, Receipt},
    record::Record,
    settings::{AlertRoute, AlertSettings, Grouping, SinkSettings},
};
use router_core::jitter::Jitter;

const START_MS: u64 = 1_796_083_200_000;
const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
/// Until then sinks fail, conditions come and go, and the router crashes.
const TROUBLE_MS: u64 = 45 * MINUTE_MS;
/// Long enough for what flaps to calm down, and for the schedule's longest wait of a P1 or P2.
const CALM_MS: u64 = 60 * MINUTE_MS;
const SEEDS: u64 = 300;
const SINKS: [&str; 3] = ["pager", "chat", "console"];

type Result<T> = std::result::Result<T, DeliveryError>;

enum Item {
    Answer,
    Ended(u64, DeliveryId, u32, Result<Option<Receipt>>),
}

struct Router {
    dice: Jitter,
    now_ms: u64,
    engine: AlertEngine,
    schedule: Schedule,
    records: Vec<Record>,
    rows: BTreeMap<DeliveryRowKey, DeliveryRow>,
    agenda: BTreeMap<(u64, u64), Item>,
    sequence: u64,
    life: u64,
    round: u64,
    holds: BTreeSet<u64>,
    working: BTreeMap<&'static str, u64>,
    received: BTreeSet<(Arc<str>, DeliveryId)>,
    /// The last that each sink received about a firing: whether it fires.
    last: BTreeMap<(Arc<str>, AlertRef), bool>,
    /// First firings of P1 and P2 that were ordered, and those that need not be received.
    urgent: BTreeSet<AlertRef>,
    heard: BTreeSet<AlertRef>,
    crashes: u64,
    log: Vec<String>,
}

fn settings() -> AlertSettings {
    let sink = |grouping, fallback: Option<&str>| SinkSettings {
        grouping,
        fallback: fallback.map(Arc::from),
    };
    let route = |name: &str, severity: &[Severity], sinks: &[&str]| AlertRoute {
        name: name.into(),
        matcher: Matcher {
            severity: severity.to_vec(),
            ..Matcher::default()
        },
        continues: true,
        sinks: sinks.iter().map(|sink| (*sink).into()).collect(),
        escalation: None,
    };
    AlertSettings {
        rules: vec!["r".into()],
        sinks: [
            ("pager".into(), sink(Grouping::None, Some("chat"))),
            ("chat".into(), sink(Grouping::Group, Some("console"))),
            ("console".into(), sink(Grouping::Group, None)),
        ]
        .into(),
        routes: vec![
            route("urgent", &[Severity::P1, Severity::P2], &["pager"]),
            route("all", &[], &["chat"]),
        ],
        ..AlertSettings::default()
    }
}

fn sinks() -> SinkTable {
    let sink = |(name, fallback, is_per_alert): (&str, Option<&str>, bool)| SinkSchedule {
        sink: name.into(),
        interval_ms: 500,
        at_once_max: 3,
        fallback: fallback.map(Arc::from),
        is_per_alert,
        generation: 1,
    };
    let sinks = [
        ("pager", Some("chat"), true),
        ("chat", Some("console"), false),
        ("console", None, false),
    ];
    SinkTable::new(sinks.map(sink)).unwrap()
}

fn condition(number: u64) -> Condition {
    Condition {
        key: format!("k{number}"),
        name: format!("name{}", number % 2),
        severity: Severity::ALL[number as usize % 4],
        summary: "it burns".to_owned(),
        remedy: "water".to_owned(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    }
}

impl Router {
    fn new(seed: u64) -> Self {
        let (schedule, _) = Schedule::new(
            START_MS,
            &sinks(),
            ScheduleLimits::default(),
            seed,
            Vec::new(),
        );
        let mut router = Self {
            dice: Jitter::new(seed),
            now_ms: START_MS,
            engine: AlertEngine::new(settings(), START_MS),
            schedule,
            records: Vec::new(),
            rows: BTreeMap::new(),
            agenda: BTreeMap::new(),
            sequence: 0,
            life: 1,
            round: 0,
            holds: BTreeSet::new(),
            working: SINKS.map(|sink| (sink, 0)).into(),
            received: BTreeSet::new(),
            last: BTreeMap::new(),
            urgent: BTreeSet::new(),
            heard: BTreeSet::new(),
            crashes: 0,
            log: Vec::new(),
        };
        router.moment(vec![AlertEvent::JournalRead(Vec::new())], Vec::new());
        router.later(SECOND_MS, Item::Answer);
        router
    }

    fn is_calm(&self) -> bool {
        self.now_ms > START_MS + TROUBLE_MS
    }

    fn run(&mut self) {
        while self.now_ms < START_MS + TROUBLE_MS + CALM_MS {
            let item_ms = self
                .agenda
                .first_key_value()
                .map_or(u64::MAX, |((at, _), _)| *at);
            let schedule_ms = self.schedule.next_wake().unwrap_or(u64::MAX);
            let engine_ms = self.engine.next_wake();
            let next_ms = item_ms.min(schedule_ms).min(engine_ms);
            self.now_ms = self.now_ms.max(next_ms);
            if item_ms == next_ms {
                let (_, item) = self.agenda.pop_first().unwrap();
                self.happen(item);
            } else if schedule_ms == next_ms {
                self.moment(Vec::new(), vec![ScheduleEvent::Tick]);
            } else {
                self.moment(vec![AlertEvent::Tick], Vec::new());
            }
        }
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Answer => self.answer(),
            Item::Ended(life, delivery, attempt, result) if life == self.life => {
                let ended = ScheduleEvent::Ended {
                    delivery,
                    attempt,
                    result,
                };
                self.moment(Vec::new(), vec![ended]);
            }
            Item::Ended(..) => {}
        }
    }

    /// The rule answers; what holds changes now and then, and so do the sinks.
    fn answer(&mut self) {
        if self.is_calm() {
            self.holds.clear();
            self.working = SINKS.map(|sink| (sink, 0)).into();
        } else {
            if self.dice.next().is_multiple_of(4) {
                let number = self.dice.next() % 8;
                if !self.holds.remove(&number) {
                    self.holds.insert(number);
                }
            }
            if self.dice.next().is_multiple_of(20) {
                let sink = SINKS[self.dice.next() as usize % 3];
                self.working.insert(sink, self.dice.next() % 5);
            }
        }
        self.round += 1;
        let answer = RuleAnswer {
            rule: "r".into(),
            round: self.round,
            page: FleetPage::ONLY,
            conditions: self.holds.iter().map(|number| condition(*number)).collect(),
        };
        self.moment(vec![AlertEvent::Answered(answer)], Vec::new());
        self.later(10 * SECOND_MS, Item::Answer);
    }

    /// Everything that one moment leads to: one record, and then what is sent.
    fn moment(&mut self, alerts: Vec<AlertEvent>, deliveries: Vec<ScheduleEvent>) {
        self.conclude(alerts, deliveries, ScheduleEffects::default());
    }

    /// The same, with what a new schedule begins with.
    fn conclude(
        &mut self,
        alerts: Vec<AlertEvent>,
        deliveries: Vec<ScheduleEvent>,
        mut effects: ScheduleEffects,
    ) {
        let (mut alerts, mut deliveries) = (VecDeque::from(alerts), VecDeque::from(deliveries));
        let mut records = Vec::new();
        loop {
            let reports = effects.reports.drain(..).collect::<Vec<_>>();
            for report in &reports {
                self.log
                    .push(format!("{} {report:?}", self.now_ms - START_MS));
            }
            alerts.extend(reports.into_iter().map(AlertEvent::Delivery));
            alerts.extend(effects.sinks.drain(..).map(AlertEvent::Sink));
            if let Some(event) = alerts.pop_front() {
                let mut actions = Vec::new();
                self.engine.step(self.now_ms, event, &mut actions);
                for action in actions {
                    if let AlertAction::Keep(record) = action {
                        deliveries.push_back(ScheduleEvent::Ordered(record.orders.clone()));
                        records.push(*record);
                    }
                }
            } else if let Some(event) = deliveries.pop_front() {
                self.schedule.step(self.now_ms, event, &mut effects);
            } else {
                break;
            }
        }
        let dies = !self.is_calm() && self.dice.next().is_multiple_of(60);
        if dies && self.dice.next().is_multiple_of(2) {
            return self.restart();
        }
        self.keep(records, effects.changes);
        if dies {
            return self.restart();
        }
        for attempt in effects.attempts {
            self.send(&attempt);
        }
    }

    fn keep(&mut self, records: Vec<Record>, changes: Vec<RowChange>) {
        for record in &records {
            for order in &record.orders {
                if let router_alerts::delivery::DeliveryOrder::Deliver(delivery) = order
                    && delivery.precedence == Precedence::FirstFiring
                    && delivery.severity.is_urgent()
                {
                    self.urgent.extend(delivery.news.iter().copied());
                }
            }
        }
        self.records.extend(records);
        for change in changes {
            match change {
                RowChange::Put(row) => {
                    self.rows.insert(row.key.clone(), row);
                }
                RowChange::Remove(key) => {
                    self.rows.remove(&key);
                }
            }
        }
    }

    fn send(&mut self, attempt: &Attempt) {
        let delivery = &attempt.delivery;
        self.log
            .push(format!("{} send {delivery:?}", self.now_ms - START_MS));
        let mood = self.working.get(&*delivery.sink).copied().unwrap_or(0);
        let luck = self.dice.next();
        let result = match mood {
            1 => Err(DeliveryError::Other("reset".to_owned())),
            2 => Err(DeliveryError::Retry {
                reason: "slow down".to_owned(),
                after_ms: Some(luck % (2 * MINUTE_MS)),
            }),
            3 if luck.is_multiple_of(3) => Err(DeliveryError::Other("no answer".to_owned())),
            _ => Ok(None),
        };
        // Some of what seems to fail arrives.
        if result.is_ok() || mood == 1 && luck.is_multiple_of(2) {
            self.receive(attempt);
        }
        let id = delivery.id.clone();
        let in_ms = luck % 300;
        self.later(in_ms, Item::Ended(self.life, id, attempt.attempt, result));
    }

    fn receive(&mut self, attempt: &Attempt) {
        let delivery = &attempt.delivery;
        let sink = Arc::clone(&delivery.sink);
        if delivery.occasion == Occasion::Test
            || !self
                .received
                .insert((Arc::clone(&sink), delivery.id.clone()))
        {
            return;
        }
        let is_over = |alert: AlertId| {
            let mut listed = delivery.listed.iter();
            listed.any(|one| AlertId::of(&one.condition.key) == alert && one.resolved_ms.is_some())
        };
        for firing in &delivery.news {
            // A sink with groups is shown an alert, whichever firing it is.
            let firing = match &*sink {
                "pager" => *firing,
                _ => AlertRef {
                    firing: 0,
                    ..*firing
                },
            };
            let key = (Arc::clone(&sink), firing);
            if delivery.precedence == Precedence::Resolve {
                let before = self.last.insert(key, false);
                assert!(
                    before.is_some(),
                    "{}",
                    self.explain(&sink, firing, "resolved unheard")
                );
            } else {
                self.heard.extend(delivery.news.iter().copied());
                self.last.insert(key, !is_over(firing.alert));
            }
        }
    }

    fn restart(&mut self) {
        self.crashes += 1;
        self.life += 1;
        self.now_ms += 500;
        self.log.push(format!("{} crash", self.now_ms - START_MS));
        let seed = self.dice.next();
        let rows: Vec<DeliveryRow> = self.rows.values().cloned().collect();
        let limits = ScheduleLimits::default();
        let (schedule, effects) = Schedule::new(self.now_ms, &sinks(), limits, seed, rows);
        self.schedule = schedule;
        self.engine = AlertEngine::new(settings(), self.now_ms);
        let records = self.records.clone();
        self.conclude(vec![AlertEvent::JournalRead(records)], Vec::new(), effects);
    }

    fn later(&mut self, in_ms: u64, item: Item) {
        self.sequence += 1;
        self.agenda
            .insert((self.now_ms + in_ms, self.sequence), item);
    }

    fn explain(&self, sink: &str, firing: AlertRef, what: &str) -> String {
        let about = format!("alert: {:?}, firing: ", firing.alert);
        let lines = self
            .log
            .iter()
            .filter(|line| line.contains(&about) || line.ends_with("crash"));
        let lines: Vec<&str> = lines.map(String::as_str).collect();
        format!("{sink} {firing:?} {what}\n{}", lines.join("\n"))
    }

    fn check(&self) {
        for firing in &self.urgent {
            assert!(
                self.heard.contains(firing),
                "{}",
                self.explain("", *firing, "was lost")
            );
        }
        let waiting: Vec<_> = self.schedule.waiting(self.now_ms).collect();
        for ((sink, firing), fires) in &self.last {
            // A P3 or P4 that failed often may be tried again in hours only, and its resolve behind it.
            let mut about = waiting.iter().map(|one| &one.delivery);
            let is_about = |news: &AlertRef| news.alert == firing.alert;
            let waits = about.any(|one| one.sink == *sink && one.news.iter().any(is_about));
            assert!(
                !fires || waits,
                "{}",
                self.explain(sink, *firing, "still fires")
            );
        }
        let urgent = waiting.iter().find(|one| one.delivery.severity.is_urgent());
        assert!(urgent.is_none(), "{urgent:?}");
    }
}

#[test]
fn what_the_engine_orders_arrives_in_order_whatever_crashes() {
    let (mut crashes, mut received) = (0, 0);
    for seed in 0..SEEDS {
        let mut router = Router::new(seed);
        router.run();
        router.check();
        crashes += router.crashes;
        received += router.received.len();
    }
    println!("{crashes} crashes, {received} received");
    assert!(crashes > SEEDS && received > 1_000);
}
