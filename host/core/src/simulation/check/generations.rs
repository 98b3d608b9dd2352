//! Generations of policies: each new one is tried, what takes away too much is held, also in later rounds, and what is held does
//! nothing, and is said. What a generation takes away is counted here from the answers, where the core keeps counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    InstanceId, SlotKey,
    capacity::{CapacityLoad, CapacityPlan, Measure},
    policy::{
        Answer, Ask, Holding, PolicyAction, PolicyAnswer, PolicyGenerations, PolicyKind, Question,
        QuestionId,
    },
    simulation::{property::Property, world::World},
    view::{FleetView, Lifecycle, Readiness},
};

/// Time for an answer to come back after its deadline.
const SLACK_MS: u64 = 250;

/// How long a trial may take.
const TRIAL_MS: u64 = 10_000;

/// Answers that are remembered, many more than slots.
const ANSWERS_MAX: usize = 256;

/// What the model remembers.
#[derive(Debug, Default)]
pub(super) struct GenerationsModel {
    /// Candidates that the core knows of and has not decided about.
    trials: BTreeMap<Arc<str>, TrialModel>,
    open: BTreeMap<QuestionId, TrialQuestion>,
    /// What the core has decided, until another one comes: which generation, and whether it is held.
    decided: BTreeMap<Arc<str>, (u64, bool)>,
    /// What is in force as far as the core knows, and whether it may be held.
    in_force: BTreeMap<Arc<str>, (u64, bool)>,
    /// Which generations each question was put to, the last ones.
    asked: BTreeMap<QuestionId, BTreeMap<Arc<str>, u64>>,
    /// Of answers since the health policies changed: who took away what serves.
    takers: BTreeMap<QuestionId, Vec<Arc<str>>>,
    /// The capacity plan in force is too tight, and was answered in the step in progress.
    is_too_tight: bool,
}

#[derive(Debug)]
struct TrialModel {
    generation: u64,
    kind: PolicyKind,
    /// When it must be decided; `None`: it has not begun.
    due_ms: Option<u64>,
    /// There was something to ask about.
    has_subjects: bool,
    asked: usize,
    serving: usize,
    taken: usize,
    instances: BTreeSet<InstanceId>,
    is_too_tight: bool,
}

#[derive(Debug)]
struct TrialQuestion {
    policy: Arc<str>,
    about: Option<SlotKey>,
    until_ms: u64,
}

/// Whether limits leave out more than half of the running instances, and at least three.
fn is_too_tight(plan: &CapacityPlan, load: &CapacityLoad) -> bool {
    let running = f64::from(load.usage.running);
    plan.limits.iter().any(|limit| {
        let (used, users) = match &limit.of {
            Measure::Running => (running, running),
            Measure::MemoryBytes => (load.usage.memory_bytes as f64, running),
            Measure::InFlight => (f64::from(load.usage.in_flight), running),
            Measure::RunningOfTemplate(name) => {
                let template = load.templates.iter().find(|one| one.name == *name);
                let used = template.map_or(0.0, |one| f64::from(one.running));
                (used, used)
            }
            Measure::Other(_) => return false,
        };
        let most = limit.most as f64;
        let left_out = ((used - most) / used * users).floor();
        used > most && left_out * 2.0 > running && left_out >= 3.0
    })
}

impl TrialModel {
    fn is_too_much(&self) -> bool {
        self.is_too_tight || (self.taken * 2 > self.serving && self.instances.len() >= 3)
    }
}

impl World {
    /// The engine says which generations there are.
    pub(super) fn expect_generations(&mut self, all: &[PolicyGenerations]) {
        let mut voided = BTreeSet::new();
        for one in all {
            let now = one.in_force.map(|one| (one.generation, one.is_confirmed));
            let model = &mut self.watched.generations;
            let before = match now {
                Some(now) => model.in_force.insert(Arc::clone(&one.policy), now),
                None => model.in_force.remove(&one.policy),
            };
            if before.map(|before| before.0) != now.map(|now| now.0) {
                voided.insert(one.kind);
            }
            self.expect_candidate(one);
        }
        for kind in voided {
            self.void(kind);
        }
    }

