//! Reading the breakers' counters, by the clock alone.

use std::time::Duration;

use router_core::event::TrafficEvent;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::state::Driver;

/// How often they are read: a window of 60 s then has thirty readings.
const READ_EVERY: Duration = Duration::from_secs(2);

/// When they are to be read.
pub(super) fn read_interval() -> Interval {
    let mut every = interval(READ_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}

impl Driver {
    pub(super) fn read_breaker_counters(&mut self) {
        // Outcomes that are queued come first: one death with many requests in flight is one failure, and only they say so.
        // No more than are queued now: a flood must not keep the loop here.
        for _ in 0..self.parts.events.len() {
            let Ok(event) = self.parts.events.try_recv() else {
                break;
            };
            self.step(event);
        }
        let mut counted: Vec<TrafficEvent> = self
            .breakers
            .iter()
            .map(|(instance, breaker)| TrafficEvent::Counted {
                instance: instance.clone(),
                totals: breaker.cell().totals(),
            })
            .collect();
        counted.extend(self.tools.iter().map(|(instance, tools)| {
            let totals = tools.iter();
            let totals = totals.map(|tool| (tool.name.clone(), tool.breaker.cell().totals()));
            TrafficEvent::ToolsCounted {
                instance: instance.clone(),
                totals: totals.collect(),
            }
        }));
        for event in counted {
            self.step(event);
        }
    }
}
