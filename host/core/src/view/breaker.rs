//! What is seen of an instance's breaker, of those of its tools, and of the plan that they go by.

use std::sync::Arc;

use crate::{breaker::plan::BreakerPlan, permit::BreakerState, settings::BreakerThresholds};

/// One breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct BreakerView {
    /// The state.
    pub state: BreakerState,
    /// Why it is not CLOSED, for people; empty when it is.
    pub reason: String,
    /// Time in this state.
    pub since_ms: u64,
    /// Until HALF_OPEN; `None` when not OPEN or isolated by hand.
    pub retry_after_ms: Option<u64>,
    /// Whether an operator isolated it.
    pub isolated: bool,
    /// How often it opened, less one for each long time CLOSED since: the next OPEN is that many doublings longer than the first.
    pub openings: u32,
}

/// The plan of one breaker.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanView {
    /// The policy that gave it; `None`: the built-in default.
    pub policy: Option<Arc<str>>,
    /// The plan in force.
    pub plan: Arc<BreakerPlan>,
    /// What the configuration says.
    pub configured: BreakerThresholds,
    /// For how long it has been in force.
    pub since_ms: u64,
    /// What the policy last answered, where that is only observed.
    pub observed: Option<ObservedPlanView>,
    /// The same, where it was refused.
    pub refused: Option<RefusedPlanView>,
}

/// A plan that is observed and not applied.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedPlanView {
    /// The policy that gave it.
    pub policy: Arc<str>,
    /// The plan.
    pub plan: Arc<BreakerPlan>,
    /// For how long it has been observed.
    pub since_ms: u64,
    /// The state that the breaker would be in.
    pub would_be: BreakerState,
    /// Requests that it would have rejected.
    pub would_reject: u64,
}

/// A plan that is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPlanView {
    /// The policy that gave it.
    pub policy: Arc<str>,
    /// Which of its numbers is out of which bounds.
    pub reason: String,
    /// How long ago it was given.
    pub ago_ms: u64,
}

/// The breaker of one tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolBreakerView {
    /// The tool.
    pub tool: Arc<str>,
    /// Its breaker.
    pub breaker: BreakerView,
}
