//! What the schedule says became of deliveries, held against what the contract says of waits and of giving up.

use std::{collections::BTreeMap, sync::Arc};

use super::{Checked, DAY_MS, First, Model, ORDINARY_S, QUARTER_MS, URGENT_S, check};
use crate::{
    Severity,
    delivery::{
        DeliveryProgress, DeliveryReport, Precedence, simulation::property::DeliveryProperty,
    },
    notice::{DeliveryError, Occasion},
};

impl Model {
    pub(in crate::delivery::simulation) fn report(
        &mut self,
        now_ms: u64,
        report: &DeliveryReport,
        seen: &mut BTreeMap<&'static str, u64>,
    ) -> Checked {
        let mut saw = |what| *seen.entry(what).or_insert(0) += 1;
        let sink = &report.sink;
        let attempts = self
            .known
            .get(&report.delivery)
            .map_or(0, |known| known.attempts);
        if let DeliveryProgress::Failed { .. }
        | DeliveryProgress::Delivered { .. }
        | DeliveryProgress::DeadLetter { .. } = &report.progress
            && let Some(known) = self.known.get_mut(&report.delivery)
        {
            known.is_under_way = false;
        }
        match &report.progress {
            DeliveryProgress::Attempted { attempt } => {
                if report.precedence == Precedence::Resolve {
                    // A resolve that is sent once more, behind a dead letter, has an id of its own.
                    self.known.entry(report.delivery.clone()).or_default();
                }
                let Some(known) = self.known.get_mut(&report.delivery) else {
                    let how = format!("nobody ordered {}", report.delivery);
                    return Err((DeliveryProperty::Frozen, how));
                };
                known.attempts = *attempt;
                known.tries += 1;
                known.is_under_way = true;
            }
            DeliveryProgress::Failed { error, next_ms, .. } => {
                self.firsts_of(report, |first| first.has_failed = true);
                return self.failed(now_ms, report, error, *next_ms, &mut saw);
            }
            DeliveryProgress::Delivered { .. } => {
                saw("delivered");
                self.firsts_of(report, |first| first.is_settled = true);
                self.delivered(report);
            }
            DeliveryProgress::FellBack { to, delivery, .. } => {
                saw("fell back");
                self.hasten(to);
                self.known.entry(delivery.clone()).or_default().since_ms = now_ms;
                for firing in &report.news {
                    self.first(to, *firing, now_ms, Severity::P4);
                }
            }
            DeliveryProgress::DeadLetter { reason, .. } => {
                saw("dead letter");
                self.firsts_of(report, |first| first.is_dead = true);
                self.sink(sink)
                    .in_flight
                    .retain(|(id, _)| *id != report.delivery);
                if report.precedence == Precedence::Resolve {
                    self.sink(sink).unresolved.extend(report.news.clone());
                }
                return self.given_up(now_ms, report, reason, &mut saw);
            }
            DeliveryProgress::Requeued { .. } => {
                let known = self.known.entry(report.delivery.clone()).or_default();
                known.tries = 0;
            }
            DeliveryProgress::Cancelled => {
                saw("cancelled");
                self.firsts_of(report, |first| first.is_settled = true);
                return check(attempts == 0, DeliveryProperty::Frozen, || {
                    format!("{} was cancelled after an attempt", report.delivery)
                });
            }
            DeliveryProgress::Collapsed { into } => {
                // What an operator sent again may be needed no more.
                if let Some(known) = self.known.get_mut(&report.delivery) {
                    known.attempted_ms = now_ms;
                }
                let is_resolve = report.precedence == Precedence::Resolve;
                match into {
                    Some(_) if is_resolve => saw("collapsed and sent"),
                    Some(into) => {
                        saw("regrouped");
                        let since_ms = self.known.get(&report.delivery).map(|known| known.since_ms);
                        let known = self.known.entry(into.clone()).or_default();
                        known.since_ms = known.since_ms.min(since_ms.unwrap_or(u64::MAX));
                    }
                    None => {
                        saw("collapsed and dropped");
                        self.firsts_of(report, |first| first.is_settled = true);
                    }
                }
                return check(attempts == 0, DeliveryProperty::Frozen, || {
                    format!("{} was collapsed after an attempt", report.delivery)
                });
            }
            DeliveryProgress::Held { .. } => {}
        }
        Ok(())
    }

