//! What a plan would do that is only observed: a second breaker by its thresholds, which sees what the real one sees and rejects nobody.
//!
//! It sees requests as the plan in force classifies them, for a request is classified once. While the real one rejects, there is
//! nothing to see. In place of asking the instance something free it takes the next answers for probes.

use super::{Breaker, Verdict};
use crate::{
    id::Run,
    jitter::Jitter,
    permit::{BreakerState, BreakerTotals, Class, Report},
    planted::{Bugs, Planted},
    settings::BreakerThresholds,
};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ObservedBreaker {
    breaker: Breaker,
    /// The cell's counters as they were read last.
    totals: BreakerTotals,
    would_reject: u64,
}

impl ObservedBreaker {
    /// One that begins CLOSED, at a moment when the cell's counters are at `totals`.
    pub(crate) fn new(now_ms: u64, totals: BreakerTotals) -> Self {
        let mut breaker = Breaker::new(now_ms);
        breaker.totals = totals;
        Self {
            breaker,
            totals,
            would_reject: 0,
        }
    }

    /// The state that the breaker would be in.
    pub(crate) fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Requests that it would have rejected.
    pub(crate) fn would_reject(&self) -> u64 {
        self.would_reject
    }

    /// Takes in the verdict on one request, whatever generation of the real breaker admitted it.
    pub(crate) fn verdict(
        &mut self,
        now_ms: u64,
        verdict: Verdict,
        thresholds: &BreakerThresholds,
        jitter: &mut Jitter,
        bugs: Bugs,
    ) {
        let class = verdict.report.class;
        let is_counted_later = class == Class::Success && self.state() == BreakerState::HalfOpen;
        if is_counted_later || bugs.has(Planted::ObservedBlind) {
            return;
        }
        let report = Report {
            generation: self.breaker.generation,
            class,
        };
        let verdict = Verdict { report, ..verdict };
        self.breaker
            .verdict(now_ms, verdict, thresholds, jitter, Bugs::default());
    }

    /// Takes in the cell's counters. Not every success is reported by itself: those that would be probes are found here.
    pub(crate) fn traffic(
        &mut self,
        now_ms: u64,
        totals: BreakerTotals,
        thresholds: &BreakerThresholds,
        jitter: &mut Jitter,
    ) {
        let before = std::mem::replace(&mut self.totals, totals);
        let calls = totals.calls.saturating_sub(before.calls);
        let state = self.state();
        // Before what closes it: what was counted while it probed is not for the window of what follows.
        self.breaker
            .traffic(now_ms, totals, thresholds, jitter, Bugs::default());
        match state {
            BreakerState::Open => self.would_reject = self.would_reject.saturating_add(calls),
            BreakerState::HalfOpen => {
                let failed = totals.failures.saturating_sub(before.failures);
                let slow = totals.slow.saturating_sub(before.slow);
                let good = calls.saturating_sub(failed).saturating_sub(slow);
                for _ in 0..good.min(u64::from(thresholds.successes)) {
                    let verdict = Verdict {
                        report: Report {
                            generation: self.breaker.generation,
                            class: Class::Success,
                        },
                        run: Run(0),
                        upstream_died: false,
                    };
                    self.breaker
                        .verdict(now_ms, verdict, thresholds, jitter, Bugs::default());
                }
            }
            BreakerState::Closed => {}
        }
    }

    /// Lets time pass.
    pub(crate) fn tick(&mut self, now_ms: u64) {
        if self.breaker.tick(now_ms, Bugs::default()) {
            self.breaker.answered();
        }
    }

    pub(crate) fn next_wake(&self) -> Option<u64> {
        self.breaker.next_wake()
    }
}