    fn expect_candidate(&mut self, one: &PolicyGenerations) {
        let (model, policy) = (&mut self.watched.generations, &one.policy);
        let candidate = one.candidate.as_ref();
        let number = candidate.map(|one| one.generation);
        if model.decided.get(policy).map(|decided| decided.0) != number {
            model.decided.remove(policy);
        }
        if model.trials.get(policy).map(|trial| trial.generation) != number {
            model.trials.remove(policy);
            model.open.retain(|_, open| open.policy != *policy);
        }
        let Some(candidate) = candidate else {
            return;
        };
        if candidate.held.is_some() {
            model.trials.remove(policy);
            let decided = (candidate.generation, true);
            model.decided.insert(Arc::clone(policy), decided);
        } else if !model.decided.contains_key(policy) && !model.trials.contains_key(policy) {
            let trial = TrialModel {
                generation: candidate.generation,
                kind: one.kind,
                due_ms: None,
                has_subjects: false,
                asked: 0,
                serving: 0,
                taken: 0,
                instances: BTreeSet::new(),
                is_too_tight: false,
            };
            model.trials.insert(Arc::clone(policy), trial);
        }
    }

    /// From the end of adoption on, trials begin at once.
    pub(super) fn begin_trials(&mut self) {
        if !self.watched.adoption_finished || self.watched.shutting_down {
            return;
        }
        let latest_ms = TRIAL_MS + self.settings.question_ms + SLACK_MS;
        let due_ms = self.now_ms + latest_ms;
        let (fleet, model) = (&self.fleet, &mut self.watched.generations);
        for (policy, trial) in &mut model.trials {
            if trial.due_ms.is_none() {
                trial.due_ms = Some(due_ms);
                trial.has_subjects = fleet.trial_size(policy, trial.kind) > 0;
            }
        }
    }

    fn void(&mut self, kind: PolicyKind) {
        match kind {
            PolicyKind::Health => self.void_questions(),
            PolicyKind::Breaker => self.void_plans(),
            PolicyKind::Capacity => self.ask_capacity_anew(),
            PolicyKind::AlertRule => {}
        }
    }

    /// What was judged until now says nothing any more about who takes away what.
    pub(super) fn forget_takers(&mut self) {
        self.watched.generations.takers.clear();
    }

    /// A question is put to generations.
    pub(in crate::simulation) fn note_asked(&mut self, ask: &Ask) {
        let asked = ask.policies.iter().filter_map(|policy| {
            let generation = self.loaded.asked(ask, policy)?;
            Some((Arc::clone(policy), generation))
        });
        let asked: BTreeMap<Arc<str>, u64> = asked.collect();
        let model = &mut self.watched.generations;
        if !asked.is_empty() {
            model.asked.insert(ask.id, asked);
        }
        while model.asked.len() > ANSWERS_MAX {
            model.asked.pop_first();
        }
    }

    /// A question of a trial.
    pub(super) fn check_trial_ask(&mut self, ask: &Ask) {
        let model = &mut self.watched.generations;
        let policy = ask.policies.first().cloned().unwrap_or_default();
        let Some(trial) = model.trials.get_mut(&policy) else {
            let how = format!("a candidate of {policy} is asked that is not tried");
            return self.fail(Property::TrialDecides, how);
        };
        trial.asked += 1;
        let about = match &ask.question {
            Question::Health { key, .. } => Some(key.clone()),
            _ => None,
        };
        let until_ms = ask.deadline_ms + SLACK_MS;
        let question = TrialQuestion {
            policy,
            about,
            until_ms,
        };
        model.open.insert(ask.id, question);
    }

    /// An answer comes, to a question of a trial or another one.
    pub(super) fn weigh_answers(&mut self, question: QuestionId, answers: &[PolicyAnswer]) {
        let open = self.watched.generations.open.remove(&question);
        let Some(TrialQuestion { policy, about, .. }) = open else {
            return self.note_takers(question, answers);
        };
        let serves = about
            .as_ref()
            .is_some_and(|key| self.fleet.serves(key, self.now_ms));
        let load = self.fleet.load_now();
        let Some(trial) = self.watched.generations.trials.get_mut(&policy) else {
            return;
        };
        let answer = answers.iter().find(|entry| entry.policy == policy);
        match (answer.map(|entry| &entry.answer), about) {
            (Some(Ok(Answer::Health(verdict))), Some(key)) if serves => {
                trial.serving += 1;
                if verdict.recycle || verdict.health == crate::health::Health::Unhealthy {
                    trial.taken += 1;
                    trial.instances.insert(key.instance);
                }
            }
            (Some(Ok(Answer::Capacity(plan))), None) => {
                trial.is_too_tight = load.is_some_and(|load| is_too_tight(plan, &load));
            }
            _ => {}
        }
    }

