//! What a supervisor is configured with.

use std::{path::PathBuf, time::Duration};

/// Paths, names, bounds and intervals.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// Directory of the instances' sockets and slot locks (`instances.socket_dir`, by default `/tmp`).
    pub socket_dir: PathBuf,
    /// Directory of the instances' logs: `{log_dir}/{id}.log`, rotated to `{id}~1.log` and up.
    pub log_dir: PathBuf,
    /// Size at which an instance's log is rotated.
    pub log_bytes_max: u64,
    /// How many rotated files are kept beside the current one.
    pub log_files_max: u32,
    /// The `godot-mcp-shim` binary; see [`SupervisorConfig::shim_beside_this_program`].
    pub shim_path: PathBuf,
    /// This router's name, the same over restarts (see [`crate::DataDir`]).
    pub router_id: String,
    /// Grows with every start of this router (see [`crate::DataDir`]).
    pub epoch: u64,
    /// How often memory is sampled.
    pub memory_interval: Duration,
    /// How long a slot with `on_router_exit = "stop"` waits for a router to come back.
    pub router_exit_grace: Duration,
    /// Whether cgroups may be used; `false` forces the way without.
    pub use_cgroup: bool,
}

impl SupervisorConfig {
    /// The defaults, for a router of this name with its sockets and logs there.
    #[must_use]
    pub fn new(
        socket_dir: impl Into<PathBuf>,
        log_dir: impl Into<PathBuf>,
        router_id: impl Into<String>,
    ) -> Self {
        Self {
            socket_dir: socket_dir.into(),
            log_dir: log_dir.into(),
            // Five files of this size hold some days of a chatty server, and take at most 50 MiB.
            log_bytes_max: 10 * 1024 * 1024,
            log_files_max: 4,
            shim_path: Self::shim_beside_this_program(),
            router_id: router_id.into(),
            epoch: 0,
            memory_interval: Duration::from_secs(5),
            router_exit_grace: Duration::from_secs(10),
            use_cgroup: true,
        }
    }

    /// `godot-mcp-shim` in the directory of the running program.
    #[must_use]
    pub fn shim_beside_this_program() -> PathBuf {
        let own = std::env::current_exe().unwrap_or_default();
        own.with_file_name("godot-mcp-shim")
    }
}
