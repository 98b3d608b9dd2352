//! What the engine keeps of each step, as rows of the alert journal, of which the last one written counts.

use std::collections::BTreeSet;

use router_alerts::{
    AlertEngine, AlertId,
    record::{Record, RecordChange},
};
use router_delivery::{JournalContents, JournalRow};
use serde_json::value::to_raw_value;

/// What names begin with, in the order in which a start takes rows in: an alert that came back stands behind what was kept of it when
/// it was forgotten.
const PREFIXES: [&str; 4] = [FLOOR, TOMBSTONE, ALERT, SILENCE];
const FLOOR: &str = "floor";
const TOMBSTONE: &str = "tombstone/";
const ALERT: &str = "alert/";
const SILENCE: &str = "silence/";

/// Turns records into rows.
#[derive(Debug, Default)]
pub(crate) struct RecordKeeper {
    /// Forgotten alerts that have a row. The engine keeps a bounded number of them; what it drops is to be removed.
    tombstones: BTreeSet<AlertId>,
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
        record
    }

    /// The rows of a step that the engine has just made.
    pub(crate) fn rows(&mut self, record: &Record, engine: &AlertEngine) -> Vec<JournalRow> {
        let mut rows = Vec::new();
        for change in &record.changes {
            self.add(change, engine, &mut rows);
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
            // No step has it, only a snapshot: when a group was heard of last is known of its alerts.
            RecordChange::GroupHeard { .. } => {}
        }
    }

    /// The floor was raised because the engine dropped some tombstones.
    fn prune(&mut self, engine: &AlertEngine, rows: &mut Vec<JournalRow>) {
        let kept = engine.snapshot().changes.into_iter();
        let kept: BTreeSet<AlertId> = kept
            .filter_map(|change| match change {
                RecordChange::Forgotten(tombstone) => Some(tombstone.alert),
                _ => None,
            })
            .collect();
        for dropped in self.tombstones.difference(&kept) {
            rows.push(remove(format!("{TOMBSTONE}{dropped}")));
        }
        self.tombstones = kept;
    }
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
