//! One slot from the start of its child to its last report: the shim's only loop.
//!
//! The child's end is taken from its exit status, never from the end of a pipe. A report is made only when the whole
//! tree is dead or could not be killed within a bounded time.

mod conversation;
mod ending;
mod upkeep;

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    protocol::{ExitCause, FromShim, Hello, Launch, ProcessExit},
    record::{SlotLock, SlotRecord},
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    child::Child,
    listener::Listener,
    peers::{Peer, Peers, timespec},
    reaping::{ShimSignals, reap},
    stderr_log::StderrLog,
};

/// How often a tree that was asked to stop is checked, once its first process has ended: its other processes are not children of ours
/// until they are orphans, so nothing announces their end.
const STOPPING_INTERVAL: Duration = Duration::from_millis(50);

/// Between two rounds of SIGKILL.
const KILLING_INTERVAL: Duration = Duration::from_millis(5);

/// Longest reason for a failed exec that is kept. The step before the command writes one short sentence.
const EXEC_ERROR_BYTES_MAX: usize = 4096;

/// What a slot is made of.
pub(crate) struct SlotParts {
    pub(crate) launch: Launch,
    pub(crate) lock: SlotLock,
    pub(crate) record: SlotRecord,
    pub(crate) listener: Listener,
    pub(crate) child: Child,
    pub(crate) log: StderrLog,
    pub(crate) signals: ShimSignals,
}

/// The phase of a run, from the fork of its child to the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunPhase {
    /// The step before the command is at work.
    Starting,
    /// The command was executed.
    Running,
    /// SIGTERM was sent.
    Stopping { cause: ExitCause, deadline: Instant },
    /// SIGKILL is being sent to all that is left.
    Killing { cause: ExitCause, deadline: Instant },
    /// The report was sent to a router; its acknowledgement is awaited.
    Reported { deadline: Instant },
    /// Nothing is left to do.
    Over,
}

/// One slot.
pub(crate) struct SlotServer {
    launch: Launch,
    /// Taken when its file is removed.
    lock: Option<SlotLock>,
    record: SlotRecord,
    listener: Listener,
    peers: Peers,
    pid: i32,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The pipe on which the step before the command reports why it cannot execute it.
    exec_error: Option<File>,
    exec_error_text: Vec<u8>,
    /// The command could not be executed.
    not_executed: bool,
    exit: Option<ProcessExit>,
    blob: Option<OwnedFd>,
    log: StderrLog,
    signals: ShimSignals,
    phase: RunPhase,
    upkeep_at: Instant,
    /// Since when no router is connected, with `on_router_exit = stop`.
    routerless_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum EventSource {
    Signals,
    Listener,
    Stderr,
    ExecError,
    Peer(u64),
}

impl SlotServer {
    /// A slot whose child has just been started.
    pub(crate) fn new(parts: SlotParts) -> Self {
        let child = parts.child;
        Self {
            launch: parts.launch,
            lock: Some(parts.lock),
            record: parts.record,
            listener: parts.listener,
            peers: Peers::default(),
            pid: child.identity.pid,
            stdin: child.stdin,
            stdout: child.stdout,
            stderr: Some(child.stderr),
            exec_error: Some(child.exec_error),
            exec_error_text: Vec::new(),
            not_executed: false,
            exit: None,
            blob: None,
            log: parts.log,
            signals: parts.signals,
            phase: RunPhase::Starting,
            upkeep_at: Instant::now() + upkeep::INTERVAL,
            routerless_since: None,
        }
    }

    /// Serves until the child's end is reported, or written down for a router to come.
    pub(crate) fn serve(mut self, router: Peer, hello: &Hello) {
        if let Some(key) = self.peers.add(router) {
            self.greet(key, hello);
        }
        while self.phase != RunPhase::Over {
            for (source, flags) in self.wait() {
                self.handle(source, flags);
            }
            if let Some(exit) = reap(self.pid) {
                self.exit = Some(exit);
            }
            self.advance(Instant::now());
        }
    }

