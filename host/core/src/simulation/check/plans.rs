//! Plans of breakers: the policy is asked when it must be and no sooner, its question ends once, and the plan in force is the last
//! one that it gave in bounds and to be applied. What is wrong with a plan is written in its reason, so that the model need not know
//! the bounds.

use std::sync::Arc;

use crate::{
    InstanceId, Run, SlotKey,
    breaker::plan::{BreakerPlan, BreakerProfile, PlanMode},
    classify::ClassTable,
    event::Sample,
    permit::{BreakerState, Class},
    policy::{Answer, Ask, PolicyAnswer, PolicyNames, QuestionId},
    settings::BreakerThresholds,
    simulation::{property::Property, world::World},
    view::InstanceView,
};

/// Time for an answer to come back after its deadline.
const SLACK_MS: u64 = 250;

/// A policy is asked again for changed calls, or after it did not answer, no sooner than this.
const AGAIN_MS: u64 = 60_000;

/// How long a sample is true.
const SAMPLE_FOR_MS: u64 = 300_000;

/// What the reason of a plan begins with that is out of bounds.
pub(in crate::simulation) const OUT_OF_BOUNDS: &str = "out of bounds";

/// The planning of one breaker as the model knows it.
#[derive(Debug, Default)]
pub(super) struct PlanWatch {
    in_force: Option<(Arc<str>, BreakerPlan)>,
    /// Whose plan is observed, with what it would do.
    observed: Option<ObservedWatch>,
    refused: bool,
    open: Option<OpenPlan>,
    asked: Option<AskedPlan>,
    calls: Calls,
    calls_ms: u64,
    /// The thresholds of the plan in force before the step in progress.
    before: Option<BreakerThresholds>,
}

/// What a plan would do that is only observed.
#[derive(Debug)]
struct ObservedWatch {
    policy: Arc<str>,
    consecutive_failures: u32,
    state: BreakerState,
    in_a_row: u32,
    died: Option<Run>,
    /// In the step in progress: a verdict was seen, …
    recorded: bool,
    /// … or the counters were.
    counted: bool,
}

impl ObservedWatch {
    /// Why the state that it is in after the step is wrong, if it is.
    fn check(&mut self, after: BreakerState) -> Option<String> {
        use BreakerState::{Closed, HalfOpen, Open};
        let is_due = self.recorded && self.in_a_row >= self.consecutive_failures.max(1);
        let is_explained = match (self.state, after) {
            (Closed, Closed) => !is_due,
            (Closed, Open) => is_due || self.counted,
            (Open, Open | HalfOpen) | (HalfOpen, HalfOpen) => true,
            (HalfOpen, Closed) => self.counted,
            (HalfOpen, Open) => self.recorded,
            (Open, Closed) | (Closed, HalfOpen) => false,
        };
        if !is_explained {
            return Some(format!("{after:?} after {self:?}"));
        }
        if self.state != after {
            (self.state, self.in_a_row, self.died) = (after, 0, None);
        }
        None
    }
}

#[derive(Debug)]
struct OpenPlan {
    question: QuestionId,
    policies: PolicyNames,
    until_ms: u64,
}

#[derive(Debug)]
struct AskedPlan {
    at_ms: u64,
    policies: PolicyNames,
    configured: BreakerThresholds,
    calls: Calls,
    unanswered: bool,
}

/// What the simulated clients vary: errors in a hundred, and whether calls are slow.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Calls {
    are_there: bool,
    errors: u64,
    are_slow: bool,
}

impl Calls {
    fn of(sample: &Sample) -> Self {
        Self {
            are_there: true,
            errors: sample.window_errors,
            are_slow: sample.window_p50_ms > Some(100.0),
        }
    }

    /// The errors are multiples of four in a hundred, so that a tenth is never a matter of rounding.
    fn differ_much(self, other: Self) -> bool {
        self.are_there != other.are_there
            || self.are_slow != other.are_slow
            || self.errors.abs_diff(other.errors) >= 10
    }
}

