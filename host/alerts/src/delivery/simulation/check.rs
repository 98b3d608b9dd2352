//! The model: what was ordered, sent, answered and reported, and what must follow from it. It shares no code with the schedule but
//! for the questions that people ask it too: what waits, what is given up, what holds a sink.

mod attempts;
mod reports;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::property::DeliveryProperty;
use crate::{
    AlertRef, DeliveryId, Severity,
    delivery::{
        Delivery, DeliveryOrder, HeldBy, Precedence, Schedule, ScheduleEvent, ScheduleLimits,
        SinkTable, WaitingDelivery,
    },
    notice::{DeliveryError, Receipt},
};

type Checked = Result<(), (DeliveryProperty, String)>;
type Sink = Arc<str>;

const URGENT_S: [u64; 6] = [5, 15, 30, 60, 120, 300];
const ORDINARY_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
const QUARTER_MS: u64 = 900_000;
const DAY_MS: u64 = 86_400_000;

/// A first firing that a sink is to get.
#[derive(Debug, Clone)]
struct First {
    since_ms: u64,
    severity: Severity,
    /// Delivered, cancelled, or over before it was sent.
    is_settled: bool,
    is_dead: bool,
    /// An attempt failed.
    has_failed: bool,
}

/// What is known of one delivery.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Since when it, or what it took in, waits.
    since_ms: u64,
    attempts: u32,
    /// Since it was ordered or sent again, without those that ended with the router.
    tries: u32,
    is_under_way: bool,
    content: Option<Arc<Delivery>>,
    next_ms: Option<u64>,
    is_refused: bool,
    /// A first firing waited for something at its sink: it may have become as urgent.
    is_raised: bool,
    /// It must never be attempted: somebody is on it, or it is over.
    is_cancelled: bool,
    is_over: bool,
    attempted_ms: u64,
    retried_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct SinkModel {
    attempted_ms: Option<u64>,
    failures: u32,
    failing_since_ms: Option<u64>,
    /// Its breaker opened since the last success.
    is_open: bool,
    quiet_until_ms: u64,
    throttled_until_ms: u64,
    is_gone: bool,
    in_flight: BTreeSet<(DeliveryId, u32)>,
    receipts: BTreeMap<Arc<str>, Receipt>,
    arrived: BTreeSet<DeliveryId>,
    /// The last that arrived about a firing: whether it fires.
    last: BTreeMap<AlertRef, bool>,
    attempted: BTreeSet<AlertRef>,
    /// Its resolve was given up.
    unresolved: BTreeSet<AlertRef>,
}

impl SinkModel {
    fn succeed(&mut self) {
        (self.failures, self.failing_since_ms, self.is_open) = (0, None, false);
        self.quiet_until_ms = 0;
    }

    /// An attempt that began at `began_ms` failed.
    fn fail(&mut self, now_ms: u64, began_ms: u64) {
        let since_ms = *self.failing_since_ms.get_or_insert(now_ms);
        self.failures += 1;
        let opens = self.is_open || self.failures >= 3 || now_ms >= since_ms + 60_000;
        if opens && began_ms >= self.quiet_until_ms {
            self.is_open = true;
            self.quiet_until_ms = now_ms + 27_000;
        }
    }
}

#[derive(Debug)]
pub(super) struct Model {
    table: SinkTable,
    limits: ScheduleLimits,
    firsts: BTreeMap<(Sink, AlertRef), First>,
    known: BTreeMap<DeliveryId, Known>,
    sinks: BTreeMap<Sink, SinkModel>,
    answers: BTreeMap<DeliveryId, Option<Receipt>>,
}

fn check(holds: bool, property: DeliveryProperty, how: impl FnOnce() -> String) -> Checked {
    if holds {
        Ok(())
    } else {
        Err((property, how()))
    }
}

fn shares(a: &Delivery, b: &Delivery) -> bool {
    let alerts = |one: &Delivery| {
        one.news
            .iter()
            .map(|news| news.alert)
            .collect::<BTreeSet<_>>()
    };
    a.sink == b.sink && (a.group_key == b.group_key || !alerts(a).is_disjoint(&alerts(b)))
}

/// Whether one that was ordered before is not over.
fn is_blocked(one: &WaitingDelivery, waiting: &[WaitingDelivery]) -> bool {
    let before = waiting
        .iter()
        .take_while(|other| other.delivery.id != one.delivery.id);
    before
        .into_iter()
        .any(|other| shares(&other.delivery, &one.delivery))
}

