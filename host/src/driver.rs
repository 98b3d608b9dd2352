//! The driver: the one loop that feeds the core and performs what it decides.
//!
//! Every room reports to it over bounded channels, and nothing else changes the fleet. It waits for nothing but the next event
//! or the core's next wake: what takes time runs in a task of its own and reports back as an event.

mod adopting;
mod answers;
mod breaker_counters;
mod connections;
mod effects;
mod handshake;
mod live;
mod ports;
mod reports;
mod request;
mod shim_blob;
mod state;
mod survivors;
mod tool_list;

use std::{sync::atomic::Ordering, time::Duration};

use router_core::event::Event;
use tokio::time::{Instant, sleep_until};

pub(crate) use ports::{Asking, Ports};
pub(crate) use request::{CommandResult, DriverRequest};
pub(crate) use state::{Driver, DriverParts};

/// Events taken in before the clock and the other channels are read again, so that a flood on one cannot starve the rest.
const BURST_MAX: usize = 256;

/// The loop runs at least this often, so that the liveness probe can tell.
const RUNS_EVERY: Duration = Duration::from_secs(1);

impl Driver {
    /// Takes in what is known before anything happens, so that the routing table is there before the first request is. Must be
    /// called within the runtime, once, before [`Driver::run`].
    pub(crate) fn apply_first(&mut self) {
        for event in std::mem::take(&mut self.parts.first) {
            self.step(event);
        }
    }

    /// Runs until the fleet has stopped after [`DriverRequest::Shutdown`].
    pub(crate) async fn run(mut self) {
        self.parts.supervisor.adopt_all();
        let mut reading = breaker_counters::read_interval();
        while !self.all_stopped {
            self.note_run();
            let wake = self.wake();
            tokio::select! {
                Some(event) = self.parts.supervisor_events.recv() => self.handle_supervisor_event(event),
                Some(event) = self.internal_events.recv() => self.handle_internal(event),
                Some(event) = self.parts.events.recv() => self.take_burst(event),
                Some(request) = self.parts.requests.recv() => self.handle_request(request),
                _ = reading.tick() => self.read_breaker_counters(),
                () = sleep_until(wake) => {
                    self.parts.ports.observe_lag(wake.elapsed());
                    self.step(Event::Tick);
                }
            }
        }
        self.close().await;
    }

    /// The proxy's events come in floods: as many as are there are taken in at once, up to a bound.
    fn take_burst(&mut self, first: Event) {
        self.step(first);
        for _ in 1..BURST_MAX {
            match self.parts.events.try_recv() {
                Ok(event) => self.step(event),
                Err(_) => return,
            }
        }
    }

    fn note_run(&self) {
        let now_ms = self.parts.clock.now().mono_ms;
        self.parts.loop_ran_ms.store(now_ms, Ordering::Relaxed);
    }

    fn wake(&self) -> Instant {
        let latest = Instant::now() + RUNS_EVERY;
        let due = self.fleet.next_wake();
        due.map_or(latest, |at| {
            Instant::from_std(self.parts.clock.instant_at(at)).min(latest)
        })
    }

    /// One step of the core, and everything it decided.
    fn step(&mut self, event: impl Into<Event>) {
        let mut actions = Vec::new();
        let now = self.parts.clock.now();
        self.fleet.step(now, event.into(), &mut actions);
        for action in actions {
            self.perform(action);
        }
    }

    fn command_done(&mut self, id: u64, result: CommandResult) {
        if let Some(reply) = self.commands.remove(&id) {
            // The caller may have gone; the command was carried out all the same.
            let _ = reply.send(result);
        }
    }

    /// After the last step: descriptors are closed before the shims are released.
    async fn close(mut self) {
        for (_, live) in self.live.drain() {
            live.close();
        }
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("driver tasks did not end in time");
        }
        self.parts.supervisor.release_all().await;
    }
}
