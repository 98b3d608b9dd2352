//! When a sink does not take a delivery, its fallback gets the same one.

use std::sync::Arc;

use super::{
    Delivery, DeliveryProgress, FallbackCause,
    planted::PlantedBug,
    queue::{QueueEntry, SinkQueue},
    retry,
    rows::DeliveryRowKey,
    schedule::{Schedule, ScheduleEffects, report},
};
use crate::{AlertRef, Severity};

impl Schedule {
    /// When a delivery goes to the fallback, if that is still to come: at once where the sink is known not to take it.
    pub(super) fn falls_back_at(
        &self,
        queue: &SinkQueue,
        entry: &QueueEntry,
        now_ms: u64,
    ) -> Option<u64> {
        let state = &entry.state;
        let may = queue.settings.fallback.is_some() && !state.fell_back;
        if !may || !entry.delivery.falls_back() {
            return None;
        }
        if self.bugs.has(PlantedBug::FallbackLate) {
            return Some(state.since_ms + retry::age_ms_max(state.severity));
        }
        Some(match cause(queue, entry, now_ms) {
            FallbackCause::NotInTime => state.since_ms + retry::patience_ms(state.severity),
            _ => state.since_ms,
        })
    }

    /// Sends what is due for it to the fallback.
    pub(super) fn fall_back(
        &mut self,
        now_ms: u64,
        sink: &Arc<str>,
        effects: &mut ScheduleEffects,
    ) {
        let Some(queue) = self.queues.get(sink) else {
            return;
        };
        let due = queue.entries().filter_map(|entry| {
            let at_ms = self.falls_back_at(queue, entry, now_ms)?;
            (at_ms <= now_ms).then(|| (entry.state.seq, cause(queue, entry, now_ms)))
        });
        for (seq, cause) in due.collect::<Vec<_>>() {
            self.fall_back_one(now_ms, sink, seq, cause, effects);
        }
    }

    /// Sends one delivery to the fallback, with the resolves that wait behind it; where the fallback knows already, nothing.
    pub(super) fn fall_back_one(
        &mut self,
        now_ms: u64,
        sink: &Arc<str>,
        seq: u64,
        because: FallbackCause,
        effects: &mut ScheduleEffects,
    ) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let Some(fallback) = queue.settings.fallback.clone() else {
            return;
        };
        let Some(state) = queue.state_mut(seq).filter(|state| !state.fell_back) else {
            return;
        };
        state.fell_back = true;
        self.mark_dirty(sink, seq);
        let (Some(queue), Some(other)) = (self.queues.get(sink), self.queues.get(&fallback)) else {
            return;
        };
        let Some(entry) = queue.get(seq).filter(|entry| entry.delivery.falls_back()) else {
            return;
        };
        let step = entry.delivery.id.step();
        let about = entry.delivery.news.first();
        let last = about.and_then(|about| other.heard.get(about));
        let is_sent = last.is_some_and(|last_step| *last_step >= step);
        let is_news = |firing: &&AlertRef| {
            let needs_none = is_sent || entry.state.first.contains(firing);
            !(needs_none && other.knows(**firing))
        };
        let news: Vec<AlertRef> = entry
            .delivery
            .news
            .iter()
            .filter(is_news)
            .copied()
            .collect();
        let is_per_alert = other.settings.is_per_alert;
        let mut copies = entry.delivery.copies(&fallback, is_per_alert, &news);
        for copy in &copies {
            let progress = DeliveryProgress::FellBack {
                to: Arc::clone(&fallback),
                delivery: copy.id.clone(),
                because,
            };
            // Under the copy's group key: a resolve for the fallback needs it.
            let fallen = Delivery {
                id: entry.delivery.id.clone(),
                sink: Arc::clone(sink),
                ..copy.clone()
            };
            report(effects, &Arc::new(fallen), progress);
        }
        let over = entry.state.over.clone();
        if !self.bugs.has(PlantedBug::ResolveStaysBehind) {
            copies.extend(resolves_behind(
                queue,
                entry,
                &fallback,
                is_per_alert,
                &news,
            ));
        }
        for copy in copies {
            let copy = Delivery {
                not_before_ms: now_ms,
                ..copy
            };
            self.accept(now_ms, copy, &over, effects);
        }
        self.dirty.insert(DeliveryRowKey::Sink(Arc::clone(sink)));
    }
}

/// Copies of the resolves that wait for this delivery to be over, as far as they are about what the fallback gets now.
fn resolves_behind(
    queue: &SinkQueue,
    entry: &QueueEntry,
    fallback: &Arc<str>,
    is_per_alert: bool,
    news: &[AlertRef],
) -> Vec<Delivery> {
    let mut seqs: Vec<u64> = news.iter().flat_map(|one| queue.about(one.alert)).collect();
    seqs.sort_unstable();
    seqs.dedup();
    let behind = seqs.into_iter().filter(|seq| *seq > entry.state.seq);
    let resolves = behind.filter_map(|seq| queue.get(seq).filter(|behind| behind.is_resolve()));
    resolves
        .flat_map(|resolve| resolve.delivery.copies(fallback, is_per_alert, news))
        .collect()
}

/// Why a delivery goes to the fallback, now or later.
fn cause(queue: &SinkQueue, entry: &QueueEntry, now_ms: u64) -> FallbackCause {
    let is_first = entry.state.severity == Severity::P1;
    if queue.gone.is_some() {
        FallbackCause::Gone
    } else if is_first && entry.state.failure.is_some() {
        FallbackCause::FirstFailure
    } else if is_first && queue.breaker.open_until_ms(now_ms).is_some() {
        FallbackCause::Breaker
    } else {
        FallbackCause::NotInTime
    }
}
