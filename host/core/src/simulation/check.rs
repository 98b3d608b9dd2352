//! The model beside the core: what a correct router must do, worked out from the same events by other means. Each file below
//! checks one side of it; this one keeps what they share and calls them, before a step, at each action, and after the step.

mod admission;
mod breakers;
mod capacity;
mod clearing;
mod failures;
mod generations;
mod idle;
mod intent;
mod plans;
mod processes;
mod questions;
mod readiness;
mod shared_cause;
mod tool_breakers;
mod tools;
mod waking;
mod way_down;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{property::Property, world::World};
use crate::{
    InstanceId, Run, SlotKey,
    action::{Action, OperatorAction, RoutingAction, SlotAction},
    event::{Event, FleetEvent, PolicyEvent, SlotEvent, TrafficEvent},
    policy::{PolicyKind, Question, QuestionId},
    settings::Settings,
    spec::InstanceSpec,
    view::{FleetView, Lifecycle, SlotView},
};
use admission::AdmissionModel;
use breakers::BreakerWatch;
use capacity::CapacityModel;
use failures::{Expected, SlotFailures};
use generations::GenerationsModel;
use intent::Order;
use plans::PlanWatch;
use questions::{Answered, AwaitedQuestion};
use readiness::ReadinessModel;
use shared_cause::OneCauseModel;
use tool_breakers::ToolWatch;
use tools::Tools;
use way_down::WayDown;

pub(super) use plans::OUT_OF_BOUNDS;
pub(super) use questions::reason_prefix;

/// Everything the model remembers.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// In the calm, an operator has restarted everything.
    pub(super) by_hand: bool,
    pub(super) all_stopped: bool,
    adoption_finished: bool,
    shutting_down: bool,
    instances: BTreeMap<InstanceId, InstanceWatch>,
    slots: BTreeMap<SlotKey, SlotWatch>,
    questions: BTreeMap<QuestionId, AwaitedQuestion>,
    orders: BTreeMap<u64, Order>,
    orders_given: u64,
    waiters: Vec<Waiter>,
    run_max: Option<Run>,
    /// How far each run is on its way down.
    ways_down: BTreeMap<(SlotKey, Run), WayDown>,
    /// Runs of which `Exited` or `SpawnFailed` was reported.
    ended: BTreeSet<(SlotKey, Run)>,
    /// Runs that are killed although they are not their slot's.
    strays: BTreeSet<(SlotKey, Run)>,
    killed: BTreeSet<(SlotKey, Run)>,
    recorded: BTreeSet<(SlotKey, Run)>,
    /// The run that dies in the step in progress, and must leave evidence.
    must_record: Option<(SlotKey, Run)>,
    /// Digest and deadline of each start.
    launched: BTreeMap<(SlotKey, Run), (u64, Option<u64>)>,
    /// The survivor that the step in progress is about.
    adopting: Option<(SlotKey, Run)>,
    /// The instance whose state the step in progress clears, and whether its evidence went too.
    clearing: Option<(InstanceId, bool)>,
    /// The tool lists that are kept with runs to be compared with.
    kept: BTreeMap<(SlotKey, Run), Vec<String>>,
    /// What the step in progress answers, where a policy did.
    answered: Option<Answered>,
    /// Runs that shutdown must not harm.
    keepers: BTreeSet<(SlotKey, Run)>,
    generations: GenerationsModel,
    readiness: ReadinessModel,
    one_cause: OneCauseModel,
    capacity: CapacityModel,
    /// The tools that have breakers of their own.
    tools: BTreeMap<(InstanceId, Arc<str>), ToolWatch>,
    admission: AdmissionModel,
    /// The step in progress may not do anything.
    quiet: bool,
    stuck_ticks: u32,
}

#[derive(Debug)]
struct InstanceWatch {
    spec: InstanceSpec,
    stopped: bool,
    removed: bool,
    /// Only a source that cannot be read may define it.
    unclaimed: bool,
    breaker: BreakerWatch,
    plan: PlanWatch,
}

impl InstanceWatch {
    fn permits_running(&self) -> bool {
        !self.stopped && !self.removed
    }
}

