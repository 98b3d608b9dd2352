//! The world around one fleet: its clock, its agenda, and the loop that feeds the core.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::{
    Outcome,
    chaos::Plan,
    check::Watched,
    clients::SimulatedRequest,
    dice::Dice,
    generations::LoadedPolicies,
    property::Property,
    supervisor::{Character, Proc},
};
use crate::{
    Fleet, InstanceId, Now, Run, SlotKey,
    action::{Action, GuardedTool, RoutingAction},
    classify::ClassTable,
    event::{Event, Exit, FleetEvent},
    permit::BreakerCell,
    planted::Planted,
    route::Route,
    settings::Settings,
    spec::InstanceSpec,
    view::FleetView,
};

/// Steps after which a fleet is taken to be in a busy loop: the busiest honest ones need a tenth.
const STEPS_MAX: u64 = 60_000;

/// One fleet in so many compares its steps with whole ones, and every one with a planted bug.
const WHOLE_STEPS_EVERY: u64 = 16;

/// What happens at some moment.
#[derive(Debug)]
pub(super) enum Item {
    /// The core is fed an event.
    Deliver(Event),
    /// A process ends.
    Die(SlotKey, Run, Exit),
    /// A process answers its handshake.
    Handshake(SlotKey, Run),
    /// A client's request ends.
    RequestEnds(u64),
    /// A client sends requests.
    Clients,
    /// Memory, pings' figures and counters are read.
    Sample,
    /// The core learns which generations of policies there are.
    Generations,
    /// Something unforeseen.
    Chaos,
    /// What the store defines can be read at last.
    StoreIsBack,
    /// From here on everything behaves.
    Calm,
    /// An operator restarts everything.
    RestartAll,
    /// By now what is wanted must run.
    CalmIsOver,
    /// The router ends.
    End,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now_ms: u64,
    pub(super) fleet: Fleet,
    agenda: BTreeMap<(u64, u64), Item>,
    sequence: u64,
    pub(super) plan: Plan,
    pub(super) procs: BTreeMap<(SlotKey, Run), Proc>,
    pub(super) characters: BTreeMap<InstanceId, Character>,
    /// What the sources define.
    pub(super) specs: BTreeMap<InstanceId, InstanceSpec>,
    pub(super) settings: Settings,
    pub(super) cells: BTreeMap<InstanceId, Arc<BreakerCell>>,
    pub(super) tool_cells: BTreeMap<(InstanceId, Arc<str>), Arc<BreakerCell>>,
    pub(super) classes: BTreeMap<InstanceId, Arc<ClassTable>>,
    pub(super) routes: BTreeMap<SlotKey, Route>,
    pub(super) requests: BTreeMap<u64, SimulatedRequest>,
    /// Permits of probes that ended badly: whose, of which generation, and when they were taken.
    pub(super) kept_permits: Vec<(InstanceId, u32, u64)>,
    pub(super) loaded: LoadedPolicies,
    pub(super) watched: Watched,
    pub(super) calm: bool,
    /// Until then every request fails.
    pub(super) outage_until_ms: u64,
    pub(super) seen: BTreeMap<&'static str, u64>,
    /// Runs that the supervisor knows of, and so reports on.
    pub(super) reported: BTreeSet<(SlotKey, Run)>,
    /// What people saw before the present step.
    pub(super) before: FleetView,
    broken: Option<(Property, String)>,
    /// Whether each step is compared with one in which every instance settles: it costs as much as all else.
    compares_whole_steps: bool,
    /// Last steps to keep; 0: none, which is much faster.
    recorded: usize,
    log: VecDeque<String>,
    steps: u64,
    trace: DefaultHasher,
}

