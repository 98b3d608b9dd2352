//! One instance: its definition, what an operator wants of it, its slots, its breaker, and the commands that wait for it.

mod commands;
mod index_entry;
mod judged;
mod place;
mod planning;
mod publishing;
mod tool_metering;
mod tools;
mod view;

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    action::{Action, RoutingAction},
    breaker::Breaker,
    classify::ClassTable,
    event::SlotEvent,
    id::{InstanceId, Run, SlotKey},
    permit::{BreakerSetting, BreakerState},
    planted::{Bugs, Planted},
    policy::{Answer, Ask, PolicyAnswer, Question},
    settings::{BreakerThresholds, Settings},
    slot::Slot,
    spec::{InstanceSpec, Source},
    step::{DesiredState, FleetPhase, Step},
    time::earlier,
};
use commands::Waiter;
pub(crate) use index_entry::IndexEntry;
pub(crate) use place::WaitingStart;
use planning::{PlanBasis, Planning};
use tool_metering::ToolMetering;
use tools::ToolBreakers;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    pub(crate) spec: InstanceSpec,
    pub(crate) stopped: bool,
    pub(crate) removed: bool,
    /// A survivor that no source has named so far, while one of them cannot be read: left as it is until that is known.
    pub(crate) unclaimed: bool,
    pub(crate) slots: BTreeMap<u32, Slot>,
    pub(crate) breaker: Breaker,
    pub(crate) planning: Planning,
    pub(crate) tools: ToolBreakers,
    tool_metering: ToolMetering,
    waiters: Vec<Waiter>,
    /// Clients want it, and a limit holds it up.
    pub(crate) waiting: Option<WaitingStart>,
    announced_breaker: (BreakerState, bool),
    published: Option<BreakerSetting>,
    published_classes: Arc<ClassTable>,
    /// What the fleet's index holds about it.
    pub(crate) indexed: IndexEntry,
}

impl Instance {
    pub(crate) fn new(spec: InstanceSpec, now_ms: u64) -> Self {
        let mut instance = Self {
            stopped: spec.stopped,
            removed: false,
            unclaimed: false,
            slots: BTreeMap::new(),
            breaker: Breaker::new(now_ms),
            planning: Planning::new(now_ms),
            tools: ToolBreakers::default(),
            tool_metering: ToolMetering::default(),
            waiters: Vec::new(),
            waiting: None,
            announced_breaker: (BreakerState::Closed, false),
            published: None,
            published_classes: Arc::default(),
            indexed: IndexEntry::default(),
            spec,
        };
        let autostart = instance.spec.autostart;
        instance.first_slot(now_ms).wanted = autostart;
        instance
    }

    /// The place of a survivor that nobody defines (yet).
    pub(crate) fn orphan(id: InstanceId, digest: u64, now_ms: u64, unclaimed: bool) -> Self {
        let mut spec = InstanceSpec::new(id, Source::Config, digest);
        // Nothing is known of how it is to be treated: so it is not touched.
        spec.keep_on_exit = true;
        spec.idle_stop_ms = None;
        Self {
            removed: !unclaimed,
            unclaimed,
            ..Self::new(spec, now_ms)
        }
    }

    /// Whether a source defines it.
    pub(crate) fn is_defined(&self) -> bool {
        !self.removed && !self.unclaimed
    }

    pub(crate) fn id(&self) -> &InstanceId {
        &self.spec.id
    }

    /// Takes over a new definition under the same id.
    pub(crate) fn redefine(&mut self, spec: InstanceSpec, now_ms: u64) {
        let is_new = self.removed || self.unclaimed;
        let newly_wanted = spec.autostart && (!self.spec.autostart || is_new);
        if std::mem::take(&mut self.unclaimed) {
            self.stopped = spec.stopped;
        }
        if self.removed {
            // It comes back as a new one; what of the old one still ends does so first.
            self.removed = false;
            self.stopped = spec.stopped;
            for slot in self.slots.values_mut() {
                slot.wanted = false;
            }
        }
        self.spec = spec;
        if newly_wanted {
            self.first_slot(now_ms).demand(now_ms);
        }
    }

    /// The slot of that number, made if the instance may have it.
    pub(crate) fn slot(&mut self, number: u32, now_ms: u64) -> Option<&mut Slot> {
        if number >= self.spec.max_slots.max(1) && !self.slots.contains_key(&number) {
            return None;
        }
        Some(self.make_slot(number, now_ms))
    }

