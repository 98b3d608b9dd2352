//! What no descriptor announces, checked at intervals: a removed socket or lock, silent connections, and the absence of a router.

use std::time::{Duration, Instant};

use godot_mcp_shim::protocol::OnRouterExit;

use super::{RunPhase, SlotServer};

/// Between two checks: a socket that is missing for two seconds delays an adoption, and nothing else.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

impl SlotServer {
    /// Checks what is due.
    pub(super) fn upkeep(&mut self, now: Instant) {
        self.upkeep_at = now + INTERVAL;
        self.peers.drop_silent(now);
        if matches!(self.phase, RunPhase::Reported { .. } | RunPhase::Over) {
            return;
        }
        if self.lock.as_ref().is_some_and(|lock| !lock.in_place()) {
            let record = &self.record;
            let outcome = self.lock.as_mut().map(|lock| lock.put_back(record));
            self.log.note(if matches!(outcome, Some(Ok(()))) {
                "the lock file was gone and is put back"
            } else {
                "the lock file is gone and could not be put back"
            });
        }
        if !self.listener.in_place() {
            match self.listener.bind_again() {
                Ok(()) => self
                    .log
                    .note("the control socket was gone and is bound again"),
                Err(error) => self
                    .log
                    .note(&format!("the control socket is gone: {error}")),
            }
        }
    }

    /// Notes since when no router is connected, where that matters.
    pub(super) fn track_router(&mut self, now: Instant) {
        let watched =
            self.launch.on_router_exit == OnRouterExit::Stop && !self.peers.holder_connected();
        self.routerless_since = if watched {
            self.routerless_since.or(Some(now))
        } else {
            None
        };
    }

    /// When the child is to be stopped because no router has come back.
    pub(super) fn stop_routerless_at(&self) -> Option<Instant> {
        let grace = Duration::from_millis(self.launch.router_exit_grace_ms);
        self.routerless_since.map(|since| since + grace)
    }
}
