//! What the router must say to start a slot, and how it becomes the shim's launch message.

use std::{path::PathBuf, time::Duration};

pub use godot_mcp_shim::protocol::{OnRouterExit, Transport};

/// Everything about one start of one slot that its template, with placeholders filled in, decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// The program: a path, or a name looked up in the child's `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The template's environment. It wins over what is passed from the router's own, and loses to the names that
    /// the contract fixes (`VERSION_ID`, `SOCKET_PATH`, `MCP_INSTANCE_MODE`, `GODOT_MCP_SHIM`).
    pub env: Vec<(String, String)>,
    /// Names passed from the router's environment besides `PATH`, `HOME`, `LANG` and `TMPDIR`.
    pub pass_env: Vec<String>,
    /// Working directory; the router's own when absent.
    pub cwd: Option<PathBuf>,
    /// How the instance is reached.
    pub transport: Transport,
    /// Soft and hard `RLIMIT_NOFILE`, never above the router's own hard limit.
    pub max_open_files: Option<u64>,
    /// `memory.max` of the slot's cgroup, where a memory controller is delegated to us. Elsewhere the core enforces
    /// the limit from [`crate::SupervisorEvent::Memory`].
    pub memory_bytes_max: Option<u64>,
    /// Whether the instance outlives the router.
    pub on_router_exit: OnRouterExit,
    /// Time between SIGTERM and SIGKILL when the shim stops by itself (router gone, shim terminated).
    pub stop_grace: Duration,
    /// Kept by the shim and given back at adoption, so that a changed template is noticed. Opaque here.
    pub spec_digest: String,
}

impl LaunchSpec {
    /// A `stdio` command with the defaults: nothing else passed, kept when the router exits, 5 s of grace.
    #[must_use]
    pub fn stdio(command: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            command: command.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            pass_env: Vec::new(),
            cwd: None,
            transport: Transport::Stdio,
            max_open_files: None,
            memory_bytes_max: None,
            on_router_exit: OnRouterExit::Keep,
            stop_grace: Duration::from_secs(5),
            spec_digest: String::new(),
        }
    }
}
