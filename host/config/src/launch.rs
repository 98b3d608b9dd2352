//! From template, instance and defaults to what the core decides by and what is launched. No I/O.

use std::{path::PathBuf, time::Duration};

use router_core::{
    settings::Settings,
    spec::{InstanceSpec, Source},
};

use crate::{
    Config, Faults, InstanceConfig, OnRouterExit, Secret, Sharing, TemplateName, Transport,
};

/// An instance with every placeholder filled in and every default resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// What the core decides by. [`InstanceSpec::digest`] is [`LaunchPlan::digest`].
    pub spec: InstanceSpec,
    /// How it is launched.
    pub launch: LaunchPlan,
    /// How long it may take for what.
    pub waits: Waits,
}

/// How one slot is launched.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchPlan {
    /// The template it is made from.
    pub template: TemplateName,
    /// The program. `godot-mcp-router` stands for the running program itself, wherever it is.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides what every instance gets, sorted by name.
    pub env: Vec<(String, Secret)>,
    /// Names passed on from the router's own environment.
    pub pass_env: Vec<String>,
    /// Working directory, absolute; the router's own when absent.
    pub cwd: Option<PathBuf>,
    /// How it is reached.
    pub transport: Transport,
    /// Whether sessions share one process.
    pub sharing: Sharing,
    /// Where slot 0 is reached.
    pub socket_path: PathBuf,
    /// Soft and hard limit on open files.
    pub max_open_files: Option<u64>,
    /// Resident memory of the tree at which it is killed, in bytes.
    pub max_memory_bytes: Option<u64>,
    /// What becomes of it when the router ends.
    pub on_router_exit: OnRouterExit,
    /// Between SIGTERM and SIGKILL when the shim stops by itself.
    pub stop_grace: Duration,
    /// Names everything that a running process depends on. The same in every version of the router.
    pub digest: u64,
}

/// How long the router waits for one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// Connecting and the answer to the handshake.
    pub socket: Duration,
    /// A request of a client.
    pub request: Duration,
    /// How long lists may be served from memory; zero: never.
    pub cache_ttl: Duration,
}

impl Config {
    /// Fills in the template of an instance.
    ///
    /// # Errors
    /// The template is gone, a placeholder has no value, a value has no placeholder, or the socket's path is too long. Never
    /// for the instances of this configuration itself.
    pub fn define(
        &self,
        _instance: &InstanceConfig,
        _source: Source,
    ) -> Result<Definition, Faults> {
        unimplemented!()
    }

    /// The numbers that the core decides by. `seed` and `first_run` are the caller's.
    #[must_use]
    pub fn core_settings(&self, _seed: u64, _first_run: u64) -> Settings {
        unimplemented!()
    }
}
