//! The fleet: every instance, and the one entrance through which anything changes.
//!
//! A step takes in one event and then lets every instance settle that the event was about or that is due: so an event only notes
//! what happened or what is wanted, and what follows from it is decided in one place. An instance that was not touched, and for
//! which nothing is due, would not change: the cost of a step is that of what it touches, whatever the size of the fleet.

pub(crate) mod index;
mod readiness;
mod specs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::{
    action::{Action, CommandError, OperatorAction, SlotAction},
    breaker::Verdict,
    event::{Adopted, Command, Event, FleetEvent, PolicyEvent, SlotEvent, TrafficEvent, Verb},
    id::{InstanceId, Run, SlotKey},
    instance::Instance,
    planted::{Bugs, Planted},
    policy::{PolicyAnswer, PolicyKind, QuestionId},
    settings::{BreakerThresholds, Settings},
    slot::Slot,
    spec::InstanceSpec,
    step::{Counters, DesiredState, FleetPhase, Step},
    time::{Now, earlier},
    view::{FleetView, InstanceView, Summary},
};
use index::Index;
use readiness::Watch;

/// See the module.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub struct Fleet {
    settings: Settings,
    instances: BTreeMap<InstanceId, Instance>,
    index: Index,
    touched: Touched,
    counters: Counters,
    phase: FleetPhase,
    adoption_finished: bool,
    all_stopped: bool,
    watch: Watch,
    now_ms: u64,
    pub(crate) bugs: Bugs,
    /// How many times an instance has settled so far.
    #[cfg(test)]
    pub(crate) settled: usize,
}

