//! How a store is opened, with every bound and the reason for its default.

use std::{path::PathBuf, time::Duration};

use router_values::{DatabaseUrl, Secret};

/// Everything that [`Store::open`](crate::Store::open) needs. Start from [`StoreOptions::new`] and change what differs.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Which database.
    pub url: DatabaseUrl,
    /// Password for Postgres; wins over one in the URL.
    pub password: Option<Secret>,
    /// Connections at most (`DATABASE_POOL_SIZE`, 10). SQLite uses no more than 4 of them: it has one writer anyway.
    pub pool_size: u32,
    /// An idle connection is closed after so long (`DATABASE_POOL_IDLE_TIMEOUT`, 30 s).
    pub idle_timeout: Duration,
    /// Longest wait for a free connection (5 s), then `no available connections in pool`.
    pub acquire_timeout: Duration,
    /// Longest run of one statement (`DB_QUERY_TIMEOUT`, 30 s). The server cancels at this, the connection is given up 1 s later.
    pub query_timeout: Duration,
    /// Where the spool is kept. Created where it is missing.
    pub data_dir: PathBuf,
    /// This router's name, written to every row.
    pub router_id: String,
    /// This life of the router, written to every row. Grows with every start.
    pub epoch: u64,
    /// `storage.versions_table`: the users' table; `None`: `godot_versions`. Without a schema it is searched on the search
    /// path, then in the schema `content`.
    pub versions_table: Option<String>,
    /// Audit rows, crash evidence, the history and alerts are kept for so many days (400); 0 keeps them for ever.
    pub audit_retention_days: u32,
    /// Rows of the history that are kept at most, those of all routers of a database together (1,000,000: an instance that fails every
    /// few minutes for a year writes as many). It ends with the audit's time as well.
    pub history_rows_max: u32,
    /// Firings of alerts that are kept at most, of all routers of a database together (100,000: one every five minutes for a year, some
    /// 300 MB with their stories). They end with the audit's time as well.
    pub alert_rows_max: u32,
    /// The same for their deliveries (500,000: five for each).
    pub delivery_rows_max: u32,
    /// One `AUDIT` log line per audit row (`ENABLE_AUDIT_LOG`, true). Rows are kept either way.
    pub audit_log: bool,
    /// Bytes that the spool may take on disk (256 MiB: some 500,000 rows, which is weeks of an outage).
    pub spool_bytes_max: u64,
}

impl StoreOptions {
    /// Options with every default.
    #[must_use]
    pub fn new(url: DatabaseUrl, data_dir: impl Into<PathBuf>, router_id: &str) -> Self {
        Self {
            url,
            password: None,
            pool_size: 10,
            idle_timeout: Duration::from_secs(30),
            acquire_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(30),
            data_dir: data_dir.into(),
            router_id: router_id.to_owned(),
            epoch: 0,
            versions_table: None,
            audit_retention_days: 400,
            history_rows_max: 1_000_000,
            alert_rows_max: 100_000,
            delivery_rows_max: 500_000,
            audit_log: true,
            spool_bytes_max: 256 * 1024 * 1024,
        }
    }
}
