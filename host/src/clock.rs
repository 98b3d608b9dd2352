//! The router's one clock: milliseconds since it started, as the core counts them.

use std::time::{Duration, Instant};

use router_core::Now;
use router_values::whole_ms;

/// A monotonic clock with a fixed origin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that starts now, at 1: to the core, 0 is before everything.
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// The present.
    pub(crate) fn now(&self) -> Now {
        Now::at(whole_ms(self.origin.elapsed()).saturating_add(1))
    }

    /// The instant at which [`Clock::now`] reaches `mono_ms`.
    pub(crate) fn instant_at(&self, mono_ms: u64) -> Instant {
        self.origin + Duration::from_millis(mono_ms.saturating_sub(1))
    }

    /// Time left until `mono_ms`; zero where it has passed.
    pub(crate) fn until(&self, mono_ms: u64) -> Duration {
        self.instant_at(mono_ms)
            .saturating_duration_since(Instant::now())
    }

    /// When it started.
    pub(crate) fn started(&self) -> Instant {
        self.origin
    }
}
