//! Running the router: every room is opened in its order, wired to the others, and closed in the reverse order.
//!
//! Two runtimes: the front's single thread carries connections and the instances' pipes; the other carries the driver,
//! supervisor, store and plugins. So nothing that computes or waits for a disk holds up a request.

mod banner;
mod rooms;
mod watches;

use std::{
    net::SocketAddr,
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
    time::Duration,
};

use anyhow::Context as _;
use parking_lot::Mutex;
use router_access::{Access, SessionKey, SessionSealer};
use router_admin::{AuditEntry, Operations as _, RouterFacts};
use router_config::Config;
use router_core::{
    event::{Event, FleetEvent},
    spec::Source,
};
use router_engine::Engine;
use router_proxy::{Proxy, ProxyLimits, ProxyParts, RoutingTable};
use router_store::Store;
use router_supervisor::{DataDir, Supervisor};
use router_telemetry::LogGuard;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access,
    announce::Announcer,
    apply::{self, Applier, Defined},
    cli::{EXIT_UNAVAILABLE, eprint, refuse},
    clock::Clock,
    desk::{self, Desk},
    driver::{Ask, Driver, DriverParts},
    ended::EndedFile,
    engine,
    front::Front,
    guard::{Audit, Guard},
    keeping::Keeping,
    launch::Plans,
    meters::Meters,
    seal::Seal,
    standing::StandingFile,
};

/// Events of the supervisor that may wait for the driver.
const SUPERVISOR_EVENTS_MAX: usize = 1024;

/// Events of the proxy and of other rooms that may wait for the driver. What does not fit is dropped and counted.
const EVENTS_MAX: usize = 16 * 1024;

/// Questions to the driver that may wait.
const ASKS_MAX: usize = 1024;

/// Connections that the system may hold before they are accepted.
const BACKLOG: u32 = 4096;

/// How long the driver may take to hear of the shutdown: it answers between two events.
const SHUTDOWN_HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Runs until a signal ends it.
pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match apply::read(path)? {
        Ok(config) => config,
        Err(faults) => return Ok(refuse(&faults)),
    };
    let clock = Clock::start();
    raise_open_files();
    let rooms = Builder::new_multi_thread()
        .thread_name("rooms")
        .enable_all()
        .build()
        .context("the runtime cannot be started")?;
    let front = Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the front's runtime cannot be started")?;
    let handle = front.handle().clone();
    let front_ends = CancellationToken::new();
    let turning = front_ends.clone();
    let thread = std::thread::Builder::new()
        .name("front".to_owned())
        .spawn(move || {
            front.block_on(turning.cancelled());
            // What is left are connections that did not end in time.
            front.shutdown_background();
        })
        .context("the front's thread cannot be started")?;
    let code = rooms.block_on(serve(path, config, clock, handle));
    front_ends.cancel();
    let ended = thread.join().is_ok();
    rooms.shutdown_timeout(Duration::from_secs(5));
    anyhow::ensure!(ended, "the front's thread panicked");
    code
}

/// Every connection and every instance takes descriptors; the usual soft limit of 1024 is for programs that use `select`.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Where it cannot be raised, the front says so when it runs out.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// The router's name and directory, or the exit code that says why not.
fn claim(config: &Config) -> Result<DataDir, ExitCode> {
    DataDir::claim(&config.server.data_dir, config.server.router_id.as_deref()).map_err(|error| {
        eprint(&format!(
            "godot-mcp-router: {}",
            crate::driver::chain(&error)
        ));
        ExitCode::from(EXIT_UNAVAILABLE)
    })
}

/// Listens in the front's runtime.
fn listen(address: SocketAddr, front: &Handle) -> anyhow::Result<TcpListener> {
    let _in_front = front.enter();
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A restarted router must not wait for the last connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().with_context(|| format!("cannot listen on {address} (server.listen, LISTEN)"))
}

