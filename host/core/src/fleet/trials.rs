//! Generations of policies: which is tried, which is held, and which is applied.
//!
//! A policy may not take the fleet down. Before a new generation is applied it is asked about everything once, and what it answers
//! is only counted. Where that would take away more than half of what serves, it is held: the generation before stays in force
//! until an operator decides. What a generation in force answers is counted in every round, by the same rule, unless an operator
//! has confirmed it.

mod asking;
mod holding;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Fleet, index::JudgedCount};
use crate::{
    action::Action,
    planted::{Bugs, Planted},
    policy::{
        GenerationInForce, Holding, PolicyAction, PolicyAnswer, PolicyGenerations, PolicyKind,
        QuestionId,
    },
    step::FleetPhase,
};
use asking::TrialRound;
pub(super) use holding::of_capacity;

/// Instances that a generation must take away at least to be held: fewer are an ordinary day.
const INSTANCES_MIN: usize = 3;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Trials {
    generations: BTreeMap<Arc<str>, PolicyGenerations>,
    /// Those of candidates.
    trials: BTreeMap<Arc<str>, Trial>,
}

#[derive(Debug, Clone, PartialEq)]
struct Trial {
    generation: u64,
    kind: PolicyKind,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// It begins as soon as it is known what runs.
    Due,
    Asking(Box<TrialRound>),
    /// It is over, and the candidate is to be in force.
    Applied,
    Held(Arc<Holding>),
}

/// Whether so many taken away are too many.
fn is_too_much(serving: usize, taken: usize, instances: usize) -> bool {
    taken * 2 > serving && instances >= INSTANCES_MIN
}

impl Trials {
    /// Takes in which generations there are now. A trial goes on while its candidate is the same. Returns the kinds of those
    /// policies that have another one in force: what the one before answered says nothing about this one.
    fn note(&mut self, all: Vec<PolicyGenerations>) -> BTreeSet<PolicyKind> {
        let number = |one: &PolicyGenerations| one.in_force.map(|in_force| in_force.generation);
        let is_other = |one: &&PolicyGenerations| {
            self.generations.get(&one.policy).and_then(number) != number(one)
        };
        let changed = all.iter().filter(is_other).map(|one| one.kind).collect();
        let mut before = std::mem::take(&mut self.trials);
        for one in &all {
            let Some(candidate) = &one.candidate else {
                continue;
            };
            let own = before.remove(&one.policy);
            let own = own.filter(|trial| trial.generation == candidate.generation);
            let stage = match (own, &candidate.held) {
                (_, Some(holding)) => Stage::Held(Arc::clone(holding)),
                (Some(trial), None) => trial.stage,
                (None, None) => Stage::Due,
            };
            let trial = Trial {
                generation: candidate.generation,
                kind: one.kind,
                stage,
            };
            self.trials.insert(Arc::clone(&one.policy), trial);
        }
        let all = all.into_iter();
        self.generations = all.map(|one| (Arc::clone(&one.policy), one)).collect();
        changed
    }

    /// When one of the questions, or a whole trial, is overdue.
    pub(super) fn next_wake(&self, bugs: Bugs) -> Option<u64> {
        let asking = self.trials.values().filter_map(|trial| match &trial.stage {
            Stage::Asking(asking) => Some(asking.next_wake()),
            _ => None,
        });
        asking.min().filter(|_| !bugs.has(Planted::TrialNeverEnds))
    }

    /// The generation of a policy that is in force, and may be held.
    pub(super) fn bound(&self, policy: &str) -> Option<u64> {
        let in_force = self.generations.get(policy)?.in_force?;
        (!in_force.is_confirmed).then_some(in_force.generation)
    }

    /// Whether a generation is held.
    pub(super) fn is_holding(&self) -> bool {
        let mut trials = self.trials.values();
        trials.any(|trial| matches!(trial.stage, Stage::Held(_)))
    }

    /// What is held, for people.
    pub(super) fn held(&self) -> Vec<String> {
        let held = self
            .trials
            .iter()
            .filter_map(|(policy, trial)| match &trial.stage {
                Stage::Held(holding) => Some(self.describe(policy, trial.generation, holding)),
                _ => None,
            });
        held.collect()
    }

    fn describe(&self, policy: &str, generation: u64, holding: &Holding) -> String {
        let in_force = self.generations.get(policy).and_then(|one| one.in_force);
        let in_force = in_force.filter(|one| one.generation != generation);
        let stays = in_force.map_or_else(
            || "the built-in rule".to_owned(),
            |one| format!("generation {}", one.generation),
        );
        format!(
            "policy {policy}: generation {generation} is held, and {stays} stays in force, because {}; look at it with \
             `godot-mcp-router plugin show {policy}`, and take it with `plugin confirm {policy}` or not with `plugin reject {policy}`",
            holding.reason
        )
    }

    fn apply(&mut self, policy: &Arc<str>, (generation, kind): (u64, PolicyKind)) {
        let trial = Trial {
            generation,
            kind,
            stage: Stage::Applied,
        };
        self.trials.insert(Arc::clone(policy), trial);
        if let Some(one) = self.generations.get_mut(policy) {
            one.in_force = Some(GenerationInForce {
                generation,
                is_confirmed: false,
            });
        }
    }

    fn hold(
        &mut self,
        policy: &Arc<str>,
        (generation, kind): (u64, PolicyKind),
        holding: Holding,
    ) -> PolicyAction {
        let holding = Arc::new(holding);
        let trial = Trial {
            generation,
            kind,
            stage: Stage::Held(Arc::clone(&holding)),
        };
        self.trials.insert(Arc::clone(policy), trial);
        PolicyAction::Hold {
            policy: Arc::clone(policy),
            generation,
            holding,
        }
    }
}

