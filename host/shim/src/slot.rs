//! One slot from the start of its child to its last report: the shim's only loop.
//!
//! The child's end is taken from its exit status, never from the end of a pipe. A report is made only when the whole
//! tree is dead or could not be killed within a bounded time.

mod conversation;

use std::{
    fs::File,
    io::Read as _,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    cgroup,
    protocol::{Exit, ExitCause, ExitReport, FromShim, Hello, Launch, OnRouterExit, Transport},
    record::{SlotLock, SlotRecord},
    tree::{ProcessTable, Target},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, kill_process_group},
};

use crate::{
    child::Child,
    launch::{Listener, now_ms},
    peers::{Peer, Peers, timespec},
    reaping::{Signals, reap},
    stderr_log::StderrLog,
};

/// How often to look after what nobody announces: a removed socket or lock, a connection that stays silent.
const TICK: Duration = Duration::from_secs(2);

/// How often to look whether a tree that was asked to stop has gone, once its first process has.
const STOPPING_LOOK: Duration = Duration::from_millis(50);

/// How often to kill and look again.
const KILLING_LOOK: Duration = Duration::from_millis(5);

/// How long SIGKILL may take. Longer means uninterruptible sleep, which no waiting of ours ends.
const KILLING_WITHIN: Duration = Duration::from_secs(5);

/// How long a connected router may take to say that the report has arrived.
const REPORT_WITHIN: Duration = Duration::from_secs(5);

/// What a slot is made of.
pub(crate) struct Parts {
    pub(crate) launch: Launch,
    pub(crate) lock: SlotLock,
    pub(crate) record: SlotRecord,
    pub(crate) listener: Listener,
    pub(crate) child: Child,
    pub(crate) log: StderrLog,
    pub(crate) signals: Signals,
}

/// Where the child stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The step before the command is at work.
    Starting,
    /// The command was executed.
    Running,
    /// SIGTERM was sent.
    Stopping { cause: ExitCause, deadline: Instant },
    /// SIGKILL is being sent to all that is left.
    Killing { cause: ExitCause, deadline: Instant },
    /// The report was given to a router; its receipt is awaited.
    Reported { deadline: Instant },
    /// Nothing is left to do.
    Over,
}

/// One slot.
pub(crate) struct Slot {
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
    verdict: Option<File>,
    verdict_text: Vec<u8>,
    /// The step said why there is no command.
    not_executed: bool,
    exit: Option<Exit>,
    blob: Option<OwnedFd>,
    log: StderrLog,
    signals: Signals,
    phase: Phase,
    tick_at: Instant,
    /// Since when no router attends, with `on_router_exit = stop`.
    unattended_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Signals,
    Listener,
    Stderr,
    Verdict,
    Peer(u64),
}

