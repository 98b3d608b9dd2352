//! What nobody takes: kept for an operator, who can send it again.

use std::{cmp::Reverse, sync::Arc};

use super::{
    Delivery, DeliveryProgress, SinkHealth,
    planted::PlantedBug,
    queue::QueueEntry,
    retry,
    rows::DeliveryRowKey,
    schedule::{DeliveryPlace, Schedule, ScheduleEffects, report},
};
use crate::{AlertRef, DeliveryId, notice::LISTED_MAX};

/// Resolves kept with one dead letter: as many as alerts that a notice lists.
const RESOLVES_MAX: usize = LISTED_MAX;

impl Schedule {
    /// Gives a delivery up: it becomes a dead letter, and what resolves it and waits for it alone is not needed.
    pub(super) fn bury(
        &mut self,
        now_ms: u64,
        sink: &Arc<str>,
        seq: u64,
        reason: String,
        effects: &mut ScheduleEffects,
    ) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let Some(mut entry) = queue.remove(seq) else {
            return;
        };
        self.touched.insert(Arc::clone(sink));
        if entry.state.may_have_arrived || entry.is_resolve() {
            self.hear(sink, &entry);
        }
        if !entry.is_resolve() {
            for firing in entry.delivery.news.clone() {
                let waiting = self.queues.get(sink).map(|queue| queue.about(firing.alert));
                for resolve in waiting.into_iter().flatten() {
                    self.keep_resolve(sink, resolve, firing, &mut entry, effects);
                }
            }
        }
        self.keep_dead(now_ms, entry, reason, effects);
    }

    /// A resolve that waits for what is given up now is kept with it. It is not sent where the sink never heard of the firing.
    fn keep_resolve(
        &mut self,
        sink: &Arc<str>,
        seq: u64,
        firing: AlertRef,
        dead: &mut QueueEntry,
        effects: &mut ScheduleEffects,
    ) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let is_about = |entry: &&QueueEntry| {
            entry.is_open() && entry.is_resolve() && entry.delivery.news.contains(&firing)
        };
        let Some(resolve) = queue.get(seq).filter(is_about) else {
            return;
        };
        let is_needless = !queue.knows(firing);
        let id = resolve.delivery.id.clone();
        let kept_id = if is_needless {
            id.clone()
        } else {
            repeated(&id, dead)
        };
        if dead.state.resolves.len() < RESOLVES_MAX {
            let kept = resolve.delivery.about(kept_id, vec![firing]);
            dead.state.resolves.push(Arc::new(kept));
        }
        if !is_needless {
            return;
        }
        let Some(mut entry) = queue.remove(seq) else {
            return;
        };
        if entry.delivery.news.len() <= 1 {
            let into = Some(dead.delivery.id.clone());
            report(
                effects,
                &entry.delivery,
                DeliveryProgress::Collapsed { into },
            );
            return self.forget(&id);
        }
        Arc::make_mut(&mut entry.delivery).leave_out(firing);
        queue.insert(entry);
        self.mark_dirty(sink, seq);
    }

    /// A resolve is kept with the dead letters about its firing: should an operator send one of these, it goes behind.
    pub(super) fn keep_with_dead(&mut self, sink: &str, resolve: &Delivery, firing: AlertRef) {
        for entry in self.dead.values_mut() {
            let is_it = *entry.delivery.sink == *sink
                && !entry.is_resolve()
                && entry.delivery.news.contains(&firing);
            if is_it && entry.state.resolves.len() < RESOLVES_MAX {
                let id = repeated(&resolve.id, entry);
                let resolve = resolve.about(id, vec![firing]);
                entry.state.resolves.push(Arc::new(resolve));
                let id = entry.delivery.id.clone();
                self.dirty.insert(DeliveryRowKey::State(id));
            }
        }
    }

    /// Keeps a dead letter; of too many the least urgent, the oldest first, goes.
    pub(super) fn keep_dead(
        &mut self,
        now_ms: u64,
        mut entry: QueueEntry,
        reason: String,
        effects: &mut ScheduleEffects,
    ) {
        let (id, seq) = (entry.delivery.id.clone(), entry.state.seq);
        let progress = DeliveryProgress::DeadLetter {
            reason: reason.clone(),
            may_have_arrived: entry.state.may_have_arrived,
        };
        report(effects, &entry.delivery, progress);
        entry.state.dead = Some((now_ms, reason));
        self.dirty.insert(DeliveryRowKey::Content(id.clone()));
        self.dirty.insert(DeliveryRowKey::State(id.clone()));
        self.ids.insert(id, DeliveryPlace::Dead(seq));
        self.dead.insert(seq, entry);
        if self.dead.len() <= self.limits.dead_max || self.bugs.has(PlantedBug::DeadUnbounded) {
            return;
        }
        let rank = |entry: &QueueEntry| {
            let at_ms = entry.state.dead.as_ref().map(|(at_ms, _)| *at_ms);
            (Reverse(entry.state.severity), at_ms, entry.state.seq)
        };
        let last = self.dead.values().min_by_key(|entry| rank(entry));
        if let Some(seq) = last.map(|entry| entry.state.seq)
            && let Some(entry) = self.dead.remove(&seq)
        {
            self.forget(&entry.delivery.id);
        }
    }

    /// An operator sends a delivery again, and has its sink tried at once.
    pub(super) fn retry(
        &mut self,
        now_ms: u64,
        delivery: &DeliveryId,
        by: String,
        effects: &mut ScheduleEffects,
    ) {
        let bugs = self.bugs;
        match self.ids.get(delivery).cloned() {
            Some(DeliveryPlace::Waiting(sink, seq)) => {
                if let Some(queue) = self.queues.get_mut(&sink)
                    && let Some(state) = queue.state_mut(seq)
                {
                    state.next_ms = state.next_ms.min(now_ms);
                    self.dirty.insert(DeliveryRowKey::State(delivery.clone()));
                    self.reopen(now_ms, &sink, effects);
                }
            }
            Some(DeliveryPlace::Dead(seq)) => {
                let sink = self
                    .dead
                    .get(&seq)
                    .map(|dead| Arc::clone(&dead.delivery.sink));
                let Some(sink) = sink.filter(|sink| self.queues.contains_key(sink)) else {
                    return;
                };
                let Some(mut entry) = self.dead.remove(&seq) else {
                    return;
                };
                report(effects, &entry.delivery, DeliveryProgress::Requeued { by });
                let resolves = std::mem::take(&mut entry.state.resolves);
                entry.state.dead = None;
                // What was over meanwhile is new to the sink again.
                entry.state.first.extend(self.unknown(&entry.delivery));
                // In its old place: a resolve that waits already is behind it.
                entry.state.tries = 0;
                entry.state.since_ms = now_ms;
                entry.state.next_ms = now_ms;
                if bugs.has(PlantedBug::RetryUndone) {
                    entry.state.next_ms = now_ms + retry::age_ms_max(entry.state.severity);
                }
                self.reopen(now_ms, &sink, effects);
                self.queue(now_ms, entry);
                for resolve in resolves {
                    let id = resolve.id.clone();
                    self.accept(now_ms, Arc::unwrap_or_clone(resolve), &[], effects);
                    if let Some(DeliveryPlace::Waiting(sink, seq)) = self.ids.get(&id).cloned()
                        && let Some(queue) = self.queues.get_mut(&sink)
                        && let Some(state) = queue.state_mut(seq)
                    {
                        state.is_repeat = true;
                    }
                }
            }
            None => {}
        }
    }

    /// A sink is tried at once, whatever it said before.
    pub(super) fn reopen(&mut self, now_ms: u64, sink: &Arc<str>, effects: &mut ScheduleEffects) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        queue.retry_after_ms = 0;
        queue.breaker.reopen(now_ms);
        if queue.gone.take().is_some() {
            effects.sinks.push(SinkHealth {
                sink: Arc::clone(sink),
                failing_since_ms: queue.breaker.failing_since_ms,
                gone: None,
            });
        }
        self.dirty.insert(DeliveryRowKey::Sink(Arc::clone(sink)));
        self.touched.insert(Arc::clone(sink));
    }
}

/// The id under which a resolve is sent once more, after this: under its own the receiver would drop it.
fn repeated(resolve: &DeliveryId, after: &QueueEntry) -> DeliveryId {
    let (id, attempts) = (&after.delivery.id, after.state.attempts);
    resolve.for_sink(&format!("{} after {id} {attempts}", after.delivery.sink))
}
