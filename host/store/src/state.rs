//! How the database is doing, as others see it: its state, the pool's figures, and what was counted.

use std::time::{Duration, SystemTime};

/// Whether the database can be used. Follow it with [`Store::state`](crate::Store::state).
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseState {
    /// It answers.
    Connected {
        /// How long the last probe took. A change of this alone does not wake those who watch.
        latency: Duration,
    },
    /// It does not answer, or refuses us. Retried with back-off up to 5 s.
    Disconnected {
        /// Since when.
        since: SystemTime,
        /// Why, for people; without secrets.
        reason: String,
    },
    /// It answers, but its schema cannot be used (absent, too old, too new). Checked again with back-off, so that
    /// `godot-mcp-router migrate` is noticed.
    Unusable {
        /// Since when.
        since: SystemTime,
        /// Why, and which command to run.
        reason: String,
    },
    /// The store was closed.
    Closed,
}

impl DatabaseState {
    /// Whether statements can be run.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// The connections at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolFigures {
    /// Connections that are open.
    pub size: u32,
    /// Open ones that nobody uses.
    pub idle: u32,
    /// Those in use (or being opened for somebody).
    pub in_use: u32,
    /// How many there may be.
    pub max: u32,
    /// How many clients are connected to the server, of whatever program; `None`: not known, or SQLite.
    pub server: Option<u32>,
}

/// What was counted since the store was opened, and what waits now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Facts (audit rows, crash evidence, decisions) that are safe on disk or in the database.
    pub spooled: u64,
    /// Facts that reached the database.
    pub drained: u64,
    /// Facts that wait for the database now, those of earlier lives included.
    pub waiting: u64,
    /// Facts that could be kept nowhere but in the log, where each stands at ERROR. Anything but 0 is an incident.
    pub lost: u64,
    /// Rows of the history that were left out, so that the audit had room.
    pub left_out: u64,
    /// Facts that the database will never take; they stand in `rejected.jsonl` of the spool directory.
    pub rejected: u64,
    /// Half-written lines of earlier lives that were skipped.
    pub torn: u64,
    /// Statements and attempts to connect that failed, time-outs and exhausted waits included.
    pub errors: u64,
    /// Statements that the database did not answer in time.
    pub timeouts: u64,
    /// Waits for a connection that ended with `no available connections in pool`.
    pub exhausted: u64,
    /// Times that a statement was sent again because its connection had died.
    pub retries: u64,
    /// Times that a connection to the database was established anew after it had been lost.
    pub reconnects: u64,
}
