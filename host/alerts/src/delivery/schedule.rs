//! The schedule: when each delivery is attempted, how often, in which order, through which fallback, and when it is given up.
//!
//! It is a state machine without I/O. Everything that it must know again after a crash is in rows, and each step says which of them
//! changed: the caller writes these in one record of the journal, and begins the attempts when that is on disk. An attempt that was
//! begun and whose end is unknown after a restart is made again under the same id.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use router_core::jitter::Jitter;

use super::{
    Delivery, DeliveryOrder, DeliveryProgress, DeliveryReport, HeldBy, SinkHealth,
    planted::{PlantedBug, PlantedBugs},
    queue::{QueueEntry, SinkQueue},
    retry,
    rows::{DeliveryRow, DeliveryRowKey, RowChange},
    sinks::SinkTable,
};
use crate::{
    DeliveryId, Severity,
    notice::{DeliveryError, Receipt},
};

/// How much the schedule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduleLimits {
    /// Deliveries that wait, of P3 and P4: two for each of the most alerts that there may be.
    pub waiting_max: usize,
    /// With those of P1 and P2, which may crowd out the others.
    pub urgent_waiting_max: usize,
    /// Dead letters; of more the least urgent, the oldest first, is forgotten.
    pub dead_max: usize,
    /// Attempts under way, to all sinks together: each is a call of a plugin, with its memory.
    pub in_flight_max: u32,
    /// Of these only a P1's.
    pub in_flight_kept: u32,
}

impl Default for ScheduleLimits {
    fn default() -> Self {
        Self {
            waiting_max: 20_000,
            urgent_waiting_max: 30_000,
            dead_max: 1_000,
            in_flight_max: 32,
            in_flight_kept: 8,
        }
    }
}

/// What the schedule is fed.
#[derive(Debug, Clone)]
pub enum ScheduleEvent {
    /// The sinks, as they are from now on. What waits for one that is no more goes to the fallback that it had, and to the dead
    /// letters.
    Configured(SinkTable),
    /// What the engine ordered in one step.
    Ordered(Vec<DeliveryOrder>),
    /// How an attempt ended. One that was not answered in time ended with [`DeliveryError::Other`].
    Ended {
        /// Of which delivery.
        delivery: DeliveryId,
        /// Which attempt, from 1.
        attempt: u32,
        /// What the sink answered.
        result: Result<Option<Receipt>, DeliveryError>,
    },
    /// An operator sends a delivery, a dead letter above all, again, and its sink is tried at once.
    Retry {
        /// Which.
        delivery: DeliveryId,
        /// Who asked for it.
        by: String,
    },
    /// Time has passed.
    Tick,
}

/// What a step decided, in the order in which it is to be done: `changes` are written and synced before an attempt begins.
#[derive(Debug, Default)]
pub struct ScheduleEffects {
    /// What has to be on disk first.
    pub changes: Vec<RowChange>,
    /// What is to be attempted now.
    pub attempts: Vec<Attempt>,
    /// What became of deliveries.
    pub reports: Vec<DeliveryReport>,
    /// Sinks whose health changed.
    pub sinks: Vec<SinkHealth>,
}

/// One attempt to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// At what.
    pub delivery: Arc<Delivery>,
    /// Which, from 1.
    pub attempt: u32,
    /// What the sink returned for the delivery before about the same group.
    pub receipt: Option<Receipt>,
    /// It fired and is over, and this is the first that the sink hears of either.
    pub is_over: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Schedule {
    pub(super) queues: BTreeMap<Arc<str>, SinkQueue>,
    pub(super) ids: BTreeMap<DeliveryId, DeliveryPlace>,
    pub(super) dead: BTreeMap<u64, QueueEntry>,
    pub(super) limits: ScheduleLimits,
    pub(super) next_seq: u64,
    pub(super) in_flight: u32,
    pub(super) jitter: Jitter,
    /// Rows that the present step changed.
    pub(super) dirty: BTreeSet<DeliveryRowKey>,
    /// Sinks to go through in the present step.
    pub(super) touched: BTreeSet<Arc<str>>,
    /// Sinks that could begin nothing because too much was under way elsewhere.
    starved: BTreeSet<Arc<str>>,
    pub(super) bugs: PlantedBugs,
}

/// Where a delivery is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeliveryPlace {
    Waiting(Arc<str>, u64),
    Dead(u64),
}

impl Schedule {
    /// A schedule for these sinks, with what the journal kept of the one before. `seed` must be another one in each life.
    #[must_use]
    pub fn new(
        now_ms: u64,
        sinks: &SinkTable,
        limits: ScheduleLimits,
        seed: u64,
        kept: impl IntoIterator<Item = DeliveryRow>,
    ) -> (Self, ScheduleEffects) {
        Self::with_bugs(now_ms, sinks, limits, seed, kept, PlantedBugs::default())
    }

