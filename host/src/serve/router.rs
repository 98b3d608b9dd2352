//! The running router: every room is opened in its order, wired to the others, and closed in the reverse order.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use anyhow::Context as _;
use router_access::{SealPurpose, Sealer};
use router_admin::Operations as _;
use router_config::Config;
use router_proxy::Proxy;
use router_supervisor::DataDir;
use router_values::{AuditRow, HistoryRow};
use tokio::{net::TcpListener, runtime::Handle, sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    assembly::{Base, Rooms},
    banner,
};
use crate::{
    auth_layer::AuthLayer,
    clock::Clock,
    front::{Front, UNPROVEN_MAX},
    operator_api::OperatorApi,
    revoked_sessions::RevokedSessions,
    wiring::{access, alerts, watchers::Watchers},
};

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
        let (mut rooms, shared, receivers) = base.open_rooms().await?;
        let session_key = access::session_key(&base.config, &base.data_dir)?;
        let alerts = base.alerts(&rooms, &shared, &session_key).await?;
        let watchers = Watchers::default();
        // What an earlier life had yet to send waits for no database, which may keep all that follows waiting.
        watchers.spawn(alerts.room.run());
        let journal = alerts::watch_journal(alerts.journal, shared.events.clone());
        watchers.spawn(journal);
        rooms.restore().await;
        let applier = Arc::new(base.applier(start.path, &rooms, &shared, alerts.settings));
        let (mut driver, plugins) = base.driver(&rooms, &shared, &applier, receivers);
        driver.apply_first();
        let revoked = RevokedSessions::open(base.data_dir.path());
        let revoked = Arc::new(revoked.context("the list of revoked sessions")?);
        let sealer = Sealer::new(SealPurpose::Session, &session_key, &[]);
        let proxy = base.proxy(&rooms, &shared, sealer, Arc::clone(&revoked));
        let operated = (alerts.handle, alerts.links);
        let api = Arc::new(base.api(&rooms, &shared, applier, &proxy, operated));
        let auth = Arc::new(AuthLayer::new(
            Arc::clone(&rooms.access),
            Arc::clone(&rooms.recorder),
            Arc::clone(&rooms.meters),
        ));
        base.watch(&rooms, shared, &api, &auth, plugins, &watchers);
        watchers.spawn(alerts.asker.run());
        watchers.spawn(alerts.heartbeat.run());
        watchers.spawn(alerts.writer.run());
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
            unproven: Arc::new(Semaphore::new(UNPROVEN_MAX)),
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
        let version = env!("CARGO_PKG_VERSION");
        banner::write_listen_file(data_dir.path(), *address)?;
        banner::show(config, *address);
        tracing::info!(
            address = %address,
            router_id = data_dir.router_id(),
            epoch = data_dir.epoch(),
            version,
            "router started"
        );
        self.audit("router.start", address.to_string());
        self.publish("started", format!("version {version} at {address}"));
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
        self.publish("stopping", String::new());
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

    /// Tells listeners what the router does, and keeps it in the history.
    fn publish(&self, to: &str, reason: String) {
        self.rooms.announcer.publish(HistoryRow {
            axis: "router".to_owned(),
            to: to.to_owned(),
            reason,
            ..HistoryRow::default()
        });
    }

    fn audit(&self, action: &'static str, detail: String) {
        let router_id = self.base.data_dir.router_id();
        let row = AuditRow::by_router(action, router_id, "ok", detail);
        self.rooms.recorder.audit(row);
    }
}
