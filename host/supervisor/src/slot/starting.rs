//! The beginning of a run: a shim is started, told what to run, and heard out until the command runs.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use godot_mcp_shim::{
    paths::{SlotPaths, SocketPathTooLong},
    protocol::{FromShim, Hello, Passed, ToShim, Transport},
    record::{self, LockError, LockState},
    wire::PassedFds,
};
use router_core::Run;
use tokio::time::Instant;

use super::{Attendant, Held, adopting::Hold};
use crate::{
    InstanceIo, LaunchSpec, SupervisorEvent, adoption::blocking, control::Control,
    data_dir::random_hex, launch::LaunchFrame, shim_process::ShimProcess,
};

/// How long a command may take to be executed. Only a hung file system makes it longer.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

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
    #[error("the shim cannot be told what to run: {0}")]
    Told(#[source] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("the shim gave no answer: {0}")]
    NoAnswer(#[source] io::Error),
    #[error("it was stopped before it was started")]
    Stopped,
    #[error("the router is shutting down")]
    ShuttingDown,
}

impl Attendant {
    /// One run from launch to end. `true` when it was released.
    pub(super) async fn launch(&self, run: Run, spec: LaunchSpec) -> bool {
        let transport = spec.transport;
        match self.start(run, spec).await {
            Ok((held, pid, passed, socket_path)) => {
                let Some(io) = io_of(transport, passed, socket_path).map(|(io, _)| io) else {
                    return self.abort(held, "the shim passed no descriptors").await;
                };
                tracing::info!(
                    instance = %self.key().instance, slot = self.key().slot, run = run.0, pid, state = "started",
                    "instance process started (version_id: {})", self.key().instance
                );
                let key = self.key().clone();
                self.tell(SupervisorEvent::Started { key, run, pid, io })
                    .await;
                self.hold(held).await
            }
            Err(error) => {
                self.spawn_failed(run, error.to_string()).await;
                false
            }
        }
    }

    async fn start(
        &self,
        run: Run,
        spec: LaunchSpec,
    ) -> Result<(Held, u32, PassedFds, PathBuf), StartError> {
        if self.stop_wished(run) {
            return Err(StartError::Stopped);
        }
        let key = self.key();
        let config = &self.around.config;
        let paths = SlotPaths::new(
            &config.socket_dir,
            key.instance.as_str(),
            key.slot,
            spec.transport,
        )?;
        self.clear_stray(&paths.lock).await?;
        let marker = random_hex(16).map_err(StartError::Shim)?;
        let (control_path, lock_path, socket_path) = (
            paths.control.clone(),
            paths.lock.clone(),
            paths.socket.clone(),
        );
        let message = spec.into_message(LaunchFrame {
            around: &self.around,
            key,
            run,
            marker,
            paths,
        });
        let (shim, stream) =
            ShimProcess::start(&self.around, key.instance.as_str()).map_err(StartError::Shim)?;
        let mut held = Held {
            run,
            control: Control::new(stream).map_err(StartError::Shim)?,
            shim,
            control_path,
            lock_path,
            record: None,
        };
        let outcome = held
            .begin(&self.hello(), ToShim::Launch(Box::new(message)))
            .await;
        match outcome {
            Ok((pid, passed)) => {
                held.record = self.read_record(&held.lock_path).await;
                Ok((held, pid, passed, socket_path))
            }
            Err(StartError::Refused(reason)) => {
                let _gone = held.control.send(&ToShim::ExitSeen, Vec::new()).await;
                held.shim.see_off().await;
                Err(StartError::Refused(reason))
            }
            Err(error) => {
                held.shim.kill().await;
                self.settle_quietly(&held.lock_path).await;
                Err(error)
            }
        }
    }

    /// Before a launch: whoever holds the lock in our name is a stray that adoption did not reach, unless another living
    /// router of the same name holds it.
    async fn clear_stray(&self, lock_path: &Path) -> Result<(), StartError> {
        let path = lock_path.to_owned();
        match blocking(move || record::look(&path))
            .await
            .ok_or(StartError::ShuttingDown)??
        {
            LockState::Held(Some(record)) if record.router_id == self.around.config.router_id => {
                if let Hold::Busy { router_id, pid } = self.try_to_hold(&record.control_path).await
                {
                    return Err(StartError::HeldElsewhere { router_id, pid });
                }
                tracing::warn!(instance = %self.key().instance, "a stray shim of this slot is killed");
                if let Ok(mut shim) = ShimProcess::found(record.shim) {
                    shim.kill().await;
                }
                self.settle_quietly(lock_path).await;
                Ok(())
            }
            LockState::Held(Some(record)) => Err(StartError::Foreign {
                shim: record.shim.pid,
                router_id: record.router_id,
            }),
            // The next shim clears what a dead one left, and waits for one that is just beginning or ending.
            LockState::Held(None) | LockState::Taken(..) | LockState::Absent => Ok(()),
        }
    }

    fn stop_wished(&self, run: Run) -> bool {
        let wishes = self.cell.wishes.lock();
        wishes.kill == Some(run) || wishes.stop.is_some_and(|(stopped, _)| stopped == run)
    }
}

impl Held {
    /// Says hello and what to run, and waits until it runs.
    async fn begin(
        &mut self,
        hello: &Hello,
        launch: ToShim,
    ) -> Result<(u32, PassedFds), StartError> {
        for message in [ToShim::Hello(hello.clone()), launch] {
            self.control
                .send(&message, Vec::new())
                .await
                .map_err(StartError::Told)?;
        }
        self.started().await
    }

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

/// Sorts what a shim passed. `None` when something is missing.
pub(super) fn io_of(
    transport: Transport,
    passed: PassedFds,
    socket_path: PathBuf,
) -> Option<(InstanceIo, Option<OwnedFd>)> {
    let (mut stdin, mut stdout, mut blob) = (None, None, None);
    for (kind, fd) in passed {
        match kind {
            Passed::Stdin => stdin = Some(fd),
            Passed::Stdout => stdout = Some(fd),
            Passed::Blob => blob = Some(fd),
            Passed::Unknown => {}
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
