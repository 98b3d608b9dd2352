//! How the rooms are made and joined: each step gets what the steps before it made.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::Context as _;
use parking_lot::Mutex;
use router_access::{Access, Sealer};
use router_admin::RouterFacts;
use router_config::Config;
use router_core::event::Event;
use router_engine::{Engine, EngineEvent};
use router_proxy::{Proxy, ProxyParts, RoutingTable};
use router_store::Store;
use router_supervisor::{DataDir, Supervisor, SupervisorEvent};
use router_telemetry::LogGuard;
use router_values::SessionKey;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    alerting::{
        self,
        facts::{DiskGauge, FactSources},
        handle::AlertsHandle,
        open::{AlertConfigurator, OpenAlerts},
    },
    announcer::Announcer,
    applier::ConfigApplier,
    auth_layer::AuthLayer,
    clock::Clock,
    driver::{Driver, DriverParts, DriverRequest},
    driver_handle::DriverHandle,
    evidence::EvidenceRecorder,
    instance_plan::InstancePlans,
    meters::RouterMeters,
    operator_api::OperatorApi,
    recovery_snapshot::RecoverySnapshot,
    revoked_sessions::RevokedSessions,
    webhook_refusals::WebhookRefusals,
    wiring::{
        access, disks,
        driver::ConnectedRooms,
        engine,
        links::AckLinks,
        load_samples, machine,
        plugin_events::PluginWatcher,
        proxy::{self, Seal},
        store::{self, DatabaseWatcher},
        supervisor, telemetry,
        version_heartbeats::VersionHeartbeats,
        watchers::Watchers,
    },
};

/// Events of the supervisor that may wait for the driver.
const SUPERVISOR_EVENTS_MAX: usize = 1024;

/// Events of the proxy and of other rooms that may wait for the driver. What does not fit is dropped and counted.
const EVENTS_MAX: usize = 16 * 1024;

/// Requests to the driver that may wait.
const REQUESTS_MAX: usize = 1024;

/// What every room is opened with.
pub(super) struct Base {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) front: Handle,
    pub(super) data_dir: DataDir,
    pub(super) address: SocketAddr,
}

/// The rooms that need only the configuration.
pub(super) struct Rooms {
    pub(super) logs: LogGuard,
    pub(super) store: Store,
    pub(super) recorder: Arc<EvidenceRecorder>,
    pub(super) access: Arc<Access>,
    pub(super) meters: Arc<RouterMeters>,
    pub(super) announcer: Arc<Announcer>,
    pub(super) supervisor: Arc<Supervisor>,
    pub(super) engine: Engine,
    pub(super) snapshot: Arc<RecoverySnapshot>,
    /// Whether the registrations were read from the database, once [`Rooms::restore`] has tried to.
    pub(super) is_restored: bool,
}

impl Rooms {
    /// Reads what only the database knows, where that answers in time.
    pub(super) async fn restore(&mut self) {
        self.is_restored = store::restore_at_start(&self.snapshot, &self.store).await;
    }
}

/// What the driver shares with the other rooms.
pub(super) struct SharedState {
    pub(super) events: mpsc::Sender<Event>,
    pub(super) driver: DriverHandle,
    pub(super) table: Arc<RoutingTable>,
    pub(super) plans: Arc<InstancePlans>,
    pub(super) loop_ran_ms: Arc<AtomicU64>,
}

/// The ends of channels that the driver and the watchers read from.
pub(super) struct Receivers {
    pub(super) supervisor: mpsc::Receiver<SupervisorEvent>,
    pub(super) plugins: mpsc::Receiver<EngineEvent>,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) requests: mpsc::Receiver<DriverRequest>,
}