/// Everything that was opened and must be closed.
struct Opened {
    config: Arc<Config>,
    data_dir: DataDir,
    address: SocketAddr,
    store: Store,
    engine: Engine,
    supervisor: Arc<Supervisor>,
    keeping: Arc<Keeping>,
    proxy: Arc<Proxy>,
    ended: Arc<EndedFile>,
    desk: Arc<Desk>,
    asks: mpsc::Sender<Ask>,
    driver: tokio::task::JoinHandle<()>,
    serving: tokio::task::JoinHandle<()>,
    housekeeping: tokio::task::JoinHandle<()>,
    ends: CancellationToken,
    front_ends: CancellationToken,
    watches: TaskTracker,
    _logs: LogGuard,
}

async fn serve(
    path: &Path,
    config: Config,
    clock: Clock,
    front: Handle,
) -> anyhow::Result<ExitCode> {
    // Signals first: one that comes while the rooms are opened must not end the process half-way.
    let mut signals = Signals::new()?;
    let data_dir = match claim(&config) {
        Ok(data_dir) => data_dir,
        Err(code) => return Ok(code),
    };
    let listener = listen(config.server.listen, &front)?;
    let opened = open(path, config, clock, front, (data_dir, listener)).await?;
    let told = opened.tell_where();
    if told.is_ok() {
        signals.until_end(&opened.desk).await;
    }
    opened.close(&mut signals).await;
    told.map(|()| ExitCode::SUCCESS)
}