    fn wait(&self) -> Vec<(EventSource, PollFlags)> {
        let mut sources = vec![EventSource::Signals, EventSource::Listener];
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.socket.as_fd(), PollFlags::IN),
        ];
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(stderr) = &self.stderr {
            add(EventSource::Stderr, stderr.as_fd(), PollFlags::IN);
        }
        if let Some(exec_error) = &self.exec_error {
            add(EventSource::ExecError, exec_error.as_fd(), PollFlags::IN);
        }
        for (key, fd, flags) in self.peers.interests() {
            add(EventSource::Peer(key), fd, flags);
        }
        let timeout = self
            .next_deadline()
            .saturating_duration_since(Instant::now());
        if poll(&mut fds, Some(&timespec(timeout))).is_err() {
            return Vec::new();
        }
        let ready = sources
            .into_iter()
            .zip(&fds)
            .map(|(source, fd)| (source, fd.revents()));
        ready.filter(|(_, flags)| !flags.is_empty()).collect()
    }

    fn next_deadline(&self) -> Instant {
        let soon = |interval: Duration| Instant::now() + interval;
        let phase = match self.phase {
            RunPhase::Starting | RunPhase::Running => self.stop_routerless_at(),
            RunPhase::Stopping { deadline, .. } if self.exit.is_some() => {
                Some(deadline.min(soon(STOPPING_INTERVAL)))
            }
            RunPhase::Stopping { deadline, .. } | RunPhase::Reported { deadline } => Some(deadline),
            RunPhase::Killing { .. } => Some(soon(KILLING_INTERVAL)),
            RunPhase::Over => None,
        };
        phase.map_or(self.upkeep_at, |at| at.min(self.upkeep_at))
    }

    fn handle(&mut self, source: EventSource, flags: PollFlags) {
        match source {
            EventSource::Signals => {
                if self.signals.termination_asked() {
                    self.log.note("asked to terminate");
                    self.stop(ExitCause::ShimTerminated, self.stop_grace());
                }
            }
            EventSource::Listener => {
                if let Ok((socket, _)) = self.listener.socket.accept() {
                    self.peers.accept(socket.into());
                }
            }
            EventSource::Stderr => {
                let open = self
                    .stderr
                    .as_ref()
                    .is_some_and(|pipe| self.log.read_from(pipe));
                if !open {
                    self.log.finish_line();
                    self.stderr = None;
                }
            }
            EventSource::ExecError => self.read_exec_error(),
            EventSource::Peer(key) => self.handle_peer(key, flags),
        }
    }

    fn read_exec_error(&mut self) {
        let Some(exec_error) = &mut self.exec_error else {
            return;
        };
        let mut buffer = [0; 1024];
        match exec_error.read(&mut buffer) {
            Ok(0) => {}
            Ok(count) => {
                let room = EXEC_ERROR_BYTES_MAX - self.exec_error_text.len();
                self.exec_error_text
                    .extend_from_slice(&buffer[..count.min(room)]);
                return;
            }
            Err(_) => return,
        }
        self.exec_error = None;
        if self.phase != RunPhase::Starting {
            return;
        }
        if self.exec_error_text.is_empty() {
            self.phase = RunPhase::Running;
            self.log.note(&format!(
                "run {} started, pid {}",
                self.launch.run, self.pid
            ));
            let started = FromShim::Started {
                pid: self.pid.unsigned_abs(),
            };
            let passed = self.descriptors();
            self.peers.send_to_holder(&started, passed);
        } else {
            self.not_executed = true;
            // The step is about to exit, and is reaped before anything is sent.
            self.kill(ExitCause::Own);
        }
    }

    /// Does what time or the child's end has made due.
    fn advance(&mut self, now: Instant) {
        if now >= self.upkeep_at {
            self.upkeep(now);
        }
        self.track_router(now);
        match self.phase {
            RunPhase::Running if self.exit.is_some() => self.kill(ExitCause::Own),
            RunPhase::Starting | RunPhase::Running => {
                if self.stop_routerless_at().is_some_and(|at| now >= at) {
                    self.log.note("no router came back");
                    self.stop(ExitCause::RouterGone, self.stop_grace());
                }
            }
            RunPhase::Stopping { cause, deadline } => {
                if now >= deadline {
                    self.kill(cause);
                } else if self.exit.is_some() && !self.is_populated() && self.none_below() {
                    self.finish(cause, Vec::new());
                }
            }
            RunPhase::Reported { deadline } => {
                if now >= deadline || !self.peers.holder_connected() {
                    self.phase = RunPhase::Over;
                }
            }
            RunPhase::Killing { .. } | RunPhase::Over => {}
        }
        if let RunPhase::Killing { cause, deadline } = self.phase {
            self.kill_once(cause, now >= deadline);
        }
    }

    /// SIGTERM to SIGKILL where no router says otherwise.
    fn stop_grace(&self) -> Duration {
        Duration::from_millis(self.launch.stop_grace_ms)
    }
}