#[derive(Debug, Default)]
struct SlotWatch {
    wanted: bool,
    last_used_ms: u64,
    tally: SlotFailures,
    /// The run whose failure an operator, or a new definition, has forgiven in advance.
    forgiven: Option<Run>,
    /// What the step in progress must lead to.
    expected: Option<Expected>,
    /// The run that is ready, and since when (which may be before the beginning of time).
    ready: Option<(Run, i64)>,
    /// An operator's restart is under way: no limiter may hold it.
    restarting: bool,
    lifecycle: Option<Lifecycle>,
    lifecycle_since_ms: u64,
    retry_at_ms: Option<u64>,
    /// While it is wanted and neither runs nor fails: when that has taken longer than any way down and up.
    due_ms: Option<u64>,
    /// Requests in flight when it was last sampled.
    in_flight: u32,
    tools: Tools,
    /// It is in a crash loop that only an operator ends.
    permanent: bool,
    recycled_ms: Option<u64>,
    /// A policy had it recycled, and it has not been ready since.
    recycling: bool,
    /// When it was last asked something on its breaker's behalf, …
    asked_ms: Option<u64>,
    /// … and since when it is due, while the breaker waits for an answer and it is ready.
    unasked_since_ms: Option<u64>,
    question: Option<QuestionId>,
    /// The question whose answer is the present verdict.
    verdict_of: Option<QuestionId>,
    judged_ms: u64,
}

/// A client that waits for a start.
#[derive(Debug)]
struct Waiter {
    key: SlotKey,
    until_ms: u64,
}

impl World {
    /// Takes an event into the model, just before the core is fed it.
    pub(super) fn expect(&mut self, event: &Event) {
        for slot in self.watched.slots.values_mut() {
            slot.expected = None;
        }
        for instance in self.watched.instances.values_mut() {
            instance.breaker.begin_step();
            instance.plan.begin_step();
        }
        (self.watched.adopting, self.watched.answered) = (None, None);
        self.watched.clearing = None;
        self.watched.one_cause.begin_step();
        self.begin_step_of_tools();
        match event {
            Event::Tick => {}
            Event::Fleet(event) => self.expect_of_fleet(event),
            Event::Slot { key, run, event } => self.expect_of_slot(key, *run, event),
            Event::Traffic(event) => self.expect_of_traffic(event),
            Event::Policy(PolicyEvent::Answered { question, answers }) => {
                self.weigh_answers(*question, answers);
                self.expect_answers(*question, answers);
                self.expect_plan(*question, answers);
                self.expect_breaker_plan(*question, answers);
            }
            Event::Policy(PolicyEvent::Changed(PolicyKind::Breaker)) => self.void_plans(),
            Event::Policy(PolicyEvent::Changed(PolicyKind::Capacity)) => self.ask_capacity_anew(),
            Event::Policy(PolicyEvent::Changed(_)) => self.void_questions(),
            Event::Policy(PolicyEvent::Generations(all)) => self.expect_generations(all),
            Event::Operator(command) => self.expect_command(command),
        }
        self.begin_trials();
    }

    fn expect_of_fleet(&mut self, event: &FleetEvent) {
        match event {
            FleetEvent::SpecsApplied { source, specs } => {
                self.forget_takers();
                self.expect_specs(*source, specs);
            }
            FleetEvent::SpecAdded(spec) => {
                self.forget_takers();
                self.expect_spec(spec);
            }
            FleetEvent::SpecRemoved(id) => self.expect_removal(id),
            FleetEvent::SettingsApplied(settings) => self.expect_settings(settings),
            FleetEvent::Adopted(adopted) => self.expect_adoption(adopted),
            FleetEvent::AdoptionFinished => self.watched.adoption_finished = true,
            FleetEvent::Database(reached) => {
                self.watched.readiness.database_lost = !reached;
                for held in self.watched.instances.values_mut().filter(|_| *reached) {
                    held.removed |= std::mem::take(&mut held.unclaimed);
                }
            }
            FleetEvent::Disk(share) => self.watched.readiness.disk_share = *share,
            FleetEvent::AlertJournal(is_kept) => {
                self.watched.readiness.journal_refused = !is_kept;
            }
            FleetEvent::LoadMeasured(_) => self.watched.capacity.is_measured = true,
            FleetEvent::Plugins {
                quarantined,
                faults,
            } => {
                self.watched.readiness.quarantined = *quarantined;
                self.watched.readiness.policy_faults.clone_from(faults);
            }
            FleetEvent::Shutdown => self.expect_shutdown(),
        }
    }

