//! What people see of deliveries: what waits, for what, until when; what was given up; and what rules see of sinks.

use std::{collections::BTreeMap, sync::Arc};

use super::{Delivery, HeldBy, queue::QueueEntry, schedule::Schedule};
use crate::facts::SinkFacts;

/// One delivery that waits or is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDelivery {
    /// Which.
    pub delivery: Arc<Delivery>,
    /// Attempts that were begun.
    pub attempts: u32,
    /// An attempt is under way since then, in milliseconds since 1970.
    pub in_flight_ms: Option<u64>,
    /// It is not attempted before, in milliseconds since 1970.
    pub next_ms: u64,
    /// What holds it although it is due, and until when at the latest as far as that is known, in milliseconds since 1970.
    pub held: Option<(HeldBy, Option<u64>)>,
    /// Why the last attempt failed.
    pub failure: Option<String>,
    /// The fallback has it too, or knows already.
    pub fell_back: bool,
}

/// One delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which.
    pub delivery: Arc<Delivery>,
    /// When, in milliseconds since 1970.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
    /// Attempts that were begun.
    pub attempts: u32,
    /// An attempt may have arrived although nothing said so.
    pub may_have_arrived: bool,
}

/// The load of one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLoad {
    /// Which.
    pub sink: Arc<str>,
    /// Deliveries that wait or are under way.
    pub waiting: u64,
    /// Since when the oldest of them does, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// Deliveries that were given up.
    pub dead_letters: u64,
    /// What keeps it from attempting anything now.
    pub held: Option<SinkHold>,
}

/// Why a sink attempts nothing for now. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkHold {
    /// It takes nothing any more, until its configuration or a secret changes or an operator tries again.
    Gone,
    /// Its breaker is open.
    Breaker,
    /// The other side asked to be left alone (`Retry-After`).
    RetryAfter,
    /// It takes only so many in a time, and more than that is due.
    RateLimit,
}

impl SinkHold {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gone, Self::Breaker, Self::RetryAfter, Self::RateLimit];

    /// The name in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Breaker => "breaker",
            Self::RetryAfter => "retry_after",
            Self::RateLimit => "rate_limit",
        }
    }
}

impl Schedule {
    /// The load of each sink, by its name.
    pub fn sink_loads(&self, now_ms: u64) -> impl Iterator<Item = SinkLoad> {
        let mut dead: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in self.dead.values() {
            *dead.entry(&entry.delivery.sink).or_default() += 1;
        }
        self.queues.iter().map(move |(sink, queue)| {
            let is_due = |entry: &QueueEntry| {
                entry.state.in_flight_ms.is_none() && entry.state.next_ms <= now_ms
            };
            SinkLoad {
                sink: Arc::clone(sink),
                waiting: queue.len() as u64,
                oldest_ms: queue.entries().map(|entry| entry.state.since_ms).min(),
                dead_letters: dead.get(&**sink).copied().unwrap_or(0),
                held: match (&queue.gone, queue.hold(now_ms)) {
                    (Some(_), _) => Some(SinkHold::Gone),
                    (None, Some((HeldBy::Breaker, _))) => Some(SinkHold::Breaker),
                    (None, Some((HeldBy::RetryAfter, _))) => Some(SinkHold::RetryAfter),
                    (None, Some((HeldBy::RateLimit, _))) => {
                        queue.entries().any(is_due).then_some(SinkHold::RateLimit)
                    }
                    (None, Some((HeldBy::Order, _)) | None) => None,
                },
            }
        })
    }

    /// What waits for each sink, in the order in which it was ordered.
    pub fn waiting(&self, now_ms: u64) -> impl Iterator<Item = WaitingDelivery> {
        self.queues.values().flat_map(move |queue| {
            let hold = queue.hold(now_ms);
            queue.entries().map(move |entry| {
                let is_due = entry.state.in_flight_ms.is_none() && entry.state.next_ms <= now_ms;
                let held = if !is_due {
                    None
                } else if queue.is_blocked(entry, self.bugs) {
                    Some((HeldBy::Order, None))
                } else {
                    hold.map(|(by, until_ms)| (by, Some(until_ms)))
                };
                WaitingDelivery {
                    delivery: Arc::clone(&entry.delivery),
                    attempts: entry.state.attempts,
                    in_flight_ms: entry.state.in_flight_ms,
                    next_ms: entry.state.next_ms,
                    held,
                    failure: entry.state.failure.clone(),
                    fell_back: entry.state.fell_back,
                }
            })
        })
    }

