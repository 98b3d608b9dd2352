//! A shim as a process: started by us or found, watched through a pidfd, killed only when it does not answer.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::net::UnixStream,
    process::Stdio,
    time::Duration,
};

use godot_mcp_shim::tree::Identity;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use tokio::{
    io::{Interest, unix::AsyncFd},
    process::{Child, Command},
};

use crate::context::Context;

/// How long a shim that has nothing left to do, or was killed, may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A living shim.
#[derive(Debug)]
pub(crate) struct ShimProcess {
    pub(crate) identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    /// There when we are its parent and have to reap it.
    child: Option<Child>,
}

impl ShimProcess {
    /// Starts one. Returns our end of its control connection.
    pub(crate) fn start(context: &Context, instance: &str) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        // Through the descriptor, so that a binary that was replaced or removed since our start does not matter.
        let mut command = Command::new(format!("/proc/self/fd/{}", context.shim.as_raw_fd()));
        command
            .arg0("godot-mcp-shim")
            .args(["run", instance])
            .env_clear();
        command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.kill_on_drop(false).spawn()?;
        let pid = child
            .id()
            .ok_or_else(|| io::Error::other("the shim is gone already"))?;
        // It is our child and not reaped, so this is it and no other.
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let identity =
            Identity::of(pid).ok_or_else(|| io::Error::other("the shim is not in /proc"))?;
        let process = Self {
            identity,
            pidfd: watch(pid)?,
            child: Some(child),
        };
        Ok((process, ours))
    }

    /// Watches one that an earlier life of the router started.
    pub(crate) fn found(identity: Identity) -> io::Result<Self> {
        let pidfd = watch(identity.pid)?;
        if !identity.alive() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            identity,
            pidfd,
            child: None,
        })
    }

    /// Waits until it is gone. May be cancelled.
    pub(crate) async fn gone(&mut self) {
        // An error of the reactor means that the runtime is shutting down.
        let _readable = self
            .pidfd
            .readable()
            .await
            .map(|mut guard| guard.retain_ready());
        if let Some(child) = &mut self.child {
            let _status = child.wait().await;
        }
    }

    /// Waits a bounded time for it to exit by itself, then kills it.
    pub(crate) async fn wait_or_kill(&mut self) {
        if tokio::time::timeout(GONE_WITHIN, self.gone())
            .await
            .is_err()
        {
            self.kill().await;
        }
    }

    /// Kills it and waits a bounded time until it is gone.
    pub(crate) async fn kill(&mut self) {
        let _gone = self.identity.signal(Signal::KILL);
        let _uninterruptible = tokio::time::timeout(GONE_WITHIN, self.gone()).await;
    }
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe call; an OwnedFd keeps its number for as long as the AsyncFd owns it, which is what that one asks"
)]
fn watch(pid: i32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}
