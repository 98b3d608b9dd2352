//! What is seen of capacity: what is in use, the plan, and who waits or was refused.

use std::sync::Arc;

use crate::{
    capacity::{CapacityLoad, CapacityPlan, Measure, TemplateLoad, Usage},
    id::InstanceId,
    policy::NoAnswer,
};

/// How much is in use, needed and allowed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CapacityView {
    /// Instances that a source defines.
    pub instances: u32,
    /// What is in use now.
    pub usage: Usage,
    /// What there is of each template that is configured, by name.
    pub templates: Vec<TemplateLoad>,
    /// The plan in force; `None` until the first answer.
    pub in_force: Option<Arc<PlanInForce>>,
    /// The last answer, where it was no plan.
    pub refused: Option<PlanRefused>,
    /// Where the policy did not answer the last question.
    pub unanswered: Option<Unanswered>,
    /// Who waits for a place, and who got none.
    pub admission: AdmissionView,
}

/// Starts by use that limits held up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdmissionView {
    /// Instances that wait for a place.
    pub waiting: u32,
    /// Starts that were refused in the last hour, …
    pub refused_last_hour: u64,
    /// … and over the life of this router.
    pub refused_total: u64,
    /// The last of them.
    pub last_refused: Option<StartRefused>,
}

/// A start that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRefused {
    /// Of which instance.
    pub instance: InstanceId,
    /// For which limit, for people.
    pub reason: String,
    /// How long ago.
    pub ago_ms: u64,
}

impl CapacityView {
    /// How much of something is in use; `None` for what this version does not know.
    #[must_use]
    pub fn used(&self, of: &Measure) -> Option<u64> {
        match of {
            Measure::Running => Some(self.usage.running.into()),
            Measure::MemoryBytes => Some(self.usage.memory_bytes),
            Measure::InFlight => Some(self.usage.in_flight.into()),
            Measure::RunningOfTemplate(name) => {
                let load = self.templates.iter().find(|load| load.name == *name);
                Some(load.map_or(0, |load| load.running.into()))
            }
            Measure::Other(_) => None,
        }
    }
}

/// A plan, and what it was reckoned from.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanInForce {
    /// The plan.
    pub plan: CapacityPlan,
    /// The load that it is the answer to; `now_ms` is when that was asked.
    pub load: CapacityLoad,
    /// The policy that gave it; `None`: the built-in rule.
    pub policy: Option<Arc<str>>,
}

/// An answer that was no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRefused {
    /// The policy that gave it.
    pub policy: Arc<str>,
    /// What is wrong with it.
    pub reason: String,
    /// When that was asked, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// A policy that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// Its name.
    pub policy: Arc<str>,
    /// Why it did not answer the last question.
    pub why: NoAnswer,
    /// When the first question in a row that it did not answer was asked, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// How many it did not answer in a row.
    pub questions: u64,
}