impl Fleet {
    /// An empty fleet. Nothing is started before `AdoptionFinished`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            counters: Counters::new(settings.seed, settings.first_run),
            settings,
            instances: BTreeMap::new(),
            index: Index::default(),
            touched: Touched::default(),
            phase: FleetPhase::Adopting,
            adoption_finished: false,
            all_stopped: false,
            watch: Watch::default(),
            now_ms: 0,
            bugs: Bugs::default(),
            #[cfg(test)]
            settled: 0,
        }
    }

    /// Takes in one event and appends what is to be done, in order. A `now` before that of the last step counts as that one.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        self.now_ms = self.now_ms.max(now.mono_ms);
        self.take_in(event, out);
        self.settle(out);
    }

    /// When `Tick` must come at the latest (same clock as [`Now`]); `None`: only an event changes anything.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        let readiness = self.watch.next_wake(&self.settings, self.bugs);
        earlier(self.index.next_wake(), readiness)
    }

    /// What people see now.
    #[must_use]
    pub fn view(&self, now: Now) -> FleetView {
        let now_ms = self.now_ms.max(now.mono_ms);
        let instances: Vec<_> = self
            .instances
            .values()
            .map(|instance| instance.view(self.phase, now_ms))
            .collect();
        let mut summary = Summary::default();
        for view in &instances {
            let forgotten =
                self.bugs.has(Planted::SummaryGap) && view.status == crate::view::Status::Draining;
            if forgotten {
                summary.total += 1;
            } else {
                summary.count(view.status, view.crash_loop);
            }
        }
        FleetView {
            readiness: self.readiness(now_ms),
            summary,
            instances,
            shutting_down: self.phase == FleetPhase::ShuttingDown,
            adoption_finished: self.adoption_finished,
        }
    }

    /// What people see now of one instance.
    #[must_use]
    pub fn instance_view(&self, id: &InstanceId, now: Now) -> Option<InstanceView> {
        let now_ms = self.now_ms.max(now.mono_ms);
        let instance = self.instances.get(id)?;
        Some(instance.view(self.phase, now_ms))
    }

    /// The definition of an instance that is not being removed.
    #[must_use]
    pub fn spec(&self, id: &InstanceId) -> Option<&InstanceSpec> {
        let instance = self.instances.get(id)?;
        instance.is_defined().then_some(&instance.spec)
    }

    /// All definitions of instances that are not being removed, by id.
    pub fn specs(&self) -> impl Iterator<Item = &InstanceSpec> {
        let held = self.instances.values();
        held.filter(|instance| instance.is_defined())
            .map(|instance| &instance.spec)
    }

    /// How many definitions that are.
    #[must_use]
    pub fn specs_count(&self) -> usize {
        self.index.defined()
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn take_in(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Fleet(event) => self.take_in_fleet(event, out),
            Event::Slot { key, run, event } => self.take_in_slot(&key, run, event, out),
            Event::Traffic(event) => self.take_in_traffic(event, out),
            Event::Policy(event) => self.take_in_policy(event, out),
            Event::Operator(command) => self.command(&command, out),
        }
    }

    fn take_in_fleet(&mut self, event: FleetEvent, out: &mut Vec<Action>) {
        match event {
            FleetEvent::SpecsApplied { source, specs } => self.apply_specs(source, specs, out),
            FleetEvent::SpecAdded(spec) => self.add_spec(*spec, out),
            FleetEvent::SpecRemoved(id) => self.remove_spec(&id),
            FleetEvent::SettingsApplied(settings) => {
                self.settings = *settings;
                self.touched.all = !self.bugs.has(Planted::SettingsUnnoticed);
            }
            FleetEvent::Adopted(adopted) => self.adopt(*adopted, out),
            FleetEvent::AdoptionFinished => {
                self.adoption_finished = true;
                if self.phase == FleetPhase::Adopting {
                    self.enter(FleetPhase::Running);
                }
            }
            FleetEvent::Database(reached) => {
                self.watch.database = reached;
                self.settle_claims();
            }
            FleetEvent::Disk(share) => self.watch.disk_share = share,
            FleetEvent::PluginsQuarantined(count) => self.watch.plugins_quarantined = count,
            FleetEvent::Shutdown => self.enter(FleetPhase::ShuttingDown),
        }
    }

    fn enter(&mut self, phase: FleetPhase) {
        self.phase = phase;
        self.touched.all = true;
    }

    fn take_in_slot(&mut self, key: &SlotKey, run: Run, event: SlotEvent, out: &mut Vec<Action>) {
        let instance = self.instances.get(&key.instance);
        let is_known = instance.is_some_and(|instance| instance.slots.contains_key(&key.slot));
        if is_known {
            self.with_slot(key, out, |slot, step, desired| {
                slot.report(step, desired, run, event);
            });
        } else if matches!(event, SlotEvent::Spawned { .. }) {
            // Its instance went when its end was reported; if that was wrong, this puts it right.
            out.push(SlotAction::Kill.on(key.clone(), run));
        }
    }

    fn take_in_traffic(&mut self, event: TrafficEvent, out: &mut Vec<Action>) {
        match event {
            TrafficEvent::Demand(key) => self.demand(&key),
            TrafficEvent::Used(key) => self.used(&key),
            TrafficEvent::Outcome {
                instance,
                run,
                report,
                upstream_died,
            } => {
                let verdict = Verdict {
                    report,
                    run,
                    upstream_died,
                };
                self.with_instance(&instance, out, |instance, step| {
                    let thresholds = thresholds(instance, step);
                    let jitter = &mut step.counters.jitter;
                    instance
                        .breaker
                        .verdict(step.now_ms, verdict, &thresholds, jitter, step.bugs);
                });
            }
            TrafficEvent::Counted { instance, totals } => {
                self.with_instance(&instance, out, |instance, step| {
                    let thresholds = thresholds(instance, step);
                    let jitter = &mut step.counters.jitter;
                    instance
                        .breaker
                        .traffic(step.now_ms, totals, &thresholds, jitter);
                });
            }
        }
    }

    fn take_in_policy(&mut self, event: PolicyEvent, out: &mut Vec<Action>) {
        match event {
            PolicyEvent::Answered { question, answers } => self.answered(question, answers, out),
            PolicyEvent::Changed(PolicyKind::Health) => self.judge_again(),
            // Thresholds and capacity come to the core as settings; nothing of them is judged here.
            PolicyEvent::Changed(
                PolicyKind::Breaker | PolicyKind::Capacity | PolicyKind::AlertRule,
            ) => {}
        }
    }

    fn judge_again(&mut self) {
        self.touched.all = true;
        let instances = self.instances.values_mut();
        for slot in instances.flat_map(|instance| instance.slots.values_mut()) {
            slot.judge_again(self.now_ms);
        }
    }

    /// Lets everything follow from what was taken in. Instances settle in the order of their ids, so that which of them were
    /// touched changes nothing about what is decided.
    fn settle(&mut self, out: &mut Vec<Action>) {
        let mut touched = std::mem::take(&mut self.touched);
        let (instances, index, mut step) = self.parts(out);
        if touched.all {
            instances.retain(|_, instance| index.settle(instance, &mut step));
        } else {
            touched.ids.extend(index.due(step.now_ms).cloned());
            touched.ids.sort_unstable();
            touched.ids.dedup();
            for id in &touched.ids {
                if let Some(instance) = instances.get_mut(id)
                    && !index.settle(instance, &mut step)
                {
                    instances.remove(id);
                }
            }
        }
        #[cfg(test)]
        {
            let all = self.instances.len();
            self.settled += if touched.all { all } else { touched.ids.len() };
        }
        touched.clear();
        self.touched = touched;
        self.watch_readiness(out);
        let is_ending = self.phase == FleetPhase::ShuttingDown
            || (self.phase == FleetPhase::Running && self.bugs.has(Planted::EndsUnasked));
        let is_over = is_ending && !self.index.is_anything_alive();
        if is_over && !self.all_stopped {
            self.all_stopped = true;
            out.push(Action::AllStopped);
        }
    }

    fn parts<'a>(
        &'a mut self,
        out: &'a mut Vec<Action>,
    ) -> (
        &'a mut BTreeMap<InstanceId, Instance>,
        &'a mut Index,
        Step<'a>,
    ) {
        let step = Step {
            now_ms: self.now_ms,
            settings: &self.settings,
            counters: &mut self.counters,
            out,
            phase: self.phase,
            bugs: self.bugs,
        };
        (&mut self.instances, &mut self.index, step)
    }

    /// The instance, which settles at the end of the step.
    fn touch(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        let instance = self.instances.get_mut(id)?;
        self.touched.ids.push(id.clone());
        Some(instance)
    }

    fn with_instance(
        &mut self,
        id: &InstanceId,
        out: &mut Vec<Action>,
        act: impl FnOnce(&mut Instance, &mut Step<'_>),
    ) {
        self.touched.ids.push(id.clone());
        let (instances, _, mut step) = self.parts(out);
        if let Some(instance) = instances.get_mut(id) {
            act(instance, &mut step);
        }
    }

    fn with_slot(
        &mut self,
        key: &SlotKey,
        out: &mut Vec<Action>,
        act: impl FnOnce(&mut Slot, &mut Step<'_>, DesiredState<'_>),
    ) {
        self.with_instance(&key.instance, out, |instance, step| {
            if let Some((slot, desired)) = instance.slot_and_desired(key.slot) {
                act(slot, step, desired);
            }
        });
    }

    fn command(&mut self, command: &Command, out: &mut Vec<Action>) {
        let refused = match self.instances.get(&command.instance) {
            None => Some(CommandError::UnknownInstance),
            Some(instance) if instance.removed => Some(CommandError::Removed),
            Some(_) if self.phase == FleetPhase::ShuttingDown => Some(CommandError::ShuttingDown),
            Some(instance)
                if instance.unclaimed && matches!(command.verb, Verb::Start | Verb::Restart) =>
            {
                Some(CommandError::UnknownInstance)
            }
            Some(_) => None,
        };
        match refused {
            Some(error) => out.push(Action::Operator(OperatorAction::CommandDone {
                id: command.id,
                result: Err(error),
            })),
            None => self.with_instance(&command.instance, out, |instance, step| {
                instance.command(step, command.id, command.verb);
            }),
        }
    }

    fn demand(&mut self, key: &SlotKey) {
        let (now_ms, bugs) = (self.now_ms, self.bugs);
        let is_ending = self.phase == FleetPhase::ShuttingDown;
        if let Some(instance) = self.touch(&key.instance) {
            let is_down = instance.slots.values().all(Slot::is_over);
            if is_down && bugs.has(Planted::DemandBeatsStop) {
                instance.stopped = false;
            }
            if instance.desired().permits_running()
                && !is_ending
                && let Some(slot) = instance.slot(key.slot, now_ms)
            {
                slot.demand(now_ms);
            }
        }
    }

    fn used(&mut self, key: &SlotKey) {
        let now_ms = self.now_ms;
        let instance = self.touch(&key.instance);
        if let Some(slot) = instance.and_then(|instance| instance.slots.get_mut(&key.slot)) {
            slot.used(now_ms);
        }
    }

    fn answered(
        &mut self,
        question: QuestionId,
        answers: Vec<PolicyAnswer>,
        out: &mut Vec<Action>,
    ) {
        if let Some(key) = self.index.asked_about(question).cloned() {
            self.with_slot(&key, out, |slot, step, desired| {
                slot.answered(step, desired, answers);
            });
        }
    }

    /// Takes over a survivor. One that nobody defines is taken over all the same: in order to be stopped, unless the database,
    /// which may define it, is not there to be asked.
    fn adopt(&mut self, adopted: Adopted, out: &mut Vec<Action>) {
        if self.all_stopped {
            return;
        }
        let (key, now_ms) = (adopted.key.clone(), self.now_ms);
        let unclaimed =
            !self.watch.database && adopted.wanted && !self.bugs.has(Planted::UnclaimedStopped);
        let orphan = || Instance::orphan(key.instance.clone(), adopted.digest, now_ms, unclaimed);
        let instance = self
            .instances
            .entry(key.instance.clone())
            .or_insert_with(orphan);
        // Also beyond `max_slots`, which may have been lowered: what lives must be known in order to be stopped.
        instance.adopt_slot(key.slot, now_ms);
        self.with_slot(&key, out, |slot, step, desired| {
            slot.adopt(step, desired, adopted);
        });
    }
}

