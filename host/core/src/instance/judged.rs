//! What policies would take away of an instance: counted in every round, and in the trial of a new generation.

use std::sync::Arc;

use super::{Instance, index_entry::JudgedBy};
use crate::{
    SlotKey,
    breaker::plan::{BreakerPlan, BreakerProfile, PlanMode},
    health::HealthFacts,
    permit::BreakerState,
    policy::{PolicyKind, PolicyNames},
    settings::Settings,
    slot::Slot,
};

impl Instance {
    /// The policies that judge its slots.
    pub(crate) fn health_policies<'a>(&'a self, settings: &'a Settings) -> &'a PolicyNames {
        let own = self.spec.health_policies.as_ref();
        own.unwrap_or(&settings.health_policies)
    }

    /// The policy that plans its breaker.
    pub(crate) fn breaker_policies<'a>(&'a self, settings: &'a Settings) -> &'a PolicyNames {
        let own = self.spec.breaker_policy.as_ref();
        own.unwrap_or(&settings.breaker_policy)
    }

    /// Its slots that serve by the built-in rule.
    pub(crate) fn serving_slots(&self, now_ms: u64) -> impl Iterator<Item = SlotKey> {
        let slots = self.slots.values();
        let serving = slots.filter(move |slot| slot.facts(&self.spec, now_ms).is_some());
        serving.map(|slot| slot.key.clone())
    }

    /// What there is to know of one of them, where it serves.
    pub(crate) fn facts(&self, slot: u32, now_ms: u64) -> Option<HealthFacts> {
        self.slots.get(&slot)?.facts(&self.spec, now_ms)
    }

    /// Whether its breaker decides by itself, and has not opened, while something of it is ready.
    pub(crate) fn is_plan_counted(&self) -> bool {
        self.is_wanted()
            && self.breaker.state() == BreakerState::Closed
            && self.slots.values().any(Slot::is_ready)
    }

    /// What is known of it when a plan is asked for, but for its calls.
    pub(crate) fn profile(&self, settings: &Settings, now_ms: u64) -> BreakerProfile {
        BreakerProfile {
            instance: self.id().as_str().to_owned(),
            template: Some(&*self.spec.template)
                .filter(|template| !template.is_empty())
                .map(str::to_owned),
            transport: self.spec.transport.to_owned(),
            configured: self.configured(settings).clone(),
            figures: self.planning.figures(now_ms),
            tools: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Why a plan would open its breaker, by the window that it has now.
    pub(crate) fn would_open(
        &self,
        plan: &BreakerPlan,
        settings: &Settings,
        now_ms: u64,
    ) -> Option<String> {
        let is_applied = plan.mode == PlanMode::Enforce && plan.check().is_ok();
        if !is_applied || !self.is_plan_counted() {
            return None;
        }
        let window_ms = self.thresholds(settings).window_ms;
        self.breaker.would_open(now_ms, window_ms, &plan.thresholds)
    }

    /// What its policies have judged of it, and taken away.
    pub(super) fn judged(&self) -> Vec<JudgedBy> {
        let mut all: Vec<JudgedBy> = Vec::new();
        for slot in self.slots.values() {
            let Some((policies, taken_by)) = slot.judged() else {
                continue;
            };
            for policy in policies.iter() {
                let taken = u32::from(taken_by.contains(policy));
                match all.iter_mut().find(|one| one.policy == *policy) {
                    Some(one) => {
                        one.serving += 1;
                        one.taken += taken;
                    }
                    None => all.push(JudgedBy {
                        policy: Arc::clone(policy),
                        serving: 1,
                        taken,
                    }),
                }
            }
        }
        let opens = self.planning.opens();
        if opens.is_some() || self.is_plan_counted() {
            let policies = self.planning.asked_of();
            all.extend(policies.map(|policy| JudgedBy {
                policy: Arc::clone(policy),
                serving: 1,
                taken: opens.is_some().into(),
            }));
        }
        all
    }

    /// What a policy has taken away of it, for people.
    pub(crate) fn taken_by(&self, policy: &str, kind: PolicyKind) -> Vec<String> {
        if kind == PolicyKind::Breaker {
            let opens = self.planning.opens().into_iter();
            return opens.map(|why| format!("{}: {why}", self.id())).collect();
        }
        let slots = self.slots.values();
        let taken = slots.filter(|slot| {
            let judged = slot.judged();
            judged.is_some_and(|(_, by)| by.iter().any(|one| **one == *policy))
        });
        taken.map(Slot::describe_taken).collect()
    }
}
