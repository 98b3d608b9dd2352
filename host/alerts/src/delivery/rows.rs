//! What is kept of the schedule: rows of which the last one written counts. Everything that a restart must know again is in them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Delivery,
    planted::PlantedBug,
    queue::{EntryState, QueueEntry, SinkQueue},
    retry,
    schedule::{DeliveryPlace, Schedule, ScheduleEffects},
    sink_breaker::SinkBreaker,
    sinks::{SinkSchedule, SinkTable},
};
use crate::{AlertRef, DeliveryId, notice::Receipt};

/// Names a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryRowKey {
    /// What a delivery says: written again only while it was never attempted.
    Content(DeliveryId),
    /// How far it is.
    State(DeliveryId),
    /// What a sink returned for a group.
    Receipt(Arc<str>, Arc<str>),
    /// A sink heard of a firing.
    Heard(Arc<str>, AlertRef),
    /// How a sink is.
    Sink(Arc<str>),
}

/// One row, with its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Its name.
    pub key: DeliveryRowKey,
    value: RowValue,
}

/// A row that was written or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowChange {
    /// It is this now.
    Put(DeliveryRow),
    /// It is no more.
    Remove(DeliveryRowKey),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RowValue {
    Content(Arc<Delivery>),
    State(Box<EntryState>),
    Receipt(u64, Receipt),
    Heard(u32),
    Sink(SinkState),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SinkState {
    breaker: SinkBreaker,
    retry_after_ms: u64,
    next_free_ms: u64,
    gone: Option<String>,
    generation: u64,
}

impl Schedule {
    /// The row as it is now.
    pub(super) fn row_change(&self, key: DeliveryRowKey) -> RowChange {
        match self.value(&key) {
            Some(value) => RowChange::Put(DeliveryRow { key, value }),
            None => RowChange::Remove(key),
        }
    }

    fn value(&self, key: &DeliveryRowKey) -> Option<RowValue> {
        match key {
            DeliveryRowKey::Content(id) => {
                let entry = self.entry(id)?;
                Some(RowValue::Content(Arc::clone(&entry.delivery)))
            }
            DeliveryRowKey::State(id) => {
                let entry = self.entry(id)?;
                Some(RowValue::State(Box::new(entry.state.clone())))
            }
            DeliveryRowKey::Receipt(sink, group) => {
                let (seq, receipt) = self.queues.get(sink)?.receipts.get(group)?;
                Some(RowValue::Receipt(*seq, receipt.clone()))
            }
            DeliveryRowKey::Heard(sink, firing) => {
                let queue = self.queues.get(sink)?;
                queue.heard.get(firing).copied().map(RowValue::Heard)
            }
            DeliveryRowKey::Sink(sink) => {
                let queue = self.queues.get(sink)?;
                Some(RowValue::Sink(SinkState {
                    breaker: queue.breaker,
                    retry_after_ms: queue.retry_after_ms,
                    next_free_ms: queue.next_free_ms,
                    gone: queue.gone.clone(),
                    generation: queue.settings.generation,
                }))
            }
        }
    }

    pub(super) fn entry(&self, id: &DeliveryId) -> Option<&QueueEntry> {
        match self.ids.get(id)? {
            DeliveryPlace::Waiting(sink, seq) => self.queues.get(sink)?.get(*seq),
            DeliveryPlace::Dead(seq) => self.dead.get(seq),
        }
    }

    /// Takes in what the journal kept. An attempt that was under way may have arrived, and is made again.
    pub(super) fn resume(&mut self, now_ms: u64, kept: impl IntoIterator<Item = DeliveryRow>) {
        let mut contents = std::collections::BTreeMap::new();
        let mut states = Vec::new();
        for row in kept {
            match (row.key, row.value) {
                (DeliveryRowKey::Content(id), RowValue::Content(delivery)) => {
                    contents.insert(id, delivery);
                }
                (DeliveryRowKey::State(id), RowValue::State(state)) => states.push((id, state)),
                (DeliveryRowKey::Receipt(sink, group), RowValue::Receipt(seq, receipt)) => {
                    self.kept_queue(&sink)
                        .receipts
                        .insert(group, (seq, receipt));
                }
                (DeliveryRowKey::Heard(sink, firing), RowValue::Heard(step)) => {
                    self.kept_queue(&sink).heard.insert(firing, step);
                }
                (DeliveryRowKey::Sink(sink), RowValue::Sink(state)) => {
                    let queue = self.kept_queue(&sink);
                    queue.breaker = state.breaker;
                    queue.breaker.resume(now_ms);
                    let asked_ms = now_ms + retry::RETRY_AFTER_MS_MAX;
                    queue.retry_after_ms = state.retry_after_ms.min(asked_ms);
                    queue.next_free_ms = state.next_free_ms;
                    queue.gone = state.gone;
                    queue.settings.generation = state.generation;
                }
                // A key with another key's value is no row of ours.
                _ => {}
            }
        }
        states.sort_by_key(|(_, state)| state.seq);
        for (id, state) in states {
            if let Some(delivery) = contents.remove(&id) {
                self.resume_one(now_ms, delivery, *state);
            }
        }
    }

    fn resume_one(&mut self, now_ms: u64, delivery: Arc<Delivery>, mut state: EntryState) {
        let bugs = self.bugs;
        let id = delivery.id.clone();
        self.next_seq = self.next_seq.max(state.seq.saturating_add(1));
        // The clock may have been set back since.
        state.since_ms = state.since_ms.min(now_ms.max(delivery.not_before_ms));
        state.next_ms = state
            .next_ms
            .min(now_ms.max(delivery.not_before_ms) + retry::WAIT_MS_MAX);
        let mut entry = QueueEntry {
            delivery,
            state,
            held: None,
        };
        let seq = entry.state.seq;
        if entry.state.dead.is_some() {
            self.ids.insert(id, DeliveryPlace::Dead(seq));
            self.dead.insert(seq, entry);
            return;
        }
        if entry.state.in_flight_ms.take().is_some() {
            if bugs.has(PlantedBug::InFlightForgotten) {
                return;
            }
            entry.state.may_have_arrived = true;
            // That the router died says nothing of the receiver: a page must not wait for minutes after the first failure because of it.
            if !bugs.has(PlantedBug::LostAttemptCounts) {
                entry.state.tries = entry.state.tries.saturating_sub(1);
            }
            entry.state.next_ms = entry.state.next_ms.min(now_ms);
            self.dirty.insert(DeliveryRowKey::State(id));
            if bugs.has(PlantedBug::FreshIdAfterCrash) {
                let delivery = Arc::make_mut(&mut entry.delivery);
                delivery.id = delivery.id.for_sink("another");
            }
        }
        let (sink, id) = (Arc::clone(&entry.delivery.sink), entry.delivery.id.clone());
        self.kept_queue(&sink).insert(entry);
        self.ids.insert(id, DeliveryPlace::Waiting(sink, seq));
    }

    /// The queue of a sink of which only rows are known yet.
    fn kept_queue(&mut self, sink: &Arc<str>) -> &mut SinkQueue {
        self.queues.entry(Arc::clone(sink)).or_insert_with(|| {
            SinkQueue::new(SinkSchedule {
                sink: Arc::clone(sink),
                interval_ms: 0,
                at_once_max: 1,
                fallback: None,
                is_per_alert: false,
                generation: 0,
            })
        })
    }

    /// Applies the configuration: new sinks, changed ones, and none that is not in it.
    pub(super) fn configure(
        &mut self,
        now_ms: u64,
        sinks: &SinkTable,
        effects: &mut ScheduleEffects,
    ) {
        for settings in sinks.iter() {
            let sink = Arc::clone(&settings.sink);
            let queue = self
                .queues
                .entry(Arc::clone(&sink))
                .or_insert_with(|| SinkQueue::new(settings.clone()));
            let is_changed = queue.settings.generation != settings.generation;
            queue.settings = settings.clone();
            queue.next_free_ms = queue.next_free_ms.min(now_ms + settings.interval_ms);
            if is_changed {
                self.reopen(now_ms, &sink, effects);
            }
            self.touched.insert(sink);
        }
        let removed = self.queues.keys().filter(|sink| sinks.get(sink).is_none());
        for sink in removed.map(Arc::clone).collect::<Vec<_>>() {
            self.remove_sink(now_ms, &sink, effects);
        }
    }

    fn remove_sink(&mut self, now_ms: u64, sink: &Arc<str>, effects: &mut ScheduleEffects) {
        let Some(queue) = self.queues.get(sink) else {
            return;
        };
        let receipts = queue
            .receipts
            .keys()
            .map(|group| DeliveryRowKey::Receipt(Arc::clone(sink), Arc::clone(group)));
        let heard = queue
            .heard
            .keys()
            .map(|firing| DeliveryRowKey::Heard(Arc::clone(sink), *firing));
        self.dirty.extend(receipts.chain(heard));
        self.dirty.insert(DeliveryRowKey::Sink(Arc::clone(sink)));
        let in_flight = queue.in_flight;
        for seq in queue.seqs() {
            self.fall_back_one(now_ms, sink, seq, super::FallbackCause::Gone, effects);
            if let Some(state) = self
                .queues
                .get_mut(sink)
                .and_then(|queue| queue.state_mut(seq))
            {
                state.may_have_arrived |= state.in_flight_ms.take().is_some();
            }
            let reason = "its sink is not configured any more".to_owned();
            self.bury(now_ms, sink, seq, reason, effects);
        }
        for _ in 0..in_flight {
            self.free_room();
        }
        self.queues.remove(sink);
        self.touched.remove(sink);
    }
}