impl PlanWatch {
    pub(super) fn begin_step(&mut self) {
        self.before = self
            .in_force
            .as_ref()
            .map(|(_, plan)| plan.thresholds.clone());
        if let Some(observed) = &mut self.observed {
            (observed.recorded, observed.counted) = (false, false);
        }
    }

    /// A verdict reaches the core.
    pub(super) fn record(&mut self, run: Run, class: Class, upstream_died: bool) {
        let Some(observed) = &mut self.observed else {
            return;
        };
        observed.recorded = true;
        match class {
            Class::Failure if upstream_died && observed.died == Some(run) => {
                observed.recorded = observed.state != BreakerState::Closed;
            }
            Class::Failure => {
                observed.in_a_row += 1;
                observed.died = if upstream_died {
                    Some(run)
                } else {
                    observed.died
                };
            }
            Class::Success | Class::Slow => observed.in_a_row = 0,
            Class::Ignore => observed.recorded = false,
        }
    }

    /// The counters reach it.
    pub(super) fn count(&mut self) {
        if let Some(observed) = &mut self.observed {
            observed.counted = true;
        }
    }

    /// See [`PlanWatch::before`].
    pub(super) fn thresholds_before(&self) -> Option<&BreakerThresholds> {
        self.before.as_ref()
    }

    pub(super) fn thresholds(&self) -> Option<&BreakerThresholds> {
        self.in_force.as_ref().map(|(_, plan)| &plan.thresholds)
    }

    fn answer(&mut self, policies: &PolicyNames, answers: &[PolicyAnswer]) -> &'static str {
        self.open = None;
        let given = answers.iter().find_map(|entry| match &entry.answer {
            Ok(Answer::Breaker(plan)) if policies.contains(&entry.policy) => {
                Some((Arc::clone(&entry.policy), (**plan).clone()))
            }
            _ => None,
        });
        let Some((policy, plan)) = given else {
            self.no_answer(policies);
            return "breaker plan unanswered";
        };
        self.refused = plan.reason.starts_with(OUT_OF_BOUNDS);
        if self.refused {
            return "breaker plan refused";
        }
        if plan.mode == PlanMode::Observe {
            let consecutive_failures = plan.thresholds.consecutive_failures;
            match &mut self.observed {
                Some(held) => {
                    (held.policy, held.consecutive_failures) = (policy, consecutive_failures);
                }
                None => {
                    self.observed = Some(ObservedWatch {
                        policy,
                        consecutive_failures,
                        state: BreakerState::Closed,
                        in_a_row: 0,
                        died: None,
                        recorded: false,
                        counted: false,
                    });
                }
            }
            return "breaker plan observed";
        }
        self.observed = None;
        self.in_force = Some((policy, plan));
        "breaker plan taken"
    }

    fn no_answer(&mut self, policies: &PolicyNames) {
        self.open = None;
        if let Some(asked) = &mut self.asked {
            asked.unanswered = true;
        }
        let is_past = |(policy, _): &(Arc<str>, BreakerPlan)| !policies.contains(policy);
        if self.in_force.as_ref().is_some_and(is_past) {
            self.in_force = None;
        }
        self.observed
            .take_if(|observed| !policies.contains(&observed.policy));
    }

    fn due_ms(&self, policies: &PolicyNames, configured: &BreakerThresholds) -> Option<u64> {
        let Some(asked) = &self.asked else {
            return Some(0);
        };
        if asked.policies != *policies || asked.configured != *configured {
            return Some(0);
        }
        let again = asked.unanswered || asked.calls.differ_much(self.calls);
        again.then_some(asked.at_ms + AGAIN_MS)
    }
}

impl World {
    /// Who is asked about an instance, with what configuration; `None`: nobody, for now.
    fn plan_basis(&self, id: &InstanceId) -> (PolicyNames, BreakerThresholds, bool) {
        let held = self.held(id);
        let spec = held.map(|held| &held.spec);
        let own = spec.and_then(|spec| spec.breaker_policy.as_ref());
        let policies = own.unwrap_or(&self.settings.breaker_policy);
        let configured = spec.and_then(|spec| spec.breaker.as_ref());
        let configured = configured.unwrap_or(&self.settings.breaker);
        let is_defined = held.is_some_and(|held| !held.removed && !held.unclaimed);
        (
            Arc::clone(policies),
            configured.clone(),
            is_defined && !self.watched.shutting_down,
        )
    }