    /// What was given up, in the order in which it was ordered.
    pub fn dead_letters(&self) -> impl Iterator<Item = DeadLetter> {
        let letter = |entry: &QueueEntry| {
            let (since_ms, reason) = entry.state.dead.clone()?;
            Some(DeadLetter {
                delivery: Arc::clone(&entry.delivery),
                since_ms,
                reason,
                attempts: entry.state.attempts,
                may_have_arrived: entry.state.may_have_arrived,
            })
        };
        self.dead.values().filter_map(letter)
    }

    /// The sinks as rules see them.
    pub fn sink_facts(&self) -> impl Iterator<Item = SinkFacts> {
        self.queues.iter().map(|(sink, queue)| {
            let dead = self.dead.values();
            let dead = dead.filter(|entry| entry.delivery.sink == *sink).count();
            SinkFacts {
                name: sink.to_string(),
                failing_since_ms: queue.breaker.failing_since_ms,
                reason: queue.failure.clone(),
                gone: queue.gone.clone(),
                waiting: u32::try_from(queue.len()).unwrap_or(u32::MAX),
                dead_letters: u32::try_from(dead).unwrap_or(u32::MAX),
                attributes: Vec::new(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{SinkHold, SinkLoad};
    use crate::{
        AlertId, AlertRef, DeliveryId, Severity,
        delivery::{
            Delivery, DeliveryOrder, Precedence, Schedule, ScheduleEffects, ScheduleEvent,
            ScheduleLimits, SinkSchedule, SinkTable,
        },
        notice::{DeliveryError, Occasion},
    };

    fn delivery(key: &str, decided_ms: u64) -> Delivery {
        let alert = AlertId::of(key);
        Delivery {
            id: DeliveryId::new(AlertRef { alert, firing: 1 }, 1, "pager"),
            sink: "pager".into(),
            route: None,
            group_key: key.into(),
            occasion: Occasion::Firing,
            precedence: Precedence::FirstFiring,
            severity: Severity::P1,
            news: vec![AlertRef { alert, firing: 1 }],
            listed: Vec::new(),
            more: 0,
            changes: Vec::new(),
            decided_ms,
            not_before_ms: decided_ms,
        }
    }

    /// A schedule of one sink, and its attempts so far.
    struct World {
        schedule: Schedule,
        effects: ScheduleEffects,
    }

    impl World {
        fn order(&mut self, now_ms: u64, key: &str) {
            let order = DeliveryOrder::Deliver(Arc::new(delivery(key, now_ms)));
            let event = ScheduleEvent::Ordered(vec![order]);
            self.schedule.step(now_ms, event, &mut self.effects);
        }

        /// The last attempt ends so.
        fn end(&mut self, now_ms: u64, error: DeliveryError) {
            let attempt = self.effects.attempts.pop().unwrap();
            let event = ScheduleEvent::Ended {
                delivery: attempt.delivery.id.clone(),
                attempt: attempt.attempt,
                result: Err(error),
            };
            self.schedule.step(now_ms, event, &mut self.effects);
        }

        fn load(&self, now_ms: u64) -> SinkLoad {
            self.schedule.sink_loads(now_ms).next().unwrap()
        }
    }

    #[test]
    fn a_sink_says_what_waits_since_when_and_what_holds_it() {
        let sink = SinkSchedule {
            sink: "pager".into(),
            interval_ms: 1_000,
            at_once_max: 4,
            fallback: None,
            is_per_alert: true,
            generation: 1,
        };
        let sinks = SinkTable::new([sink]).unwrap();
        let (schedule, effects) = Schedule::new(0, &sinks, ScheduleLimits::default(), 1, []);
        let mut world = World { schedule, effects };
        let idle = world.load(0);
        assert_eq!((idle.waiting, idle.oldest_ms, idle.held), (0, None, None));
        world.order(10_000, "a");
        // Its rate allows no other one now; that holds nothing, for nothing is due.
        assert_eq!(world.load(10_000).held, None);
        world.order(10_100, "b");
        let held = world.load(10_100);
        assert_eq!((held.waiting, held.oldest_ms), (2, Some(10_000)));
        assert_eq!(held.held, Some(SinkHold::RateLimit));
        world.end(
            10_200,
            DeliveryError::Retry {
                reason: String::new(),
                after_ms: Some(30_000),
            },
        );
        assert_eq!(world.load(10_300).held, Some(SinkHold::RetryAfter));
        world
            .schedule
            .step(41_000, ScheduleEvent::Tick, &mut world.effects);
        world.end(41_100, DeliveryError::Refused("no".to_owned()));
        let refused = world.load(41_100);
        assert_eq!((refused.waiting, refused.dead_letters), (1, 1));
        world
            .schedule
            .step(43_000, ScheduleEvent::Tick, &mut world.effects);
        world.end(43_100, DeliveryError::Gone("no".to_owned()));
        assert_eq!(world.load(43_100).held, Some(SinkHold::Gone));
    }
}
