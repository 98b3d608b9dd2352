//! What the supervisor reports to the driver, and the descriptors that it passes on.
//!
//! Events about one run arrive in the order in which they happened. Every `Started` or `Adopted` run ends in one
//! `Exited`, after which nothing of it lives, unless the router releases it or goes away first. Every kill is answered by
//! an `Exited` too, also when that run has ended before or never lived: then it may be the second one.

use std::{os::fd::OwnedFd, path::PathBuf};

use godot_mcp_shim::protocol::ExitReport;
pub use godot_mcp_shim::protocol::{ExitCause, ProcessExit};
use router_core::{Run, SlotKey};
use router_values::unix_ms_now;

/// How the router talks to one slot's process.
#[derive(Debug)]
pub enum InstanceIo {
    /// The two pipes of a `stdio` instance. Both are non-blocking on our side only: the child's ends are other open
    /// file descriptions. Dropping them costs the child neither end of file nor SIGPIPE, for its shim keeps duplicates.
    Stdio {
        /// Written by the router, read by the child.
        stdin: OwnedFd,
        /// Written by the child, read by the router.
        stdout: OwnedFd,
    },
    /// The path at which a `socket` instance listens (it may take a moment before it does).
    Socket(PathBuf),
}

/// A running slot that an earlier life of this router had started.
#[derive(Debug)]
pub struct Adoption {
    /// Its process id, unchanged; 0 when it is gone already and only its tree is still being killed.
    pub pid: u32,
    /// Its descriptors or socket; absent when it is being stopped already, so that only its `Exited` is to come. A line
    /// that the earlier router half wrote may still stand in stdin: the upstream deals with that.
    pub io: Option<InstanceIo>,
    /// What the router last left with [`crate::Supervisor::put_blob`].
    pub blob: Option<Vec<u8>>,
    /// The digest of the [`crate::LaunchSpec`] it was started with.
    pub spec_digest: String,
    /// When it was started, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

/// How a slot's process ended, with what is left as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotExit {
    /// Exit code or signal; absent where the status could not be collected.
    pub exit: Option<ProcessExit>,
    /// What caused it.
    pub cause: ExitCause,
    /// The last lines of its stderr, oldest first.
    pub stderr_tail: Vec<String>,
    /// Bytes of stderr that never reached the instance's log (flood, full disk).
    pub stderr_dropped_bytes: u64,
    /// Resident memory of the tree when it was last sampled.
    pub rss_bytes: Option<u64>,
    /// Processes of the tree that even SIGKILL could not end in time (uninterruptible sleep).
    pub survivors: Vec<u32>,
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl SlotExit {
    pub(crate) fn new(report: ExitReport, rss_bytes: Option<u64>) -> Self {
        Self {
            exit: report.exit,
            cause: report.cause,
            stderr_tail: report.stderr_tail,
            stderr_dropped_bytes: report.stderr_dropped_bytes,
            rss_bytes,
            survivors: report.survivors,
            at_ms: report.at_ms,
        }
    }

    /// The end of a run that no shim reported.
    pub(crate) fn unreported(
        cause: ExitCause,
        rss_bytes: Option<u64>,
        survivors: Vec<u32>,
    ) -> Self {
        Self {
            exit: None,
            cause,
            stderr_tail: Vec::new(),
            stderr_dropped_bytes: 0,
            rss_bytes,
            survivors,
            at_ms: unix_ms_now(),
        }
    }
}

/// What happened to a slot's process, or to all.
#[derive(Debug)]
pub enum SupervisorEvent {
    /// The command runs: its `exec` succeeded. Whether it serves is for the upstream to find out.
    Started {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// The child's process id.
        pid: u32,
        /// How to talk to it.
        io: InstanceIo,
    },
    /// The command does not run. Nothing of it is left.
    SpawnFailed {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// What failed, on what; written to follow `Spawn failed: `.
        error: String,
    },
    /// An earlier router's slot is ours again, with the same process.
    Adopted {
        /// Which slot.
        key: SlotKey,
        /// The run that the earlier router gave it.
        run: Run,
        /// The process and what was kept for it.
        adoption: Adoption,
    },
    /// A slot of ours is held by another living router process.
    HeldElsewhere {
        /// Which slot.
        key: SlotKey,
        /// The holder's `router_id`.
        router_id: String,
        /// The holder's process id.
        pid: u32,
    },
    /// Every shim found by [`crate::Supervisor::adopt_all`] has been dealt with; launches may begin.
    AdoptionFinished {
        /// How many slots were adopted.
        adopted: usize,
    },
    /// The process is gone with its whole tree, and the slot is free. After a restart of the router this may also
    /// be about a run that ended while no router was there.
    Exited {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// How it ended.
        exit: SlotExit,
    },
    /// The shim died before its child did. Close what [`InstanceIo`] gave; the sweep of its tree begins now, and
    /// `Exited` with [`ExitCause::ShimLost`] follows it. A launch of the same slot waits for both.
    ShimLost {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },
    /// A sample of one slot's whole process tree, the shim excluded. Dropped, not queued, when the receiver is behind.
    Memory {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// Resident bytes, summed over the tree (shared pages count once per process).
        rss_bytes: u64,
        /// Number of processes.
        processes: u32,
    },
}
