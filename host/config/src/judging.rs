//! `[breaker]`, `[health]` and `[policy]`: by which numbers, how often and by whom instances are judged.

use std::time::Duration;

use crate::PolicyName;

/// `[breaker]`: when a breaker trips and how it recovers. `[template.NAME.breaker]` replaces single keys of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub consecutive_failures: u32,
    /// The time over which the shares are taken.
    pub window: Duration,
    /// Calls that the window must hold before its shares mean anything.
    pub min_samples: u64,
    /// Share of failed calls that opens it; above 1: never.
    pub failure_share: f64,
    /// Share of slow calls that opens it; above 1: never.
    pub slow_share: f64,
    /// How long the first OPEN lasts, before jitter.
    pub open: Duration,
    /// How long an OPEN lasts at most; each further one doubles up to it.
    pub open_max: Duration,
    /// Successful probes that close it.
    pub successes: u32,
    /// Probes that may be under way at once in HALF_OPEN.
    pub probes: u32,
    /// How long a probe keeps its permit.
    pub probe_timeout: Duration,
    /// Time CLOSED after which the length of OPEN starts from the first again.
    pub reset_after: Duration,
}

/// `[health]`: how often instances are looked at, and when the router as a whole is not well.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// How often each ready slot is judged anew.
    pub interval: Duration,
    /// How long a policy may take before the built-in rule answers in its place.
    pub policy_timeout: Duration,
    /// How often each ready slot is pinged.
    pub ping_interval: Duration,
    /// How long a ping may take.
    pub ping_timeout: Duration,
    /// For how long no wanted instance may be able to serve before readiness says `down`.
    pub unable_after: Duration,
    /// Share of a disk in use past which readiness says `degraded`.
    pub disk_share: f64,
}

/// `[policy]`: who answers which question. A template or an instance may name another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    /// Who judges health.
    pub health: PolicyName,
}