/// Opens every room. What fails here ends the start: nothing has been launched yet.
async fn open(
    path: &Path,
    config: Config,
    clock: Clock,
    front: Handle,
    (data_dir, listener): (DataDir, TcpListener),
) -> anyhow::Result<Opened> {
    let logs = router_telemetry::logs::init(&rooms::log_options(&config))
        .context("the log cannot be written")?;
    let address = listener.local_addr()?;
    let store = Store::open(rooms::store_options(&config, &data_dir)).await?;
    let keeping = Keeping::new(store.clone());
    let audit: Audit = {
        let keeping = Arc::clone(&keeping);
        Arc::new(move |entry| keeping.audit(entry))
    };
    let access = Arc::new(
        Access::new(&access::settings(&config, address)).map_err(|errors| {
            let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(all.join("; "))
        })?,
    );
    let sealer = SessionSealer::new(&session_key(&config, &data_dir)?, &[]);
    let meters = Arc::new(Meters::new(clock, logs.control()));
    let announcer = Arc::new(Announcer::new(Arc::clone(&audit)));
    let (supervisor_events, from_supervisor) = mpsc::channel(SUPERVISOR_EVENTS_MAX);
    let supervisor = Arc::new(Supervisor::new(
        rooms::supervisor_config(&config, &data_dir),
        supervisor_events,
    )?);
    let (engine, engine_events) =
        Engine::start(engine::options(&config, &store, &data_dir)).context("the plugin engine")?;
    let standing = Arc::new(StandingFile::open(data_dir.path())?);
    let has_recalled = rooms::recall(&standing, &store).await;

    let (events, driver_events) = mpsc::channel(EVENTS_MAX);
    let (asks, driver_asks) = mpsc::channel(ASKS_MAX);
    let turned_ms = Arc::new(AtomicU64::new(clock.now().mono_ms));
    let table = Arc::new(RoutingTable::new());
    let plans = Arc::new(Plans::default());
    let config = Arc::new(config);
    let applier = Arc::new(Applier {
        path: path.to_owned(),
        config: Mutex::new(Arc::clone(&config)),
        started: Arc::clone(&config),
        listen: address,
        turn: tokio::sync::Mutex::new(()),
        asks: asks.clone(),
        plans: Arc::clone(&plans),
        standing: Arc::clone(&standing),
        store: store.clone(),
        access: Arc::clone(&access),
        engine: engine.clone(),
        logs: logs.control(),
        seed: rand::random(),
        // Runs of this life come after all of those before: no life starts a slot four billion times.
        first_run: (data_dir.epoch() << 32) | 1,
    });
    applier.tell_policies();
    let mut driver = Driver::new(DriverParts {
        clock,
        settings: applier.settings(&config),
        first: first_events(&applier, has_recalled),
        supervisor: Arc::clone(&supervisor),
        supervisor_events: from_supervisor,
        events: driver_events,
        asks: driver_asks,
        table: Arc::clone(&table),
        plans: Arc::clone(&plans),
        rooms: Arc::new(rooms::Wired {
            engine: engine.clone(),
            keeping: Arc::clone(&keeping),
            announcer: Arc::clone(&announcer),
            meters: Arc::clone(&meters),
        }),
        front: front.clone(),
        epoch: data_dir.epoch(),
        turned_ms: Arc::clone(&turned_ms),
    });
    driver.take_in_first();
    let ended = Arc::new(EndedFile::open(data_dir.path()).context("the list of ended sessions")?);
    let proxy_parts = ProxyParts {
        table,
        seal: Arc::new(Seal(sealer)),
        observer: Arc::clone(&meters) as _,
        events: events.clone(),
        clock: Arc::new(move || clock.now()),
        epoch: format!("e{}", data_dir.epoch()),
        limits: proxy_limits(&config),
    };
    let proxy = Proxy::with_revocations(proxy_parts, Arc::clone(&ended) as _);
    let capabilities = supervisor.capabilities();
    let desk = Arc::new(Desk {
        facts: RouterFacts {
            router_id: data_dir.router_id().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            kill_method: capabilities.kill.as_str(),
            limit_method: capabilities.limit.as_str(),
            started: clock.started(),
        },
        clock,
        turned_ms,
        asks: asks.clone(),
        plans,
        meters,
        supervisor: Arc::clone(&supervisor),
        store: store.clone(),
        keeping: Arc::clone(&keeping),
        engine: engine.clone(),
        proxy: Arc::clone(&proxy),
        announcer,
        applier,
    });
    let ends = CancellationToken::new();
    let front_ends = CancellationToken::new();
    let told = (&*config, has_recalled);
    let guard = Arc::new(Guard::new(access, audit, Arc::clone(&desk.meters)));
    let watches = watches::start(told, &desk, &guard, (events, engine_events), &ends);
    let driver = tokio::spawn(driver.run());
    let housekeeping = front.spawn(Arc::clone(&proxy).run());
    let served = Front {
        guard,
        proxy: Arc::clone(&proxy),
        rest: router_admin::router(Arc::clone(&desk)),
        rooms: Handle::current(),
        connections: Arc::new(AtomicUsize::new(0)),
        connections_max: config.server.max_connections,
        head_timeout: config.server.head_timeout,
        body_timeout: config.server.body_timeout,
    };
    let serving = front.spawn(served.serve(listener, front_ends.clone()));
    Ok(Opened {
        config,
        data_dir,
        address,
        store,
        engine,
        supervisor,
        keeping,
        proxy,
        ended,
        desk,
        asks,
        driver,
        serving,
        housekeeping,
        ends,
        front_ends,
        watches,
        _logs: logs,
    })
}

/// What the core is told before anything else.
fn first_events(applier: &Applier, has_recalled: bool) -> Vec<Event> {
    let (config, standing) = (applier.config(), applier.standing.get());
    let ours = Defined::in_file(&config, &standing).planned(&applier.plans);
    let registered = Defined::registered(&config, &standing);
    registered.log_left_out();
    let theirs = registered.planned(&applier.plans);
    vec![
        Event::Fleet(FleetEvent::SpecsApplied {
            source: Source::Config,
            specs: ours,
        }),
        Event::Fleet(FleetEvent::SpecsApplied {
            source: Source::Api,
            specs: theirs,
        }),
        Event::Fleet(FleetEvent::Database(has_recalled)),
    ]
}

