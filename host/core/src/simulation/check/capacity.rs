//! Capacity: when it is reckoned, from what, and which plan is in force. What a policy plans is made recognisable: the reason of
//! its plan names its question.

use std::sync::Arc;

use crate::{
    capacity::{CapacityLoad, CapacityPlan, Usage, builtin},
    policy::{Answer, Ask, NoAnswer, PolicyAnswer, QuestionId},
    settings::Settings,
    simulation::{
        property::Property,
        supervisor::{FAULTY, UNIX_MS},
        world::World,
    },
    view::{FleetView, Lifecycle},
};

/// Time for an answer to come back after its deadline; the core's own patience must not be longer.
const SLACK_MS: u64 = 250;

/// What the model remembers of capacity.
#[derive(Debug, Default)]
pub(super) struct CapacityModel {
    pub(super) is_measured: bool,
    open: Option<AwaitedQuestion>,
    in_force: Option<InForce>,
    /// A question that was asked in the step in progress.
    asked: Option<Box<CapacityLoad>>,
    /// When capacity was reckoned last, and with how many instances, running ones among them.
    reckoned: Option<(u64, (u32, u32))>,
    /// It must be reckoned in the step in progress.
    anew: bool,
}

#[derive(Debug)]
struct AwaitedQuestion {
    id: QuestionId,
    policy: Arc<str>,
    load: Box<CapacityLoad>,
    until_ms: u64,
}

/// Which plan must be in force.
#[derive(Debug, Clone, PartialEq)]
enum InForce {
    /// What the built-in rule says of a load.
    Builtin(Box<CapacityLoad>, Box<CapacityPlan>),
    /// What a policy answered.
    Policy(Arc<str>, QuestionId),
}

impl InForce {
    fn builtin(load: Box<CapacityLoad>) -> Self {
        let plan = Box::new(builtin(&load));
        Self::Builtin(load, plan)
    }
}

impl CapacityModel {
    fn builtin_load(&self) -> Option<&CapacityLoad> {
        match &self.in_force {
            Some(InForce::Builtin(load, _)) => Some(load),
            _ => None,
        }
    }

    /// The answer to a question, or why there is none.
    fn conclude(&mut self, open: AwaitedQuestion, answer: Result<bool, NoAnswer>) -> &'static str {
        let is_by_it = |in_force: &InForce| matches!(in_force, InForce::Policy(policy, _) if *policy == open.policy);
        let has_plan = self.in_force.as_ref().is_some_and(is_by_it);
        match answer {
            Ok(true) => {
                self.in_force = Some(InForce::Policy(open.policy, open.id));
                "capacity planned"
            }
            Ok(false) | Err(NoAnswer::TimedOut | NoAnswer::Trapped) if has_plan => "plan kept",
            Ok(false) | Err(_) => {
                self.in_force = Some(InForce::builtin(open.load));
                "plan refused"
            }
        }
    }
}

impl World {
    /// New numbers hold from now on.
    pub(super) fn expect_capacity_settings(&mut self, settings: &Settings) {
        if settings.capacity_policy != self.settings.capacity_policy {
            self.ask_capacity_anew();
        }
        if let Some((at_ms, _)) = &mut self.watched.capacity.reckoned {
            *at_ms = self.now_ms;
        }
    }

    /// The capacity policy is another one: what was asked is void.
    pub(super) fn ask_capacity_anew(&mut self) {
        self.watched.capacity.open = None;
        self.watched.capacity.anew = true;
    }

    /// Policies answer, or fail to.
    pub(super) fn expect_plan(&mut self, question: QuestionId, answers: &[PolicyAnswer]) {
        let model = &mut self.watched.capacity;
        let Some(open) = model.open.take_if(|open| open.id == question) else {
            return;
        };
        let answer = answers.iter().find(|entry| entry.policy == open.policy);
        if let Some(Ok(Answer::Capacity(plan))) = answer.map(|entry| &entry.answer)
            && !plan.reason.ends_with(FAULTY)
            && self.is_plan_held(&open.policy, plan, &open.load)
        {
            return;
        }
        let model = &mut self.watched.capacity;
        let answer = match answer.map(|entry| &entry.answer) {
            // The faulty plans of this world say so.
            Some(Ok(Answer::Capacity(plan))) => Ok(!plan.reason.ends_with(FAULTY)),
            Some(Ok(_)) => Err(NoAnswer::Trapped),
            Some(Err(why)) => Err(*why),
            None => Err(NoAnswer::TimedOut),
        };
        let what = model.conclude(open, answer);
        self.saw(what);
    }

