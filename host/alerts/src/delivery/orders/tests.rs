//! What no seed of the simulation comes to often enough.

use std::sync::Arc;

use crate::{
    AlertId, AlertRef, DeliveryId, Severity,
    delivery::{
        Delivery, DeliveryOrder, Precedence, Schedule, ScheduleEffects, ScheduleEvent,
        ScheduleLimits, SinkSchedule, SinkTable,
    },
    notice::{DeliveryError, Occasion},
};

const GROUP: &str = "group-P4";

/// The first firing of one alert, in its step.
fn delivery(step: u32, occasion: Occasion, precedence: Precedence, now_ms: u64) -> Delivery {
    let firing = AlertRef {
        alert: AlertId::of("key"),
        firing: 1,
    };
    Delivery {
        id: DeliveryId::new(firing, step, "chat"),
        sink: "chat".into(),
        route: None,
        group_key: GROUP.into(),
        occasion,
        precedence,
        severity: Severity::P4,
        news: vec![firing],
        listed: Vec::new(),
        more: 0,
        changes: Vec::new(),
        decided_ms: now_ms,
        not_before_ms: now_ms,
    }
}

/// A schedule of one sink with groups.
struct World {
    schedule: Schedule,
    effects: ScheduleEffects,
}

impl World {
    fn new() -> Self {
        let sink = SinkSchedule {
            sink: "chat".into(),
            interval_ms: 1,
            at_once_max: 1,
            fallback: None,
            is_per_alert: false,
            generation: 1,
        };
        let sinks = SinkTable::new([sink]).unwrap();
        let (schedule, effects) = Schedule::new(0, &sinks, ScheduleLimits::default(), 1, []);
        Self { schedule, effects }
    }

    fn order(&mut self, now_ms: u64, delivery: Delivery) {
        let order = DeliveryOrder::Deliver(Arc::new(delivery));
        self.step(now_ms, ScheduleEvent::Ordered(vec![order]));
    }

    fn step(&mut self, now_ms: u64, event: ScheduleEvent) {
        self.schedule.step(now_ms, event, &mut self.effects);
    }

    /// What is attempted last ends so. Returns what it was.
    fn end(&mut self, now_ms: u64, result: Result<(), DeliveryError>) -> Occasion {
        let attempt = self.effects.attempts.pop().expect("an attempt");
        let event = ScheduleEvent::Ended {
            delivery: attempt.delivery.id.clone(),
            attempt: attempt.attempt,
            result: result.map(|()| None),
        };
        self.step(now_ms, event);
        attempt.delivery.occasion.clone()
    }
}

/// An acknowledgement that was queued while the firing was a dead letter is the first news of it to the sink; an operator sends the firing
/// again all the same, and so its end is to be sent, too.
#[test]
fn a_firing_that_was_sent_again_by_hand_gets_its_resolve() {
    let mut world = World::new();
    let firing = delivery(1, Occasion::Firing, Precedence::FirstFiring, 0);
    let id = firing.id.clone();
    world.order(0, firing);
    world.end(10, Err(DeliveryError::Refused("no such field".to_owned())));
    let acknowledged = Occasion::Acknowledged("somebody".to_owned());
    let later = delivery(2, acknowledged, Precedence::Update, 5_000);
    world.order(1_000, later);
    assert!(world.effects.attempts.is_empty(), "it is not due yet");
    let by = "somebody".to_owned();
    world.step(2_000, ScheduleEvent::Retry { delivery: id, by });
    let later = DeliveryError::Other("later".to_owned());
    assert_eq!(world.end(2_010, Err(later)), Occasion::Firing);
    world.order(
        3_000,
        delivery(3, Occasion::Resolved, Precedence::Resolve, 3_000),
    );
    let mut heard = Vec::new();
    for minute in 1..=60 {
        world.step(minute * 60_000, ScheduleEvent::Tick);
        while !world.effects.attempts.is_empty() {
            heard.push(world.end(minute * 60_000 + 10, Ok(())));
            world.step(minute * 60_000 + 20, ScheduleEvent::Tick);
        }
    }
    assert_eq!(heard, [Occasion::Firing, Occasion::Resolved]);
}
