//! The store as the rest of the router sees it: opening, calls, end.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use router_core::{
    InstanceId,
    capacity::{LoadHistory, Usage},
};
use router_values::{
    AlertPage, AlertQuery, AlertRow, AuditQuery, AuditRow, DeliveryRecord, EventPosition,
    HistoryQuery, HistoryRow, unix_ms_now,
};
use serde_json::Value;
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Crash, CrashEvidence, DatabaseState, Intention, PoolFigures, Registered, StoreCounters,
    StoreError, StoreOptions, VersionHeartbeat, alerts, audit,
    counted::Counted,
    database::Database,
    drain,
    facts::{self, Fact, RowOrigin},
    history, instances, keeper,
    load::{self, Ledger},
    spool::Spool,
    target::Target,
    values, versions,
};

/// A read waits so long for facts that were given before it, so that it sees them. They take milliseconds where nothing is
/// wrong.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// At the end, facts are given so long to reach the database. The spool keeps the rest.
const CLOSE_DRAIN_MAX: Duration = Duration::from_secs(5);
/// At the end, the last minute of load is given so long: it is one statement, and not worth more.
const CLOSE_LOAD_MAX: Duration = Duration::from_secs(2);
/// At the end, tasks are given so long to notice.
const CLOSE_TASKS_MAX: Duration = Duration::from_secs(5);

