//! The generations of policies in the simulated world: files are replaced, some generations condemn whatever they are asked about,
//! operators confirm and reject, and the engine carries out what the core decides.

use std::{collections::BTreeMap, sync::Arc};

use super::world::{Item, World};
use crate::{
    event::PolicyEvent,
    policy::{
        Ask, CandidateGeneration, GenerationInForce, Holding, PolicyAction, PolicyGenerations,
        PolicyKind,
    },
};

/// Longest way of what the engine says to the core.
const WAY_MS: u64 = 50;

/// What the engine has of each policy.
#[derive(Debug, Default)]
pub(super) struct LoadedPolicies {
    policies: BTreeMap<Arc<str>, LoadedPolicy>,
}

#[derive(Debug)]
struct LoadedPolicy {
    kind: PolicyKind,
    /// How many there were.
    numbered: u64,
    /// Those that take away whatever there is.
    mad: Vec<u64>,
    in_force: Option<GenerationInForce>,
    before: Option<GenerationInForce>,
    candidate: Option<CandidateGeneration>,
    /// Those that were held while there was a newer candidate.
    dropped: Vec<u64>,
}

impl LoadedPolicy {
    fn new(kind: PolicyKind) -> Self {
        Self {
            kind,
            numbered: 0,
            mad: Vec::new(),
            in_force: None,
            before: None,
            candidate: None,
            dropped: Vec::new(),
        }
    }

    fn put_in_force(&mut self, generation: u64, is_confirmed: bool) {
        self.candidate = None;
        self.before = self.in_force.replace(GenerationInForce {
            generation,
            is_confirmed,
        });
    }

    fn hold(&mut self, generation: u64, holding: &Arc<Holding>) {
        let held = || CandidateGeneration {
            generation,
            held: Some(Arc::clone(holding)),
        };
        match &mut self.candidate {
            Some(candidate) if candidate.generation == generation => *candidate = held(),
            candidate => {
                let is_it = |one: &mut GenerationInForce| one.generation == generation;
                if self.in_force.take_if(is_it).is_some() {
                    self.in_force = self.before.take();
                    if candidate.is_some() {
                        self.dropped.push(generation);
                    }
                    candidate.get_or_insert_with(held);
                }
            }
        }
    }
}

impl LoadedPolicies {
    /// Which generation answers a question.
    pub(super) fn asked(&self, ask: &Ask, policy: &str) -> Option<u64> {
        let in_force = || self.policies.get(policy)?.in_force;
        ask.candidate.or_else(|| Some(in_force()?.generation))
    }

    /// Whether that condemns whatever it is asked about.
    pub(super) fn is_mad(&self, ask: &Ask, policy: &str) -> bool {
        let mad = self.policies.get(policy).map(|one| &one.mad);
        let asked = self.asked(ask, policy);
        mad.is_some_and(|mad| asked.is_some_and(|generation| mad.contains(&generation)))
    }

    /// Whether that generation is held.
    pub(super) fn is_held(&self, policy: &str, generation: u64) -> bool {
        let is_it = |one: &CandidateGeneration| one.generation == generation && one.held.is_some();
        self.policies.get(policy).is_some_and(|one| {
            one.dropped.contains(&generation) || one.candidate.as_ref().is_some_and(is_it)
        })
    }

    fn all(&self) -> Vec<PolicyGenerations> {
        let policies = self.policies.iter();
        let all = policies.map(|(policy, one)| PolicyGenerations {
            policy: Arc::clone(policy),
            kind: one.kind,
            in_force: one.in_force,
            candidate: one.candidate.clone(),
        });
        all.collect()
    }
}

impl World {
    /// The file of a policy is another one, or an operator decides about the one that is held.
    pub(super) fn some_generation(&mut self) {
        let names = [
            ("default-health", PolicyKind::Health),
            ("another", PolicyKind::Health),
            ("default-breaker", PolicyKind::Breaker),
            ("default-capacity", PolicyKind::Capacity),
        ];
        let Some((name, kind)) = self.dice.pick(&names).copied() else {
            return;
        };
        let (is_mad, is_confirmed) = (self.dice.chance(60), self.dice.chance(40));
        let policies = &mut self.loaded.policies;
        let policy = policies.entry(name.into());
        let policy = policy.or_insert_with(|| LoadedPolicy::new(kind));
        let held = policy
            .candidate
            .take_if(|candidate| candidate.held.is_some());
        match held {
            Some(held) if is_confirmed => {
                policy.put_in_force(held.generation, true);
                self.saw("generation confirmed");
            }
            Some(_) => self.saw("generation rejected"),
            None => {
                policy.numbered += 1;
                let generation = policy.numbered;
                if is_mad {
                    policy.mad.push(generation);
                }
                let held = None;
                policy.candidate = Some(CandidateGeneration { generation, held });
            }
        }
        self.changed(kind);
    }

    /// Carries out what the core decided.
    pub(super) fn carry_out(&mut self, action: &PolicyAction) {
        let (PolicyAction::Apply { policy, generation }
        | PolicyAction::Hold {
            policy, generation, ..
        }) = action;
        let Some(one) = self.loaded.policies.get_mut(policy) else {
            return;
        };
        match action {
            PolicyAction::Hold { holding, .. } => one.hold(*generation, holding),
            PolicyAction::Apply { .. } => {
                let candidate = one.candidate.as_ref().map(|one| one.generation);
                if candidate == Some(*generation) {
                    one.put_in_force(*generation, false);
                }
            }
        }
        let kind = one.kind;
        self.changed(kind);
    }

    /// The core learns of it in two ways, in any order.
    fn changed(&mut self, kind: PolicyKind) {
        let (one_ms, other_ms) = (self.dice.between(0, WAY_MS), self.dice.between(0, WAY_MS));
        self.later(one_ms, Item::Generations);
        self.later(other_ms, Item::Deliver(PolicyEvent::Changed(kind).into()));
    }

    /// What there is at this moment.
    pub(super) fn deliver_generations(&mut self) {
        let all = self.loaded.all();
        self.deliver(PolicyEvent::Generations(all));
    }
}
