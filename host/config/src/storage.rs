//! `[storage]` and `[audit]`: where the router's rows live, and how long what was done is remembered.

use std::{fmt, time::Duration};

use crate::{DatabaseUrl, Secret};

/// `[storage]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// Which database.
    pub url: DatabaseUrl,
    /// Postgres' password; wins over one in the URL.
    pub password: Option<Secret>,
    /// Connections at most.
    pub pool_size: u32,
    /// An idle connection is closed after so long.
    pub pool_idle_timeout: Duration,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may run.
    pub query_timeout: Duration,
    /// The users' table of versions.
    pub versions_table: TableName,
}

/// A table, with its schema or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// `None`: found on the search path, else in the schema `content`.
    pub schema: Option<String>,
    /// Its name.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// One `AUDIT` line in the log for each audit row. Rows are written either way.
    pub enabled: bool,
    /// Days that audit rows, crash evidence and log files are kept; 0: for ever.
    pub retention_days: u32,
}
