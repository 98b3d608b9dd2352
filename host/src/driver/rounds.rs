//! What the driver does by the clock alone: reading the breakers' counters.

use std::time::Duration;

use router_core::event::TrafficEvent;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Driver;

/// How often the breakers' counters are read: a window of 60 s then has thirty readings.
const TRAFFIC_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Rounds {
    traffic: Interval,
}

impl Rounds {
    pub(super) fn new() -> Self {
        let mut traffic = interval(TRAFFIC_EVERY);
        traffic.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { traffic }
    }

    pub(super) async fn next(&mut self) {
        self.traffic.tick().await;
    }
}

impl Driver {
    pub(super) fn round(&mut self) {
        // Outcomes that are queued come first: one death with many requests in flight is one failure, and only they say so.
        // No more than are queued now: a flood must not keep the loop here.
        for _ in 0..self.parts.events.len() {
            let Ok(event) = self.parts.events.try_recv() else {
                break;
            };
            self.step(event);
        }
        let traffic: Vec<TrafficEvent> = self
            .cells
            .iter()
            .map(|(instance, cell)| TrafficEvent::Counted {
                instance: instance.clone(),
                totals: cell.totals(),
            })
            .collect();
        for event in traffic {
            self.step(event);
        }
    }
}
