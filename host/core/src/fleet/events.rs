//! What each event changes: it is noted here, and what follows from it is decided when the instances settle.

use super::{Fleet, index::Subject};
use crate::{
    action::{Action, CommandError, OperatorAction, SlotAction},
    breaker::Verdict,
    event::{Adopted, Command, Event, FleetEvent, PolicyEvent, SlotEvent, TrafficEvent, Verb},
    id::{Run, SlotKey},
    instance::Instance,
    permit::{Class, Report},
    planted::Planted,
    policy::{PolicyAnswer, PolicyKind, QuestionId},
    settings::BreakerThresholds,
    step::{FleetPhase, Step},
};

impl Fleet {
    pub(super) fn apply_event(&mut self, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Fleet(event) => self.apply_fleet_event(event, out),
            Event::Slot { key, run, event } => self.apply_slot_event(&key, run, event, out),
            Event::Traffic(event) => self.apply_traffic_event(event, out),
            Event::Policy(event) => self.apply_policy_event(event, out),
            Event::Operator(command) => self.command(&command, out),
        }
    }

    fn apply_fleet_event(&mut self, event: FleetEvent, out: &mut Vec<Action>) {
        match event {
            FleetEvent::SpecsApplied { source, specs } => self.apply_specs(source, specs, out),
            FleetEvent::SpecAdded(spec) => self.add_spec(*spec, out),
            FleetEvent::SpecRemoved(id) => self.remove_spec(&id),
            FleetEvent::SettingsApplied(settings) => {
                self.capacity
                    .apply_settings(self.now_ms, &self.settings, &settings);
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
            FleetEvent::AlertJournal(is_kept) => self.watch.alert_journal = is_kept,
            FleetEvent::LoadMeasured(measure) => self.capacity.measured(self.now_ms, measure),
            FleetEvent::Plugins {
                quarantined,
                faults,
            } => {
                self.watch.plugins_quarantined = quarantined;
                self.watch.policy_faults = faults;
            }
            FleetEvent::Shutdown => self.enter(FleetPhase::ShuttingDown),
        }
    }

    fn enter(&mut self, phase: FleetPhase) {
        self.phase = phase;
        self.touched.all = true;
    }

    fn apply_slot_event(
        &mut self,
        key: &SlotKey,
        run: Run,
        event: SlotEvent,
        out: &mut Vec<Action>,
    ) {
        let instance = self.instances.get(&key.instance);
        let is_known = instance.is_some_and(|instance| instance.slots.contains_key(&key.slot));
        if is_known {
            self.with_instance(&key.instance, out, |instance, step| {
                instance.report(step, key.slot, run, event);
            });
        } else if matches!(event, SlotEvent::Spawned { .. }) {
            // Its instance went when its end was reported; if that was wrong, this puts it right.
            out.push(SlotAction::Kill.on(key.clone(), run));
        }
    }

    fn apply_traffic_event(&mut self, event: TrafficEvent, out: &mut Vec<Action>) {
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
                    instance
                        .planning
                        .verdict(step.now_ms, verdict, jitter, step.bugs);
                });
            }
            TrafficEvent::ToolOutcome {
                instance,
                tool,
                run,
                report,
                upstream_died,
                timed_out,
            } => self.with_instance(&instance, out, |instance, step| {
                let verdict = |report| Verdict {
                    report,
                    run,
                    upstream_died,
                };
                let thresholds = thresholds(instance, step);
                let blamed = timed_out.filter(|_| instance.is_silent(run));
                let blamed = blamed.or_else(|| {
                    let is_blamed = step.bugs.has(Planted::ToolBlamesInstance);
                    is_blamed.then(|| instance.breaker.generation())
                });
                if let Some(generation) = blamed {
                    let class = Class::Failure;
                    let verdict = verdict(Report { generation, class });
                    let jitter = &mut step.counters.jitter;
                    let breaker = &mut instance.breaker;
                    breaker.verdict(step.now_ms, verdict, &thresholds, jitter, step.bugs);
                }
                if let Some(report) = report {
                    let tools = &mut instance.tools;
                    tools.verdict(step, &tool, verdict(report), &thresholds);
                }
            }),
            TrafficEvent::ToolsCounted { instance, totals } => {
                self.with_instance(&instance, out, |instance, step| {
                    let thresholds = thresholds(instance, step);
                    for (tool, totals) in totals {
                        instance.tools.traffic(step, &tool, totals, &thresholds);
                    }
                });
            }
            TrafficEvent::Counted { instance, totals } => {
                self.with_instance(&instance, out, |instance, step| {
                    let thresholds = thresholds(instance, step);
                    let jitter = &mut step.counters.jitter;
                    instance
                        .breaker
                        .traffic(step.now_ms, totals, &thresholds, jitter, step.bugs);
                    instance.planning.traffic(step.now_ms, totals, jitter);
                });
            }
        }
    }

    fn apply_policy_event(&mut self, event: PolicyEvent, out: &mut Vec<Action>) {
        match event {
            PolicyEvent::Answered { question, answers } => self.answered(question, answers, out),
            PolicyEvent::Changed(kind) => self.judge_anew(kind),
            PolicyEvent::Generations(all) => self.note_generations(all),
        }
    }

    pub(super) fn judge_again(&mut self) {
        self.touched.all = true;
        let instances = self.instances.values_mut();
        for slot in instances.flat_map(|instance| instance.slots.values_mut()) {
            slot.judge_again(self.now_ms);
        }
    }

    pub(super) fn plan_again(&mut self) {
        self.touched.all = true;
        for instance in self.instances.values_mut() {
            let is_kept = instance.planning.open_question().is_some()
                && self.bugs.has(Planted::VoidPlanTaken);
            if !is_kept {
                instance.planning.plan_anew(self.bugs);
            }
        }
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
            None => {
                let runs = matches!(command.verb, Verb::Start | Verb::Restart);
                let passed = runs.then(|| self.passes(&command.instance)).flatten();
                self.with_instance(&command.instance, out, |instance, step| {
                    instance.command(step, command.id, command.verb, passed);
                });
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
        mut answers: Vec<PolicyAnswer>,
        out: &mut Vec<Action>,
    ) {
        if self.trial_answered(question, &answers) {
            return;
        }
        self.capacity_answered(question, &mut answers, out);
        match self.index.asked_about(question).cloned() {
            Some(Subject::Slot(key)) => self.with_slot(&key, out, |slot, step, desired| {
                slot.answered(step, desired, answers);
            }),
            Some(Subject::Instance(id)) => self.with_instance(&id, out, |instance, step| {
                if let Some((policy, reason, is_news)) = instance.plan_answered(step, answers) {
                    step.push(OperatorAction::PlanRefused {
                        policy,
                        kind: PolicyKind::Breaker,
                        instance: Some(instance.id().clone()),
                        reason,
                        is_news,
                    });
                }
            }),
            None => {}
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