    fn note_takers(&mut self, question: QuestionId, answers: &[PolicyAnswer]) {
        let Some(key) = self.asked_about(question) else {
            return;
        };
        if !self.fleet.serves(&key, self.now_ms) {
            return;
        }
        let takers = answers.iter().filter(|entry| match &entry.answer {
            Ok(Answer::Health(verdict)) => {
                verdict.recycle || verdict.health == crate::health::Health::Unhealthy
            }
            _ => false,
        });
        let takers: Vec<Arc<str>> = takers.map(|entry| Arc::clone(&entry.policy)).collect();
        let model = &mut self.watched.generations;
        model.takers.insert(question, takers);
        while model.takers.len() > ANSWERS_MAX {
            model.takers.pop_first();
        }
    }

    /// Whether a capacity plan is too tight to be in force.
    pub(super) fn is_plan_held(
        &mut self,
        policy: &Arc<str>,
        plan: &CapacityPlan,
        load: &CapacityLoad,
    ) -> bool {
        let model = &mut self.watched.generations;
        let in_force = model.in_force.get(policy);
        let is_held = in_force.is_some_and(|(_, confirmed)| !confirmed) && is_too_tight(plan, load);
        model.is_too_tight = is_held;
        is_held
    }

    /// The core decides about a generation.
    pub(super) fn check_policy_action(&mut self, action: &PolicyAction) {
        match action {
            PolicyAction::Apply { policy, generation } => self.check_applied(policy, *generation),
            PolicyAction::Hold {
                policy,
                generation,
                holding,
            } => self.check_held(policy, *generation, holding),
        }
    }

    fn check_applied(&mut self, policy: &Arc<str>, generation: u64) {
        let model = &mut self.watched.generations;
        model.open.retain(|_, open| open.policy != *policy);
        let trial = model.trials.remove(policy);
        model
            .decided
            .insert(Arc::clone(policy), (generation, false));
        let in_force = (generation, false);
        model.in_force.insert(Arc::clone(policy), in_force);
        let Some(trial) = trial.filter(|trial| trial.generation == generation) else {
            let how = format!("generation {generation} of {policy} is applied without a trial");
            return self.fail(Property::TrialDecides, how);
        };
        self.saw("generation applied");
        let was_skipped = trial.has_subjects && trial.asked == 0;
        if was_skipped || trial.is_too_much() {
            let how = format!("{policy} is applied after {trial:?}");
            return self.fail(Property::TrialDecides, how);
        }
        self.void(trial.kind);
    }

    fn check_held(&mut self, policy: &Arc<str>, generation: u64, holding: &Holding) {
        let model = &mut self.watched.generations;
        let is_tried = |trial: &TrialModel| trial.generation == generation;
        if model.trials.get(policy).is_some_and(is_tried) {
            model.open.retain(|_, open| open.policy != *policy);
            let trial = model.trials.remove(policy);
            model.decided.insert(Arc::clone(policy), (generation, true));
            let is_due = trial.as_ref().is_some_and(|trial| {
                trial.is_too_much()
                    || (trial.kind == PolicyKind::Breaker && holding.changes.len() >= 3)
            });
            self.saw("held in its trial");
            if !is_due {
                let how = format!("{policy} is held after {trial:?}: {holding:?}");
                self.fail(Property::TrialDecides, how);
            }
            return;
        }
        let in_force = model.in_force.remove(policy);
        let is_in_force = in_force == Some((generation, false));
        let is_too_tight = std::mem::take(&mut model.is_too_tight);
        if !model.trials.contains_key(policy) && !model.decided.contains_key(policy) {
            model.decided.insert(Arc::clone(policy), (generation, true));
        }
        if !is_in_force || !(is_too_tight || holding.changes.len() >= 3) {
            let how = format!(
                "generation {generation} of {policy} is held, in force is {in_force:?}: {holding:?}"
            );
            return self.fail(Property::RoundsHeld, how);
        }
        self.saw("held in force");
        let kind = self.kind_of(policy);
        self.void(kind);
        if kind == PolicyKind::Breaker {
            self.forget_plans_of(policy);
        }
    }

    fn kind_of(&self, policy: &str) -> PolicyKind {
        match policy {
            "default-breaker" => PolicyKind::Breaker,
            "default-capacity" => PolicyKind::Capacity,
            _ => PolicyKind::Health,
        }
    }

