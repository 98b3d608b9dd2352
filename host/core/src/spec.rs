//! What the core must know about an instance. How it is launched (command, arguments, environment) stays outside:
//! the core sees that only as a digest, so that it can tell whether it changed.

use std::sync::Arc;

use crate::{id::InstanceId, policy::PolicyNames, settings::BreakerThresholds};

/// Where an instance is defined; it is removed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `[[instance]]` in the configuration file.
    Config,
    /// Registered with `POST /api/instances`.
    Api,
    /// A row of `godot_versions`.
    Database,
    /// Found under the projects path.
    Discovery,
}

impl Source {
    /// The name shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Api => "api",
            Self::Database => "database",
            Self::Discovery => "discovery",
        }
    }
}

/// One instance as the core sees it. All durations are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSpec {
    /// Its id.
    pub id: InstanceId,
    /// Where it is defined.
    pub source: Source,
    /// The template that it is made from, for counting; empty where none is known.
    pub template: Arc<str>,
    /// How the router speaks to it, as the configuration writes it. For policies.
    pub transport: &'static str,
    /// Digest of all that a running process depends on (command, arguments, environment, transport …). Another digest
    /// under the same id drains what runs and starts it anew; the other fields of this struct apply without a restart.
    pub digest: u64,
    /// Wanted running from the start, not only from its first use.
    pub autostart: bool,
    /// An operator had stopped it before this router started. Read only when the id appears for the first time.
    pub stopped: bool,
    /// Slots it may have: 1 for `shared`, more for `per-session`.
    pub max_slots: u32,
    /// Stopped after so long without use; `None`: never.
    pub idle_stop_ms: Option<u64>,
    /// From the spawn to the answered handshake.
    pub spawn_timeout_ms: u64,
    /// For requests in flight when a slot is to stop.
    pub drain_ms: u64,
    /// Resident memory of the whole tree at which a slot is killed; `None`: unlimited.
    pub max_memory_bytes: Option<u64>,
    /// Processes of the whole tree past which a slot is killed; `None`: unlimited.
    pub max_processes: Option<u32>,
    /// Exit codes after which no restart is tried.
    pub permanent_exit_codes: Vec<i32>,
    /// `on_router_exit = "keep"`: the slot outlives the router.
    pub keep_on_exit: bool,
    /// Thresholds of its own in place of [`crate::settings::Settings::breaker`].
    pub breaker: Option<BreakerThresholds>,
    /// Health policies of its own in place of [`crate::settings::Settings::health_policies`].
    pub health_policies: Option<PolicyNames>,
    /// A breaker policy of its own in place of [`crate::settings::Settings::breaker_policy`].
    pub breaker_policy: Option<PolicyNames>,
}

impl InstanceSpec {
    /// A spec with the documented defaults.
    #[must_use]
    pub fn new(id: InstanceId, source: Source, digest: u64) -> Self {
        Self {
            id,
            source,
            template: Arc::default(),
            transport: "stdio",
            digest,
            autostart: false,
            stopped: false,
            max_slots: 1,
            idle_stop_ms: Some(1_800_000),
            spawn_timeout_ms: 10_000,
            drain_ms: 10_000,
            max_memory_bytes: None,
            max_processes: None,
            permanent_exit_codes: Vec::new(),
            keep_on_exit: false,
            breaker: None,
            health_policies: None,
            breaker_policy: None,
        }
    }
}
