//! What the supervisor reports, as events of the core.

use router_core::{
    Run, SlotKey,
    action::CrashRecord,
    event::{Evidence, Exit, Sample, SlotEvent},
};
use router_supervisor::{ExitCause, SlotExit, SupervisorEvent};
use router_values::whole_ms;

use super::state::Driver;

/// Methods in flight that are kept as evidence.
const IN_FLIGHT_KEPT: usize = 50;

impl Driver {
    /// Takes in what the supervisor reports.
    pub(super) fn handle_supervisor_event(&mut self, event: SupervisorEvent) {
        let Some(event) = self.survivors.hold_back(event) else {
            return;
        };
        match event {
            SupervisorEvent::Started { key, run, pid, io } => self.started(key, run, pid, io),
            SupervisorEvent::SpawnFailed { key, run, error } => {
                self.forget(&key, run);
                self.step(SlotEvent::SpawnFailed { error }.on(key, run));
            }
            SupervisorEvent::Adopted { key, run, adoption } => self.found(&key, run, adoption),
            SupervisorEvent::HeldElsewhere {
                key,
                router_id,
                pid,
            } => tracing::warn!(
                instance = %key.instance,
                reason = %router_id,
                pid,
                "instance is held by another router"
            ),
            SupervisorEvent::AdoptionFinished { adopted } => {
                tracing::info!(adopted, "adoption finished");
                self.found_all();
            }
            SupervisorEvent::Exited { key, run, exit } => self.exited(key, run, exit),
            SupervisorEvent::ShimLost { key, run } => {
                if let Some(live) = self.current(&key, run) {
                    live.close_died();
                }
                self.step(SlotEvent::ShimLost.on(key, run));
            }
            SupervisorEvent::Memory {
                key,
                run,
                rss_bytes,
                processes,
            } => self.sampled(key, run, rss_bytes, processes),
        }
    }

    fn exited(&mut self, key: SlotKey, run: Run, exit: SlotExit) {
        let live = self.forget(&key, run);
        let in_flight = live.as_ref().and_then(|live| live.upstream.as_ref());
        let evidence = Evidence {
            in_flight: in_flight.map_or_else(Vec::new, |upstream| {
                let calls = upstream.methods_in_flight();
                calls
                    .into_iter()
                    .take(IN_FLIGHT_KEPT)
                    .map(|call| call.what)
                    .collect()
            }),
            memory_bytes: exit
                .rss_bytes
                .or_else(|| live.as_ref().and_then(|live| live.memory_bytes)),
            stderr_tail: exit.stderr_tail,
        };
        let is_known = live.is_some();
        if let Some(live) = live {
            live.close_died();
        }
        let cause = exit.cause;
        let exit = match exit.exit {
            Some(router_supervisor::ProcessExit::Code(code)) => Exit::Code(code),
            Some(router_supervisor::ProcessExit::Signal(signal)) => Exit::Signal(signal),
            None => Exit::Unknown,
        };
        if !is_known && cause == ExitCause::Own && self.survivors.is_under_way() {
            // The core never knew this run; what it left behind is recorded all the same.
            self.parts.ports.keep_crash(CrashRecord {
                key: key.clone(),
                run,
                reason: format!("it {exit} while no router was there"),
                exit: Some(exit),
                lived_ms: 0,
                // Nobody saw otherwise, and the start was not this router's.
                was_ready: true,
                crash_loop: false,
                evidence: evidence.clone(),
            });
        }
        self.step(SlotEvent::Exited { exit, evidence }.on(key, run));
    }

    fn sampled(&mut self, key: SlotKey, run: Run, rss_bytes: u64, processes: u32) {
        let figures = self.parts.ports.figures(&key.instance);
        let Some(live) = self.current(&key, run) else {
            return;
        };
        live.memory_bytes = Some(rss_bytes);
        let upstream = live.upstream.as_ref();
        let sample = Sample {
            memory_bytes: Some(rss_bytes),
            processes,
            in_flight: upstream.map_or(0, |upstream| {
                u32::try_from(upstream.in_flight()).unwrap_or(u32::MAX)
            }),
            answered_ago_ms: upstream.map(|upstream| whole_ms(upstream.silent_for())),
            window_requests: figures.requests,
            window_errors: figures.errors,
            window_p50_ms: figures.p50_ms,
            window_p95_ms: figures.p95_ms,
            window_p99_ms: figures.p99_ms,
        };
        self.step(SlotEvent::Sampled { sample }.on(key, run));
    }
}
