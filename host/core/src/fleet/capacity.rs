//! The capacity policy: when it is asked, with what, and which of its answers is in force.
//!
//! It is asked once a minute, soon after the fleet changed, and at once when it is another one. An answer that is no plan, or that
//! comes too late, leaves the plan before in force; where the policy is not there at all, the built-in rule answers in its place.

use std::sync::Arc;

use super::{Fleet, trials::of_capacity};
use crate::{
    action::{Action, OperatorAction},
    capacity::{CapacityLoad, CapacityPlan, LoadMeasure, builtin},
    planted::{Bugs, Planted},
    policy::{
        ANSWER_SLACK_MS, Answer, Ask, NoAnswer, PolicyAnswer, PolicyKind, Question, QuestionId,
    },
    settings::Settings,
    step::FleetPhase,
    time::earlier,
    view::{CapacityView, PlanInForce, PlanRefused, Unanswered},
};

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct CapacityWatch {
    /// What was measured last, and when by the core's clock.
    measured: Option<(u64, Box<LoadMeasure>)>,
    in_force: Option<Arc<PlanInForce>>,
    refused: Option<PlanRefused>,
    unanswered: Option<Unanswered>,
    /// Instances, and how many of them ran, at the last question.
    asked_about: Option<(usize, u32)>,
    asked_ms: u64,
    next_ask_ms: u64,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, PartialEq)]
struct Pending {
    question: QuestionId,
    policy: Arc<str>,
    load: Box<CapacityLoad>,
    until_ms: u64,
}

impl CapacityWatch {
    /// When it is due.
    pub(super) fn next_wake(&self, phase: FleetPhase) -> Option<u64> {
        self.measured.as_ref()?;
        let pending = self.pending.as_ref().map(|pending| pending.until_ms);
        let due_ms = pending.or(Some(self.next_ask_ms));
        due_ms.filter(|_| phase == FleetPhase::Running)
    }

    /// The plan that is applied.
    pub(super) fn in_force(&self) -> Option<&PlanInForce> {
        self.in_force.as_deref()
    }

    pub(super) fn measured(&mut self, now_ms: u64, measure: Box<LoadMeasure>) {
        self.measured = Some((now_ms, measure));
    }

    /// The policy is another one: what the one before still has to say is of no interest.
    pub(super) fn ask_anew(&mut self, now_ms: u64) {
        self.pending = None;
        self.next_ask_ms = now_ms;
    }

    /// New numbers hold from now on.
    pub(super) fn apply_settings(&mut self, now_ms: u64, before: &Settings, now: &Settings) {
        if before.capacity_policy != now.capacity_policy {
            self.ask_anew(now_ms);
        }
        let after_ms = now_ms.saturating_add(now.capacity_every_ms.max(1));
        self.next_ask_ms = self.next_ask_ms.min(after_ms);
    }

    fn take(&mut self, plan: CapacityPlan, load: CapacityLoad, policy: Option<Arc<str>>) {
        self.in_force = Some(Arc::new(PlanInForce { plan, load, policy }));
    }

    /// Notes that the policy gave no answer. Where it is there, its plan before stays.
    fn note_unanswered(
        &mut self,
        policy: &Arc<str>,
        why: NoAnswer,
        load: CapacityLoad,
        bugs: Bugs,
    ) {
        let before = self.unanswered.take();
        let before = before.filter(|before| before.policy == *policy);
        let first = Unanswered {
            policy: Arc::clone(policy),
            why,
            since_unix_ms: load.now_ms,
            questions: 0,
        };
        let unanswered = before.unwrap_or(first);
        self.unanswered = Some(Unanswered {
            why,
            questions: unanswered.questions.saturating_add(1),
            ..unanswered
        });
        let forgets = bugs.has(Planted::PlanForgotten);
        let is_kept = why != NoAnswer::Absent && self.plan_of(policy).is_some() && !forgets;
        if !is_kept {
            let plan = builtin(&load);
            self.take(plan, load, None);
        }
    }

    /// The plan in force, where that policy gave it.
    fn plan_of(&self, policy: &str) -> Option<&Arc<PlanInForce>> {
        let in_force = self.in_force.as_ref()?;
        (in_force.policy.as_deref() == Some(policy)).then_some(in_force)
    }
}

impl Fleet {
    /// Asks where that is due, and gives up a question that is overdue.
    pub(super) fn watch_capacity(&mut self, out: &mut Vec<Action>) {
        let now_ms = self.now_ms;
        if self.phase != FleetPhase::Running {
            self.capacity.pending = None;
            return;
        }
        let overdue = self
            .capacity
            .pending
            .take_if(|pending| pending.until_ms <= now_ms);
        if let Some(Pending { policy, load, .. }) = overdue {
            self.capacity
                .note_unanswered(&policy, NoAnswer::TimedOut, *load, self.bugs);
        }
        let about = (self.index.defined(), self.index.usage().running);
        let watch = &mut self.capacity;
        if watch.asked_about.is_some_and(|before| before != about)
            && !self.bugs.has(Planted::ChangeUnasked)
        {
            let soon_ms = watch
                .asked_ms
                .saturating_add(self.settings.capacity_pause_ms);
            watch.next_ask_ms = watch.next_ask_ms.min(soon_ms.max(now_ms));
        }
        if watch.pending.is_some() || watch.next_ask_ms > now_ms {
            return;
        }
        let Some(load) = self.capacity_load() else {
            return;
        };
        let every_ms = self.settings.capacity_every_ms.max(1);
        let watch = &mut self.capacity;
        (watch.asked_about, watch.asked_ms) = (Some(about), now_ms);
        watch.next_ask_ms = now_ms.saturating_add(every_ms);
        match self.settings.capacity_policy.clone() {
            Some(policy) => self.ask_capacity(policy, load, out),
            None => {
                let plan = builtin(&load);
                (watch.unanswered, watch.refused) = (None, None);
                watch.take(plan, load, None);
            }
        }
    }

