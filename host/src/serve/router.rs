//! The running router: every room is opened in its order, wired to the others, and closed in the reverse order.

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::Mutex;

use router_access::{Access, SessionSealer};
use router_admin::{Operations as _, RouterFacts};
use router_config::Config;
use router_core::event::Event;
use router_engine::{Engine, EngineEvent};
use router_proxy::{Proxy, ProxyParts, RoutingTable};
use router_store::Store;
use router_supervisor::{DataDir, Supervisor, SupervisorEvent};
use router_telemetry::LogGuard;
use router_values::AuditRow;
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::banner;
use crate::{
    announcer::Announcer,
    applier::ConfigApplier,
    auth_layer::AuthLayer,
    clock::Clock,
    driver::{Driver, DriverParts, DriverRequest},
    driver_handle::DriverHandle,
    evidence::EvidenceRecorder,
    front::Front,
    instance_plan::InstancePlans,
    meters::Meters,
    operator_api::OperatorApi,
    recovery_snapshot::RecoverySnapshot,
    revoked_sessions::RevokedSessions,
    wiring::{
        access, disks,
        driver::ConnectedRooms,
        engine,
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

/// The driver answers between two events: one that has not taken the request to shut down by then is stuck.
const STUCK_DRIVER_ENDS_WITHIN: Duration = Duration::from_secs(5);

/// What the router is started with.
pub(super) struct Start {
    pub(super) path: PathBuf,
    pub(super) config: Config,
    pub(super) clock: Clock,
    /// The runtime of connections.
    pub(super) front: Handle,
    pub(super) data_dir: DataDir,
    pub(super) listener: TcpListener,
}

/// See the module.
pub(super) struct Router {
    base: Base,
    rooms: Rooms,
    driver: JoinHandle<()>,
    proxy: Arc<Proxy>,
    revoked: Arc<RevokedSessions>,
    api: Arc<OperatorApi>,
    watchers: Watchers,
    housekeeping: JoinHandle<()>,
    serving: JoinHandle<()>,
    front_ends: CancellationToken,
}

/// What every room is opened with.
struct Base {
    config: Arc<Config>,
    clock: Clock,
    front: Handle,
    data_dir: DataDir,
    address: SocketAddr,
}

/// The rooms that need only the configuration.
struct Rooms {
    logs: LogGuard,
    store: Store,
    recorder: Arc<EvidenceRecorder>,
    access: Arc<Access>,
    meters: Arc<Meters>,
    announcer: Arc<Announcer>,
    supervisor: Arc<Supervisor>,
    engine: Engine,
    snapshot: Arc<RecoverySnapshot>,
    /// Whether the registrations were read from the database.
    is_restored: bool,
}

/// What the driver shares with the other rooms.
struct Shared {
    events: mpsc::Sender<Event>,
    driver: DriverHandle,
    table: Arc<RoutingTable>,
    plans: Arc<InstancePlans>,
    loop_ran_ms: Arc<AtomicU64>,
}

/// The ends of channels that the driver and the watchers read from.
struct Receivers {
    supervisor: mpsc::Receiver<SupervisorEvent>,
    plugins: mpsc::Receiver<EngineEvent>,
    events: mpsc::Receiver<Event>,
    requests: mpsc::Receiver<DriverRequest>,
}

impl Router {
    /// Opens every room. What fails here ends the start: nothing has been launched yet.
    pub(super) async fn open(start: Start) -> anyhow::Result<Self> {
        let base = Base {
            address: start.listener.local_addr()?,
            config: Arc::new(start.config),
            clock: start.clock,
            front: start.front,
            data_dir: start.data_dir,
        };
        let (rooms, shared, receivers) = base.open_rooms().await?;
        let applier = Arc::new(base.applier(start.path, &rooms, &shared));
        let (mut driver, plugins) = base.driver(&rooms, &shared, &applier, receivers);
        driver.apply_first();
        let revoked = RevokedSessions::open(base.data_dir.path());
        let revoked = Arc::new(revoked.context("the list of revoked sessions")?);
        let sealer = SessionSealer::new(&access::session_key(&base.config, &base.data_dir)?, &[]);
        let proxy = base.proxy(&rooms, &shared, sealer, Arc::clone(&revoked));
        let api = Arc::new(base.api(&rooms, &shared, applier, &proxy));
        let auth = Arc::new(AuthLayer::new(
            Arc::clone(&rooms.access),
            Arc::clone(&rooms.recorder),
            Arc::clone(&rooms.meters),
        ));
        let watchers = base.watch(&rooms, shared, &api, &auth, plugins);
        let front_ends = CancellationToken::new();
        let front = Front {
            auth,
            proxy: Arc::clone(&proxy),
            rest: router_admin::router(Arc::clone(&api)),
            rooms: Handle::current(),
            connections: Arc::new(AtomicUsize::new(0)),
            connections_max: base.config.server.max_connections,
            head_timeout: base.config.server.head_timeout,
            body_timeout: base.config.server.body_timeout,
        };
        Ok(Self {
            driver: tokio::spawn(driver.run()),
            housekeeping: base.front.spawn(Arc::clone(&proxy).run()),
            serving: base
                .front
                .spawn(front.serve(start.listener, front_ends.clone())),
            base,
            rooms,
            proxy,
            revoked,
            api,
            watchers,
            front_ends,
        })
    }

    /// Says where the router is, to people and to programs.
    pub(super) fn announce(&self) -> anyhow::Result<()> {
        let Base {
            config,
            data_dir,
            address,
            ..
        } = &self.base;
        banner::write_listen_file(data_dir.path(), *address)?;
        banner::show(config, *address);
        tracing::info!(
            address = %address,
            router_id = data_dir.router_id(),
            epoch = data_dir.epoch(),
            version = env!("CARGO_PKG_VERSION"),
            "router started"
        );
        self.audit("router.start", address.to_string());
        Ok(())
    }

    /// Reloads the configuration, as SIGHUP asks for.
    pub(super) async fn reload(&self) {
        let (result, detail) = match self.api.reload_config().await {
            Ok(report) => ("ok", report.to_string()),
            Err(error) => {
                tracing::error!(error = %error, "configuration refused");
                ("refused", error.to_string())
            }
        };
        self.rooms.recorder.audit(AuditRow {
            actor: "SIGHUP".to_owned(),
            role: "operator".to_owned(),
            ..AuditRow::by_router("config.reload", "", result, detail)
        });
    }

    /// Stops the fleet, then every room in the reverse order of its opening. `hurry` completes where nobody wants to wait.
    pub(super) async fn close(mut self, hurry: impl Future<Output = ()>) {
        tracing::info!("router stopping");
        self.audit("router.stop", String::new());
        let is_stopped = tokio::select! {
            is_stopped = self.stop_fleet() => is_stopped,
            () = hurry => false,
        };
        if !is_stopped {
            tracing::error!("instances did not stop in time; their shims stop them");
            self.driver.abort();
        }
        self.proxy.close_streams();
        self.rooms.announcer.close_streams();
        self.front_ends.cancel();
        // Bounded by the front itself.
        let _ = self.serving.await;
        self.revoked.close();
        self.housekeeping.abort();
        self.watchers.end().await;
        self.rooms.engine.shutdown().await;
        self.rooms.store.close().await;
        tracing::info!("router stopped");
    }

    /// Whether the fleet stopped within what its definitions allow it.
    async fn stop_fleet(&mut self) -> bool {
        // An error means that the driver has ended, or is stuck: then it is not waited for any longer either.
        let within = self.api.driver.shut_down().await;
        let within = within.unwrap_or(STUCK_DRIVER_ENDS_WITHIN);
        tokio::time::timeout(within, &mut self.driver).await.is_ok()
    }

    fn audit(&self, action: &'static str, detail: String) {
        let router_id = self.base.data_dir.router_id();
        let row = AuditRow::by_router(action, router_id, "ok", detail);
        self.rooms.recorder.audit(row);
    }
}

impl Base {
    async fn open_rooms(&self) -> anyhow::Result<(Rooms, Shared, Receivers)> {
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
        let is_restored = store::restore_at_start(&snapshot, &store).await;
        let (events, driver_events) = mpsc::channel(EVENTS_MAX);
        let (requests, driver_requests) = mpsc::channel(REQUESTS_MAX);
        let rooms = Rooms {
            meters: Arc::new(Meters::new(self.clock, logs.control())),
            announcer: Arc::new(Announcer::new(Arc::clone(&recorder))),
            supervisor: Arc::new(supervisor),
            logs,
            store,
            recorder,
            access,
            engine,
            snapshot,
            is_restored,
        };
        let shared = Shared {
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

    fn applier(&self, path: PathBuf, rooms: &Rooms, shared: &Shared) -> ConfigApplier {
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
            policies: Mutex::default(),
            logs: rooms.logs.control(),
            seed: rand::random(),
            // Runs of this life come after all of those before: no life starts a slot four billion times.
            first_run: (self.data_dir.epoch() << 32) | 1,
        }
    }

    /// The driver, and what is left of the receivers.
    fn driver(
        &self,
        rooms: &Rooms,
        shared: &Shared,
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

    fn proxy(
        &self,
        rooms: &Rooms,
        shared: &Shared,
        sealer: SessionSealer,
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

    fn api(
        &self,
        rooms: &Rooms,
        shared: &Shared,
        applier: Arc<ConfigApplier>,
        proxy: &Arc<Proxy>,
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
            applier,
        }
    }

    fn watch(
        &self,
        rooms: &Rooms,
        shared: Shared,
        api: &OperatorApi,
        auth: &Arc<AuthLayer>,
        plugins: mpsc::Receiver<EngineEvent>,
    ) -> Watchers {
        let watchers = Watchers::default();
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
            events: shared.events.clone(),
        };
        watchers.spawn(plugins.run());
        watchers.spawn(disks::watch(disks::paths(&self.config), shared.events));
        let heartbeats = VersionHeartbeats {
            store: rooms.store.clone(),
            driver: shared.driver,
            plans: shared.plans,
        };
        watchers.spawn(heartbeats.run());
        watchers.spawn(Arc::clone(auth).report_suppressed());
        watchers
    }
}
