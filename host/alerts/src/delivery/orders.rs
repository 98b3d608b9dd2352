//! Taking in what the engine orders: regrouped with what was never attempted, collapsed with its firing, or queued.

use std::sync::Arc;

use super::{
    Delivery, DeliveryProgress, Precedence,
    planted::PlantedBug,
    queue::QueueEntry,
    rows::DeliveryRowKey,
    schedule::{DeliveryPlace, Schedule, ScheduleEffects, report},
};
use crate::{AlertRef, DeliveryId};

impl Schedule {
    /// Queues a delivery. One whose id is known already is the same, ordered again after a crash.
    /// `over` are firings in it that are over already, of which the sink hears for the first time by it.
    pub(super) fn accept(
        &mut self,
        now_ms: u64,
        delivery: Delivery,
        over: &[AlertRef],
        effects: &mut ScheduleEffects,
    ) {
        if self.ids.contains_key(&delivery.id) {
            return;
        }
        let mut delivery = delivery;
        if delivery.precedence == Precedence::Resolve {
            self.collapse(&mut delivery, effects);
            if delivery.news.is_empty() {
                return;
            }
        }
        let waiting = self.queues.values().map(|queue| queue.len()).sum::<usize>();
        let is_full = if delivery.severity.is_urgent() {
            waiting >= self.limits.urgent_waiting_max
        } else {
            waiting >= self.limits.waiting_max
        };
        let sink = Arc::clone(&delivery.sink);
        if is_full || !self.queues.contains_key(&sink) {
            let reason = if is_full {
                "too many deliveries wait"
            } else {
                "no sink of this name is configured"
            };
            let mut entry = QueueEntry::new(delivery, self.fresh_seq(), now_ms);
            entry.state.first = self.unknown(&entry.delivery);
            self.keep_dead(now_ms, entry, reason.to_owned(), effects);
            return;
        }
        if !over.is_empty() || !self.regroup(now_ms, &mut delivery, effects) {
            let mut entry = QueueEntry::new(delivery, self.fresh_seq(), now_ms);
            entry.state.first = self.unknown(&entry.delivery);
            let known = over.iter().filter(|over| entry.state.first.contains(over));
            entry.state.over = known.copied().collect();
            self.queue(now_ms, entry);
        }
    }

    /// Firings that the sink hears of for the first time by this.
    pub(super) fn unknown(&self, delivery: &Delivery) -> Vec<AlertRef> {
        if delivery.precedence == Precedence::Resolve {
            return Vec::new();
        }
        let queue = self.queues.get(&delivery.sink);
        let is_unknown = |firing: &&AlertRef| queue.is_none_or(|queue| !queue.knows(**firing));
        delivery.news.iter().filter(is_unknown).copied().collect()
    }

    pub(super) fn fresh_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// Puts an entry at the end of its sink's lines. What it waits for becomes as urgent as it is.
    pub(super) fn queue(&mut self, now_ms: u64, entry: QueueEntry) {
        let (id, seq) = (entry.delivery.id.clone(), entry.state.seq);
        let sink = Arc::clone(&entry.delivery.sink);
        let Some(queue) = self.queues.get_mut(&sink) else {
            return;
        };
        let ahead = queue.ahead_of(&entry);
        let (precedence, severity) = (entry.state.precedence, entry.state.severity);
        let is_news = precedence == Precedence::FirstFiring && severity.is_urgent();
        for first in ahead {
            let Some(state) = queue.state_mut(first) else {
                continue;
            };
            state.severity = state.severity.min(severity);
            state.precedence = state.precedence.min(precedence);
            if is_news && state.attempts > 0 {
                state.next_ms = state.next_ms.min(now_ms);
            }
            if let Some(entry) = queue.get(first) {
                let id = entry.delivery.id.clone();
                self.dirty.insert(DeliveryRowKey::State(id));
            }
        }
        queue.insert(entry);
        self.dirty.insert(DeliveryRowKey::Content(id.clone()));
        self.dirty.insert(DeliveryRowKey::State(id.clone()));
        self.ids
            .insert(id, DeliveryPlace::Waiting(Arc::clone(&sink), seq));
        self.touched.insert(sink);
    }

