//! Breakers that open together. When more than half of them do so within moments, it is not the instances that failed, each by
//! itself, but something that they share: a network, a disk, a service behind them. That is said once, as a condition of the fleet.

use super::Fleet;
use crate::planted::Planted;

/// Openings within this time have one cause.
const TOGETHER_MS: u64 = 10_000;

/// Fewer at once are a coincidence.
const BREAKERS_MIN: usize = 3;

/// How the condition changed in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shift {
    Begun,
    Ended,
}

impl Shift {
    /// What is said besides the reasons that hold.
    pub(super) fn describe(self) -> Option<&'static str> {
        match self {
            Self::Begun => None,
            Self::Ended => {
                Some("no longer more than half of the circuit breakers are OPEN or HALF_OPEN")
            }
        }
    }
}

impl Fleet {
    /// Notes whether breakers have opened together, and whether that is over.
    pub(super) fn watch_breakers(&mut self) -> Option<Shift> {
        self.index.forget_trips(self.now_ms, TOGETHER_MS);
        let enforced = self.index.enforced();
        let are_most = |count: usize| count * 2 > enforced;
        let recent = self.index.tripped_lately();
        if !self.watch.one_cause {
            self.watch.one_cause = recent >= BREAKERS_MIN && are_most(recent);
            return self.watch.one_cause.then_some(Shift::Begun);
        }
        if are_most(self.index.tripped()) || self.bugs.has(Planted::SharedCauseStays) {
            return None;
        }
        self.watch.one_cause = false;
        Some(Shift::Ended)
    }

    /// How many breakers opened within moments; once that were most of them, how many are not CLOSED again.
    pub(super) fn opened_together(&self) -> usize {
        if self.watch.one_cause {
            self.index.tripped()
        } else {
            self.index.tripped_lately()
        }
    }

    /// The condition in words, while it holds.
    pub(super) fn shared_cause(&self) -> Option<String> {
        self.watch.one_cause.then(|| {
            format!(
                "{} of {} circuit breakers are OPEN or HALF_OPEN: more than half opened within {} s, so they have one cause",
                self.index.tripped(),
                self.index.enforced(),
                TOGETHER_MS / 1_000,
            )
        })
    }
}
