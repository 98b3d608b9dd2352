//! What the engine keeps of each step, as rows of the alert journal, of which the last one written counts.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use router_alerts::{
    AlertEngine, AlertId,
    delivery::{Delivery, DeliveryOrder, Precedence},
    notice::Occasion,
    record::{Record, RecordChange},
    settings::TOMBSTONES_MAX,
};
use router_delivery::{JournalContents, JournalRow};
use serde_json::value::to_raw_value;

/// What names begin with, in the order in which a start takes rows in: an alert that came back stands behind what was kept of it when
/// it was forgotten.
const PREFIXES: [&str; 5] = [FLOOR, TOMBSTONE, ALERT, SILENCE, GROUP];
const FLOOR: &str = "floor";
const TOMBSTONE: &str = "tombstone/";
const ALERT: &str = "alert/";
const SILENCE: &str = "silence/";
const GROUP: &str = "group/";

/// Rows of forgotten alerts that may stay past those that the engine keeps, so that it is rarely compared with them.
const TOMBSTONES_SLACK: usize = 1_000;
/// Groups whose rows are kept, the ones heard of last: what a start does without is that a group waits for its interval.
const GROUPS_MAX: usize = 1_000;

/// Turns records into rows.
#[derive(Debug, Default)]
pub(crate) struct RecordKeeper {
    /// Forgotten alerts that have a row. The engine keeps a bounded number of them; what it drops is to be removed.
    tombstones: BTreeSet<AlertId>,
    /// Groups of which a sink heard last by what is over of them, with when that was. Of the others their alerts say when.
    groups: BTreeMap<String, u64>,
}

impl RecordKeeper {
    /// What earlier lives kept, as one record.
    pub(crate) fn restore(&mut self, kept: &JournalContents) -> Record {
        let mut record = Record::default();
        for prefix in PREFIXES {
            let rows = kept.rows.iter().filter(|(key, _)| key.starts_with(prefix));
            for (key, value) in rows {
                match serde_json::from_str(value.get()) {
                    Ok(change) => record.changes.push(change),
                    Err(error) => {
                        tracing::error!(key, error = %error, "row of the alert journal is none of this version");
                    }
                }
            }
        }
        let forgotten = record.changes.iter().filter_map(|change| match change {
            RecordChange::Forgotten(tombstone) => Some(tombstone.alert),
            _ => None,
        });
        self.tombstones = forgotten.collect();
        let heard = record.changes.iter().filter_map(|change| match change {
            RecordChange::GroupHeard {
                sink,
                group_key,
                at_ms,
            } => Some((group(sink, group_key), *at_ms)),
            _ => None,
        });
        self.groups = heard.collect();
        record
    }

    /// The rows of a step that the engine has just made.
    pub(crate) fn rows(&mut self, record: &Record, engine: &AlertEngine) -> Vec<JournalRow> {
        let mut rows = Vec::new();
        for change in &record.changes {
            self.add(change, engine, &mut rows);
        }
        for order in &record.orders {
            if let DeliveryOrder::Deliver(delivery) = order {
                self.add_group(delivery, &mut rows);
            }
        }
        rows
    }

    fn add(&mut self, change: &RecordChange, engine: &AlertEngine, rows: &mut Vec<JournalRow>) {
        match change {
            RecordChange::Alert { alert, history } => {
                // A row says all of it: what happened before, too.
                let whole = engine
                    .alert(alert.id)
                    .map(|alert| alert.history().cloned().collect());
                let whole = RecordChange::Alert {
                    alert: alert.clone(),
                    history: whole.unwrap_or_else(|| history.clone()),
                };
                rows.push(put(format!("{ALERT}{}", alert.id), &whole));
                if self.tombstones.remove(&alert.id) {
                    rows.push(remove(format!("{TOMBSTONE}{}", alert.id)));
                }
            }
            RecordChange::Forgotten(tombstone) => {
                rows.push(remove(format!("{ALERT}{}", tombstone.alert)));
                rows.push(put(format!("{TOMBSTONE}{}", tombstone.alert), change));
                self.tombstones.insert(tombstone.alert);
            }
            RecordChange::FiringFloor(_) => {
                rows.push(put(FLOOR.to_owned(), change));
                self.prune(engine, rows);
            }
            RecordChange::Silence { id, .. } => rows.push(put(format!("{SILENCE}{id}"), change)),
            RecordChange::SilenceEnded(id) => rows.push(remove(format!("{SILENCE}{id}"))),
            // No step has it, only a snapshot: the orders of a step say it, below.
            RecordChange::GroupHeard { .. } => {}
        }
    }

    /// When a sink heard last of a group that goes on without some of its alerts. Those that are left do not say it.
    fn add_group(&mut self, delivery: &Delivery, rows: &mut Vec<JournalRow>) {
        if delivery.precedence != Precedence::Resolve {
            return;
        }
        let key = group(&delivery.sink, &delivery.group_key);
        if delivery.occasion == Occasion::Resolved {
            rows.extend(self.groups.remove(&key).map(|_| remove(key)));
            return;
        }
        let change = RecordChange::GroupHeard {
            sink: Arc::clone(&delivery.sink),
            group_key: Arc::clone(&delivery.group_key),
            at_ms: delivery.decided_ms,
        };
        rows.push(put(key.clone(), &change));
        self.groups.insert(key, delivery.decided_ms);
        if self.groups.len() > GROUPS_MAX
            && let Some((oldest, _)) = self.groups.iter().min_by_key(|(_, at_ms)| **at_ms)
        {
            let oldest = oldest.clone();
            self.groups.remove(&oldest);
            rows.push(remove(oldest));
        }
    }

    /// The floor was raised because the engine dropped some tombstones.
    fn prune(&mut self, engine: &AlertEngine, rows: &mut Vec<JournalRow>) {
        if self.tombstones.len() < TOMBSTONES_MAX + TOMBSTONES_SLACK {
            return;
        }
        let kept: BTreeSet<AlertId> = engine.tombstones().map(|one| one.alert).collect();
        for dropped in self.tombstones.difference(&kept) {
            rows.push(remove(format!("{TOMBSTONE}{dropped}")));
        }
        self.tombstones = kept;
    }
}

/// The row from which all firings of alerts that come for the first time are numbered.
pub(crate) fn floor_row(firing: u32) -> JournalRow {
    put(FLOOR.to_owned(), &RecordChange::FiringFloor(firing))
}

fn group(sink: &str, group_key: &str) -> String {
    format!("{GROUP}{sink} {group_key}")
}

fn put(key: String, change: &RecordChange) -> JournalRow {
    let value = to_raw_value(change);
    (
        key,
        Some(value.expect("a record holds only texts and numbers")),
    )
}

fn remove(key: String) -> JournalRow {
    (key, None)
}
