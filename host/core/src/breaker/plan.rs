//! What a breaker policy is asked and answers: the profile of an instance in, the numbers for its breaker out.
//!
//! The WIT interface `router:breaker/breaker` mirrors these types; the built-in default answers from the same profile. A plan comes
//! from a guest: nothing of it counts before [`BreakerPlan::check`] took it as a whole.

mod check;
#[cfg(test)]
mod tests;

use crate::{classify::ClassTable, settings::BreakerThresholds};

pub use check::{PlanFault, ROWS_MAX, TOOL_NAME_BYTES_MAX, TOOL_ROWS_MAX};

/// What is known of an instance when its policy is asked for a plan.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BreakerProfile {
    /// The instance's id.
    pub instance: String,
    /// The template that it is made from, where there is one.
    pub template: Option<String>,
    /// How the router speaks to it, as the configuration writes it.
    pub transport: String,
    /// The thresholds of the configuration: those of `[template.NAME.breaker]` over those of `[breaker]`.
    pub configured: BreakerThresholds,
    /// What its calls were like over the last 5 minutes.
    pub figures: CallFigures,
    /// The same of its tools that were called, the busiest first, at most [`TOOL_PROFILES_MAX`]. The core leaves them out: they are
    /// filled in by the room that has measured them.
    pub tools: Vec<ToolProfile>,
    /// Room to grow without breaking compiled guests.
    pub attributes: Vec<(String, String)>,
}

/// Most tools in a profile (design, section 10): a plan has rows for as many.
pub const TOOL_PROFILES_MAX: usize = 256;

/// What calls were like over the last 5 minutes. Percentiles and shares are absent under 20 calls.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CallFigures {
    /// Calls per minute.
    pub calls_per_minute: f64,
    /// Half of them took at most this.
    pub p50_ms: Option<f64>,
    /// 99 % of them took at most this.
    pub p99_ms: Option<f64>,
    /// Share of errors among them, from 0 to 1.
    pub error_share: Option<f64>,
}

/// What is known of the calls of one tool over the last 5 minutes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolProfile {
    /// Its name.
    pub name: String,
    /// Calls that ended.
    pub calls: u64,
    /// Half of them took at most this; absent under 20 calls.
    pub p50_ms: Option<f64>,
    /// 99 % of them took at most this; absent under 20 calls.
    pub p99_ms: Option<f64>,
    /// Share of errors among them, from 0 to 1; absent under 20 calls.
    pub error_share: Option<f64>,
    /// Room to grow.
    pub attributes: Vec<(String, String)>,
}

/// What a policy answered: numbers and meanings, never a state.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerPlan {
    /// When the breaker trips and how it recovers.
    pub thresholds: BreakerThresholds,
    /// What the end of a request means, and from when on one is slow: after the thresholds' `slow_ms`.
    pub table: ClassTable,
    /// The same for single tools.
    pub tools: Vec<ToolRow>,
    /// Whether it is applied.
    pub mode: PlanMode,
    /// Why the thresholds are these, for people.
    pub reason: String,
}

/// What counts as what for some tools.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolRow {
    /// A tool's whole name, or the beginning of one and `*`.
    pub tool: String,
    /// What the end of a call of it means, before the plan's table for all, and from when on one is slow; `None`: as for all.
    pub table: ClassTable,
}

/// What the router does with a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlanMode {
    /// It applies it.
    Enforce,
    /// It goes on with the plan before, and shows this one beside it.
    Observe,
}

impl PlanMode {
    /// The name shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// Calls per minute under which a rate has not changed: few calls double by chance.
const RATE_MIN: f64 = 10.0;
/// Milliseconds under which a duration has not changed.
const DURATION_MIN_MS: f64 = 10.0;
/// By which factor a rate or a duration has changed much.
const FACTOR: f64 = 2.0;
/// By which step a share has changed much.
const STEP: f64 = 0.1;

impl CallFigures {
    /// Whether a policy that was asked with these may answer something else with `later`: a rate or a percentile has doubled or
    /// halved, the share of errors has moved by a tenth, or one of them has become known or unknown.
    #[must_use]
    pub fn differs_much(&self, later: &Self) -> bool {
        let by_factor = |before: f64, after: f64, least: f64| {
            let (before, after) = (before.max(least), after.max(least));
            before.max(after) >= FACTOR * before.min(after)
        };
        let of_duration = |before: Option<f64>, after: Option<f64>| match (before, after) {
            (Some(before), Some(after)) => by_factor(before, after, DURATION_MIN_MS),
            (before, after) => before.is_some() != after.is_some(),
        };
        let of_share = match (self.error_share, later.error_share) {
            (Some(before), Some(after)) => (before - after).abs() >= STEP,
            (before, after) => before.is_some() != after.is_some(),
        };
        by_factor(self.calls_per_minute, later.calls_per_minute, RATE_MIN)
            || of_duration(self.p50_ms, later.p50_ms)
            || of_duration(self.p99_ms, later.p99_ms)
            || of_share
    }
}

/// The built-in default: the numbers of the configuration. Answers where no policy is configured, and until one has answered.
#[must_use]
pub fn builtin(configured: &BreakerThresholds) -> BreakerPlan {
    BreakerPlan {
        thresholds: configured.clone(),
        table: ClassTable::new(Vec::new(), configured.slow_ms),
        tools: Vec::new(),
        mode: PlanMode::Enforce,
        reason: "the thresholds of the configuration".to_owned(),
    }
}