impl Slot {
    /// A slot whose child has just been started.
    pub(crate) fn new(parts: Parts) -> Self {
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
            verdict: Some(child.verdict),
            verdict_text: Vec::new(),
            not_executed: false,
            exit: None,
            blob: None,
            log: parts.log,
            signals: parts.signals,
            phase: Phase::Starting,
            tick_at: Instant::now() + TICK,
            unattended_since: None,
        }
    }

    /// Serves until the child's end is reported, or written down for a router to come.
    pub(crate) fn serve(mut self, router: Peer, hello: &Hello) {
        if let Some(key) = self.peers.add(router) {
            self.greet(key, hello);
        }
        while self.phase != Phase::Over {
            for (source, flags) in self.wait() {
                self.attend(source, flags);
            }
            if let Some(exit) = reap(self.pid) {
                self.exit = Some(exit);
            }
            self.advance(Instant::now());
        }
    }

    fn wait(&self) -> Vec<(Source, PollFlags)> {
        let mut sources = vec![Source::Signals, Source::Listener];
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.socket.as_fd(), PollFlags::IN),
        ];
        let mut add = |source, fd, flags| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Some(stderr) = &self.stderr {
            add(Source::Stderr, stderr.as_fd(), PollFlags::IN);
        }
        if let Some(verdict) = &self.verdict {
            add(Source::Verdict, verdict.as_fd(), PollFlags::IN);
        }
        for (key, fd, flags) in self.peers.interests() {
            add(Source::Peer(key), fd, flags);
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
            Phase::Starting | Phase::Running => self.stop_because_unattended_at(),
            Phase::Stopping { deadline, .. } if self.exit.is_some() => {
                Some(deadline.min(soon(STOPPING_LOOK)))
            }
            Phase::Stopping { deadline, .. } | Phase::Reported { deadline } => Some(deadline),
            Phase::Killing { .. } => Some(soon(KILLING_LOOK)),
            Phase::Over => None,
        };
        phase.map_or(self.tick_at, |at| at.min(self.tick_at))
    }

    fn attend(&mut self, source: Source, flags: PollFlags) {
        match source {
            Source::Signals => {
                if self.signals.termination_asked() {
                    self.log.note("asked to terminate");
                    self.stop(
                        ExitCause::ShimTerminated,
                        Duration::from_millis(self.launch.stop_grace_ms),
                    );
                }
            }
            Source::Listener => {
                if let Ok((socket, _)) = self.listener.socket.accept() {
                    self.peers.accept(socket.into());
                }
            }
            Source::Stderr => {
                let open = self
                    .stderr
                    .as_ref()
                    .is_some_and(|pipe| self.log.read_from(pipe));
                if !open {
                    self.log.finish_line();
                    self.stderr = None;
                }
            }
            Source::Verdict => self.read_verdict(),
            Source::Peer(key) => {
                if flags.contains(PollFlags::OUT) {
                    self.peers.flush(key);
                }
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    let (messages, goes_on) = self.peers.read(key);
                    for (message, passed) in messages {
                        self.heed(key, message, passed);
                    }
                    if !goes_on {
                        self.peers.drop_peer(key);
                    }
                }
            }
        }
    }

    fn read_verdict(&mut self) {
        let Some(verdict) = &mut self.verdict else {
            return;
        };
        let mut buffer = [0; 1024];
        match verdict.read(&mut buffer) {
            Ok(0) => {}
            Ok(count) => {
                // The step writes one short sentence.
                self.verdict_text.extend_from_slice(
                    &buffer[..count.min(4096 - self.verdict_text.len().min(4096))],
                );
                return;
            }
            Err(_) => return,
        }
        self.verdict = None;
        if self.phase != Phase::Starting {
            return;
        }
        if self.verdict_text.is_empty() {
            self.phase = Phase::Running;
            self.log.note(&format!(
                "run {} started, pid {}",
                self.launch.run, self.pid
            ));
            let started = FromShim::Started {
                pid: self.pid.unsigned_abs(),
            };
            let passed = self.descriptors();
            self.peers.say_to_holder(&started, passed);
        } else {
            self.not_executed = true;
            // The step is about to exit, and is reaped before anything is said.
            self.kill(ExitCause::Own);
        }
    }

    fn stop(&mut self, cause: ExitCause, grace: Duration) {
        let deadline = Instant::now() + grace;
        match &mut self.phase {
            Phase::Starting | Phase::Running => {
                // A server that ends at the end of its input may do so, once the router has closed its own too.
                self.stdin = None;
                self.signal_group(Signal::TERM);
                // A stopped process could not heed it.
                self.signal_group(Signal::CONT);
                self.phase = Phase::Stopping { cause, deadline };
            }
            Phase::Stopping {
                deadline: given, ..
            } => *given = deadline.min(*given),
            Phase::Killing { .. } | Phase::Reported { .. } | Phase::Over => {}
        }
    }

    fn kill(&mut self, cause: ExitCause) {
        if let Phase::Starting | Phase::Running | Phase::Stopping { .. } = self.phase {
            let deadline = Instant::now() + KILLING_WITHIN;
            self.phase = Phase::Killing { cause, deadline };
        }
    }

    /// Signals the child's group, while the child has not been reaped: until then nobody else can have its number.
    fn signal_group(&self, signal: Signal) {
        if self.exit.is_none()
            && let Some(group) = Pid::from_raw(self.pid)
        {
            let _no_group_yet = kill_process_group(group, signal);
        }
    }

    /// Does what time or the child's end has made due.
    fn advance(&mut self, now: Instant) {
        if now >= self.tick_at {
            self.tick(now);
        }
        self.note_attendance(now);
        match self.phase {
            Phase::Running if self.exit.is_some() => self.kill(ExitCause::Own),
            Phase::Starting | Phase::Running => {
                if self
                    .stop_because_unattended_at()
                    .is_some_and(|at| now >= at)
                {
                    self.log.note("no router came back");
                    self.stop(
                        ExitCause::RouterGone,
                        Duration::from_millis(self.launch.stop_grace_ms),
                    );
                }
            }
            Phase::Stopping { cause, deadline } => {
                if now >= deadline {
                    self.kill(cause);
                } else if self.exit.is_some() && !self.populated() && self.none_below() {
                    self.finish(cause, Vec::new());
                }
            }
            Phase::Reported { deadline } => {
                if now >= deadline || !self.peers.attended() {
                    self.phase = Phase::Over;
                }
            }
            Phase::Killing { .. } | Phase::Over => {}
        }
        if let Phase::Killing { cause, deadline } = self.phase {
            self.kill_once(cause, now >= deadline);
        }
    }

    fn kill_once(&mut self, cause: ExitCause, last: bool) {
        let found = self.target().kill_round();
        self.exit = self.exit.or_else(|| reap(self.pid));
        if self.exit.is_some() && found.is_empty() && !self.populated() {
            self.finish(cause, Vec::new());
        } else if last {
            let survivors = found
                .iter()
                .filter(|one| one.alive())
                .map(|one| one.pid.unsigned_abs())
                .collect();
            self.finish(cause, survivors);
        }
    }

    /// Whether no descendant is left. A subreaper's descendants are all that left their parents too, so that this look,
    /// which is taken often, need not read every environment of the machine.
    fn none_below(&self) -> bool {
        ProcessTable::read()
            .descendants(self.record.shim.pid)
            .is_empty()
    }

    fn populated(&self) -> bool {
        self.record.cgroup.as_deref().is_some_and(cgroup::populated)
    }

    fn target(&self) -> Target<'_> {
        Target {
            shim: Some(self.record.shim.pid),
            marker: &self.record.marker,
            cgroup: self.record.cgroup.as_deref(),
            recorded: &[],
        }
    }

    /// Reports, or writes the report down for a router to come.
    fn finish(&mut self, cause: ExitCause, survivors: Vec<u32>) {
        // What stands in the pipe now is all that is waited for: a survivor may hold its other end for ever.
        if let Some(pipe) = self.stderr.take() {
            self.log.read_from(&pipe);
        }
        self.log.finish_line();
        let told = if self.not_executed {
            self.report_not_executed()
        } else {
            self.report_exit(cause, survivors)
        };
        self.phase = if told {
            Phase::Reported {
                deadline: Instant::now() + REPORT_WITHIN,
            }
        } else {
            Phase::Over
        };
    }

    /// The command never ran: a router that comes later has nothing to learn from it.
    fn report_not_executed(&mut self) -> bool {
        let error = String::from_utf8_lossy(&self.verdict_text).into_owned();
        self.log
            .note(&format!("run {} not started: {error}", self.launch.run));
        self.leave();
        if let Some(lock) = self.lock.take() {
            lock.remove();
        }
        self.peers
            .say_to_holder(&FromShim::SpawnFailed { error }, Vec::new())
    }

    fn report_exit(&mut self, cause: ExitCause, survivors: Vec<u32>) -> bool {
        let how = match self.exit {
            Some(Exit::Code(code)) => format!("exit code {code}"),
            Some(Exit::Signal(signal)) => format!("signal {signal}"),
            None => "no exit status".to_owned(),
        };
        self.log
            .note(&format!("run {} ended: {how}", self.launch.run));
        let report = ExitReport {
            exit: self.exit,
            cause,
            stderr_tail: self.log.tail(),
            stderr_dropped_bytes: self.log.dropped_bytes(),
            survivors,
            at_ms: now_ms(),
        };
        self.leave();
        self.record.exit = Some(report.clone());
        self.write_record();
        self.peers
            .say_to_holder(&FromShim::Exited(report), Vec::new())
    }

    /// Gives back what the child had.
    fn leave(&mut self) {
        (self.stdin, self.stdout, self.blob) = (None, None, None);
        if let Some(cgroup) = self.record.cgroup.take() {
            cgroup::remove(&cgroup);
        }
        self.listener.unlink();
        if self.launch.transport == Transport::Socket {
            let _removed_by_itself = std::fs::remove_file(&self.launch.socket_path);
        }
    }

    fn write_record(&mut self) {
        let record = &self.record;
        // A full disk: the router that is told in words loses nothing, one that comes later loses this report.
        let _unwritten = self.lock.as_mut().map(|lock| lock.write(record));
    }

    fn tick(&mut self, now: Instant) {
        self.tick_at = now + TICK;
        self.peers.drop_silent(now);
        if matches!(self.phase, Phase::Reported { .. } | Phase::Over) {
            return;
        }
        if self.lock.as_ref().is_some_and(|lock| !lock.in_place()) {
            let record = &self.record;
            let outcome = self.lock.as_mut().map(|lock| lock.put_back(record));
            let word = if matches!(outcome, Some(Ok(()))) {
                "put back"
            } else {
                "could not be put back"
            };
            self.log.note(&format!("the lock file was gone and {word}"));
        }
        if !self.listener.in_place() {
            match self.listener.bind_again() {
                Ok(()) => self
                    .log
                    .note("the control socket was gone and is bound again"),
                Err(error) => self
                    .log
                    .note(&format!("the control socket is gone: {error}")),
            }
        }
    }

    fn note_attendance(&mut self, now: Instant) {
        let watched = self.launch.on_router_exit == OnRouterExit::Stop && !self.peers.attended();
        self.unattended_since = if watched {
            self.unattended_since.or(Some(now))
        } else {
            None
        };
    }

    fn stop_because_unattended_at(&self) -> Option<Instant> {
        let grace = Duration::from_millis(self.launch.router_exit_grace_ms);
        self.unattended_since.map(|since| since + grace)
    }
}
