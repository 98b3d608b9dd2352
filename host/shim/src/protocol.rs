//! The control protocol between a router and a shim: one JSON object per line, descriptors beside it.
//!
//! Either side may be the newer one. Each names the newest and the oldest protocol it speaks, and the newest that
//! both speak holds. Within a protocol messages only grow: unknown fields are ignored, an unknown message is answered
//! with `unsupported`, an unknown descriptor is closed. No request of a client ever travels here.

use std::path::PathBuf;

pub use router_values::{OnRouterExit, Transport};
use serde::{Deserialize, Serialize};

/// The newest protocol that this build speaks.
pub const PROTOCOL: u32 = 1;
/// The oldest protocol that this build still speaks.
pub const PROTOCOL_OLDEST: u32 = 1;

/// Longest line either side accepts. The launch message is the largest by far: Linux refuses an argument or an
/// environment entry of more than 128 KiB, and 1 MiB holds any environment that people write.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Largest state blob a shim keeps: a handshake result and a long tool list take some 100 KiB.
pub const BLOB_BYTES_MAX: u64 = 1024 * 1024;

/// The environment variable that marks every process a shim started, holding the shim's random id.
pub const MARKER_VARIABLE: &str = "GODOT_MCP_SHIM";

/// What a descriptor that travels beside a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FdKind {
    /// The end of the child's stdin that is written.
    Stdin,
    /// The end of the child's stdout that is read.
    Stdout,
    /// The state blob: a memfd, read with `pread` from offset 0.
    Blob,
    /// Something that a newer peer knows.
    #[serde(other)]
    Unknown,
}

/// Sent by a router to a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToShim {
    /// The first message of every connection: who asks to hold this slot.
    Hello(Hello),
    /// What to run. Accepted once, and only on the connection that the shim was started with.
    Launch(Box<Launch>),
    /// SIGTERM to the group, then after the grace period SIGKILL to the whole tree.
    Stop {
        /// The grace period, in milliseconds.
        grace_ms: u64,
    },
    /// SIGKILL to the whole tree at once.
    Kill,
    /// Keep the passed blob in place of the one before.
    Blob,
    /// The router has closed its descriptors and holds the slot no longer.
    Release,
    /// The exit report has arrived: the shim may forget it and exit.
    ExitSeen,
    /// Something that a newer router knows.
    #[serde(other)]
    Unknown,
}

/// Sent by a shim to a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromShim {
    /// The router that said hello holds the slot now. Passes the child's descriptors and the blob where there are any.
    Welcome(Welcome),
    /// Another living router holds the slot.
    Busy {
        /// Its name.
        router_id: String,
        /// Its process id.
        pid: u32,
    },
    /// The request cannot be met, on this connection or at all.
    Refused {
        /// Why.
        reason: String,
    },
    /// The command runs. Passes the child's descriptors (`stdio` transport).
    Started {
        /// The child's process id.
        pid: u32,
    },
    /// The command does not run; the shim exits.
    SpawnFailed {
        /// What failed, on what.
        error: String,
    },
    /// The child and its whole tree are gone.
    Exited(ExitReport),
    /// A message that this shim does not know was ignored.
    Unsupported,
    /// Something that a newer shim knows.
    #[serde(other)]
    Unknown,
}

/// Who asks to hold a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol that the router speaks.
    pub protocol: u32,
    /// The oldest one.
    pub protocol_oldest: u32,
    /// The router's name.
    pub router_id: String,
    /// The router's epoch.
    pub epoch: u64,
}

impl Hello {
    /// A greeting of this build.
    #[must_use]
    pub fn new(router_id: &str, epoch: u64) -> Self {
        Self {
            protocol: PROTOCOL,
            protocol_oldest: PROTOCOL_OLDEST,
            router_id: router_id.to_owned(),
            epoch,
        }
    }

    /// The newest protocol that both speak, if there is one.
    #[must_use]
    pub fn agreed(&self) -> Option<u32> {
        let newest = self.protocol.min(PROTOCOL);
        let oldest = self.protocol_oldest.max(PROTOCOL_OLDEST);
        (newest >= oldest).then_some(newest)
    }
}