    fn expect_of_slot(&mut self, key: &SlotKey, run: Run, event: &SlotEvent) {
        match event {
            SlotEvent::Exited { .. } => self.expect_end(key, run, true),
            SlotEvent::SpawnFailed { .. } => self.expect_end(key, run, false),
            SlotEvent::Ready { tools } => {
                self.note_answer(key, run, Lifecycle::Starting);
                self.expect_ready(key, run, tools);
            }
            SlotEvent::PingAnswered { .. } => self.note_answer(key, run, Lifecycle::Ready),
            SlotEvent::ToolsListed { tools } => self.expect_list(key, run, tools),
            SlotEvent::Drained | SlotEvent::UpstreamLost { .. } => {
                self.nothing_in_flight(key, run);
            }
            SlotEvent::Sampled { sample } => {
                self.note_sample(key, run, sample);
                self.note_calls(key, sample);
                if self.is_past_a_limit(key, sample) {
                    self.may_be_killed(key, run);
                }
            }
            SlotEvent::ShimLost => self.may_be_killed(key, run),
            SlotEvent::Spawned { .. }
            | SlotEvent::HandshakeFailed { .. }
            | SlotEvent::PingFailed => {}
        }
    }

    fn expect_of_traffic(&mut self, event: &TrafficEvent) {
        match event {
            TrafficEvent::Demand(key) => self.expect_demand(key),
            TrafficEvent::Used(key) => self.note_use(key),
            TrafficEvent::Outcome {
                instance,
                run,
                report,
                upstream_died,
            } => {
                if let Some(held) = self.watched.instances.get_mut(instance) {
                    held.breaker.record(*run, *report, *upstream_died);
                    held.plan.record(*run, report.class, *upstream_died);
                }
            }
            TrafficEvent::ToolOutcome {
                instance,
                tool,
                run,
                report,
                upstream_died,
                ..
            } => {
                if let Some(report) = report {
                    self.record_tool((instance, tool), *run, *report, *upstream_died);
                }
            }
            TrafficEvent::ToolsCounted { instance, .. } => self.count_tools(instance),
            TrafficEvent::Counted { instance, .. } => {
                if let Some(held) = self.watched.instances.get_mut(instance) {
                    held.breaker.counted = true;
                    held.plan.count();
                }
            }
        }
    }

    /// Checks one action, before it is carried out.
    pub(super) fn check_action(&mut self, action: &Action) {
        if self.watched.quiet {
            self.fail(
                Property::WakeHonest,
                format!("work was done before the wake time: {action:?}"),
            );
        }
        match action {
            Action::Slot { key, run, action } => self.check_slot_action(key, *run, action),
            Action::Policy(action) => self.check_policy_action(action),
            Action::Ask(ask) if ask.candidate.is_some() => self.check_trial_ask(ask),
            Action::Ask(ask) => match &ask.question {
                Question::Health { key, facts } => {
                    self.check_ask(ask, key);
                    self.check_facts(key, facts);
                }
                Question::Breaker { instance, profile } => {
                    self.check_plan_ask(ask, instance, profile);
                }
                Question::Capacity { load } => self.check_capacity_ask(ask, load),
            },
            Action::Routing(action) => match action {
                RoutingAction::SetBreaker {
                    instance, setting, ..
                } => {
                    self.note_setting(instance, setting);
                }
                RoutingAction::RemoveInstance(instance) => self.check_gone(instance),
                RoutingAction::SetTools { instance, tools } => self.note_tools(instance, tools),
                RoutingAction::SetTool { instance, tool } => self.note_tool(instance, tool),
                RoutingAction::SetRoute { .. }
                | RoutingAction::SetClasses { .. }
                | RoutingAction::MeterTools { .. } => {}
            },
            Action::Operator(action) => match action {
                OperatorAction::Announce(transition) => {
                    self.watched.one_cause.note(transition);
                    self.check_transition(transition);
                }
                OperatorAction::CommandDone { id, result } => self.check_done(*id, result),
                OperatorAction::RecordCrash(record) => self.check_crash(record),
                OperatorAction::ClearState(id) => self.check_clear(id),
                OperatorAction::SpecRefused { .. }
                | OperatorAction::StartRefused { .. }
                | OperatorAction::PlanRefused { .. } => {}
            },
            Action::AllStopped => self.check_all_stopped(),
        }
    }

    fn check_slot_action(&mut self, key: &SlotKey, run: Run, action: &SlotAction) {
        match action {
            SlotAction::Spawn {
                digest,
                deadline_ms,
            } => self.check_spawn(key, run, *digest, *deadline_ms),
            SlotAction::Drain { deadline_ms } => self.check_drain(key, run, *deadline_ms),
            SlotAction::Terminate => self.check_terminate(key, run),
            SlotAction::Kill => self.check_kill(key, run),
            SlotAction::Release => self.check_release(key, run),
            SlotAction::KeepBaseline { tools } => self.note_kept(key, run, tools),
            SlotAction::Ping {
                for_breaker: true, ..
            } => self.note_asking(key),
            SlotAction::Ping { .. } => {}
        }
    }