    /// Brings the planning of an instance up to the moment.
    pub(super) fn settle_plan(&mut self, id: &InstanceId) {
        let (policies, _, may_ask) = self.plan_basis(id);
        let now_ms = self.now_ms;
        let Some(held) = self.watched.instances.get_mut(id) else {
            return;
        };
        let watch = &mut held.plan;
        if policies.is_empty() {
            (watch.in_force, watch.open, watch.asked) = (None, None, None);
            (watch.observed, watch.refused) = (None, false);
        } else if !may_ask {
            (watch.open, watch.asked) = (None, None);
        } else if let Some(open) = &watch.open {
            if open.until_ms <= now_ms {
                watch.no_answer(&policies);
                self.saw("breaker plan unanswered");
            } else if open.policies != policies {
                watch.open = None;
            }
        }
    }

    pub(super) fn note_calls(&mut self, key: &SlotKey, sample: &Sample) {
        let now_ms = self.now_ms;
        if self.slot_before(key).is_some()
            && let Some(held) = self.watched.instances.get_mut(&key.instance)
        {
            (held.plan.calls, held.plan.calls_ms) = (Calls::of(sample), now_ms);
        }
    }

    pub(super) fn check_plan_ask(&mut self, ask: &Ask, id: &InstanceId, profile: &BreakerProfile) {
        self.settle_plan(id);
        let (policies, configured, may_ask) = self.plan_basis(id);
        let now_ms = self.now_ms;
        let Some(held) = self.watched.instances.get_mut(id) else {
            return self.fail(
                Property::PlanAsked,
                format!("{id} is asked about and is not known"),
            );
        };
        let watch = &mut held.plan;
        if let Some(open) = &watch.open {
            let how = format!("{id} is asked about although {open:?} is still open");
            return self.fail(Property::PlanQuestionEnds, how);
        }
        let due_ms = watch.due_ms(&policies, &configured);
        if !may_ask || policies != ask.policies || due_ms.is_none_or(|at_ms| at_ms > now_ms) {
            let how = format!("{id} is asked about; that is due at {due_ms:?}: {watch:?}");
            return self.fail(Property::PlanAsked, how);
        }
        if watch.calls_ms + SAMPLE_FOR_MS <= now_ms {
            watch.calls = Calls::default();
        }
        let again = watch.asked.as_ref().is_some_and(|asked| {
            !asked.unanswered && asked.policies == policies && asked.configured == configured
        });
        let calls = watch.calls;
        watch.open = Some(OpenPlan {
            question: ask.id,
            policies: Arc::clone(&policies),
            until_ms: ask.deadline_ms + SLACK_MS,
        });
        let share = profile.figures.error_share;
        let stated = (
            profile.configured == configured,
            share.map(|share| (share * 100.0).round() as u64),
        );
        watch.asked = Some(AskedPlan {
            at_ms: now_ms,
            policies,
            configured,
            calls,
            unanswered: false,
        });
        if stated != (true, calls.are_there.then_some(calls.errors)) {
            let how = format!("{id} is asked about with {profile:?}");
            self.fail(Property::PlanAsked, how);
        }
        if again {
            self.saw("breaker plan asked for again");
        }
    }

    /// A policy answers, or fails to.
    pub(super) fn expect_breaker_plan(&mut self, question: QuestionId, answers: &[PolicyAnswer]) {
        let all = &self.watched.instances;
        let id = all.iter().find_map(|(id, held)| {
            let open = held.plan.open.as_ref()?;
            (open.question == question).then(|| id.clone())
        });
        let Some(id) = id else {
            return;
        };
        // Its time may be up in this very step: then the answer still counts.
        let (policies, ..) = self.plan_basis(&id);
        if let Some(held) = self.watched.instances.get_mut(&id) {
            let what = held.plan.answer(&policies, answers);
            self.saw(what);
        }
    }

