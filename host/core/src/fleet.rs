//! The fleet: every instance, and the one entrance through which anything changes.
//!
//! A step takes in one event and then lets every instance settle: so an event only notes what happened or what is wanted, and
//! what follows from it is decided in one place. The cost is linear in the number of instances, which is hundreds at most, and
//! no request waits for a step.

mod readiness;
mod specs;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::{
    action::{Action, CommandError},
    breaker::Verdict,
    event::{Adopted, Command, Event, PolicyKind, QuestionId, Verb},
    health::HealthVerdict,
    id::{InstanceId, Run, SlotKey},
    instance::Instance,
    planted::{Bugs, Planted},
    settings::{BreakerThresholds, Settings},
    slot::Slot,
    spec::InstanceSpec,
    step::{Counters, Gate, Mandate, Step},
    time::{Now, earlier},
    view::{FleetView, Summary},
};
use readiness::Watch;

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
    instances: BTreeMap<InstanceId, Instance>,
    counters: Counters,
    gate: Gate,
    adoption_finished: bool,
    all_stopped: bool,
    watch: Watch,
    now_ms: u64,
    pub(crate) bugs: Bugs,
}

impl Fleet {
    /// An empty fleet. Nothing is started before `AdoptionFinished`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            counters: Counters::new(settings.seed, settings.first_run),
            settings,
            instances: BTreeMap::new(),
            gate: Gate::Adopting,
            adoption_finished: false,
            all_stopped: false,
            watch: Watch::default(),
            now_ms: 0,
            bugs: Bugs::default(),
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
        let wakes = self
            .instances
            .values()
            .map(|instance| instance.next_wake(self.gate, self.bugs));
        let readiness = self.watch.next_wake(&self.settings, self.bugs);
        wakes.fold(readiness, earlier)
    }

    /// What people see now.
    #[must_use]
    pub fn view(&self, now: Now) -> FleetView {
        let now_ms = self.now_ms.max(now.mono_ms);
        let instances: Vec<_> = self
            .instances
            .values()
            .map(|instance| instance.view(self.gate, now_ms))
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
            shutting_down: self.gate == Gate::ShuttingDown,
            adoption_finished: self.adoption_finished,
        }
    }

    /// The definition of an instance that is not being removed.
    #[must_use]
    pub fn spec(&self, id: &InstanceId) -> Option<&InstanceSpec> {
        let instance = self.instances.get(id)?;
        (!instance.removed && !instance.unclaimed).then_some(&instance.spec)
    }

    /// All definitions of instances that are not being removed, by id.
    pub fn specs(&self) -> impl Iterator<Item = &InstanceSpec> {
        let held = self.instances.values();
        held.filter(|instance| !instance.removed && !instance.unclaimed)
            .map(|instance| &instance.spec)
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn take_in(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::SpecsApplied { source, specs } => self.apply_specs(source, specs, out),
            Event::SpecAdded(spec) => self.add_spec(*spec, out),
            Event::SpecRemoved(id) => self.remove_spec(&id),
            Event::SettingsApplied(settings) => self.settings = *settings,
            Event::Command(command) => self.command(&command, out),
            Event::Demand(key) => self.demand(&key),
            Event::Used(key) => self.used(&key),
            Event::Adopted(adopted) => self.adopt(*adopted, out),
            Event::AdoptionFinished => {
                self.adoption_finished = true;
                if self.gate == Gate::Adopting {
                    self.gate = Gate::Open;
                }
            }
            Event::Spawned { key, run, pid } => self.spawned(&key, run, pid, out),
            Event::Outcome {
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
            Event::Traffic { instance, totals } => {
                self.with_instance(&instance, out, |instance, step| {
                    let thresholds = thresholds(instance, step);
                    let jitter = &mut step.counters.jitter;
                    instance
                        .breaker
                        .traffic(step.now_ms, totals, &thresholds, jitter);
                });
            }
            Event::Answered { question, verdict } => self.answered(question, Some(verdict), out),
            Event::Unanswered { question, why: _ } => self.answered(question, None, out),
            Event::PolicyChanged(PolicyKind::Health) => self.judge_again(),
            // Thresholds and capacity come to the core as settings; nothing of them is judged here.
            Event::PolicyChanged(
                PolicyKind::Breaker | PolicyKind::Capacity | PolicyKind::AlertRule,
            )
            | Event::Tick => {}
            Event::Database(reached) => {
                self.watch.database = reached;
                self.settle_claims();
            }
            Event::Disk(share) => self.watch.disk_share = share,
            Event::PluginsQuarantined(count) => self.watch.plugins_quarantined = count,
            Event::Shutdown => self.gate = Gate::ShuttingDown,
            about_a_run => self.report(about_a_run, out),
        }
    }

    fn judge_again(&mut self) {
        let instances = self.instances.values_mut();
        for slot in instances.flat_map(|instance| instance.slots.values_mut()) {
            slot.judge_again(self.now_ms);
        }
    }

    /// What is reported about one run of one slot.
    fn report(&mut self, event: Event, out: &mut Vec<Action>) {
        let now_ms = self.now_ms;
        match event {
            Event::SpawnFailed { key, run, error } => {
                self.with_slot(&key, out, |slot, step, mandate| {
                    slot.spawn_failed(step, mandate, run, error);
                });
            }
            Event::Ready { key, run, tools } => {
                self.with_slot(&key, out, |slot, step, mandate| {
                    slot.ready(step, mandate, run, tools);
                });
            }
            Event::HandshakeFailed { key, run, error } => {
                self.with_slot(&key, out, |slot, step, mandate| {
                    slot.handshake_failed(step, mandate, run, error);
                });
            }
            Event::ToolsListed { key, run, tools } => {
                self.with_slot(&key, out, |slot, step, _| {
                    slot.tools_listed(step, run, tools);
                });
            }
            Event::Exited {
                key,
                run,
                exit,
                evidence,
            } => {
                self.with_slot(&key, out, |slot, step, mandate| {
                    slot.exited(step, mandate, run, exit, evidence);
                });
            }
            Event::ShimLost { key, run } => {
                self.with_slot(&key, out, |slot, step, _| slot.shim_lost(step, run));
            }
            Event::UpstreamLost { key, run, error } => {
                self.with_slot(&key, out, |slot, step, mandate| {
                    slot.upstream_lost(step, mandate, run, error);
                });
            }
            Event::Drained { key, run } => {
                self.with_slot(&key, out, |slot, step, _| slot.drained(step, run));
            }
            Event::Sampled { key, run, sample } => {
                self.with_slot(&key, out, |slot, step, mandate| {
                    slot.sampled(step, mandate, run, sample);
                });
            }
            Event::PingAnswered { key, run, rtt_ms } => {
                self.with_slot(&key, out, |slot, _, _| {
                    slot.ping_answered(now_ms, run, rtt_ms);
                });
            }
            Event::PingFailed { key, run } => {
                self.with_slot(&key, out, |slot, _, _| slot.ping_failed(now_ms, run));
            }
            _ => {}
        }
    }

    /// Lets everything follow from what was taken in.
    fn settle(&mut self, out: &mut Vec<Action>) {
        let (instances, mut step) = self.parts(out);
        instances.retain(|_, instance| !instance.settle(&mut step));
        self.watch_readiness(out);
        let is_over = self
            .instances
            .values()
            .all(|instance| instance.slots.values().all(Slot::is_over));
        if self.gate == Gate::ShuttingDown && is_over && !self.all_stopped {
            self.all_stopped = true;
            out.push(Action::AllStopped);
        }
    }

    fn parts<'a>(
        &'a mut self,
        out: &'a mut Vec<Action>,
    ) -> (&'a mut BTreeMap<InstanceId, Instance>, Step<'a>) {
        let step = Step {
            now_ms: self.now_ms,
            settings: &self.settings,
            counters: &mut self.counters,
            out,
            gate: self.gate,
            bugs: self.bugs,
        };
        (&mut self.instances, step)
    }

    fn with_instance(
        &mut self,
        id: &InstanceId,
        out: &mut Vec<Action>,
        act: impl FnOnce(&mut Instance, &mut Step<'_>),
    ) {
        let (instances, mut step) = self.parts(out);
        if let Some(instance) = instances.get_mut(id) {
            act(instance, &mut step);
        }
    }

    fn with_slot(
        &mut self,
        key: &SlotKey,
        out: &mut Vec<Action>,
        act: impl FnOnce(&mut Slot, &mut Step<'_>, Mandate<'_>),
    ) {
        self.with_instance(&key.instance, out, |instance, step| {
            if let Some((slot, mandate)) = instance.slot_and_mandate(key.slot) {
                act(slot, step, mandate);
            }
        });
    }

    fn command(&mut self, command: &Command, out: &mut Vec<Action>) {
        let refused = match self.instances.get(&command.instance) {
            None => Some(CommandError::UnknownInstance),
            Some(instance) if instance.removed => Some(CommandError::Removed),
            Some(_) if self.gate == Gate::ShuttingDown => Some(CommandError::ShuttingDown),
            Some(instance)
                if instance.unclaimed && matches!(command.verb, Verb::Start | Verb::Restart) =>
            {
                Some(CommandError::UnknownInstance)
            }
            Some(_) => None,
        };
        match refused {
            Some(error) => out.push(Action::CommandDone {
                id: command.id,
                result: Err(error),
            }),
            None => self.with_instance(&command.instance, out, |instance, step| {
                instance.command(step, command.id, command.verb);
            }),
        }
    }

    fn demand(&mut self, key: &SlotKey) {
        let now_ms = self.now_ms;
        if let Some(instance) = self.instances.get_mut(&key.instance) {
            let is_down = instance.slots.values().all(Slot::is_over);
            if is_down && self.bugs.has(Planted::DemandBeatsStop) {
                instance.stopped = false;
            }
            if instance.mandate().permits_running()
                && self.gate != Gate::ShuttingDown
                && let Some(slot) = instance.slot(key.slot, now_ms)
            {
                slot.demand(now_ms);
            }
        }
    }

    fn used(&mut self, key: &SlotKey) {
        let now_ms = self.now_ms;
        let instance = self.instances.get_mut(&key.instance);
        if let Some(slot) = instance.and_then(|instance| instance.slots.get_mut(&key.slot)) {
            slot.used(now_ms);
        }
    }

    fn answered(
        &mut self,
        question: QuestionId,
        verdict: Option<HealthVerdict>,
        out: &mut Vec<Action>,
    ) {
        let slots = self
            .instances
            .values()
            .flat_map(|instance| instance.slots.values());
        let asked = slots
            .into_iter()
            .find(|slot| slot.awaits(question))
            .map(|slot| slot.key.clone());
        if let Some(key) = asked {
            self.with_slot(&key, out, |slot, step, mandate| {
                slot.answered(step, mandate, verdict);
            });
        }
    }

    fn spawned(&mut self, key: &SlotKey, run: Run, pid: u32, out: &mut Vec<Action>) {
        let known = self
            .instances
            .get(&key.instance)
            .is_some_and(|instance| instance.slots.contains_key(&key.slot));
        if known {
            self.with_slot(key, out, |slot, step, _| slot.spawned(step, run, pid));
        } else {
            // Its instance went when its end was reported; if that was wrong, this puts it right.
            let key = key.clone();
            out.push(Action::Kill { key, run });
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
        self.with_slot(&key, out, |slot, step, mandate| {
            slot.adopt(step, mandate, adopted);
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

/// What only the simulation may see.
#[cfg(test)]
impl Fleet {
    pub(crate) fn open_question(&self, key: &SlotKey) -> Option<QuestionId> {
        let instance = self.instances.get(&key.instance)?;
        instance.slots.get(&key.slot)?.open_question()
    }
}
