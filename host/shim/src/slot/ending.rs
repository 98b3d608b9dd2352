//! The end of a run: the child is stopped, its tree is killed, and a report is delivered or written down.

use std::{
    fs,
    time::{Duration, Instant},
};

use godot_mcp_shim::{
    cgroup,
    protocol::{ExitCause, ExitReport, FromShim, ProcessExit, Transport},
    tree::{ProcessTable, SweepTarget},
};
use router_values::unix_ms_now;
use rustix::process::{Pid, Signal, kill_process_group};

use super::{RunPhase, SlotServer};
use crate::reaping::reap;

/// How long SIGKILL may take. Longer means uninterruptible sleep, which no waiting of ours ends.
const KILLING_WITHIN: Duration = Duration::from_secs(5);

/// How long a connected router may take to acknowledge the report.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

impl SlotServer {
    /// SIGTERM to the group, then after `grace` SIGKILL to the whole tree.
    pub(super) fn stop(&mut self, cause: ExitCause, grace: Duration) {
        let deadline = Instant::now() + grace;
        match &mut self.phase {
            RunPhase::Starting | RunPhase::Running => {
                // A server that ends at the end of its input may do so, once the router has closed its own too.
                self.stdin = None;
                self.signal_group(Signal::TERM);
                // A stopped process could not act on it.
                self.signal_group(Signal::CONT);
                self.phase = RunPhase::Stopping { cause, deadline };
            }
            RunPhase::Stopping {
                deadline: given, ..
            } => *given = deadline.min(*given),
            RunPhase::Killing { .. } | RunPhase::Reported { .. } | RunPhase::Over => {}
        }
    }

    /// SIGKILL to the whole tree, until nothing of it is left or time is up.
    pub(super) fn kill(&mut self, cause: ExitCause) {
        if let RunPhase::Starting | RunPhase::Running | RunPhase::Stopping { .. } = self.phase {
            let deadline = Instant::now() + KILLING_WITHIN;
            self.phase = RunPhase::Killing { cause, deadline };
        }
    }

    /// ShimSignals the child's group, while the child has not been reaped: until then no other process can have its number.
    fn signal_group(&self, signal: Signal) {
        if self.exit.is_none()
            && let Some(group) = Pid::from_raw(self.pid)
        {
            let _no_group_yet = kill_process_group(group, signal);
        }
    }

    pub(super) fn kill_once(&mut self, cause: ExitCause, last: bool) {
        let found = self.target().kill_round();
        self.exit = self.exit.or_else(|| reap(self.pid));
        if self.exit.is_some() && found.is_empty() && !self.is_populated() {
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

    /// Whether no descendant is left. A subreaper's descendants are all that left their parents too, so that this check,
    /// which is made often, need not read every environment of the machine.
    pub(super) fn none_below(&self) -> bool {
        ProcessTable::read()
            .descendants(self.record.shim.pid)
            .is_empty()
    }

    pub(super) fn is_populated(&self) -> bool {
        self.record.cgroup.as_deref().is_some_and(cgroup::populated)
    }

    fn target(&self) -> SweepTarget<'_> {
        SweepTarget {
            shim: Some(self.record.shim.pid),
            marker: &self.record.marker,
            cgroup: self.record.cgroup.as_deref(),
            recorded: &[],
        }
    }

    /// Reports, or writes the report down for a router to come.
    pub(super) fn finish(&mut self, cause: ExitCause, survivors: Vec<u32>) {
        // What the pipe holds now is all that is waited for: a survivor may hold its other end for ever.
        if let Some(pipe) = self.stderr.take() {
            self.log.read_from(&pipe);
        }
        self.log.finish_line();
        let is_reported = if self.not_executed {
            self.report_not_executed()
        } else {
            self.report_exit(cause, survivors)
        };
        self.phase = if is_reported {
            RunPhase::Reported {
                deadline: Instant::now() + ACKNOWLEDGED_WITHIN,
            }
        } else {
            RunPhase::Over
        };
    }

    /// The command never ran: a router that comes later has nothing to learn from it.
    fn report_not_executed(&mut self) -> bool {
        let error = String::from_utf8_lossy(&self.exec_error_text).into_owned();
        self.log
            .note(&format!("run {} not started: {error}", self.launch.run));
        self.leave();
        if let Some(lock) = self.lock.take() {
            lock.remove();
        }
        self.peers
            .send_to_holder(&FromShim::SpawnFailed { error }, Vec::new())
    }

    fn report_exit(&mut self, cause: ExitCause, survivors: Vec<u32>) -> bool {
        let how = match self.exit {
            Some(ProcessExit::Code(code)) => format!("exit code {code}"),
            Some(ProcessExit::Signal(signal)) => format!("signal {signal}"),
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
            at_ms: unix_ms_now(),
        };
        self.leave();
        self.record.exit = Some(report.clone());
        self.write_record();
        self.peers
            .send_to_holder(&FromShim::Exited(report), Vec::new())
    }

    /// Gives back what the child had.
    fn leave(&mut self) {
        (self.stdin, self.stdout, self.blob) = (None, None, None);
        if let Some(cgroup) = self.record.cgroup.take() {
            cgroup::remove(&cgroup);
        }
        self.listener.unlink();
        if self.launch.transport == Transport::Socket {
            let _removed_by_itself = fs::remove_file(&self.launch.socket_path);
        }
    }

    pub(super) fn write_record(&mut self) {
        let record = &self.record;
        // A full disk: a router that is connected loses nothing, one that comes later loses this report.
        let _unwritten = self.lock.as_mut().map(|lock| lock.write(record));
    }
}