fn thresholds(instance: &Instance, step: &Step<'_>) -> BreakerThresholds {
    let mut thresholds = instance.thresholds(step.settings).clone();
    if step.bugs.has(Planted::OpenTooLong) {
        thresholds.open_first_ms += thresholds.open_first_ms / 4;
    }
    thresholds
}

/// The instances that settle at the end of the step in progress, besides those that are due.
#[derive(Debug, Clone, PartialEq, Default)]
struct Touched {
    all: bool,
    ids: Vec<InstanceId>,
}

impl Touched {
    /// Keeps its room for the next step.
    fn clear(&mut self) {
        self.all = false;
        self.ids.clear();
    }
}

/// What only the simulation may see.
#[cfg(test)]
impl Fleet {
    /// What would be different if every instance had settled in the last step: nothing, but for what is due by now.
    pub(crate) fn missed_by_last_step(&self) -> Option<String> {
        let mut full = self.clone();
        let mut out = Vec::new();
        let (instances, index, mut step) = full.parts(&mut out);
        let due: Vec<InstanceId> = index.due(step.now_ms).cloned().collect();
        for instance in instances.values_mut() {
            if !due.contains(instance.id()) && !index.settle(instance, &mut step) {
                return Some(format!("{} should be gone", instance.id()));
            }
        }
        if let Some(action) = out.first() {
            return Some(format!("not yet decided: {action:?}"));
        }
        let mut rebuilt = Index::default();
        for instance in full.instances.values_mut() {
            instance.indexed = index::Entry::default();
            rebuilt.update(instance, self.phase, self.bugs);
        }
        full.index = rebuilt;
        (full != *self).then(|| format!("{self:#?}\nis not\n{full:#?}"))
    }

    pub(crate) fn open_question(&self, key: &SlotKey) -> Option<QuestionId> {
        let instance = self.instances.get(&key.instance)?;
        instance.slots.get(&key.slot)?.open_question()
    }
}
