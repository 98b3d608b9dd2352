//! What a breaker's cell holds and reports, as plain values: its state and setting, verdicts, counters, and rejections.

use std::fmt;

/// The states. CLOSED admits, OPEN rejects, HALF_OPEN admits a bounded number of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Admits.
    Closed,
    /// Rejects.
    Open,
    /// Admits probes, once the instance has answered something.
    HalfOpen,
}

impl BreakerState {
    /// The name shown in JSON, logs and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::HalfOpen => "HALF_OPEN",
        }
    }
}

/// What the cell is to hold, as the core decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSetting {
    /// The state.
    pub state: BreakerState,
    /// Grows with each change of state; a verdict on a permit of another generation is void.
    pub generation: u32,
    /// When OPEN ends; `None` when isolated by hand, and in the other states.
    pub retry_at_ms: Option<u64>,
    /// Leases of a HALF_OPEN generation; 0 while the instance has not answered anything yet.
    pub permits: u32,
    /// How long a probe keeps its lease.
    pub probe_ms: u64,
    /// Whether failures have been counted in a row, so that a success must be reported to end the row.
    pub streak: bool,
}

impl BreakerSetting {
    /// What is published of it after `published`: within a generation only the row of failures may change, and new thresholds come
    /// with the next one.
    pub(crate) fn within(self, published: Option<&Self>) -> Self {
        match published {
            Some(published) if published.generation == self.generation => Self {
                streak: self.streak,
                ..*published
            },
            _ => self,
        }
    }
}

impl Default for BreakerSetting {
    fn default() -> Self {
        Self {
            state: BreakerState::Closed,
            generation: 1,
            retry_at_ms: None,
            permits: 0,
            probe_ms: 0,
            streak: false,
        }
    }
}

/// What a request's end means for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The instance failed.
    Failure,
    /// The instance answered.
    Success,
    /// The instance answered, but too late.
    Slow,
    /// Says nothing about the instance (the client went away, say).
    Ignore,
}

impl Class {
    /// The name shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Success => "success",
            Self::Slow => "slow",
            Self::Ignore => "ignore",
        }
    }
}

/// A verdict that the core must know, in [`crate::event::TrafficEvent::Outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The permit's generation.
    pub generation: u32,
    /// The verdict.
    pub class: Class,
}

/// Counters since the cell was made. Wrapping is of no concern: the core uses differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerTotals {
    /// Requests with a verdict.
    pub calls: u64,
    /// Failures among them.
    pub failures: u64,
    /// Slow ones among them.
    pub slow: u64,
    /// Requests rejected.
    pub rejected: u64,
}

/// A request that was not admitted. `Display` is the text that the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// OPEN or HALF_OPEN.
    pub state: BreakerState,
    /// When to try again; `None` when isolated by hand.
    pub retry_after_ms: Option<u64>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.as_str();
        match self.retry_after_ms {
            Some(ms) => write!(f, "Circuit breaker is {state}. Retry in {ms}ms"),
            None => write!(
                f,
                "Circuit breaker is {state}. An operator isolated this instance until the breaker is reset"
            ),
        }
    }
}

impl std::error::Error for Rejected {}
