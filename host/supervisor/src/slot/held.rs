//! A shim that this router holds: the request for it, and its answers until its command runs.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use godot_mcp_shim::{
    paths::SocketPathTooLong,
    protocol::{FdKind, FromShim, Hello, SlotState, ToShim, Transport},
    record::{LockError, SlotRecord},
    wire::PassedFds,
};
use router_core::Run;
use tokio::time::Instant;

use crate::{InstanceIo, context::Context, control::Control, shim_process::ShimProcess};

/// How long an answer to a hello may take: one pass of the shim's loop, on a loaded machine.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);

/// How long a command may take to be executed. Only a hung file system makes it longer.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// How long to go on asking for a slot whose holder is just dying, whose socket is just being bound again, or whose
/// shim is slow.
pub(super) const HOLD_WITHIN: Duration = Duration::from_secs(6);

/// Between two attempts at that.
pub(super) const ATTEMPT_INTERVAL: Duration = Duration::from_millis(100);

/// A shim that this router holds.
#[derive(Debug)]
pub(super) struct HeldShim {
    pub(super) run: Run,
    pub(super) control: Control,
    pub(super) shim: ShimProcess,
    pub(super) control_path: PathBuf,
    pub(super) lock_path: PathBuf,
    /// What the lock file said when it was last read.
    pub(super) record: Option<SlotRecord>,
}

/// A hello that was granted.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) control: Control,
    pub(super) state: SlotState,
    pub(super) pid: Option<u32>,
    pub(super) passed: PassedFds,
}

/// The answer to a hello.
#[derive(Debug)]
pub(super) enum HelloAnswer {
    Granted(Box<Grant>),
    Busy { router_id: String, pid: u32 },
    Failed(io::Error),
}

/// Why a run was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Path(#[from] SocketPathTooLong),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the slot is held by shim {shim} of router {router_id}")]
    Foreign { shim: i32, router_id: String },
    #[error(
        "the slot is held by another router of the same name {router_id}, pid {pid}; give each its own server.router_id and server.data_dir"
    )]
    HeldElsewhere { router_id: String, pid: u32 },
    #[error("the shim cannot be started: {0}")]
    Shim(#[source] io::Error),
    #[error("the launch message cannot be sent to the shim: {0}")]
    Send(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the shim gave no answer: {0}")]
    NoAnswer(#[source] io::Error),
    #[error("it was stopped before it was started")]
    Stopped,
    #[error("the router is shutting down")]
    ShuttingDown,
}

/// This router's greeting.
pub(super) fn hello(context: &Context) -> Hello {
    Hello::new(&context.config.router_id, context.config.epoch)
}

/// Asks the shim that listens there to be held by this router.
pub(super) async fn try_to_hold(context: &Context, control_path: &Path) -> HelloAnswer {
    let attempt = async {
        let mut control = Control::connect(control_path).await?;
        control
            .send(&ToShim::Hello(hello(context)), Vec::new())
            .await?;
        match control.receive_within(WELCOME_WITHIN).await? {
            Some((FromShim::Welcome(welcome), passed)) => {
                Ok(HelloAnswer::Granted(Box::new(Grant {
                    control,
                    state: welcome.state,
                    pid: welcome.pid,
                    passed,
                })))
            }
            Some((FromShim::Busy { router_id, pid }, _)) => {
                Ok(HelloAnswer::Busy { router_id, pid })
            }
            Some((FromShim::Refused { reason }, _)) => Err(io::Error::other(reason)),
            Some(_) => Err(io::Error::other("an unexpected answer to a hello")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    };
    attempt.await.unwrap_or_else(HelloAnswer::Failed)
}

impl HeldShim {
    /// Sends the hello and what to run, and waits until it runs.
    pub(super) async fn begin(
        &mut self,
        hello: Hello,
        launch: ToShim,
    ) -> Result<(u32, PassedFds), StartError> {
        for message in [ToShim::Hello(hello), launch] {
            self.control
                .send(&message, Vec::new())
                .await
                .map_err(StartError::Send)?;
        }
        self.started().await
    }

    /// Waits until the command runs.
    pub(super) async fn started(&mut self) -> Result<(u32, PassedFds), StartError> {
        let deadline = Instant::now() + STARTED_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self
                .control
                .receive_within(left)
                .await
                .map_err(StartError::NoAnswer)?
            {
                Some((FromShim::Started { pid }, passed)) => return Ok((pid, passed)),
                Some((FromShim::SpawnFailed { error }, _)) => {
                    return Err(StartError::Refused(error));
                }
                Some((FromShim::Refused { reason }, _)) => return Err(StartError::Refused(reason)),
                Some((FromShim::Exited(_), _)) => return Err(StartError::Stopped),
                Some(_) => {}
                None => return Err(StartError::NoAnswer(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

/// Sorts what a shim passed: the instance's descriptors and the blob. `None` when a descriptor is missing.
pub(super) fn sort_passed(
    transport: Transport,
    passed: PassedFds,
    socket_path: PathBuf,
) -> Option<(InstanceIo, Option<OwnedFd>)> {
    let (mut stdin, mut stdout, mut blob) = (None, None, None);
    for (kind, fd) in passed {
        match kind {
            FdKind::Stdin => stdin = Some(fd),
            FdKind::Stdout => stdout = Some(fd),
            FdKind::Blob => blob = Some(fd),
            FdKind::Unknown => {}
        }
    }
    let io = match transport {
        Transport::Stdio => InstanceIo::Stdio {
            stdin: stdin?,
            stdout: stdout?,
        },
        Transport::Socket => InstanceIo::Socket(socket_path),
    };
    Some((io, blob))
}