    /// Lets a delivery take the place of the one before about its group, where nobody has seen that.
    fn regroup(
        &mut self,
        now_ms: u64,
        delivery: &mut Delivery,
        effects: &mut ScheduleEffects,
    ) -> bool {
        let unknown = self.unknown(delivery);
        let Some(queue) = self.queues.get_mut(&delivery.sink) else {
            return false;
        };
        let Some(seq) = queue.regroups_with(delivery, self.bugs) else {
            return false;
        };
        let Some(mut entry) = queue.remove(seq) else {
            return false;
        };
        let earlier = Arc::clone(&entry.delivery);
        entry.state.first.extend(unknown);
        delivery.take_in(&earlier);
        entry.state.severity = entry.state.severity.min(delivery.severity);
        entry.state.precedence = entry.state.precedence.min(delivery.precedence);
        entry.state.next_ms = entry.state.next_ms.min(delivery.not_before_ms);
        let since_ms = now_ms.max(delivery.not_before_ms);
        if entry.state.fell_back {
            // The fallback has what was said before, and gets what is new after the same time as ever.
            entry.state.fell_back = false;
            entry.state.since_ms = since_ms;
        }
        entry.state.since_ms = entry.state.since_ms.min(since_ms);
        entry.delivery = Arc::new(delivery.clone());
        let progress = DeliveryProgress::Collapsed {
            into: Some(delivery.id.clone()),
        };
        report(effects, &earlier, progress);
        self.forget(&earlier.id);
        self.queue(now_ms, entry);
        true
    }

    /// Takes out of a resolve what needs none: its firing was never attempted, or never sent there.
    fn collapse(&mut self, resolve: &mut Delivery, effects: &mut ScheduleEffects) {
        let sink = Arc::clone(&resolve.sink);
        let ordered = resolve.clone();
        let mut into = None;
        for firing in resolve.news.clone() {
            self.keep_with_dead(&sink, resolve, firing);
            let Some(queue) = self.queues.get(&sink) else {
                return;
            };
            if let Some(earlier) = queue.waiting_resolve(firing) {
                resolve.news.retain(|news| *news != firing);
                into = Some(earlier);
                continue;
            }
            for seq in queue.about(firing.alert) {
                let is_news = |entry: &&QueueEntry| {
                    entry.is_open() && !entry.is_resolve() && entry.delivery.news.contains(&firing)
                };
                let Some(entry) = self.queues.get(&sink).and_then(|queue| queue.get(seq)) else {
                    continue;
                };
                if !is_news(&entry) {
                    continue;
                }
                let is_first = entry.state.first.contains(&firing);
                let sends = entry.delivery.severity.is_urgent()
                    || self.bugs.has(PlantedBug::OverSentAnyway);
                if is_first && sends {
                    resolve.news.retain(|news| *news != firing);
                    into = Some(entry.delivery.id.clone());
                    self.mark_over(&sink, seq, firing, resolve);
                } else {
                    self.leave_out(&sink, seq, firing, effects);
                }
            }
        }
        if let Some(queue) = self.queues.get(&sink)
            && !self.bugs.has(PlantedBug::ResolveUnheard)
        {
            resolve
                .news
                .retain(|firing| queue.knows(*firing) || queue.knows_earlier(*firing));
        }
        if resolve.news.is_empty() {
            report(
                effects,
                &Arc::new(ordered),
                DeliveryProgress::Collapsed { into },
            );
        }
    }

