//! One instance's breaker: when it trips, when it probes, when it closes. The only writer of its state; the hot path reads the
//! [`crate::permit::BreakerCell`] that the driver sets from [`Breaker::setting`].
//!
//! CLOSED trips on failures in a row or on a share of a window. OPEN ends by the clock alone. HALF_OPEN first waits until the
//! instance has answered something free, so that no caller's request is risked on one that does not answer at all; then it admits
//! probes, and ends with enough successful ones or one failed one, and with nothing else. Every change of state, and the first
//! permit of HALF_OPEN, starts a new generation, and verdicts on permits of an earlier one are void.

mod observed;
pub mod plan;
mod window;

use crate::{
    action::BreakerCause,
    backoff::open_ms,
    id::Run,
    jitter::Jitter,
    permit::{BreakerSetting, BreakerState, BreakerTotals, Class, PERMITS_MAX, Report},
    planted::{Bugs, Planted},
    settings::BreakerThresholds,
    view::BreakerView,
};
pub(crate) use observed::ObservedBreaker;
use window::{Counts, Window};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Breaker {
    phase: Phase,
    generation: u32,
    since_ms: u64,
    /// When it was CLOSED last, while it is not.
    tripped_ms: Option<u64>,
    /// Steps of the length of OPEN: the next one is one longer. Those that CLOSED took off since are not taken off here yet.
    openings: u32,
    reason: String,
    /// Why it opened last.
    cause: String,
    window: Window,
    totals: BreakerTotals,
    /// The run whose death was counted last: all requests that die with it are one failure.
    died: Option<Run>,
    /// Failures in the cell's totals that belong to a death already counted.
    discount: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed {
        in_a_row: u32,
    },
    /// `None`: isolated by hand.
    Open {
        until_ms: Option<u64>,
    },
    /// Waits for the instance to answer; admits nobody.
    Asking,
    /// Admits probes.
    Probing {
        successes: u32,
    },
}

/// What a verdict comes with besides its class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) report: Report,
    pub(crate) run: Run,
    pub(crate) upstream_died: bool,
}

impl Breaker {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self {
            phase: Phase::Closed { in_a_row: 0 },
            generation: BreakerSetting::default().generation,
            since_ms: now_ms,
            tripped_ms: None,
            openings: 0,
            reason: String::new(),
            cause: String::new(),
            window: Window::default(),
            totals: BreakerTotals::default(),
            died: None,
            discount: 0,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::Asking | Phase::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    pub(crate) fn isolated(&self) -> bool {
        self.phase == Phase::Open { until_ms: None }
    }

    /// Whether the instance is to be asked something free.
    pub(crate) fn is_asking(&self) -> bool {
        self.phase == Phase::Asking
    }

