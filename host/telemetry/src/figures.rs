//! What other rooms know and the metrics only show: plain values, set as a whole by their owners.

use std::time::Duration;

/// The database and its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DatabaseFigures {
    /// Whether it is reached.
    pub connected: bool,
    /// Connections in use.
    pub active: u32,
    /// Connections open and unused.
    pub idle: u32,
    /// The most that the pool opens.
    pub max: u32,
}

/// What waits on disk for the database to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolFigures {
    /// Rows that wait.
    pub rows: u64,
    /// Rows that could be kept nowhere but in the log, since the start. Anything but 0 is an incident.
    pub lost: u64,
    /// Rows that the database will never take, put aside for people, since the start.
    pub rejected: u64,
    /// Rows of the history that were left out, since the start.
    pub left_out: u64,
}

/// One plugin. Counters only grow while the router lives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PluginFigures {
    /// Its name.
    pub name: String,
    /// What it is: `health-policy`, `alert-sink`, …
    pub kind: String,
    /// Which generation serves; 0 where none does.
    pub generation: u64,
    /// Whether it is quarantined, so that the built-in default answers.
    pub quarantined: bool,
    /// Whether a generation of it is held until an operator decides.
    pub held: bool,
    /// Calls that were made.
    pub calls: u64,
    /// Time that they took together.
    pub call_time: Duration,
    /// Calls that failed, by cause: `timeout`, `trap`, `limit`, …
    pub failures: Vec<(String, u64)>,
    /// Candidates that were taken into service.
    pub reloads: u64,
    /// Candidates that were refused, by reason: `wrong_world`, `not_wasm`, …
    pub refusals: Vec<(String, u64)>,
}