    /// The slot of that number, made also beyond what the instance may have.
    pub(crate) fn adopt_slot(&mut self, number: u32, now_ms: u64) {
        self.make_slot(number, now_ms);
    }

    fn first_slot(&mut self, now_ms: u64) -> &mut Slot {
        self.make_slot(0, now_ms)
    }

    fn make_slot(&mut self, number: u32, now_ms: u64) -> &mut Slot {
        let (instance, digest) = (&self.spec.id, self.spec.digest);
        self.slots.entry(number).or_insert_with(|| {
            let instance = instance.clone();
            Slot::new(
                SlotKey {
                    instance,
                    slot: number,
                },
                digest,
                now_ms,
            )
        })
    }

    /// A slot and the state that is desired of it.
    pub(crate) fn slot_and_desired(
        &mut self,
        number: u32,
    ) -> Option<(&mut Slot, DesiredState<'_>)> {
        let desired = DesiredState {
            spec: &self.spec,
            stopped: self.stopped,
            removed: self.removed,
            unclaimed: self.unclaimed,
            asks: self.breaker.is_asking(),
            waiting: self.waiting.as_ref(),
        };
        Some((self.slots.get_mut(&number)?, desired))
    }

    pub(crate) fn desired(&self) -> DesiredState<'_> {
        DesiredState {
            spec: &self.spec,
            stopped: self.stopped,
            removed: self.removed,
            unclaimed: self.unclaimed,
            asks: self.breaker.is_asking(),
            waiting: self.waiting.as_ref(),
        }
    }

    /// The thresholds in force.
    pub(crate) fn thresholds<'a>(&'a self, settings: &'a Settings) -> &'a BreakerThresholds {
        let planned = self.planning.thresholds();
        planned.unwrap_or_else(|| self.configured(settings))
    }

    /// The thresholds of the configuration.
    fn configured<'a>(&'a self, settings: &'a Settings) -> &'a BreakerThresholds {
        self.spec.breaker.as_ref().unwrap_or(&settings.breaker)
    }

    /// Does something with the planning, given what else is known.
    fn plan<T>(
        &mut self,
        step: &mut Step<'_>,
        act: impl FnOnce(&mut Planning, &PlanBasis<'_>) -> T,
    ) -> T {
        let (spec, settings) = (&self.spec, step.settings);
        let basis = PlanBasis {
            now_ms: step.now_ms,
            policies: spec
                .breaker_policy
                .as_ref()
                .unwrap_or(&settings.breaker_policy),
            configured: spec.breaker.as_ref().unwrap_or(&settings.breaker),
            may_ask: !self.removed && !self.unclaimed && step.phase != FleetPhase::ShuttingDown,
            totals: self.breaker.totals(),
            bugs: step.bugs,
        };
        act(&mut self.planning, &basis)
    }

    /// The turn of its question for a plan has come.
    pub(crate) fn ask_for_plan(&mut self, step: &mut Step<'_>) {
        let (id, deadline_ms) = (
            step.counters.question(),
            step.now_ms.saturating_add(step.settings.question_ms),
        );
        let ask = |planning: &mut Planning, basis: &PlanBasis<'_>| {
            planning.ask(basis, id, deadline_ms);
            Arc::clone(basis.policies)
        };
        let policies = self.plan(step, ask);
        let profile = self.profile(step.settings, step.now_ms);
        let question = Question::Breaker {
            instance: self.id().clone(),
            profile: Box::new(profile),
        };
        step.push(Action::Ask(Ask {
            id,
            policies,
            question,
            deadline_ms,
            candidate: None,
        }));
    }

    /// What its policy answered to the open question for a plan. Returns why that is refused, and whether that is
    /// news.
    pub(crate) fn plan_answered(
        &mut self,
        step: &mut Step<'_>,
        answers: Vec<PolicyAnswer>,
    ) -> Option<(Arc<str>, String, bool)> {
        let plan = answers.iter().find_map(|entry| match &entry.answer {
            Ok(Answer::Breaker(plan)) => Some(plan),
            _ => None,
        });
        let opens = plan.and_then(|plan| self.would_open(plan, step.settings, step.now_ms));
        self.planning.note_opens(opens);
        let refused = self.plan(step, |planning, basis| planning.answered(basis, answers));
        if step.bugs.has(Planted::PlanResetsBreaker) {
            self.breaker.reset(step.now_ms);
        }
        refused
    }

    /// Whether the router means any slot of it to run.
    pub(crate) fn is_wanted(&self) -> bool {
        self.desired().permits_running() && self.slots.values().any(|slot| slot.wanted)
    }

    /// Whether a request to it would be served, if need be after a wait that nothing speaks against.
    pub(crate) fn can_serve(&self) -> bool {
        self.breaker.state() != BreakerState::Open
            && self
                .slots
                .values()
                .any(|slot| slot.wanted && slot.can_serve())
    }

    /// Whether a slot that is meant to run is neither running nor failing, for longer than any start or stop takes.
    pub(crate) fn is_overdue(&self, bugs: Bugs) -> bool {
        !bugs.has(Planted::StuckIsFine) && self.slots.values().any(Slot::is_overdue)
    }

    /// Whether a slot has failed and is not back yet: each try looks well until it fails too.
    pub(crate) fn is_retrying(&self, bugs: Bugs) -> bool {
        !bugs.has(Planted::RetryIsFine) && self.slots.values().any(Slot::is_retrying)
    }

    /// Takes in what is reported about a run of one of its slots.
    pub(crate) fn report(&mut self, step: &mut Step<'_>, number: u32, run: Run, event: SlotEvent) {
        if let SlotEvent::Sampled { sample } = &event {
            self.planning.sampled(step.now_ms, sample);
        }
        if let Some((slot, desired)) = self.slot_and_desired(number)
            && slot.report(step, desired, run, event)
        {
            self.breaker.answered();
        }
    }

    /// Ends the step for this instance. Returns whether it is gone for good.
    pub(crate) fn settle(&mut self, step: &mut Step<'_>) -> bool {
        if self.breaker.tick(step.now_ms, step.bugs) {
            for slot in self.slots.values_mut() {
                slot.ask_at(step.now_ms);
            }
        }
        self.plan(step, |planning, basis| planning.settle(basis));
        // Before the routes: a request that waits for a start must find the permit that the readiness brought.
        self.publish_breaker(step);
        self.publish_classes(step);
        self.sync_tools(step);
        self.settle_tools(step);
        if self.unclaimed && step.phase != FleetPhase::ShuttingDown {
            self.leave_survivors_alone();
        }
        self.settle_place(step);
        let desired = DesiredState {
            spec: &self.spec,
            stopped: self.stopped,
            removed: self.removed,
            unclaimed: self.unclaimed,
            asks: self.breaker.is_asking() && !step.bugs.has(Planted::AskedOnce),
            waiting: self.waiting.as_ref(),
        };
        for slot in self.slots.values_mut() {
            slot.settle(step, desired);
        }
        // Which slot is the first that is ready may be another one now.
        if self.sync_tools(step) {
            self.settle_tools(step);
        }
        self.meter_tools(step);
        let is_gone = self.removed && self.slots.values().all(Slot::is_over);
        let removed = self.removed;
        let waiting = self.waiting.as_ref();
        let is_awaited =
            |number: &u32| waiting.is_some_and(|waiting| waiting.slots.contains(number));
        // The first slot stays as the place that people see; further ones come and go with their sessions.
        self.slots.retain(|number, slot| {
            let stays = !slot.is_over()
                || (!is_gone && (*number == 0 || is_awaited(number) || (slot.wanted && !removed)));
            if !stays {
                slot.withdraw(step);
            }
            stays
        });
        self.answer_waiters(step, is_gone);
        if is_gone {
            step.push(RoutingAction::RemoveInstance(self.id().clone()));
        }
        is_gone
    }

    /// Whether the run of one of its slots leaves pings unanswered.
    pub(crate) fn is_silent(&self, run: Run) -> bool {
        self.slots.values().any(|slot| slot.is_silent(run))
    }

    /// What is unclaimed may run on, but nobody knows how to start it again.
    fn leave_survivors_alone(&mut self) {
        for slot in self.slots.values_mut() {
            slot.wanted &= slot.has_run();
        }
        if !self.slots.values().any(Slot::has_run) {
            (self.removed, self.unclaimed) = (true, false);
        }
    }

    pub(crate) fn next_wake(&self, phase: FleetPhase, bugs: Bugs) -> Option<u64> {
        let slots = self.slots.values().map(|slot| slot.next_wake(phase, bugs));
        let own = earlier(self.breaker.next_wake(), self.planning.next_wake());
        let own = earlier(own, self.tools.next_wake());
        slots.fold(own, earlier)
    }
}
