//! Evidence for people: audit rows, the history and crashes, written to the store. The latest crashes are also held in memory, so that they
//! can be shown while the database is lost.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use router_core::{InstanceId, action::CrashRecord, event::Exit};
use router_store::Store;
use router_values::{AuditRow, HistoryRow};
use serde_json::{Value, json};

/// Crashes per instance that are held in memory, and that are shown at most.
const CRASHES_HELD: usize = 10;
const CRASHES_SHOWN: u32 = 50;

/// See the module.
pub(crate) struct EvidenceRecorder {
    store: Store,
    recent: Mutex<HashMap<InstanceId, VecDeque<Value>>>,
}

impl EvidenceRecorder {
    /// A recorder that writes to this store.
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            recent: Mutex::default(),
        })
    }

    /// Records an audit row: never blocks, never loses it.
    pub(crate) fn audit(&self, row: AuditRow) {
        self.store.audit(row);
    }

    /// Records what happened, and gives it back with its moment and number.
    pub(crate) fn record_history(&self, row: HistoryRow) -> HistoryRow {
        self.store.record_history(row)
    }

    /// Records how a run failed.
    pub(crate) fn record_crash(&self, record: &CrashRecord) {
        let id = record.key.instance.clone();
        let evidence = evidence(record);
        {
            let mut recent = self.recent.lock();
            let of_instance = recent.entry(id.clone()).or_default();
            of_instance.push_front(evidence.clone());
            of_instance.truncate(CRASHES_HELD);
        }
        self.store
            .record_crash(&router_store::CrashEvidence { id, evidence });
    }

    /// The evidence of an instance, newest first.
    pub(crate) async fn crashes(&self, id: &InstanceId) -> Vec<Value> {
        match self.store.crashes(id, CRASHES_SHOWN).await {
            // Evidence reaches the database a moment after it is held here.
            Ok(kept) => {
                let kept: Vec<Value> = kept.into_iter().map(|crash| crash.evidence).collect();
                let mut all: Vec<Value> = self.held(id);
                all.retain(|evidence| !kept.contains(evidence));
                all.extend(kept);
                all
            }
            Err(error) => {
                tracing::debug!(instance = %id, error = %error, "crash evidence is shown from memory");
                self.held(id)
            }
        }
    }

    fn held(&self, id: &InstanceId) -> Vec<Value> {
        let recent = self.recent.lock();
        recent
            .get(id)
            .map_or_else(Vec::new, |held| held.iter().cloned().collect())
    }

    /// Forgets what is held in memory of an instance that is gone; what the database keeps stays.
    pub(crate) fn forget_held(&self, id: &InstanceId) {
        self.recent.lock().remove(id);
    }

    /// Deletes the evidence of an instance. Reads that begin after it see none of it.
    pub(crate) fn clear(&self, id: &InstanceId) {
        self.recent.lock().remove(id);
        self.store.clear_state(id);
    }
}

/// What is known of a crash, as it is kept and shown.
fn evidence(record: &CrashRecord) -> Value {
    let (exit_code, signal) = match record.exit {
        Some(Exit::Code(code)) => (Some(code), None),
        Some(Exit::Signal(signal)) => (None, Some(signal)),
        Some(Exit::Unknown) | None => (None, None),
    };
    json!({
        "at": router_values::rfc3339(SystemTime::now()),
        "slot": record.key.slot,
        "run": record.run.0,
        "reason": record.reason,
        "exitCode": exit_code,
        "signal": signal,
        "livedMs": record.lived_ms,
        "wasReady": record.was_ready,
        "crashLoop": record.crash_loop,
        "stderrTail": record.evidence.stderr_tail,
        "inFlight": record.evidence.in_flight,
        "memoryMb": record.evidence.memory_bytes.map(|bytes| bytes / (1024 * 1024)),
    })
}
