//! What is sent, held against what may be sent now; and what arrives.

use std::{collections::BTreeSet, sync::Arc};

use super::{Checked, Model, check, is_blocked};
use crate::{
    AlertId, AlertRef, Severity,
    delivery::{Attempt, Precedence, WaitingDelivery, simulation::property::DeliveryProperty},
    notice::Occasion,
};

impl Model {
    pub(in crate::delivery::simulation) fn attempt(
        &mut self,
        now_ms: u64,
        attempt: &Attempt,
        waiting: &[WaitingDelivery],
    ) -> Checked {
        use DeliveryProperty as P;
        let delivery = &attempt.delivery;
        let (id, name) = (&delivery.id, &delivery.sink);
        let Some(known) = self.known.get_mut(id) else {
            return Err((P::Frozen, format!("nobody ordered {id}")));
        };
        let same = known
            .content
            .as_ref()
            .is_none_or(|content| content == delivery);
        check(same, P::Frozen, || format!("{id} says something else now"))?;
        known.content = Some(Arc::clone(delivery));
        known.attempted_ms = now_ms;
        check(!known.is_refused, P::RefusedFinal, || {
            format!("{id} was refused")
        })?;
        check(!known.is_cancelled, P::CancelKept, || {
            format!("{id} was cancelled")
        })?;
        check(!known.is_over, P::OverDropped, || format!("{id} is over"))?;
        let expected_ms = known.next_ms.take();
        let is_time = expected_ms.is_none_or(|expected_ms| now_ms >= expected_ms);
        let has_crashed = self.sinks.values().all(|sink| sink.in_flight.is_empty());
        check(is_time || has_crashed, P::WaitsKept, || {
            format!("{id} is attempted too early")
        })?;
        let settings = self.table.get(name).cloned();
        let sink = self.sink(name);
        let interval_ms = settings.as_ref().map_or(0, |settings| settings.interval_ms);
        let at_once_max = settings.map_or(0, |settings| settings.at_once_max);
        let is_slow = sink
            .attempted_ms
            .is_none_or(|before_ms| now_ms >= before_ms + interval_ms);
        check(is_slow, P::RateKept, || {
            format!("{name} takes one in {interval_ms} ms")
        })?;
        sink.attempted_ms = Some(now_ms);
        check(!sink.is_gone, P::GoneLeftAlone, || {
            format!("{name} is gone")
        })?;
        let is_throttled = now_ms < sink.throttled_until_ms;
        check(!is_throttled, P::RetryAfterKept, || {
            format!("{name} asked for more time")
        })?;
        let in_flight = sink.in_flight.len();
        let is_quiet = now_ms < sink.quiet_until_ms || sink.is_open && in_flight > 0;
        check(!is_quiet, P::BreakerHolds, || {
            format!("{name} is to be left alone")
        })?;
        let is_bounded = in_flight < at_once_max as usize;
        check(is_bounded, P::Bounded, || {
            format!("{in_flight} under way to {name}")
        })?;
        let receipt = sink.receipts.get(&delivery.group_key);
        check(receipt == attempt.receipt.as_ref(), P::ReceiptGiven, || {
            format!("{id} is given {:?}, not {receipt:?}", attempt.receipt)
        })?;
        sink.in_flight.insert((id.clone(), attempt.attempt));
        let is_closed = sink.failing_since_ms.is_none();
        let all: usize = self.sinks.values().map(|sink| sink.in_flight.len()).sum();
        let most = self.limits.in_flight_max as usize;
        check(all <= most, P::Bounded, || format!("{all} under way"))?;
        self.in_order(now_ms, attempt, waiting)?;
        let is_raised = self.known.get(id).is_some_and(|known| known.is_raised);
        if is_closed && !is_raised {
            first_firings_first(now_ms, attempt, waiting)?;
        }
        Ok(())
    }

    fn in_order(
        &mut self,
        _now_ms: u64,
        attempt: &Attempt,
        waiting: &[WaitingDelivery],
    ) -> Checked {
        let delivery = &attempt.delivery;
        let sink = self.sink(&delivery.sink);
        if delivery.precedence != Precedence::Resolve {
            sink.attempted.extend(delivery.news.iter().copied());
            return Ok(());
        }
        for firing in &delivery.news {
            let first = AlertRef {
                firing: 0,
                ..*firing
            };
            let was_sent = sink.attempted.range(first..=*firing).next().is_some();
            check(was_sent, DeliveryProperty::OrderKept, || {
                format!("{} resolves what was never sent", delivery.id)
            })?;
            let is_over = !waiting.iter().any(|one| {
                one.delivery.sink == delivery.sink
                    && one.delivery.precedence == Precedence::FirstFiring
                    && one.delivery.news.contains(firing)
            });
            check(is_over, DeliveryProperty::OrderKept, || {
                format!("{} resolves what is still to be sent", delivery.id)
            })?;
        }
        Ok(())
    }

    /// A receiver has it: who knows the id drops it.
    pub(in crate::delivery::simulation) fn arrive(&mut self, attempt: &Attempt) {
        let delivery = &attempt.delivery;
        let sink = self.sink(&delivery.sink);
        if !sink.arrived.insert(delivery.id.clone()) {
            return;
        }
        let over: BTreeSet<AlertId> = delivery
            .listed
            .iter()
            .filter(|alert| alert.resolved_ms.is_some())
            .map(|alert| AlertId::of(&alert.condition.key))
            .collect();
        for firing in &delivery.news {
            let fires = delivery.precedence != Precedence::Resolve && !over.contains(&firing.alert);
            if delivery.occasion != Occasion::Test {
                sink.last.insert(*firing, fires);
            }
        }
    }
}

/// Among what could have been attempted instead there was no first firing.
fn first_firings_first(now_ms: u64, attempt: &Attempt, waiting: &[WaitingDelivery]) -> Checked {
    let delivery = &attempt.delivery;
    let is_first = delivery.precedence == Precedence::FirstFiring;
    if is_first || delivery.severity == Severity::P1 {
        return Ok(());
    }
    let of_sink = || {
        waiting
            .iter()
            .filter(|one| one.delivery.sink == delivery.sink)
    };
    let firsts = || of_sink().filter(|one| one.delivery.precedence == Precedence::FirstFiring);
    // What a first firing waits for is as urgent as it is.
    if firsts().any(|one| is_blocked(one, waiting)) {
        return Ok(());
    }
    let passed = firsts()
        .find(|one| one.in_flight_ms.is_none() && one.next_ms <= now_ms && one.attempts == 0);
    check(
        passed.is_none(),
        DeliveryProperty::FirstFiringsFirst,
        || format!("{} went before {passed:?}", delivery.id),
    )
}