    fn ask_capacity(&mut self, policy: Arc<str>, load: CapacityLoad, out: &mut Vec<Action>) {
        let id = self.counters.question();
        let deadline_ms = self.now_ms.saturating_add(self.settings.question_ms);
        let load = Box::new(load);
        out.push(Action::Ask(Ask {
            id,
            policies: [Arc::clone(&policy)].into(),
            question: Question::Capacity { load: load.clone() },
            deadline_ms,
            candidate: None,
        }));
        self.capacity.pending = Some(Pending {
            question: id,
            policy,
            load,
            until_ms: deadline_ms.saturating_add(ANSWER_SLACK_MS),
        });
    }

    /// What is known of the load now; `None` before anything of it was measured.
    pub(super) fn capacity_load(&self) -> Option<CapacityLoad> {
        let (at_ms, measure) = self.capacity.measured.as_ref()?;
        let since_ms = self.now_ms.saturating_sub(*at_ms);
        Some(CapacityLoad {
            now_ms: measure.unix_ms.saturating_add(since_ms),
            instances: u32::try_from(self.index.defined()).unwrap_or(u32::MAX),
            usage: self.index.usage(),
            memory_total_bytes: measure.memory_total_bytes,
            memory_free_bytes: measure.memory_free_bytes,
            processors: measure.processors,
            templates: self.index.templates(&self.settings.templates),
            history: Arc::clone(&measure.history),
            attributes: Vec::new(),
        })
    }

    /// Takes in what the policy answered, where the question is the open one.
    pub(super) fn capacity_answered(
        &mut self,
        question: QuestionId,
        answers: &mut Vec<PolicyAnswer>,
        out: &mut Vec<Action>,
    ) {
        let watch = &mut self.capacity;
        let pending = watch
            .pending
            .take_if(|pending| pending.question == question);
        let Some(Pending { policy, load, .. }) = pending else {
            return;
        };
        let answer = answers.drain(..).find(|entry| entry.policy == policy);
        let answer = answer.map_or(Err(NoAnswer::TimedOut), |entry| entry.answer);
        let plan = match answer {
            Ok(Answer::Capacity(plan)) => *plan,
            // Of another kind: as good as none.
            Ok(_) => return watch.note_unanswered(&policy, NoAnswer::Trapped, *load, self.bugs),
            Err(why) => return watch.note_unanswered(&policy, why, *load, self.bugs),
        };
        watch.unanswered = None;
        let checked = plan.check(&load.templates);
        match checked {
            Err(reason) if !self.bugs.has(Planted::PlanUnchecked) => {
                let unix_ms = load.now_ms;
                if watch.plan_of(&policy).is_none() {
                    let plan = builtin(&load);
                    watch.take(plan, *load, None);
                }
                let refused = PlanRefused {
                    policy,
                    reason,
                    unix_ms,
                };
                let before = watch.refused.replace(refused.clone());
                let is_news = before.is_none_or(|before| {
                    (&before.policy, &before.reason) != (&refused.policy, &refused.reason)
                });
                out.push(Action::Operator(OperatorAction::PlanRefused {
                    policy: refused.policy,
                    kind: PolicyKind::Capacity,
                    instance: None,
                    reason: refused.reason,
                    is_news,
                }));
            }
            _ => {
                watch.refused = None;
                let bound = self.trials.bound(&policy);
                let holding = bound.zip(of_capacity(&plan, &load));
                match holding.filter(|_| !self.bugs.has(Planted::RoundsUnwatched)) {
                    Some((generation, holding)) => {
                        let of = (generation, PolicyKind::Capacity);
                        self.hold_in_force(&policy, of, holding, out);
                    }
                    None => self.capacity.take(plan, *load, Some(policy)),
                }
            }
        }
    }

    pub(super) fn capacity_view(&self, now_ms: u64) -> CapacityView {
        let watch = &self.capacity;
        CapacityView {
            instances: u32::try_from(self.index.defined()).unwrap_or(u32::MAX),
            usage: self.index.usage(),
            templates: self.index.templates(&self.settings.templates),
            in_force: watch.in_force.clone(),
            refused: watch.refused.clone(),
            unanswered: watch.unanswered.clone(),
            admission: self.admission.view(now_ms, self.index.waiting()),
        }
    }

    /// When the capacity policy, a wait for a place, or readiness is due.
    pub(super) fn next_own_wake(&self) -> Option<u64> {
        let readiness = self.watch.next_wake(&self.settings, self.bugs);
        let own = earlier(readiness, self.capacity.next_wake(self.phase));
        let own = earlier(own, self.trials.next_wake(self.bugs));
        earlier(own, self.index.next_wait_end())
    }
}
