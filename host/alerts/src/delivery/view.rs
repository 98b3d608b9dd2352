//! What people see of deliveries: what waits, for what, until when; what was given up; and what rules see of sinks.

use std::sync::Arc;

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

impl Schedule {
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
