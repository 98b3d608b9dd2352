//! Questions that the core asks of policies, and their answers: one case per kind. Which component answers, and how, is the
//! plugin engine's business.

use std::sync::Arc;

use crate::{
    breaker::plan::{BreakerPlan, BreakerProfile},
    capacity::{CapacityLoad, CapacityPlan},
    health::{HealthFacts, HealthVerdict},
    id::{InstanceId, SlotKey},
};

/// The kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// Judges slots.
    Health,
    /// Gives breaker thresholds and the classification table.
    Breaker,
    /// Judges capacity.
    Capacity,
    /// Judges what deserves an alert.
    AlertRule,
}

impl PolicyKind {
    /// The world that its plugins are built for.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health-policy",
            Self::Breaker => "breaker-policy",
            Self::Capacity => "capacity-policy",
            Self::AlertRule => "alert-rule",
        }
    }
}

/// Names one question. Strictly increasing over the life of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// Time for an answer to come back from the host after its own deadline, before the core stops waiting for it.
pub(crate) const ANSWER_SLACK_MS: u64 = 250;

/// The names of the policies that are asked together, in the order configured. Empty: none is, and the built-in rule answers.
pub type PolicyNames = Arc<[Arc<str>]>;

/// A question on its way to its policies. Answered by one [`crate::event::PolicyEvent::Answered`]; past `deadline_ms` the
/// built-in rule answers. A slot, an instance and the fleet have one question open at a time each; after
/// [`crate::event::PolicyEvent::Changed`] the one before is void.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Names the question.
    pub id: QuestionId,
    /// Whom to ask: all of them, at once.
    pub policies: PolicyNames,
    /// What is asked.
    pub question: Question,
    /// How long the answers are waited for.
    pub deadline_ms: u64,
    /// The candidate of this number is asked, in its trial; `None`: the generation in force.
    pub candidate: Option<u64>,
}

/// What a policy is asked: a case per kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// How well is this slot?
    Health {
        /// Which slot is judged.
        key: SlotKey,
        /// What it is to be judged by.
        facts: Box<HealthFacts>,
    },
    /// When is this instance's breaker to trip?
    Breaker {
        /// Whose breaker.
        instance: InstanceId,
        /// What is known of it.
        profile: Box<BreakerProfile>,
    },
    /// How much is needed, and how much may be used?
    Capacity {
        /// What it is to be reckoned from.
        load: Box<CapacityLoad>,
    },
}

impl Question {
    /// Which kind of policy answers it.
    #[must_use]
    pub fn kind(&self) -> PolicyKind {
        match self {
            Self::Health { .. } => PolicyKind::Health,
            Self::Breaker { .. } => PolicyKind::Breaker,
            Self::Capacity { .. } => PolicyKind::Capacity,
        }
    }
}

/// What a policy answered: a case per kind. An answer of another kind than the question's counts as none.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To [`Question::Health`].
    Health(HealthVerdict),
    /// To [`Question::Breaker`]. Checked by the core: what is out of bounds is refused, and the plan before stays.
    Breaker(Box<BreakerPlan>),
    /// To [`Question::Capacity`].
    Capacity(Box<CapacityPlan>),
}

/// What one of the policies asked said, or why it said nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyAnswer {
    /// Its name.
    pub policy: Arc<str>,
    /// Its answer.
    pub answer: Result<Answer, NoAnswer>,
}

/// The generations of a policy that are loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyGenerations {
    /// Its name.
    pub policy: Arc<str>,
    /// What it answers.
    pub kind: PolicyKind,
    /// The one that answers; `None`: the built-in rule does.
    pub in_force: Option<GenerationInForce>,
    /// The one that does not yet.
    pub candidate: Option<CandidateGeneration>,
}

/// A generation whose answers are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationInForce {
    /// Its number.
    pub generation: u64,
    /// An operator confirmed it: it may take away what it will.
    pub is_confirmed: bool,
}

/// A generation that is tried, or held.
#[derive(Debug, Clone, PartialEq)]
pub struct CandidateGeneration {
    /// Its number.
    pub generation: u64,
    /// Why it is held, where that was decided before.
    pub held: Option<Arc<Holding>>,
}

/// Why a generation is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// What it would do, for people, in one sentence.
    pub reason: String,
    /// What would change, a line for each instance or limit, at most [`CHANGES_MAX`].
    pub changes: Vec<String>,
}

/// Lines that say what would change: enough to see what a policy is about.
pub const CHANGES_MAX: usize = 20;

/// What the core decides about generations of policies. Those of other numbers are left as they are.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyAction {
    /// Its trial is over: put the candidate in force.
    Apply {
        /// Which policy.
        policy: Arc<str>,
        /// Its candidate.
        generation: u64,
    },
    /// Hold it. Where it was in force, the one before it is again.
    Hold {
        /// Which policy.
        policy: Arc<str>,
        /// Its candidate, or the generation in force.
        generation: u64,
        /// Why.
        holding: Arc<Holding>,
    },
}

/// Why a policy did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Its time was up.
    TimedOut,
    /// It failed.
    Trapped,
    /// No such policy is loaded, or it is in quarantine.
    Absent,
}