    /// A firing that is sent says that it is over.
    fn mark_over(&mut self, sink: &Arc<str>, seq: u64, firing: AlertRef, resolve: &Delivery) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let at_ms = resolve.resolved_ms(firing.alert);
        queue.edit(seq, |entry| {
            let delivery = Arc::make_mut(&mut entry.delivery);
            delivery.mark_resolved(firing.alert, at_ms);
            entry.state.over.push(firing);
            if delivery
                .news
                .iter()
                .all(|news| entry.state.over.contains(news))
            {
                delivery.occasion = crate::notice::Occasion::Resolved;
            }
        });
        self.mark_dirty(sink, seq);
    }

    /// A delivery says nothing more of a firing. With nothing left to say it is dropped.
    fn leave_out(
        &mut self,
        sink: &Arc<str>,
        seq: u64,
        firing: AlertRef,
        effects: &mut ScheduleEffects,
    ) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let Some(mut entry) = queue.remove(seq) else {
            return;
        };
        self.touched.insert(Arc::clone(sink));
        let ordered = Arc::clone(&entry.delivery);
        Arc::make_mut(&mut entry.delivery).leave_out(firing);
        if entry.delivery.news.is_empty() {
            report(
                effects,
                &ordered,
                DeliveryProgress::Collapsed { into: None },
            );
            self.forget(&entry.delivery.id);
            return;
        }
        let news = &entry.delivery.news;
        entry.state.first.retain(|first| news.contains(first));
        queue.insert(entry);
        self.mark_dirty(sink, seq);
    }

    /// A resolve that nobody needs any more is dropped.
    pub(super) fn drop_needless(
        &mut self,
        sink: &Arc<str>,
        seq: u64,
        effects: &mut ScheduleEffects,
    ) {
        let queue = self.queues.get_mut(sink);
        if let Some(entry) = queue.and_then(|queue| queue.remove(seq)) {
            let progress = DeliveryProgress::Collapsed { into: None };
            report(effects, &entry.delivery, progress);
            self.forget(&entry.delivery.id);
        }
    }

    /// Somebody acknowledged: what is news of this firing alone and was never attempted is not sent.
    pub(super) fn cancel(&mut self, firing: AlertRef, effects: &mut ScheduleEffects) {
        if self.bugs.has(PlantedBug::CancelIgnored) {
            return;
        }
        let sinks: Vec<Arc<str>> = self.queues.keys().map(Arc::clone).collect();
        for sink in sinks {
            let Some(queue) = self.queues.get_mut(&sink) else {
                continue;
            };
            for seq in queue.about(firing.alert) {
                let is_cancelled = queue.get(seq).is_some_and(|entry| {
                    let precedence = entry.delivery.precedence;
                    let is_call =
                        matches!(precedence, Precedence::FirstFiring | Precedence::Reminder);
                    entry.is_open() && is_call && entry.delivery.news == [firing]
                });
                if is_cancelled && let Some(entry) = queue.remove(seq) {
                    report(effects, &entry.delivery, DeliveryProgress::Cancelled);
                    self.ids.remove(&entry.delivery.id);
                    self.dirty
                        .insert(DeliveryRowKey::Content(entry.delivery.id.clone()));
                    self.dirty
                        .insert(DeliveryRowKey::State(entry.delivery.id.clone()));
                    self.touched.insert(Arc::clone(&sink));
                }
            }
        }
    }

    /// A delivery is over: its rows go.
    pub(super) fn forget(&mut self, id: &DeliveryId) {
        self.ids.remove(id);
        self.dirty.insert(DeliveryRowKey::Content(id.clone()));
        self.dirty.insert(DeliveryRowKey::State(id.clone()));
    }

    pub(super) fn mark_dirty(&mut self, sink: &Arc<str>, seq: u64) {
        let entry = self.queues.get(sink).and_then(|queue| queue.get(seq));
        if let Some(entry) = entry {
            let id = entry.delivery.id.clone();
            self.dirty.insert(DeliveryRowKey::Content(id.clone()));
            self.dirty.insert(DeliveryRowKey::State(id));
            self.touched.insert(Arc::clone(sink));
        }
    }
}

#[cfg(test)]
mod tests;
