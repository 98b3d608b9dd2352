//! What is seen of the plan that an instance's breaker goes by.

use std::sync::Arc;

use super::{ObservedPlan, Planning};
use crate::{
    breaker::plan::builtin,
    settings::BreakerThresholds,
    view::{ObservedPlanView, PlanView, RefusedPlanView},
};

impl Planning {
    /// The state that a plan which is observed would bring about.
    #[cfg(test)]
    pub(crate) fn would_be(&self) -> Option<crate::permit::BreakerState> {
        self.observed.as_ref().map(|one| one.breaker.state())
    }

    /// What of it people see, without making a view: whose plan is in force, and whether another one is observed, or refused.
    #[cfg(test)]
    pub(crate) fn shown(&self) -> (Option<&str>, bool, bool) {
        let policy = self.in_force.as_ref().map(|given| &*given.policy);
        (policy, self.observed.is_some(), self.refused.is_some())
    }

    /// What people see.
    pub(in crate::instance) fn view(
        &self,
        now_ms: u64,
        configured: &BreakerThresholds,
    ) -> PlanView {
        let ago = |at_ms: u64| now_ms.saturating_sub(at_ms);
        let in_force = self.in_force.as_ref();
        PlanView {
            policy: in_force.map(|given| Arc::clone(&given.policy)),
            plan: in_force.map_or_else(
                || Arc::new(builtin(configured)),
                |given| Arc::clone(&given.plan),
            ),
            configured: configured.clone(),
            since_ms: ago(in_force.map_or(self.builtin_ms, |given| given.at_ms)),
            observed: self
                .observed
                .as_ref()
                .map(|ObservedPlan { given, breaker }| ObservedPlanView {
                    policy: Arc::clone(&given.policy),
                    plan: Arc::clone(&given.plan),
                    since_ms: ago(given.at_ms),
                    would_be: breaker.state(),
                    would_reject: breaker.would_reject(),
                }),
            refused: self.refused.as_ref().map(|refused| RefusedPlanView {
                policy: Arc::clone(&refused.policy),
                reason: refused.reason.clone(),
                ago_ms: ago(refused.at_ms),
            }),
        }
    }
}