/// A handle on the store; cheap to clone. Every call is bounded in time. Reads and writes while the database is away
/// answer [`StoreError::Disconnected`] at once, except for facts, which are spooled.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<Database>,
    spool: Spool,
    origin: RowOrigin,
    audit_log: bool,
    heartbeats: watch::Sender<Arc<Vec<VersionHeartbeat>>>,
    load: Arc<watch::Sender<Ledger>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Drop for Inner {
    /// A store that nobody closed: its tasks end, and the spool's thread with the last handle on it.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Store {
    /// Opens the store. A database that does not answer is no error: the store then starts disconnected and retries.
    ///
    /// # Errors
    /// The URL is wrong, or the database answers and its schema is absent, too old (Postgres only: SQLite is migrated
    /// here) or too new.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let target = Target::new(&options.url, options.password.as_ref())?;
        let counted = Arc::new(Counted::default());
        let spool_dir = options.data_dir.join("spool");
        let spool = Spool::start(
            spool_dir.clone(),
            options.spool_bytes_max,
            Arc::clone(&counted),
        )
        .map_err(|error| StoreError::DataDir {
            path: spool_dir,
            reason: error.to_string(),
        })?;
        let epoch = i64::try_from(options.epoch).unwrap_or(i64::MAX);
        let origin = RowOrigin::new(&options.router_id, epoch);
        let audit_log = options.audit_log;
        let database = Arc::new(Database::new(options, target, counted));
        keeper::first(&database).await?;
        let (heartbeats, latest) = watch::channel(Arc::default());
        let load = Arc::new(watch::Sender::new(Ledger::default()));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let shared = || Arc::clone(&database);
        tasks.spawn(keeper::keep(shared(), stop.clone(), tasks.clone()));
        tasks.spawn(drain::drain(shared(), spool.clone(), stop.clone()));
        tasks.spawn(drain::purge(shared(), stop.clone()));
        tasks.spawn(versions::beat(shared(), latest, stop.clone()));
        tasks.spawn(load::keep(shared(), Arc::clone(&load), stop.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                spool,
                origin,
                audit_log,
                heartbeats,
                load,
                stop,
                tasks,
            }),
        })
    }

    /// The state of the database, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DatabaseState> {
        self.inner.database.state.subscribe()
    }

    /// Keeps an audit row. Never blocks, whatever the database and the disk do; the row is on disk within milliseconds
    /// and in the database as soon as there is one.
    pub fn audit(&self, row: AuditRow) {
        let row = facts::stamped(row, &self.inner.origin);
        if self.inner.audit_log {
            // A target of its own: no level of the log switches it off, `audit_log` does.
            tracing::info!(
                target: "audit",
                instance = row.instance(),
                actor = row.actor,
                role = row.role,
                action = row.action,
                target = row.target,
                from = row.from_address,
                result = row.result,
                detail = row.detail,
                "AUDIT"
            );
        }
        self.inner.spool.keep(Fact::Audit(row));
    }

    /// Audit rows, newest first. Rows written before the call are seen by it.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn audit_page(&self, query: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        self.settle().await;
        audit::page(&self.inner.database, query).await
    }

    /// Keeps what happened, and gives it back as it is kept. Never blocks. Where half the room of the spool is taken, because the database
    /// has been away for long, it is left out and counted: the room that is left is for the audit.
    pub fn record_history(&self, row: HistoryRow) -> HistoryRow {
        let row = facts::happened(row, &self.inner.origin);
        if !self.inner.spool.keep_with_room(Fact::History(row.clone())) {
            let left_out = &self.inner.database.counted.left_out;
            if left_out.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "history has a gap: the spool is half full, and the rest is kept for the audit"
                );
            }
        }
        row
    }

    /// What happened, newest first. What was given before the call is seen by it.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn history_page(&self, query: HistoryQuery) -> Result<Vec<HistoryRow>, StoreError> {
        self.settle().await;
        history::page(&self.inner.database, query).await
    }

    /// What this router saw after an event of it, oldest first, at most so many rows.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn history_after(
        &self,
        position: EventPosition,
        rows_max: u32,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        self.settle().await;
        history::after(&self.inner.database, position, rows_max).await
    }

    /// Brings rows of alerts and deliveries up to date, however long the database takes; no row may come twice. In the meantime, and
    /// over restarts, it is the caller that keeps them. What the database will never take, because of its data, is logged and counted.
    pub async fn put_alerts(&self, alerts: &[AlertRow], deliveries: &[DeliveryRecord]) {
        alerts::put(&self.inner.database, alerts, deliveries).await;
    }

    /// Firings that are over, the latest first.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn alerts_page(&self, query: AlertQuery) -> Result<AlertPage, StoreError> {
        alerts::page(&self.inner.database, query).await
    }

    /// One firing of an alert, or its last one where none is named.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn alert(
        &self,
        alert: &str,
        firing: Option<i64>,
    ) -> Result<Option<AlertRow>, StoreError> {
        alerts::one(&self.inner.database, alert, firing).await
    }

    /// The highest number of a firing in the database, of whatever router; 0 where there is none.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn alerts_firing_max(&self) -> Result<i64, StoreError> {
        alerts::firing_max(&self.inner.database).await
    }

    /// Deliveries of this router about a firing of an alert, and those of these ids, in the order in which they began; 1,000 at most.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn deliveries(
        &self,
        about: (&str, i64),
        ids: &[String],
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        alerts::deliveries(&self.inner.database, about, ids).await
    }

    /// Counts rows of alerts that were left out because there was no room for them while the database was away.
    pub fn count_left_out(&self, rows: u64) {
        Counted::add(&self.inner.database.counted.left_out, rows);
    }

    /// Every instance registered by API, oldest first.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn registered(&self) -> Result<Vec<Registered>, StoreError> {
        instances::registered(&self.inner.database).await
    }

    /// Keeps the definition of an instance.
    ///
    /// # Errors
    /// It is registered already, its definition is too large, or disconnected.
    pub async fn register(&self, id: &InstanceId, definition: &Value) -> Result<(), StoreError> {
        instances::register(&self.inner.database, &self.inner.origin, id, definition).await
    }

    /// Forgets a registered instance with its intention and crash evidence. Whether there was one.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn unregister(&self, id: &InstanceId) -> Result<bool, StoreError> {
        self.settle().await;
        instances::unregister(&self.inner.database, id).await
    }

    /// Keeps that an operator stopped an instance, or started it again. A fact: never blocks, spooled while the database
    /// is away.
    pub fn set_intention(&self, id: &InstanceId, stopped: bool) {
        let fact = Fact::intention(id.as_str(), stopped, &self.inner.origin);
        self.inner.spool.keep(fact);
    }

    /// Every instance that an operator stopped. Facts given before the call are seen by it, as far as they reach the database
    /// within 500 ms: where it must be all of them, wait for [`Store::flush`] first.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn intentions(&self) -> Result<Vec<Intention>, StoreError> {
        self.settle().await;
        instances::intentions(&self.inner.database).await
    }

    /// Keeps crash evidence, the last 20 per instance. A fact: never blocks, spooled while the database is away.
    pub fn record_crash(&self, crash: &CrashEvidence) {
        let fact = Fact::crash(crash.id.as_str(), &crash.evidence, &self.inner.origin);
        self.inner.spool.keep(fact);
    }

    /// The crash evidence of an instance, newest first. Facts given before the call are seen by it.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn crashes(&self, id: &InstanceId, limit: u32) -> Result<Vec<Crash>, StoreError> {
        self.settle().await;
        instances::crashes(&self.inner.database, id, limit).await
    }

    /// Forgets the crash evidence of an instance that was recorded before the call. What an operator decided about it stays.
    /// A fact: never blocks, spooled while the database is away, always behind the evidence that it is about.
    pub fn clear_state(&self, id: &InstanceId) {
        let fact = Fact::cleared(id.as_str(), &self.inner.origin);
        self.inner.spool.keep(fact);
    }

    /// A value of a plugin.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn kv_get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        values::get(&self.inner.database, plugin, key).await
    }

    /// Sets a value of a plugin.
    ///
    /// # Errors
    /// Past a bound, disconnected, or the statement failed.
    pub async fn kv_put(&self, plugin: &str, key: &str, value: &[u8]) -> Result<(), StoreError> {
        values::put(
            &self.inner.database,
            &self.inner.origin,
            (plugin, key),
            value,
        )
        .await
    }

    /// Removes a value of a plugin. Whether there was one.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn kv_delete(&self, plugin: &str, key: &str) -> Result<bool, StoreError> {
        values::delete(&self.inner.database, plugin, key).await
    }

    /// The keys of a plugin that begin with a text, in order.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn kv_list(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        values::list(&self.inner.database, plugin, prefix).await
    }

    /// Takes how instances are doing, for `godot_versions`. Never blocks: only the latest set is kept, and it is
    /// written when the database is there.
    pub fn heartbeat(&self, versions: Vec<VersionHeartbeat>) {
        self.inner.heartbeats.send_replace(Arc::new(versions));
    }

    /// Takes in what the fleet uses at a moment, in milliseconds since 1970. Never blocks: samples are added up in memory, and a
    /// minute is written when it is over and the database is there. What waits for it is bounded to a day.
    pub fn record_load(&self, at_ms: u64, usage: Usage) {
        let load = &self.inner.load;
        load.send_if_modified(|ledger| ledger.record(at_ms, usage));
    }

    /// The history of load of this router. From memory, at once, and as it is known: without the rows of earlier lives as long as the
    /// database has not answered in this one.
    #[must_use]
    pub fn load_history(&self) -> LoadHistory {
        self.inner.load.borrow().history(unix_ms_now())
    }

    /// Waits until the rows of earlier lives are in the history.
    pub async fn load_history_read(&self) {
        let mut changes = self.inner.load.subscribe();
        // The sender lives in this store.
        let _ = changes.wait_for(Ledger::is_read).await;
    }

    /// The connections now.
    #[must_use]
    pub fn pool(&self) -> PoolFigures {
        self.inner.database.figures()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> StoreCounters {
        let progress = *self.inner.spool.progress().borrow();
        self.inner.database.counted.snapshot(progress)
    }

    /// Waits until every fact given before this call, in this life or an earlier one, is in the database. False when it is not
    /// within the deadline: reads then miss what waits in the spool.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let accepted = self.inner.spool.accepted();
        let mut progress = self.inner.spool.progress();
        let settled =
            progress.wait_for(|progress| !progress.earlier && progress.settled >= accepted);
        matches!(timeout(deadline, settled).await, Ok(Ok(_)))
    }

    /// Ends the store: facts are written to the database where it answers within 5 s, and are safe in the spool
    /// otherwise; then tasks and connections end. Other handles answer [`StoreError::Closed`] afterwards.
    pub async fn close(&self) {
        let inner = &self.inner;
        let is_connected = inner.database.state.borrow().is_connected();
        let close_facts = async {
            if is_connected && !self.flush(CLOSE_DRAIN_MAX).await {
                tracing::warn!("spool not empty: the next start goes on with it");
            }
        };
        tokio::join!(close_facts, self.close_load(is_connected));
        inner.stop.cancel();
        inner.tasks.close();
        if timeout(CLOSE_TASKS_MAX, inner.tasks.wait()).await.is_err() {
            tracing::error!("store tasks did not end in time");
        }
        inner.spool.stop().await;
        inner.database.state.send_replace(DatabaseState::Closed);
        if let Some(pools) = inner.database.replace(None) {
            pools.retire().await;
        }
    }

    /// Writes the last minute of load, where the database is there and takes it.
    async fn close_load(&self, is_connected: bool) {
        let load = &self.inner.load;
        load.send_if_modified(Ledger::close);
        let mut changes = load.subscribe();
        let written = changes.wait_for(|ledger| ledger.unwritten_count() == 0);
        if is_connected {
            let _ = timeout(CLOSE_LOAD_MAX, written).await;
        }
        let minutes = load.borrow().unwritten_count();
        if minutes > 0 {
            tracing::warn!(
                minutes,
                "load history has a gap: the database did not take its last minutes"
            );
        }
    }

    /// Lets facts that were given before a read reach the database, where it is there.
    async fn settle(&self) {
        if self.inner.database.state.borrow().is_connected() {
            self.flush(SETTLE_MAX).await;
        }
    }
}
