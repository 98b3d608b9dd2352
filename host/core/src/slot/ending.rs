//! The end of a run: what it leaves behind, and what follows from a failure.

use super::{Phase, Process, Slot};
use crate::{
    action::{CrashRecord, OperatorAction},
    event::{Evidence, Exit},
    failure::{Failure, last_error, signature},
    failure_tally::{Cause, Failed, RestartDecision},
    planted::Planted,
    step::{DesiredState, FleetPhase, Step},
};

/// The message that operators search for.
const CRASH_LOOP_MESSAGE: &str =
    "Instance has exceeded max restart attempts. Entering crash loop protection.";

/// How a run ended.
pub(super) struct Ending {
    pub(super) failure: Option<Failure>,
    pub(super) exit: Option<Exit>,
    pub(super) evidence: Evidence,
    /// An operator has meanwhile forgotten failures: it is recorded, but not counted.
    pub(super) forgiven: bool,
}

impl Slot {
    /// The slot is empty: nothing of `process` lives.
    pub(super) fn ended(
        &mut self,
        step: &mut Step<'_>,
        desired: DesiredState<'_>,
        process: &Process,
        ending: Ending,
    ) {
        self.last_ended = self.last_ended.max(Some(process.run));
        self.phase = Phase::Down;
        let ready_ms = self.note_service(step, process);
        let Some(failure) = ending.failure else {
            return;
        };
        let mut evidence = ending.evidence;
        evidence.memory_bytes = evidence.memory_bytes.or(process.memory_bytes);
        let reason = failure.describe(ending.exit);
        self.last_error = Some(last_error(&reason, &evidence));
        let is_meant_to_run =
            self.wanted && desired.permits_running() && step.phase != FleetPhase::ShuttingDown;
        if is_meant_to_run && !ending.forgiven {
            let failed = Failed {
                signature: signature(&failure, ending.exit, &evidence),
                ready_ms: ready_ms.filter(|_| !self.remembers(step)),
                permanent_code: match ending.exit {
                    Some(Exit::Code(code)) if desired.spec.permanent_exit_codes.contains(&code) => {
                        Some(code)
                    }
                    _ => None,
                },
            };
            self.decide_restart(step, failed);
        }
        if step.bugs.has(Planted::CrashUnrecorded) {
            return;
        }
        step.push(OperatorAction::RecordCrash(Box::new(CrashRecord {
            key: self.key.clone(),
            run: process.run,
            reason,
            exit: ending.exit,
            lived_ms: process.spawned.elapsed_ms(step.now_ms),
            was_ready: process.ready.is_some(),
            crash_loop: matches!(self.phase, Phase::CrashLoop { .. }),
            evidence,
        })));
    }

    /// A run serves no more, and says so for how long it did: if that was long enough, what failed before it is forgotten.
    pub(super) fn note_service(&mut self, step: &Step<'_>, process: &Process) -> Option<u64> {
        let ready_ms = process.ready.map(|ready| ready.elapsed_ms(step.now_ms));
        let loops_on = self.remembers(step);
        self.tally.served(ready_ms, &step.settings.restart);
        if loops_on {
            self.tally.stay_in_crash_loop();
        }
        ready_ms
    }

    fn remembers(&self, step: &Step<'_>) -> bool {
        step.bugs.has(Planted::NeverForgets) && self.tally.is_looping()
    }

    /// Decides what follows from a failure.
    fn decide_restart(&mut self, step: &mut Step<'_>, failed: Failed) {
        let settings = step.settings;
        let mut rule = settings.crash_loop.clone();
        if step.bugs.has(Planted::CrashLoopEarly) {
            rule.failures -= 1;
        }
        let jitter = &mut step.counters.jitter;
        let decision = self
            .tally
            .add(step.now_ms, failed, &settings.restart, &rule, jitter);
        let error = self.last_error.clone().unwrap_or_default();
        match decision {
            RestartDecision::Backoff { mut pause_ms } => {
                if step.bugs.has(Planted::BackoffTooLong) {
                    pause_ms *= 2;
                }
                let until_ms = step.now_ms.saturating_add(pause_ms);
                self.phase = Phase::Backoff { until_ms };
                self.set_reason(error, None);
            }
            RestartDecision::CrashLoop { retry_ms, cause } => {
                let retry_at_ms = retry_ms.map(|ms| step.now_ms.saturating_add(ms));
                self.phase = Phase::CrashLoop {
                    since_ms: step.now_ms,
                    permanent: matches!(cause, Cause::PermanentCode(_)),
                    retry_at_ms,
                };
                match cause {
                    Cause::Failures {
                        failures,
                        window_ms,
                    } => {
                        let detail = format!(
                            "{failures} failures within {} s; the last: {error}",
                            window_ms / 1_000
                        );
                        self.set_reason(CRASH_LOOP_MESSAGE.to_owned(), Some(detail));
                    }
                    Cause::SameSignature { failures } => {
                        let detail = format!(
                            "the same failure {failures} times in a row without ever being ready: {error}"
                        );
                        self.set_reason(CRASH_LOOP_MESSAGE.to_owned(), Some(detail));
                    }
                    Cause::RetryFailed => {
                        self.set_reason(
                            "the retry failed too: crash loop protection goes on".to_owned(),
                            Some(error),
                        );
                    }
                    Cause::PermanentCode(code) => {
                        let reason =
                            format!("it exited with code {code}, after which no restart is tried");
                        self.set_reason(reason, Some(error));
                    }
                }
            }
        }
    }
}