    /// What verdicts must name to count.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The cell's counters as they were read last.
    pub(crate) fn totals(&self) -> BreakerTotals {
        self.totals
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// When it was CLOSED last, while it is not.
    pub(crate) fn tripped_ms(&self) -> Option<u64> {
        self.tripped_ms
    }

    /// Why it rejects, and since when.
    pub(crate) fn cause(&self) -> Option<BreakerCause> {
        self.tripped_ms.map(|since_ms| BreakerCause {
            reason: self.reason.as_str().into(),
            since_ms,
        })
    }

    /// What the cell is to hold.
    pub(crate) fn setting(&self, thresholds: &BreakerThresholds, bugs: Bugs) -> BreakerSetting {
        let extra = u32::from(bugs.has(Planted::ExtraPermit));
        let probe_ms = if bugs.has(Planted::PermitLost) {
            u64::MAX
        } else {
            thresholds.probe_ms.max(1)
        };
        let (retry_at_ms, permits, streak) = match self.phase {
            Phase::Closed { in_a_row } => (None, 0, in_a_row > 0),
            Phase::Open { until_ms } => (until_ms, 0, false),
            Phase::Asking => (None, 0, false),
            Phase::Probing { .. } => (
                None,
                thresholds.permits.clamp(1, PERMITS_MAX) + extra,
                false,
            ),
        };
        BreakerSetting {
            state: self.state(),
            generation: self.generation,
            retry_at_ms,
            permits,
            probe_ms,
            streak,
        }
    }

    /// Takes in the verdict on one request.
    pub(crate) fn verdict(
        &mut self,
        now_ms: u64,
        verdict: Verdict,
        thresholds: &BreakerThresholds,
        jitter: &mut Jitter,
        bugs: Bugs,
    ) {
        if verdict.report.generation != self.generation && !bugs.has(Planted::StaleVerdict) {
            return;
        }
        let class = verdict.report.class;
        match self.phase {
            Phase::Closed { in_a_row } => {
                let in_a_row = match class {
                    Class::Failure if verdict.upstream_died && self.died == Some(verdict.run) => {
                        self.discount = self.discount.saturating_add(1);
                        return;
                    }
                    Class::Failure => in_a_row.saturating_add(1),
                    Class::Success | Class::Slow => 0,
                    Class::Ignore => return,
                };
                if verdict.upstream_died {
                    self.died = Some(verdict.run);
                }
                self.phase = Phase::Closed { in_a_row };
                if in_a_row >= thresholds.consecutive_failures.max(1) {
                    self.open(
                        now_ms,
                        format!("{in_a_row} requests in a row failed"),
                        thresholds,
                        jitter,
                        bugs,
                    );
                }
            }
            Phase::Probing { successes } if !bugs.has(Planted::DeafHalfOpen) => match class {
                Class::Success if successes + 1 >= thresholds.successes.max(1) => {
                    self.close(now_ms);
                }
                Class::Success => {
                    self.phase = Phase::Probing {
                        successes: successes + 1,
                    }
                }
                Class::Failure => {
                    self.open(
                        now_ms,
                        "a probe failed".to_owned(),
                        thresholds,
                        jitter,
                        bugs,
                    );
                }
                Class::Slow => self.open(
                    now_ms,
                    "a probe was too slow".to_owned(),
                    thresholds,
                    jitter,
                    bugs,
                ),
                Class::Ignore => {}
            },
            Phase::Probing { .. } | Phase::Asking | Phase::Open { .. } => {}
        }
    }

    /// The instance answered something that was no caller's request. That alone closes nothing; it lets callers probe.
    pub(crate) fn answered(&mut self) {
        if self.phase == Phase::Asking {
            self.begin_phase(Phase::Probing { successes: 0 });
            self.reason = format!("probing after OPEN ({})", self.cause);
        }
    }

    /// Takes in the cell's counters.
    pub(crate) fn traffic(
        &mut self,
        now_ms: u64,
        totals: BreakerTotals,
        thresholds: &BreakerThresholds,
        jitter: &mut Jitter,
        bugs: Bugs,
    ) {
        let calls = totals.calls.saturating_sub(self.totals.calls);
        let failures = totals.failures.saturating_sub(self.totals.failures);
        let slow = totals.slow.saturating_sub(self.totals.slow);
        self.totals = totals;
        if !matches!(self.phase, Phase::Closed { .. }) {
            return;
        }
        let counted_before = self.discount.min(failures);
        self.discount -= counted_before;
        self.window.add(
            now_ms,
            thresholds.window_ms,
            [
                calls.saturating_sub(counted_before),
                failures - counted_before,
                slow,
            ],
        );
        let sums = self.window.sums(now_ms, thresholds.window_ms);
        if let Some(reason) = excess(sums, thresholds.window_ms, thresholds) {
            self.open(now_ms, reason, thresholds, jitter, bugs);
        }
    }

    /// Why it would open by these thresholds, by what it has counted until now in a window of `window_ms`. `None`: it would not.
    pub(crate) fn would_open(
        &self,
        now_ms: u64,
        window_ms: u64,
        thresholds: &BreakerThresholds,
    ) -> Option<String> {
        let Phase::Closed { in_a_row } = self.phase else {
            return None;
        };
        if in_a_row >= thresholds.consecutive_failures.max(1) {
            return Some(format!("{in_a_row} requests in a row failed"));
        }
        excess(
            self.window.clone().sums(now_ms, window_ms),
            window_ms,
            thresholds,
        )
    }

    /// Lets time pass. True: the instance is to be asked something now.
    pub(crate) fn tick(&mut self, now_ms: u64, bugs: Bugs) -> bool {
        let Phase::Open {
            until_ms: Some(until_ms),
        } = self.phase
        else {
            return false;
        };
        if until_ms > now_ms {
            return false;
        }
        self.enter(now_ms, Phase::Asking);
        self.reason = format!(
            "waiting for an answer to a ping after OPEN ({})",
            self.cause
        );
        if bugs.has(Planted::ProbedUnasked) {
            self.answered();
        }
        true
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        match self.phase {
            Phase::Open { until_ms } => until_ms,
            Phase::Closed { .. } | Phase::Asking | Phase::Probing { .. } => None,
        }
    }

    /// Opens until it is reset by hand.
    pub(crate) fn isolate(&mut self, now_ms: u64) {
        if !self.isolated() {
            self.enter(now_ms, Phase::Open { until_ms: None });
            self.reason = "isolated by an operator".to_owned();
        }
    }

    /// Closes and forgets the past.
    pub(crate) fn reset(&mut self, now_ms: u64) {
        if self.phase != (Phase::Closed { in_a_row: 0 }) {
            self.close(now_ms);
        }
        self.openings = 0;
        self.window.clear();
        self.died = None;
    }

    pub(crate) fn view(&self, now_ms: u64, thresholds: &BreakerThresholds) -> BreakerView {
        BreakerView {
            state: self.state(),
            reason: self.reason.clone(),
            since_ms: now_ms.saturating_sub(self.since_ms),
            retry_after_ms: self.next_wake().map(|at_ms| at_ms.saturating_sub(now_ms)),
            isolated: self.isolated(),
            openings: self.steps(now_ms, thresholds),
        }
    }

    fn open(
        &mut self,
        now_ms: u64,
        reason: String,
        thresholds: &BreakerThresholds,
        jitter: &mut Jitter,
        bugs: Bugs,
    ) {
        let mut steps = self.steps(now_ms, thresholds);
        if bugs.has(Planted::StepsForgotten) && steps < self.openings {
            steps = 0;
        }
        self.openings = steps.saturating_add(1);
        // A breaker that opens for no time at all would be none.
        let first_ms = thresholds.open_first_ms.max(1);
        let max_ms = thresholds.open_max_ms.max(first_ms);
        let until_ms = now_ms.saturating_add(open_ms(first_ms, max_ms, self.openings, jitter));
        self.enter(
            now_ms,
            Phase::Open {
                until_ms: Some(until_ms),
            },
        );
        self.cause.clone_from(&reason);
        self.reason = reason;
    }

    /// The steps of the length of OPEN that are left: each `forget_after_ms` spent CLOSED takes one off, so that an instance
    /// that fails again and again is not given the short first OPEN after one quiet time.
    fn steps(&self, now_ms: u64, thresholds: &BreakerThresholds) -> u32 {
        if !matches!(self.phase, Phase::Closed { .. }) {
            return self.openings;
        }
        let quiet_ms = now_ms.saturating_sub(self.since_ms);
        let off = quiet_ms / thresholds.forget_after_ms.max(1);
        self.openings
            .saturating_sub(u32::try_from(off).unwrap_or(u32::MAX))
    }

    fn close(&mut self, now_ms: u64) {
        self.enter(now_ms, Phase::Closed { in_a_row: 0 });
        self.reason.clear();
        self.window.clear();
        self.died = None;
        self.discount = 0;
    }

    /// Another state.
    fn enter(&mut self, now_ms: u64, phase: Phase) {
        self.since_ms = now_ms;
        let is_closed = matches!(phase, Phase::Closed { .. });
        self.tripped_ms = self.tripped_ms.or(Some(now_ms)).filter(|_| !is_closed);
        self.begin_phase(phase);
    }

    /// What was permitted before is void.
    fn begin_phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
    }
}

/// What of a window is past a threshold.
fn excess(sums: Counts, window_ms: u64, thresholds: &BreakerThresholds) -> Option<String> {
    let [calls, failures, slow] = sums;
    if calls < thresholds.min_samples.max(1) {
        return None;
    }
    let share = |part: u64| part as f64 / calls as f64;
    let seconds = window_ms / 1_000;
    let describe = |part: u64, what: &str| {
        format!(
            "{:.0} % of {calls} requests {what} in {seconds} s",
            share(part) * 100.0
        )
    };
    if share(failures) >= thresholds.failure_share {
        Some(describe(failures, "failed"))
    } else if share(slow) >= thresholds.slow_share {
        Some(describe(slow, "were too slow"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
