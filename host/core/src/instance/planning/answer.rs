//! What becomes of what a policy answered: a plan that holds from now on, one that is observed, one that is refused, or none.

use std::sync::Arc;

use super::{Asking, GivenPlan, ObservedPlan, PlanBasis, Planning, RefusedPlan};
use crate::{
    breaker::{
        ObservedBreaker,
        plan::{BreakerPlan, PlanMode},
    },
    planted::Planted,
    policy::{Answer, PolicyAnswer},
};

impl Planning {
    /// Takes in what the policy answered to the open question. Returns why its plan is refused, and whether
    /// that is news.
    pub(in crate::instance) fn answered(
        &mut self,
        basis: &PlanBasis<'_>,
        answers: Vec<PolicyAnswer>,
    ) -> Option<(Arc<str>, String, bool)> {
        let given = answers.into_iter().find_map(|entry| {
            let is_asked = basis.policies.contains(&entry.policy);
            match entry.answer {
                Ok(Answer::Breaker(plan)) if is_asked => Some((entry.policy, plan)),
                _ => None,
            }
        });
        let Some((policy, plan)) = given else {
            self.unanswered(basis);
            return None;
        };
        self.asking = Asking::Idle;
        let checked = plan.check();
        if let Err(fault) = &checked
            && !basis.bugs.has(Planted::BreakerPlanUnchecked)
        {
            return Some(self.refuse(basis.now_ms, policy, fault.to_string()));
        }
        self.refused = None;
        self.take(basis, policy, *plan);
        None
    }

    fn take(&mut self, basis: &PlanBasis<'_>, policy: Arc<str>, plan: BreakerPlan) {
        let given = GivenPlan {
            policy,
            plan: Arc::new(plan),
            at_ms: basis.now_ms,
        };
        let is_same = |held: &GivenPlan| held.policy == given.policy && held.plan == given.plan;
        let is_observed = given.plan.mode == PlanMode::Observe;
        if is_observed && !basis.bugs.has(Planted::ObservedPlanEnforced) {
            match &mut self.observed {
                // Other numbers, and no other state.
                Some(held) if !is_same(&held.given) => held.given = given,
                Some(_) => {}
                None => {
                    let breaker = ObservedBreaker::new(basis.now_ms, basis.totals);
                    self.observed = Some(ObservedPlan { given, breaker });
                }
            }
            return;
        }
        self.observed = None;
        if !self.in_force.as_ref().is_some_and(is_same) {
            self.in_force = Some(given);
        }
    }

    fn refuse(
        &mut self,
        now_ms: u64,
        policy: Arc<str>,
        reason: String,
    ) -> (Arc<str>, String, bool) {
        let held = self.refused.as_ref();
        let is_news = !held.is_some_and(|held| held.policy == policy && held.reason == reason);
        self.refused = Some(RefusedPlan {
            policy: Arc::clone(&policy),
            reason: reason.clone(),
            at_ms: now_ms,
        });
        (policy, reason, is_news)
    }

    /// The policy gave no answer: the plan before stays, unless it came from one that is no longer asked.
    pub(super) fn unanswered(&mut self, basis: &PlanBasis<'_>) {
        self.asking = Asking::Idle;
        self.opens = None;
        if let Some(asked) = &mut self.asked {
            asked.is_unanswered = true;
        }
        let is_past = |given: &mut GivenPlan| {
            !basis.policies.contains(&given.policy) || basis.bugs.has(Planted::PlanLostUnanswered)
        };
        if self.in_force.take_if(is_past).is_some() {
            self.builtin_ms = basis.now_ms;
        }
        self.observed
            .take_if(|observed| is_past(&mut observed.given));
    }
}