    /// Compares what people see after a step with the model.
    pub(super) fn check_state(&mut self, event: &Event, after: &FleetView) {
        if let Event::Fleet(FleetEvent::Adopted(adopted)) = event {
            self.note_adoption(adopted, after);
        }
        self.check_generations(after);
        self.check_becoming_ready(event, after);
        self.note_strays(after);
        self.forget_slots(after);
        for instance in &after.instances {
            if !self.watched.instances.contains_key(&instance.id) {
                self.fail(
                    Property::ReloadExact,
                    format!("{} is defined by nobody", instance.id),
                );
                return;
            }
            self.check_breaker(event, instance);
            self.check_plan(instance);
            for slot in &instance.slots {
                self.check_intent(instance, slot);
                self.check_failures(slot);
                self.check_phase(slot);
                self.check_route(slot);
                self.check_question(event, slot);
                self.check_asking(instance, slot);
                self.note_slot(slot);
            }
        }
        self.check_plan_questions();
        self.check_tool_breakers();
        self.check_cleared(after);
        self.check_tools(after);
        self.check_limits(event, after);
        self.check_orders();
        self.check_waiters();
        self.check_summary(after);
        self.check_one_cause(after);
        self.check_admission(after);
        self.check_capacity(after);
        self.check_readiness(after);
    }

    /// New numbers hold from now on, for what is under way too.
    fn expect_settings(&mut self, settings: &Settings) {
        self.forget_takers();
        self.expect_capacity_settings(settings);
        self.settings = settings.clone();
        for slot in self.watched.slots.values_mut() {
            slot.judged_ms = self.now_ms;
            if slot.lifecycle == Some(Lifecycle::CrashLoop) && !slot.permanent {
                let retry_ms = settings.crash_loop.slow_retry_ms;
                slot.retry_at_ms = retry_ms.map(|ms| slot.lifecycle_since_ms + ms);
            }
        }
    }

    pub(super) fn shutting_down(&self) -> bool {
        self.watched.shutting_down
    }

    fn held(&self, id: &InstanceId) -> Option<&InstanceWatch> {
        self.watched.instances.get(id)
    }

    /// Whether anybody may start the slot now.
    fn may_start(&self, key: &SlotKey) -> bool {
        let permitted = self
            .held(&key.instance)
            .is_some_and(InstanceWatch::permits_running);
        let wanted = self.watched.slots.get(key).is_some_and(|slot| slot.wanted);
        permitted
            && wanted
            && self.watched.adoption_finished
            && !self.watched.shutting_down
            && !self.watched.strays.iter().any(|(at, _)| at == key)
    }

    /// The slot as people saw it before the step.
    fn slot_before(&self, key: &SlotKey) -> Option<&SlotView> {
        slot_in(&self.before, key)
    }

    /// What the slot is in after the step becomes what it was in before the next.
    fn note_slot(&mut self, view: &SlotView) {
        let now_ms = self.now_ms;
        let waits_ms = self.waits_ms(view);
        let forget_ms = self.settings.restart.forget_after_ms;
        let Some(slot) = self.watched.slots.get_mut(&view.key) else {
            return;
        };
        slot.due_ms = waits_ms.map(|ms| slot.due_ms.unwrap_or(now_ms + ms));
        if view.lifecycle == Lifecycle::Draining && slot.lifecycle != Some(Lifecycle::Draining) {
            slot.note_service(view.run, now_ms, forget_ms);
        }
        if view.lifecycle == Lifecycle::Starting && view.run.is_some() {
            slot.restarting = false;
        }
        slot.recycling &= view.lifecycle != Lifecycle::Ready;
        if slot.lifecycle != Some(view.lifecycle) {
            slot.lifecycle = Some(view.lifecycle);
            slot.lifecycle_since_ms = now_ms;
            slot.retry_at_ms = view.retry_after_ms.map(|ms| now_ms + ms);
        }
        slot.ready = match (view.lifecycle, view.run, view.uptime_ms) {
            (Lifecycle::Ready, Some(run), Some(uptime_ms)) => {
                Some((run, now_ms as i64 - uptime_ms as i64))
            }
            // A run on its way down was ready as long as it was.
            (Lifecycle::Draining, Some(run), _) => slot.ready.filter(|(ready, _)| *ready == run),
            _ => None,
        };
    }
}

fn slot_in<'a>(view: &'a FleetView, key: &SlotKey) -> Option<&'a SlotView> {
    let instance = view.instance(&key.instance)?;
    instance.slots.iter().find(|slot| slot.key == *key)
}