impl Model {
    pub(super) fn new(table: SinkTable, limits: ScheduleLimits) -> Self {
        Self {
            table,
            limits,
            firsts: BTreeMap::new(),
            known: BTreeMap::new(),
            sinks: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    fn sink(&mut self, sink: &Sink) -> &mut SinkModel {
        self.sinks.entry(Arc::clone(sink)).or_default()
    }

    fn fallback(&self, sink: &str) -> Option<Sink> {
        self.table.get(sink).and_then(|sink| sink.fallback.clone())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.sinks.values().all(|sink| sink.in_flight.is_empty())
    }

    pub(super) fn crash(&mut self) {
        for sink in self.sinks.values_mut() {
            sink.in_flight.clear();
        }
        for known in self.known.values_mut() {
            if std::mem::take(&mut known.is_under_way) {
                known.tries = known.tries.saturating_sub(1);
            }
        }
    }

    fn first(&mut self, sink: &Sink, firing: AlertRef, since_ms: u64, severity: Severity) {
        let key = (Arc::clone(sink), firing);
        self.firsts.entry(key).or_insert(First {
            since_ms,
            severity,
            is_settled: false,
            is_dead: false,
            has_failed: false,
        });
    }

    /// What a step was fed; it is on disk now. `before` is what waited before it.
    pub(super) fn ordered(
        &mut self,
        now_ms: u64,
        event: &ScheduleEvent,
        orders: &[DeliveryOrder],
        before: &[WaitingDelivery],
    ) -> Checked {
        let unattempted = || before.iter().filter(|one| one.attempts == 0);
        for order in orders {
            match order {
                DeliveryOrder::Deliver(delivery) => {
                    let known = self.known.entry(delivery.id.clone()).or_default();
                    known.since_ms = now_ms;
                    self.hasten(&delivery.sink);
                    if delivery.precedence == Precedence::FirstFiring {
                        for firing in &delivery.news {
                            let since_ms = now_ms.max(delivery.not_before_ms);
                            self.first(&delivery.sink, *firing, since_ms, delivery.severity);
                        }
                    }
                    if delivery.precedence != Precedence::Resolve {
                        continue;
                    }
                    for one in unattempted() {
                        let is_over = one.delivery.sink == delivery.sink
                            && !one.delivery.severity.is_urgent()
                            && one.delivery.precedence == Precedence::FirstFiring
                            && one.delivery.news == delivery.news;
                        let id = one.delivery.id.clone();
                        self.known.entry(id).or_default().is_over |= is_over;
                    }
                }
                DeliveryOrder::CancelUnattempted(firing) => {
                    for one in unattempted() {
                        let is_call = one.delivery.precedence != Precedence::Update
                            && one.delivery.precedence != Precedence::Resolve;
                        let is_it = is_call && one.delivery.news == [*firing];
                        let id = one.delivery.id.clone();
                        self.known.entry(id).or_default().is_cancelled |= is_it;
                    }
                }
            }
        }
        match event {
            ScheduleEvent::Ended {
                delivery,
                attempt,
                result,
            } => {
                for sink in self.sinks.values_mut() {
                    sink.in_flight.remove(&(delivery.clone(), *attempt));
                }
                let known = self.known.entry(delivery.clone()).or_default();
                known.is_refused |= matches!(result, Err(DeliveryError::Refused(_)));
                if let Ok(receipt) = result {
                    self.answers.insert(delivery.clone(), receipt.clone());
                }
            }
            ScheduleEvent::Configured(table) => {
                self.table = table.clone();
                let sinks: Vec<Sink> = self.sinks.keys().cloned().collect();
                for sink in sinks {
                    self.reopen(&sink);
                }
            }
            ScheduleEvent::Retry { delivery, .. } => {
                let known = self.known.entry(delivery.clone()).or_default();
                known.is_refused = false;
                known.next_ms = None;
                known.retried_ms = Some(now_ms);
                let waiting = before.iter().map(|one| &one.delivery);
                let mut contents = waiting.chain(known.content.iter());
                let sink = contents
                    .find(|one| one.id == *delivery)
                    .map(|one| Arc::clone(&one.sink));
                // Of a dead letter that was never attempted the sink is not known: all get more freedom.
                let all = || self.sinks.keys().cloned().collect();
                for sink in sink.map_or_else(all, |sink| vec![sink]) {
                    self.reopen(&sink);
                    self.hasten(&sink);
                }
            }
            ScheduleEvent::Ordered(_) | ScheduleEvent::Tick => {}
        }
        Ok(())
    }

    /// What waits at a sink may be attempted before its time: something urgent waits for it.
    fn hasten(&mut self, sink: &Sink) {
        for known in self.known.values_mut() {
            if known
                .content
                .as_ref()
                .is_some_and(|content| content.sink == *sink)
            {
                known.next_ms = None;
            }
        }
    }

    fn reopen(&mut self, sink: &Sink) {
        let sink = self.sink(sink);
        sink.quiet_until_ms = 0;
        sink.throttled_until_ms = 0;
        sink.is_gone = false;
    }

    /// After each step.
    pub(super) fn settled(
        &mut self,
        now_ms: u64,
        schedule: &Schedule,
        waiting: &[WaitingDelivery],
    ) -> Checked {
        use DeliveryProperty as P;
        let dead = schedule.dead_letters().count();
        let dead_max = self.limits.dead_max;
        check(dead <= dead_max, P::Bounded, || {
            format!("{dead} dead letters")
        })?;
        for ((sink, firing), first) in &self.firsts {
            let Some(fallback) = self.fallback(sink) else {
                continue;
            };
            let is_known = self.firsts.contains_key(&(fallback, *firing));
            let is_waiting = waiting.iter().any(|one| {
                let is_first = one.delivery.precedence == Precedence::FirstFiring;
                is_first && one.delivery.sink == *sink && one.delivery.news.contains(firing)
            });
            if first.is_settled || first.is_dead || is_known || !is_waiting {
                continue;
            }
            let patience_ms = if first.severity == Severity::P1 {
                10_000
            } else {
                60_000
            };
            let is_late = now_ms > first.since_ms + patience_ms
                || first.severity == Severity::P1 && first.has_failed;
            check(!is_late, P::FallbackInTime, || {
                format!("{firing:?} at {sink}")
            })?;
        }
        for one in waiting {
            let is_first = one.delivery.precedence == Precedence::FirstFiring;
            if is_first && is_blocked(one, waiting) {
                let ahead = waiting
                    .iter()
                    .filter(|other| other.delivery.sink == one.delivery.sink);
                for other in ahead {
                    self.known
                        .entry(other.delivery.id.clone())
                        .or_default()
                        .is_raised = true;
                }
            }
        }
        let all: usize = self.sinks.values().map(|sink| sink.in_flight.len()).sum();
        for settings in self.table.iter() {
            let sink = &settings.sink;
            let hold = schedule.hold(sink, now_ms);
            let (bound_ms, property) = match hold {
                Some((HeldBy::RateLimit, _)) => (settings.interval_ms, P::RateKept),
                Some((HeldBy::RetryAfter, _)) => (QUARTER_MS, P::RetryAfterKept),
                _ => (300_000, P::BreakerHolds),
            };
            let is_bounded = hold.is_none_or(|(_, until_ms)| until_ms <= now_ms + bound_ms);
            check(is_bounded, property, || {
                format!("{sink} is held too long: {hold:?}")
            })?;
            let model = self.sinks.get(sink);
            let mut facts = schedule.sink_facts();
            let is_gone = facts.any(|facts| *facts.name == **sink && facts.gone.is_some());
            let is_busy = is_gone || model.is_some_and(|sink| !sink.in_flight.is_empty());
            if hold.is_some() || is_busy || all >= 4 {
                continue;
            }
            let idle = waiting.iter().find(|one| {
                let is_due = one.in_flight_ms.is_none() && one.next_ms <= now_ms;
                one.delivery.sink == *sink && is_due && !is_blocked(one, waiting)
            });
            check(idle.is_none(), P::NotIdle, || {
                format!("{idle:?} waits for nothing")
            })?;
        }
        Ok(())
    }

    /// Everything worked for a week, and everything is resolved.
    pub(super) fn at_the_end(&self, _now_ms: u64, retried: Option<&DeliveryId>) -> Checked {
        for ((sink, firing), first) in &self.firsts {
            let fallback = self.fallback(sink);
            let is_covered =
                fallback.is_none_or(|fallback| self.firsts.contains_key(&(fallback, *firing)));
            let is_known = first.is_settled || first.is_dead && is_covered;
            check(is_known, DeliveryProperty::NothingLost, || {
                format!("{firing:?} never came to {sink}: {first:?}")
            })?;
        }
        for (name, sink) in &self.sinks {
            for (firing, fires) in &sink.last {
                let is_known = !fires || sink.unresolved.contains(firing);
                check(is_known, DeliveryProperty::ResolveArrives, || {
                    format!("{firing:?} still fires at {name}")
                })?;
            }
        }
        if let Some(retried) = retried.and_then(|id| self.known.get(id)) {
            let is_sent = retried
                .retried_ms
                .is_some_and(|at_ms| retried.attempted_ms >= at_ms);
            check(is_sent, DeliveryProperty::RetryDone, || {
                format!("{retried:?}")
            })?;
        }
        Ok(())
    }
}