    pub(super) fn with_bugs(
        now_ms: u64,
        sinks: &SinkTable,
        limits: ScheduleLimits,
        seed: u64,
        kept: impl IntoIterator<Item = DeliveryRow>,
        bugs: PlantedBugs,
    ) -> (Self, ScheduleEffects) {
        let mut schedule = Self {
            queues: BTreeMap::new(),
            ids: BTreeMap::new(),
            dead: BTreeMap::new(),
            limits,
            next_seq: 1,
            in_flight: 0,
            jitter: Jitter::new(seed),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            starved: BTreeSet::new(),
            bugs,
        };
        let mut effects = ScheduleEffects::default();
        schedule.resume(now_ms, kept);
        schedule.configure(now_ms, sinks, &mut effects);
        schedule.settle(now_ms, &mut effects);
        (schedule, effects)
    }

    /// One step.
    ///
    /// Times are milliseconds since 1970 that never go back within one life: a clock that is set must not bring attempts forward
    /// or hold them up.
    pub fn step(&mut self, now_ms: u64, event: ScheduleEvent, effects: &mut ScheduleEffects) {
        match event {
            ScheduleEvent::Configured(sinks) => self.configure(now_ms, &sinks, effects),
            ScheduleEvent::Ordered(orders) => {
                for order in orders {
                    match order {
                        DeliveryOrder::Deliver(delivery) => {
                            self.accept(now_ms, Arc::unwrap_or_clone(delivery), &[], effects);
                        }
                        DeliveryOrder::CancelUnattempted(firing) => self.cancel(firing, effects),
                    }
                }
            }
            ScheduleEvent::Ended {
                delivery,
                attempt,
                result,
            } => self.end(now_ms, &delivery, attempt, result, effects),
            ScheduleEvent::Retry { delivery, by } => self.retry(now_ms, &delivery, by, effects),
            ScheduleEvent::Tick => {}
        }
        self.settle(now_ms, effects);
    }

