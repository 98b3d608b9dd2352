//! An engine with a journal and a table in memory, for tests of what is kept of its steps.

use std::{collections::BTreeMap, sync::Arc};

use router_alerts::{
    AlertEngine, AlertId, Condition, Severity,
    delivery::{Delivery, DeliveryOrder, DeliveryProgress, DeliveryReport},
    event::{AlertAction, AlertCommand, AlertEvent, AlertVerb, RuleAnswer},
    facts::FleetPage,
    settings::{AlertSettings, Grouping, SinkSettings},
};
use router_delivery::JournalContents;
use router_values::AlertRow;

use super::{kept::RecordKeeper, outbox::DatabaseRow, rows};

/// Tuesday, 1 December 2026, 00:00 UTC.
const START_MS: u64 = 1_796_083_200_000;

pub(super) struct Bench {
    pub(super) engine: AlertEngine,
    pub(super) journal: JournalContents,
    /// The table of alerts, by alert and firing.
    pub(super) table: BTreeMap<(String, i64), AlertRow>,
    pub(super) sent: Vec<Arc<Delivery>>,
    pub(super) now_ms: u64,
    keeper: RecordKeeper,
    round: u64,
}

pub(super) fn condition(key: &str, severity: Severity) -> Condition {
    Condition {
        key: key.to_owned(),
        name: "Wrong".to_owned(),
        severity,
        summary: format!("{key} is wrong"),
        remedy: "repair it".to_owned(),
        runbook_anchor: Some("wrong".to_owned()),
        instance: None,
        for_ms: 0,
        attributes: vec![("disk".to_owned(), "/data".to_owned())],
    }
}

impl Bench {
    /// A rule `r` that has answered once, and two sinks, of which one takes groups.
    pub(super) fn settled() -> Self {
        let sink = |grouping| SinkSettings {
            grouping,
            fallback: None,
        };
        let settings = AlertSettings {
            rules: vec!["r".into()],
            sinks: [
                ("chat".into(), sink(Grouping::Group)),
                ("pager".into(), sink(Grouping::None)),
            ]
            .into(),
            ..AlertSettings::default()
        };
        let mut bench = Self {
            engine: AlertEngine::new(settings, START_MS),
            journal: JournalContents::default(),
            table: BTreeMap::new(),
            sent: Vec::new(),
            now_ms: START_MS,
            keeper: RecordKeeper::default(),
            round: 0,
        };
        bench.step(AlertEvent::JournalRead(Vec::new()));
        bench.answer(&[]);
        bench
    }

    pub(super) fn step(&mut self, event: AlertEvent) {
        let mut out = Vec::new();
        self.engine.step(self.now_ms, event, &mut out);
        for action in out {
            let AlertAction::Keep(record) = action else {
                continue;
            };
            for (key, value) in self.keeper.rows(&record, &self.engine) {
                match value {
                    Some(value) => self.journal.rows.insert(key, value),
                    None => self.journal.rows.remove(&key),
                };
            }
            for row in rows::of_record(&record, &self.engine) {
                if let DatabaseRow::Alert(row) = row {
                    self.table.insert((row.alert.clone(), row.firing), row);
                }
            }
            for order in record.orders {
                if let DeliveryOrder::Deliver(delivery) = order {
                    self.sent.push(delivery);
                }
            }
        }
    }

    /// The rule names what holds now.
    pub(super) fn answer(&mut self, holds: &[Condition]) {
        self.round += 1;
        self.step(AlertEvent::Answered(RuleAnswer {
            rule: "r".into(),
            round: self.round,
            page: FleetPage {
                number: 0,
                count: 1,
            },
            conditions: holds.to_vec(),
        }));
    }

    /// Time passes; the rule goes on naming this.
    pub(super) fn pass(&mut self, seconds: u64, holds: &[Condition]) {
        for _ in 0..seconds.div_ceil(10) {
            self.now_ms += 10_000;
            self.answer(holds);
        }
    }

    pub(super) fn command(&mut self, verb: AlertVerb) {
        self.step(AlertEvent::Command(AlertCommand {
            id: self.round,
            by: "alice".to_owned(),
            verb,
        }));
    }

    pub(super) fn acknowledge(&mut self, key: &str) {
        self.command(AlertVerb::Acknowledge {
            alert: AlertId::of(key),
            firing: None,
        });
    }

    pub(super) fn report(&mut self, delivery: &Arc<Delivery>, progress: DeliveryProgress) {
        self.step(AlertEvent::Delivery(report(delivery, progress)));
    }

    /// What a restart would be given.
    pub(super) fn restored(&self) -> router_alerts::record::Record {
        RecordKeeper::default().restore(&self.journal)
    }

    pub(super) fn row(&self, key: &str, firing: i64) -> &AlertRow {
        let id = AlertId::of(key).to_string();
        let row = self.table.get(&(id, firing));
        row.unwrap_or_else(|| panic!("no firing {firing} of {key} in {:#?}", self.table))
    }
}

pub(super) fn report(delivery: &Arc<Delivery>, progress: DeliveryProgress) -> DeliveryReport {
    DeliveryReport {
        delivery: delivery.id.clone(),
        sink: Arc::clone(&delivery.sink),
        news: delivery.news.clone(),
        precedence: delivery.precedence,
        group_key: Arc::clone(&delivery.group_key),
        content: Arc::clone(delivery),
        progress,
    }
}
