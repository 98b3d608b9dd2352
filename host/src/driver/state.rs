//! What the driver holds, and what it is given.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use router_core::{
    Fleet, InstanceId, SlotKey, classify::ClassTable, event::Event, settings::Settings,
};
use router_proxy::{GuardedTools, MeteredTools, RoutingTable, SharedBreaker};
use router_supervisor::{Supervisor, SupervisorEvent};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    live::{InternalEvent, Live},
    ports::Ports,
    request::{CommandResult, DriverRequest},
    survivors::Survivors,
};
use crate::{clock::Clock, instance_plan::InstancePlans};

/// Events of tasks and connections that may wait for the driver. Each slot has a handful of tasks at most.
const INTERNAL_EVENTS_MAX: usize = 1024;

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

/// The driver. What it does is in the files beside this one.
pub(crate) struct Driver {
    pub(super) parts: DriverParts,
    pub(super) fleet: Fleet,
    pub(super) breakers: HashMap<InstanceId, Arc<SharedBreaker>>,
    /// The tools that have breakers of their own, where there are any.
    pub(super) tools: HashMap<InstanceId, Arc<GuardedTools>>,
    /// The tools whose calls are counted apart, where there are any.
    pub(super) metered: HashMap<InstanceId, Arc<MeteredTools>>,
    /// What the ends of requests mean to breakers, where that is not the built-in table.
    pub(super) classes: HashMap<InstanceId, Arc<ClassTable>>,
    /// When a refused plan was last logged.
    pub(super) refusal_logged: Option<Instant>,
    pub(super) live: HashMap<SlotKey, Live>,
    /// Commands that wait for their `CommandDone`.
    pub(super) commands: HashMap<u64, oneshot::Sender<CommandResult>>,
    pub(super) next_command: u64,
    pub(super) internal: mpsc::Sender<InternalEvent>,
    pub(super) internal_events: mpsc::Receiver<InternalEvent>,
    pub(super) tasks: TaskTracker,
    pub(super) survivors: Survivors,
    pub(super) all_stopped: bool,
}

impl Driver {
    /// A driver with an empty fleet.
    pub(crate) fn new(parts: DriverParts) -> Self {
        let (internal, internal_events) = mpsc::channel(INTERNAL_EVENTS_MAX);
        Self {
            fleet: Fleet::new(parts.settings.clone()),
            parts,
            breakers: HashMap::new(),
            tools: HashMap::new(),
            metered: HashMap::new(),
            classes: HashMap::new(),
            refusal_logged: None,
            live: HashMap::new(),
            commands: HashMap::new(),
            next_command: 1,
            internal,
            internal_events,
            tasks: TaskTracker::new(),
            survivors: Survivors::default(),
            all_stopped: false,
        }
    }
}