    pub(super) fn check_capacity_ask(&mut self, ask: &Ask, load: &CapacityLoad) {
        let now_ms = self.now_ms;
        self.end_overdue_plan();
        if let Some(open) = &self.watched.capacity.open {
            let how = format!("capacity is asked about anew although {open:?} is still open");
            return self.fail(Property::CapacityAsked, how);
        }
        let policy = ask.policies.first().cloned();
        if policy != self.settings.capacity_policy || ask.policies.len() != 1 {
            let how = format!("{:?} is asked about capacity", ask.policies);
            return self.fail(Property::CapacityAsked, how);
        }
        let load = Box::new(load.clone());
        self.watched.capacity.asked = Some(load.clone());
        self.watched.capacity.open = policy.map(|policy| AwaitedQuestion {
            id: ask.id,
            policy,
            load,
            until_ms: ask.deadline_ms + SLACK_MS,
        });
        if ask.deadline_ms != now_ms + self.settings.question_ms {
            let how = format!("capacity is to be answered by {}", ask.deadline_ms);
            self.fail(Property::CapacityAsked, how);
        }
    }

    fn end_overdue_plan(&mut self) {
        let (now_ms, model) = (self.now_ms, &mut self.watched.capacity);
        if let Some(open) = model.open.take_if(|open| open.until_ms <= now_ms) {
            let what = model.conclude(open, Err(NoAnswer::TimedOut));
            self.saw(what);
        }
    }

    pub(super) fn check_capacity(&mut self, after: &FleetView) {
        let now_ms = self.now_ms;
        if !self.watched.capacity.is_measured
            || !self.watched.adoption_finished
            || self.watched.shutting_down
        {
            return;
        }
        self.end_overdue_plan();
        let in_force = after.capacity.in_force.as_deref();
        let mut asked = self.watched.capacity.asked.take();
        if self.settings.capacity_policy.is_none() {
            // Nobody is asked: what the built-in rule was given shows in its plan.
            let load = in_force.map(|plan| Box::new(plan.load.clone()));
            let model = &mut self.watched.capacity;
            asked = load.filter(|load| model.builtin_load() != Some(&**load));
            if let Some(load) = &asked {
                model.in_force = Some(InForce::builtin(load.clone()));
            }
            // What is reckoned twice in one moment shows once.
            model.anew &= model.builtin_load().map(|load| load.now_ms) != Some(UNIX_MS + now_ms);
        }
        let (instances, usage) = self.load_of(after);
        if let Some(load) = asked {
            let asked = (load.now_ms, load.instances, load.usage);
            // A plan that was found in this step may admit more, and changes the load that it was reckoned from.
            let is_same = !self.watched.admission.has_admitted;
            if is_same && asked != (UNIX_MS + now_ms, instances, usage) {
                let how = format!("{asked:?} is reckoned from; it is {instances} and {usage:?}");
                self.fail(Property::LoadTrue, how);
            }
            let about = (instances, usage.running);
            self.watched.capacity.reckoned = Some((now_ms, about));
            self.watched.capacity.anew = false;
        }
        let is = in_force.map(|plan| (plan.policy.clone(), &plan.plan));
        let must = match &self.watched.capacity.in_force {
            None => is.is_none(),
            Some(InForce::Builtin(_, plan)) => is == Some((None, &**plan)),
            Some(InForce::Policy(policy, id)) => is.is_some_and(|(by, plan)| {
                by.as_ref() == Some(policy)
                    && plan.reason == format!("{}was answered so", super::reason_prefix(*id))
            }),
        };
        if !must {
            let how = format!("{in_force:?} is in force: {:?}", self.watched.capacity);
            return self.fail(Property::PlanInForce, how);
        }
        self.check_reckoned((instances, usage.running));
    }

    /// Capacity is reckoned often enough.
    fn check_reckoned(&mut self, about: (u32, u32)) {
        let (now_ms, model) = (self.now_ms, &self.watched.capacity);
        let settings = &self.settings;
        let longest_ms = match model.reckoned {
            _ if model.open.is_some() => return,
            Some((_, before)) if before == about => settings.capacity_every_ms,
            _ => settings.capacity_pause_ms,
        };
        // A question that is open holds up the next one, as long as it is open.
        let longest_ms = longest_ms.max(settings.question_ms + SLACK_MS);
        let since_ms = model.reckoned.map(|(at_ms, _)| now_ms - at_ms);
        if model.anew || since_ms.is_none_or(|ms| ms > longest_ms) {
            let how = format!("capacity was reckoned {since_ms:?} ms ago: {model:?}");
            self.fail(Property::CapacityAsked, how);
        }
    }

    /// The load as people see it.
    fn load_of(&self, after: &FleetView) -> (u32, Usage) {
        let mut usage = Usage::default();
        let mut instances = 0;
        for view in &after.instances {
            let held = self.held(&view.id);
            instances += u32::from(held.is_some_and(|held| !held.removed && !held.unclaimed));
            let lives = view.slots.iter().any(|slot| match slot.lifecycle {
                Lifecycle::Starting => slot.run.is_some(),
                Lifecycle::Ready | Lifecycle::Draining => true,
                _ => false,
            });
            let is_strayed = |(key, _): &(crate::SlotKey, crate::Run)| key.instance == view.id;
            if lives || self.watched.strays.iter().any(is_strayed) {
                usage.running += 1;
                usage.memory_bytes += view.memory_bytes.unwrap_or(0);
                usage.in_flight += view.in_flight;
            }
        }
        (instances, usage)
    }
}
