//! How attempts end, and what becomes of what nobody takes.

use std::sync::Arc;

use super::{
    DeliveryProgress, FallbackCause, HeldBy, SinkHealth,
    planted::PlantedBug,
    queue::QueueEntry,
    retry,
    rows::DeliveryRowKey,
    schedule::{DeliveryPlace, Schedule, ScheduleEffects, report},
};
use crate::{
    AlertRef, DeliveryId,
    notice::{DeliveryError, Occasion, Receipt},
};

impl Schedule {
    /// Takes in how an attempt ended. What is not under way, or is another attempt by now, is no news.
    pub(super) fn end(
        &mut self,
        now_ms: u64,
        delivery: &DeliveryId,
        attempt: u32,
        result: Result<Option<Receipt>, DeliveryError>,
        effects: &mut ScheduleEffects,
    ) {
        let Some(DeliveryPlace::Waiting(sink, seq)) = self.ids.get(delivery).cloned() else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&sink) else {
            return;
        };
        let Some(state) = queue.state_mut(seq) else {
            return;
        };
        if state.attempts != attempt || state.in_flight_ms.take().is_none() {
            return;
        }
        queue.in_flight = queue.in_flight.saturating_sub(1);
        let before = (queue.breaker.failing_since_ms, queue.gone.clone());
        self.free_room();
        self.touched.insert(Arc::clone(&sink));
        self.dirty.insert(DeliveryRowKey::State(delivery.clone()));
        self.dirty.insert(DeliveryRowKey::Sink(Arc::clone(&sink)));
        match result {
            Ok(receipt) => self.delivered(&sink, seq, receipt, effects),
            Err(DeliveryError::Refused(reason)) => {
                self.refused(now_ms, &sink, seq, reason, effects);
            }
            Err(DeliveryError::Gone(reason)) => {
                if let Some(queue) = self.queues.get_mut(&sink) {
                    queue.gone = Some(reason.clone());
                }
                self.failed(now_ms, &sink, seq, DeliveryError::Gone(reason), effects);
            }
            Err(error) => self.failed(now_ms, &sink, seq, error, effects),
        }
        let Some(queue) = self.queues.get(&sink) else {
            return;
        };
        let after = (queue.breaker.failing_since_ms, queue.gone.clone());
        if before != after {
            let (failing_since_ms, gone) = after;
            effects.sinks.push(SinkHealth {
                sink,
                failing_since_ms,
                gone,
            });
        }
    }

    fn delivered(
        &mut self,
        sink: &Arc<str>,
        seq: u64,
        receipt: Option<Receipt>,
        effects: &mut ScheduleEffects,
    ) {
        let bugs = self.bugs;
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        queue.breaker.succeed();
        queue.failure = None;
        let Some(entry) = queue.remove(seq) else {
            return;
        };
        let delivery = &entry.delivery;
        if delivery.occasion == Occasion::Resolved {
            queue.receipts.remove(&delivery.group_key);
        } else if let Some(receipt) = receipt.filter(|_| !bugs.has(PlantedBug::ReceiptForgotten))
            && let Some(oldest) = queue.keep_receipt(&entry, receipt)
        {
            self.dirty
                .insert(DeliveryRowKey::Receipt(Arc::clone(sink), oldest));
        }
        let key = DeliveryRowKey::Receipt(Arc::clone(sink), Arc::clone(&delivery.group_key));
        self.dirty.insert(key);
        self.hear(sink, &entry);
        let attempt = entry.state.attempts;
        report(
            effects,
            &entry.delivery,
            DeliveryProgress::Delivered { attempt },
        );
        self.forget(&entry.delivery.id);
    }

    /// The sink has, or may have, what a delivery says.
    pub(super) fn hear(&mut self, sink: &Arc<str>, entry: &QueueEntry) {
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let mut changed = Vec::new();
        let step = entry.delivery.id.step();
        for firing in &entry.delivery.news {
            if !entry.is_resolve() && !entry.state.over.contains(firing) {
                changed.extend(queue.hear(*firing, 0));
                changed.push(*firing);
            }
        }
        // The id, and so the step, is of the first of them.
        if let Some(firing) = entry.delivery.news.first()
            && queue.heard.contains_key(firing)
        {
            queue.hear(*firing, step);
            changed.push(*firing);
        }
        let news = &entry.delivery.news;
        // A message about a later firing says of an earlier one that it is over.
        let is_later =
            |of: &AlertRef, one: &AlertRef| one.alert == of.alert && one.firing > of.firing;
        for firing in news {
            if entry.is_resolve() || news.iter().any(|one| is_later(firing, one)) {
                queue.heard.remove(firing);
                changed.push(*firing);
            }
        }
        let keys = changed.into_iter();
        self.dirty
            .extend(keys.map(|firing| DeliveryRowKey::Heard(Arc::clone(sink), firing)));
    }

    /// The receiver works, and this it never takes: another sink is tried.
    fn refused(
        &mut self,
        now_ms: u64,
        sink: &Arc<str>,
        seq: u64,
        reason: String,
        effects: &mut ScheduleEffects,
    ) {
        let bugs = self.bugs;
        if bugs.has(PlantedBug::RefusedRetried) {
            let error = DeliveryError::Refused(reason);
            return self.failed(now_ms, sink, seq, error, effects);
        }
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        queue.breaker.succeed();
        queue.failure = None;
        let is_news = queue.get(seq).is_some_and(|entry| !entry.is_resolve());
        if bugs.has(PlantedBug::RefusedDropped) && is_news {
            if let Some(entry) = queue.remove(seq) {
                self.forget(&entry.delivery.id);
            }
            return;
        }
        self.fall_back_one(now_ms, sink, seq, FallbackCause::Refused, effects);
        self.bury(now_ms, sink, seq, format!("refused: {reason}"), effects);
    }

    /// Not now: when again is the schedule's to say, or the receiver's.
    fn failed(
        &mut self,
        now_ms: u64,
        sink: &Arc<str>,
        seq: u64,
        error: DeliveryError,
        effects: &mut ScheduleEffects,
    ) {
        let bugs = self.bugs;
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        let is_gone = matches!(error, DeliveryError::Gone(_));
        let asked_ms = match &error {
            DeliveryError::Retry { after_ms, .. } if !bugs.has(PlantedBug::RetryAfterIgnored) => {
                *after_ms
            }
            _ => None,
        };
        queue.failure = Some(error.to_string());
        let Some(state) = queue.state_mut(seq) else {
            return;
        };
        let tries = if bugs.has(PlantedBug::WaitNeverGrows) {
            1
        } else {
            state.tries
        };
        let scheduled_ms = retry::wait_ms(state.severity, tries, &mut self.jitter);
        state.failure = Some(error.to_string());
        state.may_have_arrived |= !is_gone;
        let Some(scheduled_ms) = scheduled_ms.filter(|_| !bugs.has(PlantedBug::FailureForgotten))
        else {
            queue.breaker.fail(now_ms, &mut self.jitter);
            let reason = format!("the last attempt failed: {error}");
            return self.bury(now_ms, sink, seq, reason, effects);
        };
        let mut wait_ms = scheduled_ms;
        if let Some(asked_ms) = asked_ms {
            wait_ms = retry::honoured_ms(scheduled_ms, asked_ms, tries);
            if bugs.has(PlantedBug::RetryAfterUnbounded) {
                wait_ms = asked_ms;
            }
        }
        if bugs.has(PlantedBug::NoWait) && asked_ms.is_none() {
            wait_ms = 0;
        }
        state.next_ms = now_ms + wait_ms;
        let (attempt, next_ms) = (state.attempts, state.next_ms);
        match asked_ms {
            // All deliveries of the sink come from one place as the receiver sees it.
            Some(asked_ms) => {
                let asked_ms = asked_ms.clamp(retry::RETRY_AFTER_MS_MIN, retry::RETRY_AFTER_MS_MAX);
                queue.retry_after_ms = queue.retry_after_ms.max(now_ms + asked_ms);
                queue.breaker.postpone(now_ms);
            }
            None => queue.breaker.fail(now_ms, &mut self.jitter),
        }
        if let Some(entry) = queue.get(seq) {
            let progress = DeliveryProgress::Failed {
                attempt,
                error,
                next_ms,
            };
            report(effects, &entry.delivery, progress);
        }
    }

    /// What holds a sink now: nothing, or until when.
    #[must_use]
    pub fn hold(&self, sink: &str, now_ms: u64) -> Option<(HeldBy, u64)> {
        self.queues.get(sink).and_then(|queue| queue.hold(now_ms))
    }
}
