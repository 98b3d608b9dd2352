//! The way down: drain, SIGTERM, kill, and then the wait for the end to be reported. Each step has a deadline after which the
//! next one follows; the last repeats.

use super::{Phase, Process, Slot};
use crate::{
    action::SlotAction,
    failure::Failure,
    planted::Planted,
    step::{DesiredState, Step},
};

/// A run on its way down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stop {
    pub(super) at: At,
    /// What it is stopped for, if for a failure.
    pub(super) failure: Option<Failure>,
    /// An operator has meanwhile forgotten failures.
    pub(super) forgiven: bool,
    /// It is only drained, and then left running by a router that ends.
    pub(super) release: bool,
}

/// Where on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Draining { until_ms: u64 },
    Terminating { until_ms: u64 },
    Killing { again_ms: u64 },
}

impl At {
    pub(super) fn deadline_ms(self) -> u64 {
        match self {
            Self::Draining { until_ms } | Self::Terminating { until_ms } => until_ms,
            Self::Killing { again_ms } => again_ms,
        }
    }
}

impl Slot {
    /// Stops the present run, gently: what is in flight may end first. A run that is not ready has nothing in flight, and where
    /// there is none the next start is called off.
    pub(super) fn stop(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        failure: Option<Failure>,
        reason: String,
    ) {
        if matches!(self.phase, Phase::Backoff { .. } | Phase::CrashLoop { .. }) {
            self.phase = Phase::Down;
            self.set_reason(reason, None);
            return;
        }
        let serves = matches!(self.phase, Phase::Ready(..)) && failure.is_none();
        let until_ms = step.now_ms.saturating_add(desired.spec.drain_ms);
        let drain = At::Draining { until_ms };
        let Some(process) = self.begin_stop(step, drain, failure, reason) else {
            return;
        };
        if serves {
            let drain = SlotAction::Drain {
                deadline_ms: until_ms,
            };
            step.push_for(&self.key, process.run, drain);
        }
        if !serves || step.bugs.has(Planted::DrainSkipped) {
            self.terminate(step);
        }
    }

    /// Drains the present run and then releases it.
    pub(super) fn drain_and_release(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let was_ready = matches!(self.phase, Phase::Ready(..));
        self.stop(
            step,
            desired,
            None,
            "left running by a router that ends".to_owned(),
        );
        if let Phase::Stopping(_, stop) = &mut self.phase {
            stop.release = was_ready;
        }
    }

    /// Kills the present run at once, whatever it is doing.
    pub(super) fn kill(&mut self, step: &mut Step<'_>, failure: Failure, reason: String) {
        if let Phase::Stopping(_, stop) = &mut self.phase {
            stop.release = false;
        } else {
            let at = At::Killing {
                again_ms: step.now_ms,
            };
            self.begin_stop(step, at, Some(failure), reason);
        }
        self.kill_tree(step);
    }

    /// The next step on the way down.
    pub(super) fn stop_further(&mut self, step: &mut Step<'_>) {
        let Phase::Stopping(process, stop) = &self.phase else {
            return;
        };
        match stop.at {
            At::Draining { .. } if stop.release => {
                step.push_for(&self.key, process.run, SlotAction::Release);
                self.phase = Phase::Released(process.clone());
            }
            At::Draining { .. } => self.terminate(step),
            At::Terminating { .. } | At::Killing { .. } => self.kill_tree(step),
        }
    }

    fn begin_stop(
        &mut self,
        step: &Step<'_>,
        at: At,
        failure: Option<Failure>,
        reason: String,
    ) -> Option<Process> {
        let process = match &self.phase {
            Phase::Starting(process, _) | Phase::Ready(process, _) => process.clone(),
            Phase::Down
            | Phase::Backoff { .. }
            | Phase::CrashLoop { .. }
            | Phase::Stopping(..)
            | Phase::Released(_) => {
                return None;
            }
        };
        // Already here: while it is on its way down, nobody must take it for one that has failed and is not back.
        self.note_service(step, &process);
        let stop = Stop {
            at,
            failure,
            forgiven: false,
            release: false,
        };
        self.phase = Phase::Stopping(process.clone(), stop);
        self.set_reason(reason, None);
        Some(process)
    }

    fn terminate(&mut self, step: &mut Step<'_>) {
        if let Phase::Stopping(process, stop) = &mut self.phase {
            let until_ms = step.now_ms.saturating_add(step.settings.term_ms);
            stop.at = At::Terminating { until_ms };
            step.push_for(&self.key, process.run, SlotAction::Terminate);
        }
        if step.bugs.has(Planted::GraceSkipped) {
            self.kill_tree(step);
        }
    }

    fn kill_tree(&mut self, step: &mut Step<'_>) {
        if let Phase::Stopping(process, stop) = &mut self.phase {
            // At least 1 ms: a kill that is asked for in every step would be a busy loop.
            let again_ms = step
                .now_ms
                .saturating_add(step.settings.kill_retry_ms.max(1));
            stop.at = At::Killing { again_ms };
            step.push_for(&self.key, process.run, SlotAction::Kill);
        }
    }
}