impl Fleet {
    /// Takes in which generations there are now.
    pub(super) fn note_generations(&mut self, all: Vec<PolicyGenerations>) {
        for kind in self.trials.note(all) {
            self.judge_anew(kind);
        }
    }

    /// Goes on with every trial. True: another generation is in force.
    pub(super) fn settle_trials(&mut self, out: &mut Vec<Action>) -> bool {
        if self.phase != FleetPhase::Running {
            for trial in self.trials.trials.values_mut() {
                if matches!(trial.stage, Stage::Asking(_)) {
                    trial.stage = Stage::Due;
                }
            }
            return false;
        }
        let mut applied = false;
        let policies: Vec<Arc<str>> = {
            let trials = self.trials.trials.iter();
            let open =
                trials.filter(|(_, trial)| matches!(trial.stage, Stage::Due | Stage::Asking(_)));
            open.map(|(policy, _)| Arc::clone(policy)).collect()
        };
        for policy in policies {
            let Some(trial) = self.trials.trials.remove(&policy) else {
                continue;
            };
            let Trial {
                generation,
                kind,
                stage,
            } = trial;
            let mut asking = match stage {
                Stage::Asking(asking) => asking,
                _ => Box::new(self.begin_trial(&policy, kind)),
            };
            if self.bugs.has(Planted::TrialSkipped) {
                asking.give_up();
            }
            self.go_on_asking(&policy, generation, &mut asking, out);
            let trial = |stage| Trial {
                generation,
                kind,
                stage,
            };
            if !asking.is_over() {
                let trial = trial(Stage::Asking(asking));
                self.trials.trials.insert(policy, trial);
                continue;
            }
            let action = match asking.holding(kind) {
                Some(holding) if !self.bugs.has(Planted::NothingHeld) => {
                    self.trials.hold(&policy, (generation, kind), holding)
                }
                _ => {
                    self.trials.apply(&policy, (generation, kind));
                    applied = true;
                    PolicyAction::Apply { policy, generation }
                }
            };
            let is_applied = matches!(action, PolicyAction::Apply { .. });
            out.push(Action::Policy(action));
            if is_applied {
                self.judge_anew(kind);
            }
        }
        applied
    }

    /// Takes in an answer to a question of a trial. True: it was one.
    pub(super) fn trial_answered(
        &mut self,
        question: QuestionId,
        answers: &[PolicyAnswer],
    ) -> bool {
        let has = |(_, trial): &(&Arc<str>, &Trial)| match &trial.stage {
            Stage::Asking(asking) => asking.has(question),
            _ => false,
        };
        let asked = self.trials.trials.iter().find(has);
        let Some(policy) = asked.map(|(policy, _)| Arc::clone(policy)) else {
            return false;
        };
        let Some(mut trial) = self.trials.trials.remove(&policy) else {
            return false;
        };
        let answer = answers.iter().find(|entry| entry.policy == policy);
        let answer = answer.and_then(|entry| entry.answer.as_ref().ok());
        if let Stage::Asking(asking) = &mut trial.stage {
            self.weigh(asking, question, answer);
        }
        self.trials.trials.insert(policy, trial);
        true
    }

    /// Holds each generation in force whose answers take away too much by now, and judges anew what it judged. True: it did.
    pub(super) fn watch_rounds(&mut self, out: &mut Vec<Action>) -> bool {
        if self.phase != FleetPhase::Running || self.bugs.has(Planted::RoundsUnwatched) {
            return false;
        }
        let too_much = |(policy, count): (&Arc<str>, &JudgedCount)| {
            let JudgedCount {
                serving,
                taken,
                instances,
            } = *count;
            let generation = self.trials.bound(policy)?;
            if !is_too_much(serving, taken, instances) {
                return None;
            }
            let kind = self.trials.generations.get(policy)?.kind;
            let holding = self.holding_in_force(policy, kind);
            Some((Arc::clone(policy), (generation, kind), holding))
        };
        // All of them before the first one is held, which makes the answers of the others void too.
        let found: Vec<_> = self.index.judged().filter_map(too_much).collect();
        let any = !found.is_empty();
        for (policy, of, holding) in found {
            self.hold_in_force(&policy, of, holding, out);
        }
        any
    }

    /// Holds a generation that is in force: what it has answered is void, and what it has been asked.
    pub(super) fn hold_in_force(
        &mut self,
        policy: &Arc<str>,
        (generation, kind): (u64, PolicyKind),
        holding: Holding,
        out: &mut Vec<Action>,
    ) {
        // A newer candidate stays the one that operators decide about: this one's file is gone.
        let newer = self.trials.trials.remove(policy);
        let action = self.trials.hold(policy, (generation, kind), holding);
        out.push(Action::Policy(action));
        if let Some(newer) = newer {
            self.trials.trials.insert(Arc::clone(policy), newer);
        }
        if let Some(one) = self.trials.generations.get_mut(policy) {
            // Which one is in force instead is said by the next `Generations`.
            one.in_force = None;
        }
        if kind == PolicyKind::Health && self.bugs.has(Planted::HeldAnswersCount) {
            return;
        }
        self.judge_anew(kind);
        if kind == PolicyKind::Breaker {
            for instance in self.instances.values_mut() {
                instance.planning.forget(policy, self.now_ms);
            }
        }
    }

    /// What was asked of a kind of policy is void, and asked anew.
    pub(super) fn judge_anew(&mut self, kind: PolicyKind) {
        match kind {
            PolicyKind::Health => self.judge_again(),
            PolicyKind::Breaker => self.plan_again(),
            PolicyKind::Capacity => self.capacity.ask_anew(self.now_ms),
            // The core asks nothing of them.
            PolicyKind::AlertRule => {}
        }
    }
}
