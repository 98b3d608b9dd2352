//! What a health policy is asked, and what it may answer.
//!
//! The WIT interface `router:plugin/health-policy` mirrors these types; the built-in default answers from the same facts.

/// The facts about one ready slot that a health policy judges. All durations are milliseconds, all sizes bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HealthFacts {
    /// The instance's id.
    pub instance: String,
    /// Which slot of it.
    pub slot: u32,
    /// Time since the slot became ready.
    pub uptime_ms: u64,
    /// Resident memory of the whole process tree, where it could be read.
    pub memory_bytes: Option<u64>,
    /// The template's `max_memory_mb`, where set.
    pub memory_limit_bytes: Option<u64>,
    /// How long ago the instance last answered anything (a ping or a request).
    pub heartbeat_age_ms: u64,
    /// Pings without an answer in a row.
    pub pings_failed: u32,
    /// Round trip of the last answered ping.
    pub ping_ms: Option<f64>,
    /// Requests over the last 5 minutes.
    pub window_requests: u64,
    /// Errors among them (breaker rejections and a tool's `isError` do not count).
    pub window_errors: u64,
    /// 95th percentile over the last 5 minutes; absent under 20 requests.
    pub window_p95_ms: Option<f64>,
    /// Starts after a failure over the last 5 minutes.
    pub restarts_recent: u32,
    /// Requests now waiting for an answer.
    pub in_flight: u32,
    /// Tools that the last good tool list had and the present one lacks.
    pub tools_missing: Vec<String>,
    /// Tools in the present list.
    pub tools_count: u32,
    /// Room to grow without breaking compiled guests.
    pub attributes: Vec<(String, String)>,
}

/// Health of a ready slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Serves as expected.
    Healthy,
    /// Serves, but somebody should look.
    Degraded,
    /// Does not serve as it should.
    Unhealthy,
}

impl Health {
    /// The word shown in JSON, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What a health policy (or the built-in default) answered about one slot.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthVerdict {
    /// The health.
    pub health: Health,
    /// Why, in words an operator reads; empty only for `healthy`.
    pub reason: String,
    /// Whether the slot should be drained and started anew. The host bounds how often it obeys.
    pub recycle: bool,
    /// Room to grow.
    pub attributes: Vec<(String, String)>,
}