impl Base {
    /// Opens the rooms that need only the configuration, and makes the channels.
    pub(super) async fn open_rooms(&self) -> anyhow::Result<(Rooms, SharedState, Receivers)> {
        let (config, data_dir) = (&*self.config, &self.data_dir);
        let logs = router_telemetry::logs::init(&telemetry::log_options(config))
            .context("the log cannot be written")?;
        let store = Store::open(store::options(config, data_dir)).await?;
        let recorder = EvidenceRecorder::new(store.clone());
        let access = Arc::new(access::open(config, self.address)?);
        let (supervisor_events, from_supervisor) = mpsc::channel(SUPERVISOR_EVENTS_MAX);
        let supervisor = Supervisor::new(supervisor::options(config, data_dir), supervisor_events)?;
        let (engine, plugins) = Engine::start(engine::options(config, &store, data_dir))
            .context("the plugin engine")?;
        let snapshot = Arc::new(RecoverySnapshot::open(data_dir.path())?);
        let (events, driver_events) = mpsc::channel(EVENTS_MAX);
        let (requests, driver_requests) = mpsc::channel(REQUESTS_MAX);
        let rooms = Rooms {
            meters: Arc::new(RouterMeters::new(self.clock, logs.control())),
            announcer: Arc::new(Announcer::new(Arc::clone(&recorder))),
            supervisor: Arc::new(supervisor),
            logs,
            store,
            recorder,
            access,
            engine,
            snapshot,
            is_restored: false,
        };
        let shared = SharedState {
            events,
            driver: DriverHandle::new(requests),
            table: Arc::new(RoutingTable::new()),
            plans: Arc::new(InstancePlans::default()),
            loop_ran_ms: Arc::new(AtomicU64::new(self.clock.now().mono_ms)),
        };
        let receivers = Receivers {
            supervisor: from_supervisor,
            plugins,
            events: driver_events,
            requests: driver_requests,
        };
        Ok((rooms, shared, receivers))
    }

    /// Applies configurations.
    pub(super) fn applier(
        &self,
        path: PathBuf,
        rooms: &Rooms,
        shared: &SharedState,
        alerts: AlertConfigurator,
    ) -> ConfigApplier {
        ConfigApplier {
            path,
            config: Mutex::new(Arc::clone(&self.config)),
            started: Arc::clone(&self.config),
            listen: self.address,
            lock: tokio::sync::Mutex::new(()),
            driver: shared.driver.clone(),
            plans: Arc::clone(&shared.plans),
            snapshot: Arc::clone(&rooms.snapshot),
            store: rooms.store.clone(),
            access: Arc::clone(&rooms.access),
            engine: rooms.engine.clone(),
            alerts,
            policies: Mutex::default(),
            logs: rooms.logs.control(),
            seed: rand::random(),
            // Runs of this life come after all of those before: no life starts a slot four billion times.
            first_run: (self.data_dir.epoch() << 32) | 1,
        }
    }

    /// The driver, and what is left of the receivers.
    pub(super) fn driver(
        &self,
        rooms: &Rooms,
        shared: &SharedState,
        applier: &ConfigApplier,
        receivers: Receivers,
    ) -> (Driver, mpsc::Receiver<EngineEvent>) {
        let driver = Driver::new(DriverParts {
            clock: self.clock,
            settings: applier.settings(&self.config),
            first: applier.first_events(rooms.is_restored),
            supervisor: Arc::clone(&rooms.supervisor),
            supervisor_events: receivers.supervisor,
            events: receivers.events,
            requests: receivers.requests,
            table: Arc::clone(&shared.table),
            plans: Arc::clone(&shared.plans),
            ports: Arc::new(ConnectedRooms {
                engine: rooms.engine.clone(),
                recorder: Arc::clone(&rooms.recorder),
                announcer: Arc::clone(&rooms.announcer),
                meters: Arc::clone(&rooms.meters),
            }),
            front: self.front.clone(),
            epoch: self.data_dir.epoch(),
            loop_ran_ms: Arc::clone(&shared.loop_ran_ms),
        });
        (driver, receivers.plugins)
    }

