//! Commands: what each changes, and when and how it is answered.

use super::Instance;
use crate::{
    action::{CommandError, Done, OperatorAction},
    event::Verb,
    id::Run,
    permit::BreakerState,
    planted::Planted,
    slot::Slot,
    step::{FleetPhase, Step},
};

/// Commands that may wait for one instance at once. More callers than this are a loop somewhere.
const WAITERS_MAX: usize = 64;

/// A command that is not done yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Waiter {
    command: u64,
    goal: Goal,
    /// The limit that it passed.
    passed_limit: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// A process exists whose run is newer than this one.
    Running { newer_than: Option<Run> },
    /// Nothing lives.
    Down,
}

impl Instance {
    /// Obeys a command; what cannot be answered at once is answered by [`Instance::settle`].
    pub(crate) fn command(
        &mut self,
        step: &mut Step<'_>,
        command: u64,
        verb: Verb,
        passed_limit: Option<String>,
    ) {
        let now_ms = step.now_ms;
        let waits = matches!(verb, Verb::Start | Verb::Stop | Verb::Restart);
        if waits && self.waiters.len() >= WAITERS_MAX {
            let result = Err(CommandError::Busy);
            let id = command;
            step.push(OperatorAction::CommandDone { id, result });
            return;
        }
        let goal = match verb {
            Verb::Start => {
                self.allow_running(now_ms);
                self.first_slot(now_ms).start_by_hand(now_ms);
                Some(Goal::Running {
                    newer_than: self.stopping_run(),
                })
            }
            Verb::Stop => {
                self.stopped = true;
                for slot in self.slots.values_mut() {
                    slot.wanted = false;
                }
                Some(Goal::Down)
            }
            Verb::Restart => {
                self.allow_running(now_ms);
                Some(self.restart(step))
            }
            Verb::ClearState => {
                for slot in self.slots.values_mut() {
                    slot.clear_state(step);
                }
                let is_open = self.breaker.state() == BreakerState::Open;
                if !(is_open && step.bugs.has(Planted::ClearKeepsOpen)) {
                    self.breaker.reset(now_ms);
                }
                self.tools.reset(now_ms);
                if !step.bugs.has(Planted::ClearKeepsEvidence) {
                    step.push(OperatorAction::ClearState(self.id().clone()));
                }
                None
            }
            Verb::BreakerIsolate => {
                self.breaker.isolate(now_ms);
                None
            }
            Verb::BreakerReset => {
                self.breaker.reset(now_ms);
                self.tools.reset(now_ms);
                None
            }
        };
        match goal {
            Some(goal) => self.waiters.push(Waiter {
                command,
                goal,
                passed_limit,
            }),
            None => step.push(OperatorAction::CommandDone {
                id: command,
                result: Ok(Done::default()),
            }),
        }
    }

    /// An operator runs it: the breaker's past is forgotten with the failures, unless an operator isolated it.
    fn allow_running(&mut self, now_ms: u64) {
        self.stopped = false;
        self.tools.reset(now_ms);
        if !self.breaker.isolated() {
            self.breaker.reset(now_ms);
        }
    }

    fn restart(&mut self, step: &mut Step<'_>) -> Goal {
        let now_ms = step.now_ms;
        let newer_than = self.first_slot(now_ms).run_to_replace();
        let numbers: Vec<u32> = self.slots.keys().copied().collect();
        for number in numbers {
            if let Some((slot, desired)) = self.slot_and_desired(number)
                && (number == 0 || slot.wanted)
            {
                slot.restart_by_hand(step, desired);
            }
        }
        Goal::Running { newer_than }
    }

    /// The first slot's run that is on its way down, which no start may be answered with.
    fn stopping_run(&self) -> Option<Run> {
        let slot = self.slots.get(&0)?;
        if slot.living().is_some() {
            None
        } else {
            slot.run_to_replace()
        }
    }

    pub(super) fn answer_waiters(&mut self, step: &mut Step<'_>, is_gone: bool) {
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            let result = self.answer(waiter.goal, step.phase, is_gone);
            let is_forgotten = match result {
                Some(Err(CommandError::Superseded)) => step.bugs.has(Planted::CommandLost),
                Some(Err(CommandError::ShuttingDown)) => {
                    step.bugs.has(Planted::OrderForgottenAtEnd)
                }
                _ => false,
            };
            match result {
                _ if is_forgotten => {}
                Some(result) => {
                    let passed_limit = waiter.passed_limit;
                    let result = result.map(|done| Done {
                        passed_limit,
                        ..done
                    });
                    let id = waiter.command;
                    step.push(OperatorAction::CommandDone { id, result });
                }
                None => self.waiters.push(waiter),
            }
        }
    }

    /// How a command with this goal ends, if it ends now.
    fn answer(
        &self,
        goal: Goal,
        phase: FleetPhase,
        is_gone: bool,
    ) -> Option<Result<Done, CommandError>> {
        let is_down = self.slots.values().all(Slot::is_over);
        let newer_than = match goal {
            Goal::Down if is_down => return Some(Ok(Done::default())),
            Goal::Down if !self.stopped && !self.removed && phase != FleetPhase::ShuttingDown => {
                return Some(Err(CommandError::Superseded));
            }
            Goal::Down => return None,
            Goal::Running { newer_than } => newer_than,
        };
        if self.removed || is_gone {
            return Some(Err(CommandError::Removed));
        }
        if phase == FleetPhase::ShuttingDown {
            return Some(Err(CommandError::ShuttingDown));
        }
        let slot = self.slots.get(&0)?;
        // A stop, or an idle stop, that overtook it.
        if self.stopped || !slot.wanted {
            return Some(Err(CommandError::Superseded));
        }
        if let Some(error) = slot.failed() {
            return Some(Err(CommandError::StartFailed(error)));
        }
        let (run, pid) = slot.living()?;
        let is_new = newer_than.is_none_or(|old| run > old);
        let run = Some(run);
        is_new.then_some(Ok(Done {
            pid,
            run,
            passed_limit: None,
        }))
    }
}
