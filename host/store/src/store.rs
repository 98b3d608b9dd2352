//! The store as the rest of the router sees it.

use std::time::Duration;

use router_core::InstanceId;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    AuditQuery, AuditRecord, AuditRow, Counters, Crash, CrashRecord, DatabaseState, Intention,
    PoolFigures, Registered, StoreError, StoreOptions, VersionHeartbeat,
};

/// A handle on the store; cheap to clone. Every call is bounded in time. Reads and writes while the database is away
/// answer [`StoreError::Disconnected`] at once, except for facts, which are spooled.
#[derive(Debug, Clone)]
pub struct Store {
    state: watch::Receiver<DatabaseState>,
}

impl Store {
    /// Opens the store. A database that does not answer is no error: the store then starts disconnected and retries.
    ///
    /// # Errors
    /// The URL is wrong, or the database answers and its schema is absent, too old (Postgres only: SQLite is migrated
    /// here) or too new.
    pub async fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let _ = options;
        Err(StoreError::Closed)
    }

    /// The state of the database, now and as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<DatabaseState> {
        self.state.clone()
    }

    /// Keeps an audit row. Never blocks, whatever the database and the disk do; the row is on disk within milliseconds
    /// and in the database as soon as there is one.
    pub fn audit(&self, row: AuditRow) {
        let _ = row;
    }

    /// Audit rows, newest first. Rows written before the call are seen by it.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn audit_page(&self, query: AuditQuery) -> Result<Vec<AuditRecord>, StoreError> {
        let _ = query;
        Err(StoreError::Closed)
    }

    /// Every instance registered by API, oldest first.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn registered(&self) -> Result<Vec<Registered>, StoreError> {
        Err(StoreError::Closed)
    }

    /// Keeps the definition of an instance.
    ///
    /// # Errors
    /// It is registered already, its definition is too large, or disconnected.
    pub async fn register(&self, id: &InstanceId, definition: &Value) -> Result<(), StoreError> {
        let _ = (id, definition);
        Err(StoreError::Closed)
    }

    /// Forgets a registered instance with its intention, tally and crash evidence. Whether there was one.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn unregister(&self, id: &InstanceId) -> Result<bool, StoreError> {
        let _ = id;
        Err(StoreError::Closed)
    }

    /// Keeps that an operator stopped an instance, or started it again. A fact: never blocks, spooled while the database
    /// is away.
    pub fn set_intention(&self, id: &InstanceId, stopped: bool) {
        let _ = (id, stopped);
    }

    /// Keeps the restart tally of an instance. A fact: never blocks, spooled while the database is away.
    pub fn set_tally(&self, id: &InstanceId, tally: Option<Value>) {
        let _ = (id, tally);
    }

    /// What is kept by the two above. Facts given before the call are seen by it.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn intentions(&self) -> Result<Vec<Intention>, StoreError> {
        Err(StoreError::Closed)
    }

    /// Keeps crash evidence, the last 20 per instance. A fact: never blocks, spooled while the database is away.
    pub fn record_crash(&self, crash: CrashRecord) {
        let _ = crash;
    }

    /// The crash evidence of an instance, newest first. Facts given before the call are seen by it.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn crashes(&self, id: &InstanceId, limit: u32) -> Result<Vec<Crash>, StoreError> {
        let _ = (id, limit);
        Err(StoreError::Closed)
    }

    /// Forgets tally and crash evidence of an instance. What an operator decided about it stays.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn delete_state(&self, id: &InstanceId) -> Result<(), StoreError> {
        let _ = id;
        Err(StoreError::Closed)
    }

    /// A value of a plugin.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn kv_get(&self, plugin: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = (plugin, key);
        Err(StoreError::Closed)
    }

    /// Sets a value of a plugin.
    ///
    /// # Errors
    /// Past a bound, disconnected, or the statement failed.
    pub async fn kv_put(&self, plugin: &str, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let _ = (plugin, key, value);
        Err(StoreError::Closed)
    }

    /// Removes a value of a plugin. Whether there was one.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn kv_delete(&self, plugin: &str, key: &str) -> Result<bool, StoreError> {
        let _ = (plugin, key);
        Err(StoreError::Closed)
    }

    /// The keys of a plugin that begin with a text, in order.
    ///
    /// # Errors
    /// Disconnected, or the statement failed.
    pub async fn kv_list(&self, plugin: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let _ = (plugin, prefix);
        Err(StoreError::Closed)
    }

    /// Hands over how instances are doing, for `godot_versions`. Never blocks: only the latest set is kept, and it is
    /// written when the database is there.
    pub fn heartbeat(&self, versions: Vec<VersionHeartbeat>) {
        let _ = versions;
    }

    /// The connections now.
    #[must_use]
    pub fn pool(&self) -> PoolFigures {
        PoolFigures::default()
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Waits until every fact given before this call is in the database. False when it is not within the deadline.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let _ = deadline;
        false
    }

    /// Ends the store: facts are written to the database where it answers within 5 s, and are safe in the spool
    /// otherwise; then tasks and connections end. Other handles answer [`StoreError::Closed`] afterwards.
    pub async fn close(&self) {}
}