/// The answer to a hello that was granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol that holds on this connection.
    pub protocol: u32,
    /// The shim's version, for people.
    pub shim_version: String,
    /// The state of the slot.
    pub state: SlotState,
    /// The child's process id, once there is one.
    pub pid: Option<u32>,
}

/// The state of a slot, as its shim sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// No launch message has come, or the command has not been executed yet.
    Starting,
    /// The child runs.
    Running,
    /// The child is being stopped; an exit report follows.
    Stopping,
    /// Something that a newer shim knows.
    #[serde(other)]
    Unknown,
}

/// Everything a shim must know to run one slot. All paths are absolute: the shim's working directory is `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The instance's id.
    pub instance: String,
    /// Which slot of it.
    pub slot: u32,
    /// Which start of the slot.
    pub run: u64,
    /// The random id, 32 hex digits, that marks every process of this run.
    pub marker: String,
    /// The program: a path, or a name that is searched for in the child's `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, without the names that [`Launch::child_env`] adds.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// How it is reached.
    pub transport: Transport,
    /// The child's `SOCKET_PATH`.
    pub socket_path: PathBuf,
    /// Where the shim listens.
    pub control_path: PathBuf,
    /// The slot's lock and record.
    pub lock_path: PathBuf,
    /// Where stderr goes, and how much of it is kept.
    pub log: LogLimits,
    /// `RLIMIT_NOFILE` of the child.
    #[serde(default)]
    pub max_open_files: Option<u64>,
    /// `memory.max` of the cgroup, where it has a memory controller.
    #[serde(default)]
    pub memory_bytes_max: Option<u64>,
    /// The cgroup beneath which the slot's own is made; none to go without.
    #[serde(default)]
    pub cgroup_parent: Option<PathBuf>,
    /// What becomes of the child when the router is gone.
    pub on_router_exit: OnRouterExit,
    /// How long `on_router_exit = stop` waits for a router to come back, in milliseconds.
    pub router_exit_grace_ms: u64,
    /// SIGTERM to SIGKILL when the shim stops the child by itself, in milliseconds.
    pub stop_grace_ms: u64,
    /// Opaque to the shim, given back at adoption.
    #[serde(default)]
    pub spec_digest: String,
}

impl Launch {
    /// The child's whole environment: [`Launch::env`] and the names that the contract fixes, which win.
    #[must_use]
    pub fn child_env(&self) -> Vec<(String, String)> {
        let fixed = [
            ("VERSION_ID", self.instance.clone()),
            ("SOCKET_PATH", self.socket_path.display().to_string()),
            ("MCP_INSTANCE_MODE", "1".to_owned()),
            (MARKER_VARIABLE, self.marker.clone()),
        ];
        let given = self
            .env
            .iter()
            .filter(|(name, _)| !fixed.iter().any(|(own, _)| own == name));
        given
            .cloned()
            .chain(
                fixed
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone())),
            )
            .collect()
    }
}

/// A log file and its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// The current file, ending in `.log`; rotated ones are named by [`crate::paths::rotated_log`].
    pub path: PathBuf,
    /// Size at which it is rotated.
    pub bytes_max: u64,
    /// How many rotated files are kept.
    pub files_max: u32,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessExit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// What caused the end of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The child itself, or something unknown to the shim: a crash, as a rule.
    Own,
    /// The router asked the shim to stop it.
    Stopped,
    /// The router asked the shim to kill it.
    Killed,
    /// The router was gone for longer than the grace period, and the template says `stop`.
    RouterGone,
    /// The shim received SIGTERM.
    ShimTerminated,
    /// The shim was killed; the router swept what it had started.
    ShimLost,
    /// There was no such run to end.
    NeverLived,
    /// Something that a newer shim knows.
    #[serde(other)]
    Unknown,
}

/// The shim's last report about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// How the child ended; absent where its status was lost.
    pub exit: Option<ProcessExit>,
    /// What caused it.
    pub cause: ExitCause,
    /// The last lines of stderr, oldest first.
    #[serde(default)]
    pub stderr_tail: Vec<String>,
    /// Bytes of stderr that did not reach the log.
    #[serde(default)]
    pub stderr_dropped_bytes: u64,
    /// Processes that SIGKILL could not end in time.
    #[serde(default)]
    pub survivors: Vec<u32>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

#[cfg(test)]
mod tests;