fn session_key(config: &Config, data_dir: &DataDir) -> anyhow::Result<SessionKey> {
    if let Some(secret) = &config.server.session_key {
        return Ok(SessionKey::from_text(secret.expose())?);
    }
    Ok(SessionKey::load_or_create(data_dir.path())?.key)
}

fn proxy_limits(config: &Config) -> ProxyLimits {
    let server = &config.server;
    ProxyLimits {
        body_bytes_max: server.max_body_bytes,
        body_timeout: server.body_timeout,
        sessions_per_instance_max: server.max_sessions,
        session_idle: server.session_idle_timeout,
        session_lifetime: server.session_ttl,
        ..ProxyLimits::default()
    }
}

impl Opened {
    /// Says where the router is, to people and to programs.
    fn tell_where(&self) -> anyhow::Result<()> {
        banner::write_listen_file(self.data_dir.path(), self.address)?;
        banner::print(&self.config, self.address);
        tracing::info!(
            address = %self.address,
            router_id = self.data_dir.router_id(),
            epoch = self.data_dir.epoch(),
            version = env!("CARGO_PKG_VERSION"),
            "router started"
        );
        self.note("router.start", &self.address.to_string());
        Ok(())
    }

    fn note(&self, action: &'static str, detail: &str) {
        self.keeping.audit(AuditEntry {
            actor: "router".into(),
            role: "router".into(),
            from: None,
            action,
            target: self.data_dir.router_id().to_owned(),
            result: "ok",
            detail: detail.to_owned(),
        });
    }

    /// Stops the fleet, then every room in the reverse order of its opening.
    async fn close(self, signals: &mut Signals) {
        tracing::info!("router stopping");
        self.note("router.stop", "");
        let mut driver = self.driver;
        let stopped = tokio::select! {
            stopped = stopped(&self.asks, &mut driver) => stopped,
            () = signals.insisted() => false,
        };
        if !stopped {
            tracing::error!("instances did not stop in time; their shims finish it");
            driver.abort();
        }
        self.proxy.close_streams();
        self.desk.announcer.close_streams();
        self.front_ends.cancel();
        // Bounded by the front itself.
        let _ = self.serving.await;
        self.ended.close();
        self.housekeeping.abort();
        self.ends.cancel();
        self.watches.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.watches.wait()).await;
        self.engine.shutdown().await;
        drop(self.supervisor);
        self.store.close().await;
        tracing::info!("router stopped");
    }
}

/// Whether the fleet stopped within what its definitions allow it.
async fn stopped(asks: &mpsc::Sender<Ask>, driver: &mut tokio::task::JoinHandle<()>) -> bool {
    // An error means that the driver has ended, or is stuck: then it is not waited for any longer either.
    let within = desk::ask(asks, SHUTDOWN_HEARD_WITHIN, Ask::Shutdown).await;
    let within = within.unwrap_or(SHUTDOWN_HEARD_WITHIN);
    tokio::time::timeout(within, driver).await.is_ok()
}

/// The signals that a daemon listens to.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("signals cannot be listened to");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// Reloads the configuration at each SIGHUP, until SIGTERM or SIGINT.
    async fn until_end(&mut self, desk: &Desk) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(desk).await,
            }
        }
    }

    /// A second signal: whoever sends it does not want to wait.
    async fn insisted(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn reload(desk: &Desk) {
    let (result, detail) = match desk.reload_config().await {
        Ok(report) => ("ok", report.to_string()),
        Err(error) => {
            tracing::error!(error = %error, "the changed configuration was refused");
            ("refused", error.to_string())
        }
    };
    desk.keeping.audit(AuditEntry {
        actor: "SIGHUP".into(),
        role: "operator".into(),
        from: None,
        action: "config.reload",
        target: String::new(),
        result,
        detail,
    });
}
