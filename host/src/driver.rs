//! The driver: the one loop that feeds the core and performs what it decides.
//!
//! Every room reports to it over bounded channels, and nobody else changes the fleet. It waits for nothing but the next event
//! or the core's next wake: whatever takes time runs in a task of its own and reports back as an event.

mod adopting;
mod asks;
mod connections;
mod effects;
mod kept;
mod reports;
mod rooms;
mod rounds;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use router_core::{
    Fleet, InstanceId, SlotKey, event::Event, permit::BreakerCell, settings::Settings,
    view::FleetView,
};
use router_proxy::RoutingTable;
use router_supervisor::{Supervisor, SupervisorEvent};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;

use crate::{clock::Clock, instance_plan::InstancePlans};
pub(crate) use asks::{Ask, CommandResult};
pub(crate) use rooms::{Asking, Rooms};

use connections::{Inner, Live};

/// Events of tasks and connections that may wait for the driver. Each slot has a handful of tasks at most.
const INNER_MAX: usize = 1024;

/// Events taken in between two looks at the clock and the other channels, so that a flood on one cannot starve the rest.
const BURST_MAX: usize = 256;

/// The loop turns at least this often, so that liveness can tell.
const TURN_EVERY: Duration = Duration::from_secs(1);

/// What the loop is given.
pub(crate) struct DriverParts {
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    /// What is known before anything happens: the instances of every source, and whether the database is reached.
    pub(crate) first: Vec<Event>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) supervisor_events: mpsc::Receiver<SupervisorEvent>,
    /// From the proxy and from rooms that speak the core's words.
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) asks: mpsc::Receiver<Ask>,
    pub(crate) table: Arc<RoutingTable>,
    pub(crate) plans: Arc<InstancePlans>,
    pub(crate) rooms: Arc<dyn Rooms>,
    /// The runtime that does the I/O of connections.
    pub(crate) front: Handle,
    /// This life of the router, in the ids that go to instances.
    pub(crate) epoch: u64,
    /// When the loop last turned, by the clock.
    pub(crate) turned_ms: Arc<AtomicU64>,
}

/// See the module.
pub(crate) struct Driver {
    parts: DriverParts,
    fleet: Fleet,
    cells: HashMap<InstanceId, Arc<BreakerCell>>,
    live: HashMap<SlotKey, Live>,
    /// Commands that wait for their `CommandDone`.
    commands: HashMap<u64, oneshot::Sender<CommandResult>>,
    next_command: u64,
    inner: mpsc::Sender<Inner>,
    inner_events: mpsc::Receiver<Inner>,
    tasks: TaskTracker,
    adopting: adopting::Adopting,
    all_stopped: bool,
}

impl Driver {
    /// A driver with an empty fleet.
    pub(crate) fn new(parts: DriverParts) -> Self {
        let (inner, inner_events) = mpsc::channel(INNER_MAX);
        Self {
            fleet: Fleet::new(parts.settings.clone()),
            parts,
            cells: HashMap::new(),
            live: HashMap::new(),
            commands: HashMap::new(),
            next_command: 1,
            inner,
            inner_events,
            tasks: TaskTracker::new(),
            adopting: adopting::Adopting::default(),
            all_stopped: false,
        }
    }

    /// Takes in what is known before anything happens, so that the routing table is there before the first request is. Must be
    /// called within the runtime, once, before [`Driver::run`].
    pub(crate) fn take_in_first(&mut self) {
        for event in std::mem::take(&mut self.parts.first) {
            self.step(event);
        }
        self.tell_instances();
    }

    /// Runs until the fleet has stopped after [`Ask::Shutdown`].
    pub(crate) async fn run(mut self) {
        self.parts.supervisor.adopt_all();
        let mut rounds = rounds::Rounds::new();
        while !self.all_stopped {
            self.turned();
            let wake = self.wake();
            tokio::select! {
                Some(event) = self.parts.supervisor_events.recv() => self.supervised(event),
                Some(event) = self.inner_events.recv() => self.connected(event),
                Some(event) = self.parts.events.recv() => self.take_burst(event),
                Some(ask) = self.parts.asks.recv() => self.answer(ask),
                () = rounds.next() => self.round(),
                () = sleep_until(wake) => {
                    self.parts.rooms.lagged(wake.elapsed());
                    self.step(Event::Tick);
                }
            }
        }
        self.let_go().await;
    }

    /// The proxy's events come in floods: as many as are there are taken in at once, up to a bound.
    fn take_burst(&mut self, first: Event) {
        self.step(first);
        for _ in 1..BURST_MAX {
            match self.parts.events.try_recv() {
                Ok(event) => self.step(event),
                Err(_) => return,
            }
        }
    }

    fn turned(&self) {
        let now_ms = self.parts.clock.now().mono_ms;
        self.parts.turned_ms.store(now_ms, Ordering::Relaxed);
    }

    fn wake(&self) -> Instant {
        let latest = Instant::now() + TURN_EVERY;
        let due = self.fleet.next_wake();
        due.map_or(latest, |at| {
            Instant::from_std(self.parts.clock.instant_at(at)).min(latest)
        })
    }

    /// One step of the core, and everything it decided.
    fn step(&mut self, event: impl Into<Event>) {
        let mut actions = Vec::new();
        let now = self.parts.clock.now();
        self.fleet.step(now, event.into(), &mut actions);
        for action in actions {
            self.perform(action);
        }
    }

    /// Tells which instances there are now.
    fn tell_instances(&self) {
        self.parts.rooms.take_in(self.view());
    }

    fn view(&self) -> Arc<FleetView> {
        Arc::new(self.fleet.view(self.parts.clock.now()))
    }

    fn command_done(&mut self, id: u64, result: CommandResult) {
        if let Some(reply) = self.commands.remove(&id) {
            // Whoever asked may have gone; the command was carried out all the same.
            let _ = reply.send(result);
        }
    }

    /// After the last step: descriptors are closed before the shims are let go of.
    async fn let_go(mut self) {
        for (_, live) in self.live.drain() {
            live.close();
        }
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("tasks of the driver did not end in time");
        }
        self.parts.supervisor.release_all().await;
    }
}