impl World {
    pub(super) fn new(seed: u64, planted: Option<Planted>, recorded: usize) -> Self {
        let mut dice = Dice::new(seed);
        let settings = Plan::settings(seed, &mut dice);
        let mut fleet = Fleet::new(settings.clone());
        fleet.bugs.planted = planted;
        let plan = Plan::new(&mut dice);
        let mut world = Self {
            now_ms: dice.between(0, 5_000),
            before: fleet.view(Now::at(0)),
            fleet,
            agenda: BTreeMap::new(),
            sequence: 0,
            plan,
            procs: BTreeMap::new(),
            characters: BTreeMap::new(),
            specs: BTreeMap::new(),
            settings,
            cells: BTreeMap::new(),
            tool_cells: BTreeMap::new(),
            classes: BTreeMap::new(),
            routes: BTreeMap::new(),
            requests: BTreeMap::new(),
            kept_permits: Vec::new(),
            loaded: LoadedPolicies::default(),
            watched: Watched::default(),
            calm: false,
            outage_until_ms: 0,
            seen: BTreeMap::new(),
            reported: BTreeSet::new(),
            broken: None,
            // A wake that is missed leaves work undone too, and is to be noticed as what it is.
            compares_whole_steps: planted != Some(Planted::WakeMissed)
                && (planted.is_some() || seed.is_multiple_of(WHOLE_STEPS_EVERY)),
            recorded,
            log: VecDeque::new(),
            steps: 0,
            trace: DefaultHasher::new(),
            dice,
        };
        world.begin();
        world
    }

    pub(super) fn run(mut self) -> Outcome {
        while self.broken.is_none() && self.advance() {}
        if self.broken.is_none() {
            self.the_end();
        }
        Outcome {
            broken: self.broken,
            log: self.log.into(),
            seen: self.seen,
            trace: self.trace.finish(),
            steps: self.steps,
        }
    }

    /// Jumps to the next moment at which anything happens. False when the story is over.
    fn advance(&mut self) -> bool {
        let item_ms = self.agenda.first_key_value().map(|((at_ms, _), _)| *at_ms);
        let wake_ms = self.fleet.next_wake();
        let next_ms = match (item_ms, wake_ms) {
            (Some(item_ms), Some(wake_ms)) => item_ms.min(wake_ms),
            (Some(ms), None) | (None, Some(ms)) => ms,
            (None, None) => return false,
        };
        if next_ms > self.plan.over_ms || self.watched.all_stopped {
            return false;
        }
        if self.steps > STEPS_MAX {
            self.fail(Property::WakeHonest, "busy loop: too many steps");
            return false;
        }
        self.no_deadline_before(next_ms);
        if self.early_tick(next_ms) {
            return true;
        }
        self.now_ms = self.now_ms.max(next_ms);
        let is_item_due = item_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
        let is_wake_due = wake_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
        if is_item_due && (!is_wake_due || self.dice.chance(50)) {
            if let Some((_, item)) = self.agenda.pop_first() {
                self.happen(item);
            }
        } else {
            self.feed(Event::Tick);
            self.no_wake_in_the_past();
        }
        true
    }

    fn happen(&mut self, item: Item) {
        match item {
            Item::Deliver(event) => self.deliver(event),
            Item::Die(key, run, exit) => self.die(&key, run, exit),
            Item::Handshake(key, run) => self.handshake(&key, run),
            Item::RequestEnds(id) => self.request_ends(id),
            Item::Clients => self.clients(),
            Item::Sample => self.sample(),
            Item::Generations => self.deliver_generations(),
            Item::Chaos => self.chaos(),
            Item::StoreIsBack => self.store_is_back(),
            Item::Calm => self.calm_down(),
            Item::RestartAll => self.restart_all(),
            Item::CalmIsOver => self.calm_is_over(),
            Item::End => self.deliver(FleetEvent::Shutdown),
        }
    }

    /// Puts something on the agenda, `in_ms` from now.
    pub(super) fn later(&mut self, in_ms: u64, item: Item) {
        self.sequence += 1;
        self.agenda
            .insert((self.now_ms + in_ms, self.sequence), item);
    }

    /// Tells the core something after an ordinary delay; unless the world is calm, now and then twice.
    pub(super) fn report(&mut self, event: impl Into<Event>) {
        let event = event.into();
        let delay_ms = if self.calm {
            self.dice.between(0, 20)
        } else {
            self.dice.delay_ms()
        };
        if !self.calm && self.dice.chance(3) {
            let echo_ms = delay_ms + self.dice.delay_ms();
            self.later(echo_ms, Item::Deliver(event.clone()));
        }
        self.later(delay_ms, Item::Deliver(event));
    }

