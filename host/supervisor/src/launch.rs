//! What one start of a slot is specified by, and how it becomes the shim's launch message.

use std::{path::PathBuf, time::Duration};

pub use godot_mcp_shim::protocol::{OnRouterExit, Transport};
use godot_mcp_shim::{
    paths::{SlotPaths, current_log},
    protocol::{Launch, LogLimits},
};
use router_core::{Run, SlotKey};
use router_values::whole_ms;

use crate::context::Context;

/// Everything about one start of one slot that its template, with placeholders filled in, decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchSpec {
    /// The program: a path, or a name that is searched for in the child's `PATH`.
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
    pub fn stdio(
        command: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
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

/// What of the router's own environment every child gets.
const PASSED_ALWAYS: [&str; 4] = ["PATH", "HOME", "LANG", "TMPDIR"];

/// What a launch message is made of besides the spec.
#[derive(Debug)]
pub(crate) struct LaunchFrame<'a> {
    pub(crate) context: &'a Context,
    pub(crate) key: &'a SlotKey,
    pub(crate) run: Run,
    pub(crate) marker: String,
    pub(crate) paths: SlotPaths,
}

impl LaunchSpec {
    pub(crate) fn into_message(self, frame: LaunchFrame<'_>) -> Launch {
        let config = &frame.context.config;
        let instance = frame.key.instance.as_str();
        let env = self.environment();
        let cwd = self.cwd.map_or_else(
            || frame.context.working_dir.clone(),
            |cwd| frame.context.working_dir.join(cwd),
        );
        Launch {
            instance: instance.to_owned(),
            slot: frame.key.slot,
            run: frame.run.0,
            marker: frame.marker,
            command: self.command,
            args: self.args,
            env,
            cwd,
            transport: self.transport,
            socket_path: frame.paths.socket,
            control_path: frame.paths.control,
            lock_path: frame.paths.lock,
            log: LogLimits {
                path: current_log(&config.log_dir, instance, frame.key.slot),
                bytes_max: config.log_bytes_max,
                files_max: config.log_files_max,
            },
            max_open_files: self.max_open_files,
            memory_bytes_max: self.memory_bytes_max,
            cgroup_parent: frame.context.cgroup_parent.clone(),
            on_router_exit: self.on_router_exit,
            router_exit_grace_ms: whole_ms(config.router_exit_grace),
            stop_grace_ms: whole_ms(self.stop_grace),
            spec_digest: self.spec_digest,
        }
    }

    /// The router's own where passed, then the template's, which wins.
    fn environment(&self) -> Vec<(String, String)> {
        let names = PASSED_ALWAYS
            .into_iter()
            .chain(self.pass_env.iter().map(String::as_str));
        let passed = names.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let not_overridden =
            passed.filter(|(name, _)| !self.env.iter().any(|(own, _)| own == name));
        not_overridden.chain(self.env.iter().cloned()).collect()
    }
}