    /// The policies changed: what was asked before is void.
    pub(super) fn void_plans(&mut self) {
        for held in self.watched.instances.values_mut() {
            (held.plan.open, held.plan.asked) = (None, None);
        }
    }

    /// What a policy planned is given up.
    pub(super) fn forget_plans_of(&mut self, policy: &Arc<str>) {
        for held in self.watched.instances.values_mut() {
            held.plan.in_force.take_if(|(by, _)| by == policy);
            held.plan.observed.take_if(|one| one.policy == *policy);
        }
    }

    pub(super) fn check_plan(&mut self, view: &InstanceView) {
        let id = &view.id;
        self.settle_plan(id);
        let open = self.fleet.open_plan_question(id);
        let Some(held) = self.held(id) else {
            return;
        };
        let watch = &held.plan;
        let expected = watch.open.as_ref().map(|open| open.question);
        if open != expected {
            let how = format!("{id} waits for {open:?}; open is {expected:?}");
            return self.fail(Property::PlanQuestionEnds, how);
        }
        let (_, configured, _) = self.plan_basis(id);
        let in_force = watch.in_force.as_ref();
        let due = (
            in_force.map(|(policy, _)| &**policy),
            in_force.map_or(&configured, |(_, plan)| &plan.thresholds),
            watch.observed.is_some(),
            watch.refused,
        );
        let would_be = self.fleet.would_be(id);
        let goes_by = self.fleet.plan_in_force(id);
        if goes_by != Some(due) {
            let how = format!("{id} goes by {goes_by:?}, and not by {due:?}");
            return self.fail(Property::BreakerPlanInForce, how);
        }
        let reads = self.classes.get(id);
        let is_read = match (in_force, reads) {
            (Some((_, plan)), Some(reads)) => **reads == plan.table,
            (Some((_, plan)), None) => plan.table == ClassTable::default(),
            (None, reads) => {
                let rules = reads.map_or(0, |reads| reads.rules().len());
                let slow_ms = reads.and_then(|reads| reads.slow_ms());
                (rules, slow_ms) == (0, configured.slow_ms)
            }
        };
        if !is_read {
            let how = format!("the hot path of {id} reads {reads:?}, which is not of {due:?}");
            return self.fail(Property::CellAgrees, how);
        }
        let Some(held) = self.watched.instances.get_mut(id) else {
            return;
        };
        let observed = held.plan.observed.as_mut().zip(would_be);
        let Some((observed, would_be)) = observed else {
            return;
        };
        let before = observed.state;
        if let Some(how) = observed.check(would_be) {
            self.fail(
                Property::WouldBe,
                format!("the observed plan of {id}: {how}"),
            );
        } else if before != would_be && would_be == BreakerState::Open {
            self.saw("breaker plan would have opened");
        }
    }

    /// No more questions at once than there may be; and none waits while there are fewer.
    pub(super) fn check_plan_questions(&mut self) {
        let most = self.settings.plan_questions_max.max(1);
        let instances = &self.watched.instances;
        let open = instances.values().filter(|held| held.plan.open.is_some());
        let open = open.count();
        let mut waiting = None;
        for (id, held) in instances {
            let (policies, configured, may_ask) = self.plan_basis(id);
            let due_ms = held.plan.due_ms(&policies, &configured);
            let is_due = due_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
            if held.plan.open.is_none() && !policies.is_empty() && may_ask && is_due {
                waiting = Some(id.clone());
            }
        }
        if open > most {
            let how = format!("{open} questions for plans are open, {most} may be");
            self.fail(Property::PlanQuestionsBounded, how);
        } else if let Some(id) = waiting {
            if open < most {
                let how = format!("nobody is asked about {id}, and {open} questions are open");
                self.fail(Property::PlanAsked, how);
            }
            self.saw("breaker plan waited");
        }
    }
}
