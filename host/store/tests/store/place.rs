//! Where a test's store is: a SQLite file or a database of a throw-away Postgres; and waiting with a loud deadline.

use std::{
    future::Future,
    io,
    str::FromStr as _,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;

use router_store::{DatabaseState, MigrateOptions, Store, StoreOptions};
use router_test_postgres::Cluster;
use router_values::{AuditQuery, AuditRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, Row as _, SqliteConnection,
    sqlite::SqliteConnectOptions,
};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longer than anything takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A database of a test, and the store's data directory.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) database: String,
}

impl Place {
    /// A SQLite file that is not there yet.
    pub(crate) fn sqlite() -> Self {
        capture_logs();
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/data/router.db", dir.path().display());
        Self {
            dir,
            url,
            cluster: None,
            database: String::new(),
        }
    }

    /// A migrated database of the shared cluster.
    pub(crate) async fn postgres() -> Self {
        let place = Self::bare(Cluster::shared().unwrap());
        place.migrate(false).await;
        place
    }

    /// A migrated database of a cluster of its own, for tests that harm it.
    pub(crate) async fn own_postgres() -> Self {
        let place = Self::bare(Arc::new(Cluster::start().unwrap()));
        place.migrate(false).await;
        place
    }

    /// An empty database.
    pub(crate) fn bare(cluster: Arc<Cluster>) -> Self {
        capture_logs();
        let database = cluster.fresh_database().unwrap();
        Self {
            dir: tempfile::tempdir().unwrap(),
            url: cluster.url(&database),
            cluster: Some(cluster),
            database,
        }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        self.cluster.as_deref().expect("a place on Postgres")
    }

    /// SQL as the superuser.
    pub(crate) fn query(&self, sql: &str) -> String {
        self.cluster().query(&self.database, sql).unwrap()
    }

    pub(crate) async fn migrate(&self, with_godot_versions: bool) -> router_store::MigrationReport {
        let options = self.migrate_options(with_godot_versions);
        router_store::migrate(options).await.unwrap()
    }

    pub(crate) fn migrate_options(&self, with_godot_versions: bool) -> MigrateOptions {
        MigrateOptions {
            url: self.url.parse().unwrap(),
            password: None,
            with_godot_versions,
            actor: "tester".into(),
            timeout: PATIENCE,
        }
    }

    pub(crate) fn options(&self) -> StoreOptions {
        let mut options = StoreOptions::new(
            self.url.parse().unwrap(),
            self.dir.path().join("data"),
            "router-under-test",
        );
        options.epoch = 7;
        options
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(self.options()).await.unwrap()
    }

    /// An open store that is connected.
    pub(crate) async fn connected(&self) -> Store {
        let store = self.open().await;
        connected(&store).await;
        store
    }
}

/// A test of both databases: `on_both!(name, |place| { … })`.
macro_rules! on_both {
    ($name:ident, |$place:ident| $body:block) => {
        mod $name {
            // Not every test names something from around it.
            #[allow(unused_imports)]
            use super::*;

            async fn check($place: $crate::place::Place) {
                $body
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_sqlite() {
                check($crate::place::Place::sqlite()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_postgres() {
                check($crate::place::Place::postgres().await).await;
            }
        }
    };
}
pub(crate) use on_both;

/// Waits, and fails loudly.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

pub(crate) async fn connected(store: &Store) {
    state(store, "connected", DatabaseState::is_connected).await;
}

/// The reason that the state gives for being away.
pub(crate) async fn lost(store: &Store) -> String {
    state(store, "disconnected", |state| !state.is_connected()).await;
    match &*store.state().borrow() {
        DatabaseState::Disconnected { reason, .. } | DatabaseState::Unusable { reason, .. } => {
            reason.clone()
        }
        other => format!("{other:?}"),
    }
}

pub(crate) async fn state(store: &Store, what: &str, wanted: impl Fn(&DatabaseState) -> bool) {
    let mut watched = store.state();
    within(what, watched.wait_for(wanted)).await.unwrap();
}

pub(crate) async fn flushed(store: &Store) {
    assert!(
        store.flush(PATIENCE).await,
        "facts were not written in time"
    );
}

/// Runs statements on either database, beside the store.
pub(crate) async fn execute(place: &Place, sql: &str) {
    if place.cluster.is_some() {
        place.query(sql);
    } else {
        let options = SqliteConnectOptions::from_str(&place.url).unwrap();
        let mut direct = options.create_if_missing(true).connect().await.unwrap();
        direct.execute(AssertSqlSafe(sql)).await.unwrap();
    }
}

/// The first row that a query gives, of numbers.
pub(crate) async fn numbers(place: &Place, sql: &str) -> Vec<i64> {
    if place.cluster.is_some() {
        let row = place.query(sql);
        return row
            .split('|')
            .map(|number| number.parse().unwrap())
            .collect();
    }
    let mut direct = SqliteConnection::connect(&place.url).await.unwrap();
    let row = direct.fetch_one(AssertSqlSafe(sql)).await.unwrap();
    (0..row.len()).map(|at| row.get(at)).collect()
}

/// A row that a test recognises.
pub(crate) fn row(target: impl Into<String>) -> AuditRow {
    AuditRow {
        actor: "alice".into(),
        role: "operator".into(),
        action: "instance.restart".into(),
        target: target.into(),
        from_address: "127.0.0.1:4711".into(),
        result: "ok".into(),
        detail: "because".into(),
        ..AuditRow::default()
    }
}

/// Every row of an action, newest first, through as many pages as it takes.
pub(crate) async fn all_rows(store: &Store, action: &str) -> Vec<AuditRow> {
    let mut rows: Vec<AuditRow> = Vec::new();
    loop {
        let query = AuditQuery {
            before: rows.last().map(|row| row.seq),
            limit: Some(1_000),
            action: Some(action.to_owned()),
            ..Default::default()
        };
        let page = store.audit_page(query).await.unwrap();
        if page.is_empty() {
            return rows;
        }
        rows.extend(page);
    }
}

static LOGS: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Captured;

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on everything that any crate logs, down to its finest level, is captured; audit rows apart, there are many.
pub(crate) fn capture_logs() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::new("trace,audit=warn");
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(|| Captured)
            .init();
    });
}

/// Everything that was logged so far, by every test of this process.
pub(crate) fn logs() -> String {
    String::from_utf8_lossy(&LOGS.lock()).into_owned()
}
