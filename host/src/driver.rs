//! The driver: the one loop that feeds the core and performs what it decides.
//!
//! Every room reports to it over bounded channels, and nothing else changes the fleet. It waits for nothing but the next event
//! or the core's next wake: what takes time runs in a task of its own and reports back as an event.

mod adopting;
mod breaker_counters;
mod connections;
mod effects;
mod handshake;

mod ports;
mod reports;
mod requests;
mod shim_blob;
mod tool_list;

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
pub(crate) use ports::{Asking, Ports};
pub(crate) use requests::{CommandResult, DriverRequest};

use connections::{InternalEvent, Live};

/// Events of tasks and connections that may wait for the driver. Each slot has a handful of tasks at most.
const INTERNAL_EVENTS_MAX: usize = 1024;

/// Events taken in before the clock and the other channels are read again, so that a flood on one cannot starve the rest.
const BURST_MAX: usize = 256;

/// The loop runs at least this often, so that the liveness probe can tell.
const RUNS_EVERY: Duration = Duration::from_secs(1);

/// What the loop is given.
pub(crate) struct DriverParts {
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    /// What is known before anything happens: the instances of every source, and whether the database is reached.
    pub(crate) first: Vec<Event>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) supervisor_events: mpsc::Receiver<SupervisorEvent>,
    /// From the proxy and from watchers.
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) requests: mpsc::Receiver<DriverRequest>,
    pub(crate) table: Arc<RoutingTable>,
    pub(crate) plans: Arc<InstancePlans>,
    pub(crate) ports: Arc<dyn Ports>,
    /// The runtime that does the I/O of connections.
    pub(crate) front: Handle,
    /// This life of the router, in the ids that go to instances.
    pub(crate) epoch: u64,
    /// When the loop last ran, by the clock.
    pub(crate) loop_ran_ms: Arc<AtomicU64>,
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
    internal: mpsc::Sender<InternalEvent>,
    internal_events: mpsc::Receiver<InternalEvent>,
    tasks: TaskTracker,
    adopting: adopting::Adopting,
    all_stopped: bool,
}

impl Driver {
    /// A driver with an empty fleet.
    pub(crate) fn new(parts: DriverParts) -> Self {
        let (internal, internal_events) = mpsc::channel(INTERNAL_EVENTS_MAX);
        Self {
            fleet: Fleet::new(parts.settings.clone()),
            parts,
            cells: HashMap::new(),
            live: HashMap::new(),
            commands: HashMap::new(),
            next_command: 1,
            internal,
            internal_events,
            tasks: TaskTracker::new(),
            adopting: adopting::Adopting::default(),
            all_stopped: false,
        }
    }

    /// Takes in what is known before anything happens, so that the routing table is there before the first request is. Must be
    /// called within the runtime, once, before [`Driver::run`].
    pub(crate) fn apply_first(&mut self) {
        for event in std::mem::take(&mut self.parts.first) {
            self.step(event);
        }
    }

    /// Runs until the fleet has stopped after [`DriverRequest::Shutdown`].
    pub(crate) async fn run(mut self) {
        self.parts.supervisor.adopt_all();
        let mut reading = breaker_counters::read_interval();
        while !self.all_stopped {
            self.note_run();
            let wake = self.wake();
            tokio::select! {
                Some(event) = self.parts.supervisor_events.recv() => self.handle_supervisor_event(event),
                Some(event) = self.internal_events.recv() => self.handle_internal(event),
                Some(event) = self.parts.events.recv() => self.take_burst(event),
                Some(request) = self.parts.requests.recv() => self.handle_request(request),
                _ = reading.tick() => self.read_breaker_counters(),
                () = sleep_until(wake) => {
                    self.parts.ports.observe_lag(wake.elapsed());
                    self.step(Event::Tick);
                }
            }
        }
        self.close().await;
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

    fn note_run(&self) {
        let now_ms = self.parts.clock.now().mono_ms;
        self.parts.loop_ran_ms.store(now_ms, Ordering::Relaxed);
    }

    fn wake(&self) -> Instant {
        let latest = Instant::now() + RUNS_EVERY;
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

    fn command_done(&mut self, id: u64, result: CommandResult) {
        if let Some(reply) = self.commands.remove(&id) {
            // The caller may have gone; the command was carried out all the same.
            let _ = reply.send(result);
        }
    }

    /// After the last step: descriptors are closed before the shims are released.
    async fn close(mut self) {
        for (_, live) in self.live.drain() {
            live.close();
        }
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("driver tasks did not end in time");
        }
        self.parts.supervisor.release_all().await;
    }
}
