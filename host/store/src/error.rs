//! What can go wrong with the store, for an operator to read. No variant ever holds a password.

/// Why the store could not do what it was asked. `Display` of each says what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The URL is not one of a database that is supported.
    #[error("database URL {url} cannot be used: {reason}")]
    Url {
        /// The URL without its password and parameters.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The schema is not there, or older than this version needs.
    #[error(
        "the database {database} has schema version {found} and this version needs {needed}: run `godot-mcp-router migrate` with a role that may create tables"
    )]
    Unmigrated {
        /// The database, without secrets.
        database: String,
        /// Its version; 0: no schema at all.
        found: u32,
        /// What is needed.
        needed: u32,
    },
    /// The schema is newer than this version and does not say that it is compatible with it.
    #[error(
        "the database {database} has schema version {found}, which serves versions of this program that know schema {compatible_down_to} or later; this one knows {needed}: upgrade the program, or restore the database from before its migration"
    )]
    TooNew {
        /// The database, without secrets.
        database: String,
        /// Its version.
        found: u32,
        /// The oldest schema version whose programs may use it.
        compatible_down_to: u32,
        /// What this program knows.
        needed: u32,
    },
    /// There is no connection to the database now; it is retried in the background.
    #[error("the database is not connected: {reason}")]
    Disconnected {
        /// Why.
        reason: String,
    },
    /// Every connection is in use and none became free in time.
    #[error("no available connections in pool (of {max}, after {waited_ms} ms)")]
    Exhausted {
        /// Connections that the pool may have.
        max: u32,
        /// How long was waited.
        waited_ms: u64,
    },
    /// The database did not answer in time.
    #[error("TIMEOUT: the database did not answer within {waited_ms} ms")]
    TimedOut {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The database refused a statement.
    #[error("the database refused: {reason}")]
    Refused {
        /// What it said.
        reason: String,
        /// The code: SQLSTATE, or SQLite's extended result code.
        code: String,
    },
    /// What was given is past a bound or malformed.
    #[error("{0}")]
    Invalid(String),
    /// An instance of this id is registered already.
    #[error("instance {0} is registered already")]
    AlreadyRegistered(router_core::InstanceId),
    /// A plugin has as many values, or bytes, as it may.
    #[error("plugin {plugin} may keep no more: {bound}")]
    PluginFull {
        /// Which plugin.
        plugin: String,
        /// Which bound it reached.
        bound: String,
    },
    /// A migration failed; nothing of it was kept.
    #[error("migration {version} ({title}) failed and was rolled back: {reason}")]
    Migration {
        /// Which.
        version: u32,
        /// Its title.
        title: &'static str,
        /// What the database said.
        reason: String,
    },
    /// The data directory cannot be used.
    #[error("{} cannot be used: {reason}", path.display())]
    DataDir {
        /// Which path.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
