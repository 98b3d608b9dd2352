//! `[instances]`: what holds for every instance unless its template or itself says otherwise.

use std::{path::PathBuf, time::Duration};

/// `[instances]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Instances {
    /// Where the instances' sockets and locks are.
    pub socket_dir: PathBuf,
    /// Instances at most, from all sources.
    pub max_instances: usize,
    /// Stopped after so long without use; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// From the spawn to the answered handshake and tool list.
    pub spawn_timeout: Duration,
    /// Connecting to an instance and its answer to the handshake; never a tool call.
    pub socket_timeout: Duration,
    /// A request of a client.
    pub request_timeout: Duration,
    /// How long lists of tools, prompts and resources may be served from memory; `None`: never.
    pub cache_ttl: Option<Duration>,
    /// Exit codes after which no restart is tried.
    pub permanent_exit_codes: Vec<i32>,
    /// How often the memory of each instance is looked at.
    pub memory_interval: Duration,
    /// Share of `max_memory_mb` at which a slot is drained and started anew; at 1.0 it is killed.
    pub memory_recycle_share: f64,
    /// At most one recycle per slot within this time.
    pub recycle_interval: Duration,
    /// How long an instance with `on_router_exit = "stop"` waits for a router to come back.
    pub router_exit_grace: Duration,
    /// Whether cgroups are used where they are writable.
    pub use_cgroup: bool,
    /// `[instances.restart]`.
    pub restart: Restart,
    /// `[instances.crash_loop]`.
    pub crash_loop: CrashLoop,
    /// `[instances.stop]`.
    pub stop: Stop,
    /// `[instances.logs]`.
    pub logs: InstanceLogs,
}

/// `[instances.restart]`: pauses between starts after failures.
#[derive(Debug, Clone, PartialEq)]
pub struct Restart {
    /// The first pause; each further one doubles.
    pub initial: Duration,
    /// The longest pause, before jitter.
    pub max: Duration,
    /// Share by which a pause is stretched or shortened at random, from 0 to 1.
    pub jitter: f64,
    /// Time that a slot must stay ready before its failures are forgotten.
    pub reset_after: Duration,
}

/// `[instances.crash_loop]`: when failures are a crash loop.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashLoop {
    /// So many failures …
    pub failures: u32,
    /// … within this time.
    pub window: Duration,
    /// So many failures in a row that look the same, none of which ever became ready, are one too.
    pub same_signature: u32,
    /// Pause before a slot in crash loop is tried again; `None`: only an operator starts it.
    pub slow_retry: Option<Duration>,
}

/// `[instances.stop]`: how a slot is stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// For requests in flight.
    pub drain: Duration,
    /// Between SIGTERM and the kill of the tree.
    pub term: Duration,
}

/// `[instances.logs]`: what instances write to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceLogs {
    /// Bytes at which an instance's log is rotated.
    pub max_file_bytes: u64,
    /// Rotated files kept beside the current one.
    pub max_files: u32,
}
