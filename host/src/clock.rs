//! The router's one clock: milliseconds since it started, as the core counts them, and the calendar for people.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use router_core::Now;

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
        Now::at(millis(self.origin.elapsed()).saturating_add(1))
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

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