    /// Whether a message gets lost that may.
    pub(super) fn is_lost(&mut self) -> bool {
        !self.calm && self.dice.chance(5)
    }

    /// Takes ends and surprises off the agenda.
    pub(super) fn clear_troubles(&mut self) {
        self.agenda.retain(|_, item| {
            !matches!(
                item,
                Item::Die(..) | Item::Chaos | Item::Deliver(Event::Operator(_))
            )
        });
    }

    pub(super) fn deliver(&mut self, event: impl Into<Event>) {
        self.feed(event.into());
    }

    /// One step of the core: feed, check, execute.
    pub(super) fn feed(&mut self, event: Event) {
        if self.broken.is_some() || self.watched.all_stopped {
            return;
        }
        self.steps += 1;
        if self.recorded > 0 {
            self.note(format!("{:>9} {event:?}", self.now_ms));
        }
        self.expect(&event);
        let fed = event.clone();
        let mut out = Vec::new();
        self.fleet.step(Now::at(self.now_ms), event, &mut out);
        for action in out {
            if self.recorded > 0 {
                self.note(format!("{:>9}   -> {action:?}", self.now_ms));
            }
            self.check_action(&action);
            self.execute(action);
        }
        if self.compares_whole_steps
            && let Some(missed) = self.fleet.missed_by_last_step()
        {
            self.fail(Property::StepWhole, missed);
        }
        let after = self.fleet.view(Now::at(self.now_ms));
        self.check_state(&fed, &after);
        self.before = after;
    }

    fn execute(&mut self, action: Action) {
        match action {
            Action::Routing(RoutingAction::SetBreaker {
                instance, setting, ..
            }) => {
                self.cells.entry(instance).or_default().apply(&setting);
            }
            Action::Routing(RoutingAction::SetClasses { instance, classes }) => {
                self.classes.insert(instance, classes);
            }
            Action::Routing(RoutingAction::SetRoute { key, route }) => {
                match route {
                    Some(route) => self.routes.insert(key, route),
                    None => self.routes.remove(&key),
                };
            }
            Action::Routing(RoutingAction::SetTools { instance, tools }) => {
                let is_kept = |tool: &Arc<str>| tools.iter().any(|kept| kept.tool == *tool);
                self.tool_cells
                    .retain(|(at, tool), _| *at != instance || is_kept(tool));
                for GuardedTool { tool, setting, .. } in tools {
                    let key = (instance.clone(), tool);
                    self.tool_cells.entry(key).or_default().apply(&setting);
                }
            }
            Action::Routing(RoutingAction::SetTool { instance, tool }) => {
                if let Some(cell) = self.tool_cells.get(&(instance, tool.tool)) {
                    cell.apply(&tool.setting);
                }
            }
            Action::Routing(RoutingAction::RemoveInstance(instance)) => {
                self.cells.remove(&instance);
                self.tool_cells.retain(|(at, _), _| *at != instance);
                self.watched.forget_tools(&instance);
                self.classes.remove(&instance);
            }
            Action::Slot { key, run, action } => self.supervise(key, run, &action),
            Action::Ask(ask) => {
                self.note_asked(&ask);
                self.ask(&ask);
            }
            Action::Policy(action) => self.carry_out(&action),
            Action::Routing(RoutingAction::MeterTools { .. })
            | Action::Operator(_)
            | Action::AllStopped => {}
        }
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_insert(0) += 1;
    }

    /// Notes the first violation; the story ends with it.
    pub(super) fn fail(&mut self, property: Property, how: impl Into<String>) {
        if self.broken.is_none() {
            let how = format!("at {} ms: {}", self.now_ms, how.into());
            self.broken = Some((property, how));
        }
    }

    fn note(&mut self, line: String) {
        line.hash(&mut self.trace);
        if self.log.len() == self.recorded {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }
}