    /// When it wants a `Tick`, in milliseconds since 1970.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        self.queues.values().filter_map(|queue| queue.wake_ms).min()
    }

    /// Goes through what the step touched, and what became due, until nothing is left to decide.
    fn settle(&mut self, now_ms: u64, effects: &mut ScheduleEffects) {
        for (sink, queue) in &self.queues {
            if queue.wake_ms.is_some_and(|wake_ms| wake_ms <= now_ms) {
                self.touched.insert(Arc::clone(sink));
            }
        }
        // It ends: what falls back goes along a way without cycles.
        while let Some(sink) = self.touched.pop_first() {
            self.end_lost(now_ms, &sink, effects);
            self.expire(now_ms, &sink, effects);
            self.fall_back(now_ms, &sink, effects);
            self.begin_due(now_ms, &sink, effects);
            self.survey(now_ms, &sink, effects);
        }
        let dirty = std::mem::take(&mut self.dirty);
        effects
            .changes
            .extend(dirty.into_iter().map(|key| self.row_change(key)));
    }

    /// Attempts whose end was not reported have failed.
    fn end_lost(&mut self, now_ms: u64, sink: &Arc<str>, effects: &mut ScheduleEffects) {
        let Some(queue) = self.queues.get(sink) else {
            return;
        };
        let is_lost = |entry: &&QueueEntry| {
            let since_ms = entry.state.in_flight_ms;
            since_ms.is_some_and(|since_ms| now_ms >= since_ms + retry::ATTEMPT_LOST_MS)
        };
        let lost = queue.entries().filter(is_lost);
        let lost: Vec<(DeliveryId, u32)> = lost
            .map(|entry| (entry.delivery.id.clone(), entry.state.attempts))
            .collect();
        for (delivery, attempt) in lost {
            let error = DeliveryError::Other("nothing was heard of the attempt".to_owned());
            self.end(now_ms, &delivery, attempt, Err(error), effects);
        }
    }

    /// What nobody took in all its time is given up.
    fn expire(&mut self, now_ms: u64, sink: &Arc<str>, effects: &mut ScheduleEffects) {
        let Some(queue) = self.queues.get(sink) else {
            return;
        };
        let is_expired = |entry: &&QueueEntry| {
            entry.state.in_flight_ms.is_none() && entry.expires_ms() <= now_ms
        };
        let expired = queue.entries().filter(is_expired);
        let expired: Vec<u64> = expired.map(|entry| entry.state.seq).collect();
        for seq in expired {
            self.bury(
                now_ms,
                sink,
                seq,
                "not delivered in time".to_owned(),
                effects,
            );
        }
    }

    /// Begins what is due and may be.
    fn begin_due(&mut self, now_ms: u64, sink: &Arc<str>, effects: &mut ScheduleEffects) {
        let (limits, bugs) = (self.limits, self.bugs);
        self.starved.remove(sink);
        while let Some(queue) = self.queues.get_mut(sink) {
            let is_held = match queue.hold(now_ms) {
                Some((HeldBy::RateLimit, _)) => !bugs.has(PlantedBug::RateIgnored),
                Some((HeldBy::Breaker, _)) => !bugs.has(PlantedBug::BreakerIgnored),
                Some(_) => true,
                None => false,
            };
            let is_gone = queue.gone.is_some() && !bugs.has(PlantedBug::GoneIgnored);
            if is_held || is_gone {
                return;
            }
            let (mut urgent, mut others) = queue.room(now_ms);
            if bugs.has(PlantedBug::RoomIgnored) && !queue.breaker.is_half_open(now_ms) {
                (urgent, others) = (true, true);
            } else if self.in_flight >= limits.in_flight_max.saturating_sub(limits.in_flight_kept) {
                self.starved.insert(Arc::clone(sink));
                others = false;
                urgent &= self.in_flight < limits.in_flight_max;
            }
            if !urgent {
                return;
            }
            let Some(seq) = queue.pick(now_ms, others, bugs) else {
                return;
            };
            if queue.is_needless(seq) && !bugs.has(PlantedBug::ResolveUnheard) {
                self.drop_needless(sink, seq, effects);
                continue;
            }
            let Some(state) = queue.state_mut(seq) else {
                return;
            };
            state.attempts += 1;
            state.tries += 1;
            state.in_flight_ms = Some(now_ms);
            queue.set_held(seq, None);
            queue.in_flight += 1;
            queue.next_free_ms = now_ms + queue.settings.interval_ms;
            self.in_flight += 1;
            let Some(entry) = queue.get(seq) else {
                return;
            };
            let group = &entry.delivery.group_key;
            effects.attempts.push(Attempt {
                delivery: Arc::clone(&entry.delivery),
                attempt: entry.state.attempts,
                receipt: queue
                    .receipts
                    .get(group)
                    .map(|(_, receipt)| receipt.clone()),
                is_over: !entry.is_resolve() && !entry.state.over.is_empty(),
            });
            let attempt = entry.state.attempts;
            report(
                effects,
                &entry.delivery,
                DeliveryProgress::Attempted { attempt },
            );
            self.dirty
                .insert(DeliveryRowKey::State(entry.delivery.id.clone()));
            self.dirty.insert(DeliveryRowKey::Sink(Arc::clone(sink)));
        }
    }

    /// Says what waits although it is due, and finds when to go through the sink again.
    fn survey(&mut self, now_ms: u64, sink: &Arc<str>, effects: &mut ScheduleEffects) {
        let bugs = self.bugs;
        let Some(queue) = self.queues.get(sink) else {
            return;
        };
        let hold = queue.hold(now_ms);
        let (urgent, others) = queue.room(now_ms);
        let mut wake_ms = u64::MAX;
        let mut held: Vec<(u64, HeldBy, u64)> = Vec::new();
        let mut due: u64 = 0;
        for entry in queue.entries() {
            let state = &entry.state;
            if let Some(since_ms) = state.in_flight_ms {
                wake_ms = wake_ms.min(since_ms + retry::ATTEMPT_LOST_MS);
                if let Some(at_ms) = self.falls_back_at(queue, entry, now_ms) {
                    wake_ms = wake_ms.min(at_ms);
                }
                continue;
            }
            wake_ms = wake_ms.min(entry.expires_ms());
            if let Some(at_ms) = self.falls_back_at(queue, entry, now_ms) {
                wake_ms = wake_ms.min(at_ms);
            }
            if queue.gone.is_some() {
                continue;
            }
            let has_room = if state.severity == Severity::P1 {
                urgent
            } else {
                others
            };
            if state.next_ms > now_ms {
                wake_ms = wake_ms.min(state.next_ms);
            } else if queue.is_blocked(entry, bugs) {
                let first = queue.first_ahead_of(entry).and_then(|seq| queue.get(seq));
                let until_ms = first.map_or(now_ms, QueueEntry::expires_ms);
                held.push((state.seq, HeldBy::Order, until_ms));
            } else if let Some((by, until_ms)) = hold {
                if has_room && !(bugs.has(PlantedBug::WakeMissed) && by == HeldBy::RateLimit) {
                    wake_ms = wake_ms.min(until_ms);
                }
                held.push((state.seq, by, until_ms + due * queue.settings.interval_ms));
                due += 1;
            }
        }
        let Some(queue) = self.queues.get_mut(sink) else {
            return;
        };
        queue.wake_ms = (wake_ms < u64::MAX).then_some(wake_ms);
        for (seq, by, until_ms) in held {
            let Some(entry) = queue.get(seq) else {
                continue;
            };
            if entry.held != Some(by) {
                report(
                    effects,
                    &entry.delivery,
                    DeliveryProgress::Held { by, until_ms },
                );
                queue.set_held(seq, Some(by));
            }
        }
    }

    /// Sinks that waited for one of all attempts to end get their chance.
    pub(super) fn free_room(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.touched.append(&mut self.starved);
    }
}

/// Reports what became of a delivery.
pub(super) fn report(
    effects: &mut ScheduleEffects,
    of: &Arc<Delivery>,
    progress: DeliveryProgress,
) {
    effects.reports.push(DeliveryReport {
        delivery: of.id.clone(),
        sink: Arc::clone(&of.sink),
        group_key: Arc::clone(&of.group_key),
        precedence: of.precedence,
        news: of.news.clone(),
        content: Arc::clone(of),
        progress,
    });
}
