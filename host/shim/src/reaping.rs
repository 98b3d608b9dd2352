//! Signals as a descriptor, and the collection of dead children. The shim is a subreaper, so among the children are
//! processes it never started.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use godot_mcp_shim::protocol::ProcessExit;
use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::process::{WaitOptions, WaitStatus, wait};

/// The signals the shim acts on, readable instead of delivered. What it spawns inherits the mask: see
/// [`unblock_all`].
#[derive(Debug)]
pub(crate) struct ShimSignals {
    fd: SignalFd,
}

impl ShimSignals {
    /// Blocks SIGTERM, SIGINT, SIGHUP and SIGCHLD for this thread, the only one.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGCHLD,
        ] {
            set.add(signal);
        }
        set.thread_block()?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { fd })
    }

    /// Empties the descriptor. `true` when the shim is asked to end. SIGHUP does not ask for that, for it also
    /// comes when a terminal closes.
    pub(crate) fn termination_asked(&mut self) -> bool {
        let mut asked = false;
        while let Ok(Some(info)) = self.fd.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            asked |= number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32;
        }
        asked
    }
}

impl AsFd for ShimSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives a command the signal mask that every program expects to begin with.
pub(crate) fn unblock_all() -> io::Result<()> {
    Ok(SigSet::empty().thread_set_mask()?)
}

/// Reaps every dead child. Returns how `child` ended, if it was among them.
pub(crate) fn reap(child: i32) -> Option<ProcessExit> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == child {
            ended = exit_of(status).or(ended);
        }
    }
    ended
}

fn exit_of(status: WaitStatus) -> Option<ProcessExit> {
    let code = status.exit_status().map(ProcessExit::Code);
    code.or_else(|| status.terminating_signal().map(ProcessExit::Signal))
}
