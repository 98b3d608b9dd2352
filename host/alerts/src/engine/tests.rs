//! What the engine does, behaviour by behaviour, beside a rule that answers every ten seconds.

mod behaviour;
mod relayed;
mod restart;

use std::{collections::BTreeMap, sync::Arc};

use super::AlertEngine;
use crate::{
    condition::{Condition, Severity},
    delivery::{Delivery, DeliveryOrder},
    event::{
        AlertAction, AlertCommand, AlertCommandError, AlertDone, AlertEvent, AlertVerb,
        RelayedVerb, RuleAnswer,
    },
    facts::FleetPage,
    identity::AlertId,
    matcher::Matcher,
    record::Record,
    settings::{AlertRoute, AlertSettings, Grouping, SinkSettings},
};

/// Tuesday, 1 December 2026, 00:00 UTC.
const START_MS: u64 = 1_796_083_200_000;
const S: u64 = 1_000;
const MIN: u64 = 60 * S;
const HOUR: u64 = 60 * MIN;

struct Bench {
    engine: AlertEngine,
    now_ms: u64,
    /// What the rule `r` names in each answer.
    holds: BTreeMap<String, Condition>,
    answers: bool,
    round: u64,
    next_answer_ms: u64,
    records: Vec<Record>,
    sent: Vec<(u64, Arc<Delivery>)>,
    audited: Vec<(u64, usize)>,
    commands: u64,
}

fn condition(key: &str, name: &str, severity: Severity) -> Condition {
    Condition {
        key: key.to_owned(),
        name: name.to_owned(),
        severity,
        summary: format!("{key} is wrong"),
        remedy: "repair it".to_owned(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    }
}

/// `chat` groups, `pager` does not and takes P1 and P2; a chain only where a test asks for one.
fn settings() -> AlertSettings {
    let sink = |grouping| SinkSettings {
        grouping,
        fallback: None,
    };
    let urgent = Matcher {
        severity: vec![Severity::P1, Severity::P2],
        ..Matcher::default()
    };
    let route = |name: &str, matcher, sinks: &[&str]| AlertRoute {
        name: name.into(),
        matcher,
        continues: true,
        sinks: sinks.iter().map(|sink| (*sink).into()).collect(),
        escalation: None,
    };
    AlertSettings {
        rules: vec!["r".into()],
        sinks: [
            ("chat".into(), sink(Grouping::Group)),
            ("pager".into(), sink(Grouping::None)),
        ]
        .into(),
        routes: vec![
            route("urgent", urgent, &["pager"]),
            route("all", Matcher::default(), &["chat"]),
        ],
        ..AlertSettings::default()
    }
}

impl Bench {
    /// Whose rule has answered once that nothing holds.
    fn settled(settings: AlertSettings) -> Self {
        let mut bench = Self::starting(settings, START_MS, Vec::new());
        bench.run(10 * S);
        assert_eq!(bench.sent, []);
        bench
    }

    fn starting(settings: AlertSettings, now_ms: u64, journal: Vec<Record>) -> Self {
        let mut bench = Self {
            engine: AlertEngine::new(settings, now_ms),
            now_ms,
            holds: BTreeMap::new(),
            answers: true,
            round: 0,
            next_answer_ms: now_ms + S,
            records: journal.clone(),
            sent: Vec::new(),
            audited: Vec::new(),
            commands: 0,
        };
        bench.step(AlertEvent::JournalRead(journal));
        bench
    }

    fn step(&mut self, event: AlertEvent) -> Option<Result<AlertDone, AlertCommandError>> {
        let mut out = Vec::new();
        self.engine.step(self.now_ms, event, &mut out);
        let mut done = None;
        for action in out {
            match action {
                AlertAction::Keep(record) => {
                    for order in &record.orders {
                        if let DeliveryOrder::Deliver(delivery) = order {
                            self.sent.push((self.now_ms, delivery.clone()));
                        }
                    }
                    self.records.push(*record);
                }
                AlertAction::CommandDone { result, .. } => done = Some(result),
                AlertAction::Audited { findings, .. } => {
                    self.audited.push((self.now_ms, findings.len()));
                }
                AlertAction::AnswerRefused { .. } => {}
            }
        }
        done
    }

    fn answer(&mut self) {
        self.round += 1;
        self.step(AlertEvent::Answered(RuleAnswer {
            rule: "r".into(),
            round: self.round,
            page: FleetPage::ONLY,
            conditions: self.holds.values().cloned().collect(),
        }));
        self.next_answer_ms = self.now_ms + 10 * S;
    }

    /// Lets so much time pass; the rule answers every ten seconds.
    fn run(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        loop {
            let mut next_ms = self.engine.next_wake();
            assert!(next_ms > self.now_ms, "a wake time stays in the past");
            if self.answers {
                next_ms = next_ms.min(self.next_answer_ms);
            }
            if next_ms > end_ms {
                break;
            }
            self.now_ms = next_ms;
            if self.answers && self.next_answer_ms <= self.now_ms {
                self.answer();
            } else {
                self.step(AlertEvent::Tick);
            }
        }
        self.now_ms = end_ms;
    }

    fn raise(&mut self, condition: Condition) {
        self.holds.insert(condition.key.clone(), condition);
        self.answer();
    }

    fn command(&mut self, verb: AlertVerb) -> Result<AlertDone, AlertCommandError> {
        self.commands += 1;
        let (id, by) = (self.commands, "ada".to_owned());
        let done = self.step(AlertEvent::Command(AlertCommand { id, by, verb }));
        done.expect("a command is answered")
    }

    fn acknowledge(&mut self, key: &str) -> Result<AlertDone, AlertCommandError> {
        let (alert, firing) = (AlertId::of(key), None);
        self.command(AlertVerb::Acknowledge { alert, firing })
    }

    fn state(&self, key: &str) -> &'static str {
        let alert = self.engine.alert(AlertId::of(key));
        alert.map_or("none", |alert| alert.state.as_str())
    }

    /// What was sent since the last call: `seconds sink occasion keys`, with seconds since `from_ms`.
    fn take_sent(&mut self, from_ms: u64) -> Vec<String> {
        let sent = std::mem::take(&mut self.sent);
        let line = |(at_ms, delivery): &(u64, Arc<Delivery>)| {
            let seconds = (at_ms - from_ms) / S;
            let keys: Vec<_> = delivery
                .news
                .iter()
                .map(|about| match self.engine.alert(about.alert) {
                    Some(alert) => format!("{}#{}", alert.condition.key, about.firing),
                    None => about.alert.to_string(),
                })
                .collect();
            let occasion = delivery.occasion.as_str();
            format!("{seconds} {} {occasion} {}", delivery.sink, keys.join(","))
        };
        sent.iter().map(line).collect()
    }
}