    /// Serves MCP.
    pub(super) fn proxy(
        &self,
        rooms: &Rooms,
        shared: &SharedState,
        sealer: Sealer,
        revoked: Arc<RevokedSessions>,
    ) -> Arc<Proxy> {
        let clock = self.clock;
        let parts = ProxyParts {
            table: Arc::clone(&shared.table),
            seal: Arc::new(Seal(sealer)),
            revocations: revoked,
            observer: Arc::clone(&rooms.meters) as _,
            events: shared.events.clone(),
            clock: Arc::new(move || clock.now()),
            epoch: format!("e{}", self.data_dir.epoch()),
            limits: proxy::limits(&self.config),
        };
        Proxy::new(parts)
    }

    /// Alerts, opened and not running yet.
    pub(super) async fn alerts(
        &self,
        rooms: &Rooms,
        shared: &SharedState,
        session_key: &SessionKey,
    ) -> anyhow::Result<OpenAlerts> {
        let sources = FactSources {
            clock: self.clock,
            driver: shared.driver.clone(),
            plans: Arc::clone(&shared.plans),
            engine: rooms.engine.clone(),
            store: rooms.store.clone(),
            meters: Arc::clone(&rooms.meters),
            disks: DiskGauge::new(disks::paths(&self.config)),
        };
        alerting::open::open(
            &self.config,
            &self.data_dir,
            sources,
            &rooms.announcer,
            session_key,
        )
        .await
    }

    /// Serves operators.
    pub(super) fn api(
        &self,
        rooms: &Rooms,
        shared: &SharedState,
        applier: Arc<ConfigApplier>,
        proxy: &Arc<Proxy>,
        (alerts, links): (AlertsHandle, Arc<AckLinks>),
    ) -> OperatorApi {
        let capabilities = rooms.supervisor.capabilities();
        OperatorApi {
            facts: RouterFacts {
                router_id: self.data_dir.router_id().to_owned(),
                version: env!("CARGO_PKG_VERSION"),
                kill_method: capabilities.kill.as_str(),
                limit_method: capabilities.limit.as_str(),
                started: self.clock.started(),
            },
            clock: self.clock,
            loop_ran_ms: Arc::clone(&shared.loop_ran_ms),
            driver: shared.driver.clone(),
            plans: Arc::clone(&shared.plans),
            meters: Arc::clone(&rooms.meters),
            supervisor: Arc::clone(&rooms.supervisor),
            store: rooms.store.clone(),
            recorder: Arc::clone(&rooms.recorder),
            engine: rooms.engine.clone(),
            proxy: Arc::clone(proxy),
            announcer: Arc::clone(&rooms.announcer),
            alerts,
            links,
            webhooks: WebhookRefusals::new(Arc::clone(&rooms.recorder)),
            applier,
        }
    }

    /// Starts what watches the rooms.
    pub(super) fn watch(
        &self,
        rooms: &Rooms,
        shared: SharedState,
        api: &OperatorApi,
        auth: &Arc<AuthLayer>,
        plugins: mpsc::Receiver<EngineEvent>,
        watchers: &Watchers,
    ) {
        let database = DatabaseWatcher {
            store: rooms.store.clone(),
            applier: Arc::clone(&api.applier),
            events: shared.events.clone(),
            is_restored: rooms.is_restored,
        };
        watchers.spawn(database.run());
        let plugins = PluginWatcher {
            engine: rooms.engine.clone(),
            plugins,
            recorder: Arc::clone(&rooms.recorder),
            announcer: Arc::clone(&rooms.announcer),
            alerts: api.alerts.clone(),
            events: shared.events.clone(),
            kinds: BTreeMap::new(),
        };
        watchers.spawn(plugins.run());
        watchers.spawn(machine::watch(rooms.store.clone(), shared.events.clone()));
        watchers.spawn(disks::watch(disks::paths(&self.config), shared.events));
        watchers.spawn(load_samples::run(
            rooms.store.clone(),
            shared.driver.clone(),
        ));
        let heartbeats = VersionHeartbeats {
            store: rooms.store.clone(),
            driver: shared.driver,
            plans: shared.plans,
        };
        watchers.spawn(heartbeats.run());
        watchers.spawn(Arc::clone(auth).report_suppressed());
    }
}
