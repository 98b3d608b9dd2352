//! The fleet: every instance, and the one entrance through which anything changes.
//!
//! A step takes in one event and then lets every instance settle that the event was about or that is due: so an event only notes
//! what happened or what is wanted, and what follows from it is decided in one place. An instance that was not touched, and for
//! which nothing is due, would not change: the cost of a step is that of what it touches, whatever the size of the fleet.

mod admission;
mod capacity;
mod events;
mod index;
mod readiness;
mod shared_cause;
mod specs;
#[cfg(test)]
mod tests;
mod trials;

use std::collections::BTreeMap;

use crate::{
    action::Action,
    event::Event,
    id::{InstanceId, SlotKey},
    instance::Instance,
    planted::{Bugs, Planted},
    settings::Settings,
    slot::Slot,
    spec::InstanceSpec,
    step::{Counters, DesiredState, FleetPhase, Step},
    time::{Now, earlier},
    view::{FleetView, InstanceView, Summary},
};
use admission::Admission;
use capacity::CapacityWatch;
use index::Index;
use readiness::Watch;
use trials::Trials;

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
    capacity: CapacityWatch,
    admission: Admission,
    trials: Trials,
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
            capacity: CapacityWatch::default(),
            admission: Admission::default(),
            trials: Trials::default(),
            now_ms: 0,
            bugs: Bugs::default(),
            #[cfg(test)]
            settled: 0,
        }
    }

    /// Takes in one event and appends what is to be done, in order. A `now` before that of the last step counts as that one.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Action>) {
        self.now_ms = self.now_ms.max(now.mono_ms);
        self.apply_event(event, out);
        self.settle(out);
    }

    /// When `Tick` must come at the latest (same clock as [`Now`]); `None`: only an event changes anything.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        earlier(self.index.next_wake(), self.next_own_wake())
    }

    /// What people see now.
    #[must_use]
    pub fn view(&self, now: Now) -> FleetView {
        let now_ms = self.now_ms.max(now.mono_ms);
        let instances: Vec<_> = self
            .instances
            .values()
            .map(|instance| instance.view(self.phase, &self.settings, now_ms))
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
            capacity: self.capacity_view(now_ms),
            shutting_down: self.phase == FleetPhase::ShuttingDown,
            adoption_finished: self.adoption_finished,
        }
    }

    /// What people see now of one instance, with the plan of its breaker.
    #[must_use]
    pub fn instance_view(&self, id: &InstanceId, now: Now) -> Option<InstanceView> {
        let now_ms = self.now_ms.max(now.mono_ms);
        let instance = self.instances.get(id)?;
        Some(instance.full_view(self.phase, &self.settings, now_ms))
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

    /// How many instances run: those with a process, from its start to its end.
    #[must_use]
    pub fn running(&self) -> usize {
        self.index.alive()
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Lets everything follow from what was taken in. Instances settle in the order of their ids, so that which of them were
    /// touched changes nothing about what is decided.
    fn settle(&mut self, out: &mut Vec<Action>) {
        self.settle_instances(out);
        // Where another generation is in force, what was judged by the one before is judged anew.
        if self.settle_trials(out) {
            self.settle_instances(out);
        }
        if self.watch_rounds(out) {
            self.settle_instances(out);
        }
        self.settle_admission(out);
        self.ask_for_plans(out);
        self.watch_capacity(out);
        // Another plan may leave more room.
        self.settle_admission(out);
        self.watch_readiness(out);
        let is_ending = self.phase == FleetPhase::ShuttingDown
            || (self.phase == FleetPhase::Running && self.bugs.has(Planted::EndsUnasked));
        // A survivor that is not found yet may be one that was being stopped, and nobody else would end it.
        let is_over = is_ending && self.adoption_finished && self.index.alive() == 0;
        if is_over && !self.all_stopped {
            self.all_stopped = true;
            out.push(Action::AllStopped);
        }
    }

    fn settle_instances(&mut self, out: &mut Vec<Action>) {
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
    }

    /// Asks for plans of breakers, as many at once as may be.
    fn ask_for_plans(&mut self, out: &mut Vec<Action>) {
        let (instances, index, mut step) = self.parts(out);
        let mut most = step.settings.plan_questions_max.max(1);
        if step.bugs.has(Planted::PlanQuestionsUnbounded) {
            most = usize::MAX;
        }
        while index.plan_questions() < most
            && let Some(id) = index.first_plan_waiting()
            && let Some(instance) = instances.get_mut(id)
        {
            instance.ask_for_plan(&mut step);
            index.update(instance, step.phase, step.bugs);
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
            recycles_left: self.index.recycles_left(self.settings.max_recycling),
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
            instance.indexed = crate::instance::IndexEntry::default();
            rebuilt.update(instance, self.phase, self.bugs);
        }
        full.index = rebuilt;
        full.watch_breakers();
        (full != *self).then(|| format!("{self:#?}\nis not\n{full:#?}"))
    }

    /// Whether a slot serves by the built-in rule.
    pub(crate) fn serves(&self, key: &SlotKey, now_ms: u64) -> bool {
        let instance = self.instances.get(&key.instance);
        instance.is_some_and(|one| one.facts(key.slot, now_ms).is_some())
    }

    /// What a trial that begins now asks about.
    pub(crate) fn trial_size(&self, policy: &str, kind: crate::policy::PolicyKind) -> usize {
        self.begin_trial(policy, kind).size()
    }

    /// What capacity would be reckoned from now.
    pub(crate) fn load_now(&self) -> Option<crate::capacity::CapacityLoad> {
        self.capacity_load()
    }

    pub(crate) fn open_question(&self, key: &SlotKey) -> Option<crate::policy::QuestionId> {
        let instance = self.instances.get(&key.instance)?;
        instance.slots.get(&key.slot)?.open_question()
    }

    /// Who gave the plan in force and what its thresholds are, and whether another one is observed, or refused.
    pub(crate) fn plan_in_force(
        &self,
        id: &InstanceId,
    ) -> Option<(
        Option<&str>,
        &crate::settings::BreakerThresholds,
        bool,
        bool,
    )> {
        let instance = self.instances.get(id)?;
        let (policy, observed, refused) = instance.planning.shown();
        let thresholds = instance.thresholds(&self.settings);
        Some((policy, thresholds, observed, refused))
    }

    pub(crate) fn would_be(&self, id: &InstanceId) -> Option<crate::permit::BreakerState> {
        self.instances.get(id)?.planning.would_be()
    }

    pub(crate) fn open_plan_question(&self, id: &InstanceId) -> Option<crate::policy::QuestionId> {
        self.instances.get(id)?.planning.open_question()
    }
}