    /// After a step.
    pub(super) fn check_generations(&mut self, after: &FleetView) {
        let now_ms = self.now_ms;
        let model = &mut self.watched.generations;
        model.open.retain(|_, open| open.until_ms > now_ms);
        if self.watched.shutting_down {
            model.open.clear();
        } else if let Some((policy, trial)) = model
            .trials
            .iter()
            .find(|(_, trial)| trial.due_ms.is_some_and(|at_ms| at_ms < now_ms))
        {
            let how = format!("the trial of {policy} does not end: {trial:?}");
            return self.fail(Property::TrialEnds, how);
        }
        if std::mem::take(&mut self.watched.generations.is_too_tight) {
            let how = "a capacity plan that is too tight is not held".to_owned();
            return self.fail(Property::RoundsHeld, how);
        }
        self.check_held_is_harmless(after);
        self.check_rounds(after);
        self.check_held_is_said(after);
    }

    /// No question is open that a generation was asked which is held by now.
    fn check_held_is_harmless(&mut self, after: &FleetView) {
        let model = &self.watched.generations;
        let slots = after.instances.iter().flat_map(|view| &view.slots);
        let open = slots.filter_map(|slot| self.fleet.open_question(&slot.key));
        let plans = after.instances.iter();
        let plans = plans.filter_map(|view| self.fleet.open_plan_question(&view.id));
        let is_held = |question: &QuestionId| {
            model.asked.get(question).is_some_and(|asked| {
                let mut asked = asked.iter();
                asked.any(|(policy, generation)| self.loaded.is_held(policy, *generation))
            })
        };
        if let Some(question) = open.chain(plans).find(is_held) {
            let how =
                format!("{question:?} is open, whose answer comes from what is held: {model:?}");
            self.fail(Property::HeldHarmless, how);
        }
    }

    /// No generation in force has taken away too much, by the verdicts that people see.
    fn check_rounds(&mut self, after: &FleetView) {
        let model = &self.watched.generations;
        if !self.watched.adoption_finished || self.watched.shutting_down {
            return;
        }
        let mut too_much = None;
        for (policy, (generation, is_confirmed)) in &model.in_force {
            if *is_confirmed || self.kind_of(policy) != PolicyKind::Health {
                continue;
            }
            let (mut all, mut taken, mut instances) = (0, 0, BTreeSet::new());
            for view in &after.instances {
                let held = self.held(&view.id);
                let own = held.and_then(|held| held.spec.health_policies.as_ref());
                let names = own.unwrap_or(&self.settings.health_policies);
                if !names.contains(policy) {
                    continue;
                }
                for slot in &view.slots {
                    all += 1;
                    let is_taken = slot.lifecycle == Lifecycle::Ready
                        && stated(&slot.reason).is_some_and(|question| {
                            let takers = model.takers.get(&question);
                            let asked = model.asked.get(&question);
                            takers.is_some_and(|takers| takers.contains(policy))
                                && asked.and_then(|asked| asked.get(policy)) == Some(generation)
                        });
                    if is_taken {
                        taken += 1;
                        instances.insert(&view.id);
                    }
                }
            }
            if taken * 2 > all && instances.len() >= 3 {
                too_much = Some(format!(
                    "generation {generation} of {policy} took away {taken} of {all}, and is in force"
                ));
            }
        }
        if let Some(how) = too_much {
            self.fail(Property::RoundsHeld, how);
        }
    }

    fn check_held_is_said(&mut self, after: &FleetView) {
        let held = self.held_generations();
        let readiness = &after.readiness;
        let is_said = |(policy, generation): &(Arc<str>, u64)| {
            let said = format!("policy {policy}: generation {generation} is held");
            readiness
                .reasons
                .iter()
                .any(|reason| reason.starts_with(&said))
        };
        let all_said = held.iter().all(is_said) && readiness.policies_held as usize == held.len();
        if !all_said || (!held.is_empty() && readiness.status == Readiness::Healthy) {
            let how = format!("{held:?} are held, and readiness is {readiness:?}");
            self.fail(Property::HeldSaid, how);
        }
    }

    /// What is held, as the model knows it.
    pub(super) fn held_generations(&self) -> Vec<(Arc<str>, u64)> {
        let decided = self.watched.generations.decided.iter();
        let held = decided.filter(|(_, (_, is_held))| *is_held);
        held.map(|(policy, (generation, _))| (Arc::clone(policy), *generation))
            .collect()
    }
}

/// The question that a reason names.
fn stated(reason: &str) -> Option<QuestionId> {
    let number = reason.split("question ").nth(1)?.split(' ').next()?;
    number.parse().ok().map(QuestionId)
}