    fn firsts_of(&mut self, report: &DeliveryReport, change: impl Fn(&mut First)) {
        for firing in &report.news {
            let key = (Arc::clone(&report.sink), *firing);
            if let Some(first) = self.firsts.get_mut(&key) {
                change(first);
            }
        }
    }

    fn delivered(&mut self, report: &DeliveryReport) {
        let content = self
            .known
            .get(&report.delivery)
            .and_then(|known| known.content.clone());
        let receipt = self.answers.remove(&report.delivery).flatten();
        let sink = self.sink(&report.sink);
        sink.succeed();
        if content.is_some_and(|content| content.occasion == Occasion::Resolved) {
            sink.receipts.remove(&report.group_key);
        } else if let Some(receipt) = receipt {
            sink.receipts.insert(Arc::clone(&report.group_key), receipt);
        }
    }

    fn failed(
        &mut self,
        now_ms: u64,
        report: &DeliveryReport,
        error: &DeliveryError,
        next_ms: u64,
        saw: &mut impl FnMut(&'static str),
    ) -> Checked {
        let wait_ms = next_ms - now_ms;
        let known = self.known.entry(report.delivery.clone()).or_default();
        known.next_ms = Some(next_ms);
        let began_ms = known.attempted_ms;
        let tries = known.tries as usize;
        let fits = |waits_s: &[u64], last: Option<&u64>| {
            let wait_s = waits_s.get(tries - 1).or(last);
            wait_s.is_some_and(|wait_s| (wait_s * 800..=wait_s * 1_200).contains(&wait_ms))
        };
        let fits = fits(&URGENT_S, URGENT_S.last()) || fits(&ORDINARY_S, None);
        let sink = self.sink(&report.sink);
        match error {
            DeliveryError::Retry {
                after_ms: Some(asked_ms),
                ..
            } => {
                saw("throttled");
                sink.failing_since_ms.get_or_insert(now_ms);
                let asked_ms = *asked_ms.clamp(&1_000, &QUARTER_MS);
                sink.throttled_until_ms = sink.throttled_until_ms.max(now_ms + asked_ms);
                let is_kept = wait_ms == asked_ms || tries > 6 && wait_ms > asked_ms && fits;
                return check(is_kept, DeliveryProperty::RetryAfterKept, || {
                    format!(
                        "{}: {wait_ms} ms where {asked_ms} ms were asked for",
                        report.delivery
                    )
                });
            }
            DeliveryError::Gone(_) => {
                saw("gone");
                sink.is_gone = true;
                sink.fail(now_ms, began_ms);
            }
            DeliveryError::Retry { .. } | DeliveryError::Other(_) => {
                saw(
                    if matches!(error, DeliveryError::Other(why) if why.contains("heard")) {
                        "unanswered"
                    } else {
                        "failed"
                    },
                );
                sink.in_flight.retain(|(id, _)| *id != report.delivery);
                sink.fail(now_ms, began_ms);
            }
            DeliveryError::Refused(_) => {}
        }
        check(fits, DeliveryProperty::WaitsKept, || {
            format!("{}: {wait_ms} ms after {tries} tries", report.delivery)
        })
    }

    fn given_up(
        &mut self,
        now_ms: u64,
        report: &DeliveryReport,
        reason: &str,
        saw: &mut impl FnMut(&'static str),
    ) -> Checked {
        let known = self.known.entry(report.delivery.clone()).or_default();
        let (is_refused, tries) = (known.is_refused, known.tries);
        let age_ms = now_ms.saturating_sub(known.since_ms);
        if is_refused {
            saw("refused");
            self.sink(&report.sink).succeed();
        }
        let is_in_time =
            is_refused || tries >= 10 || reason.contains("in time") && age_ms >= DAY_MS;
        check(is_in_time, DeliveryProperty::GivenUpInTime, || {
            format!(
                "{} given up after {tries} tries and {age_ms} ms: {reason}",
                report.delivery
            )
        })
    }
}
