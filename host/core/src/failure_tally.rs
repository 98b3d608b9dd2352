//! The count of a slot's failures: how long to pause, and when to stop trying.
//!
//! A slot that stays ready long enough starts with a clean slate; so does one that an operator restarts.

use std::collections::VecDeque;

use crate::{
    backoff::restart_pause_ms,
    jitter::Jitter,
    settings::{CrashLoopSettings, RestartSettings},
};

/// One failure as the tally sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    /// See [`crate::failure::signature`].
    pub(crate) signature: u64,
    /// How long it had been ready; `None`: never.
    pub(crate) ready_ms: Option<u64>,
    /// It ended with a code after which no restart is tried.
    pub(crate) permanent_code: Option<i32>,
}

/// What follows from a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RestartDecision {
    /// Start again after so long.
    Backoff { pause_ms: u64 },
    /// Crash loop.
    CrashLoop {
        /// Pause before the slow retry.
        retry_ms: Option<u64>,
        /// What it was judged by.
        cause: Cause,
    },
}

/// Why a slot is in crash loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Too many failures within the window.
    Failures { failures: u32, window_ms: u64 },
    /// The same failure again and again, never ready.
    SameSignature { failures: u32 },
    /// A slow retry failed too.
    RetryFailed,
    /// An exit code declared permanent.
    PermanentCode(i32),
}

/// Failures remembered, whatever the present threshold: a reload may raise it, or lengthen the window.
const RECENT_MAX: usize = 32;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FailureTally {
    /// When the last failures happened.
    recent_ms: VecDeque<u64>,
    /// Failures in a row.
    in_a_row: u32,
    /// The last signature, and how often in a row it came from runs that never became ready.
    same: Option<(u64, u32)>,
    looping: bool,
}

impl FailureTally {
    /// Whether nothing has failed lately.
    pub(crate) fn is_clean(&self) -> bool {
        self.in_a_row == 0
    }

    /// Whether it is in crash loop, or trying to come out of it.
    pub(crate) fn is_looping(&self) -> bool {
        self.looping
    }

    /// A run ended, for whatever reason: if it had been ready long enough, what failed before it is forgotten.
    pub(crate) fn served(&mut self, ready_ms: Option<u64>, restart: &RestartSettings) {
        if ready_ms.is_some_and(|ms| ms >= restart.forget_after_ms) {
            self.forget();
        }
    }

    /// Counts one failure.
    pub(crate) fn add(
        &mut self,
        now_ms: u64,
        failed: Failed,
        restart: &RestartSettings,
        crash_loop: &CrashLoopSettings,
        jitter: &mut Jitter,
    ) -> RestartDecision {
        self.served(failed.ready_ms, restart);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.same = match (self.same, failed.ready_ms) {
            (_, Some(_)) => None,
            (Some((signature, times)), None) if signature == failed.signature => {
                Some((signature, times.saturating_add(1)))
            }
            (_, None) => Some((failed.signature, 1)),
        };
        self.recent_ms.push_back(now_ms);
        // The threshold is all that the count is compared with: more need not be kept.
        while self.recent_ms.len() > RECENT_MAX.max(crash_loop.failures as usize) {
            self.recent_ms.pop_front();
        }
        if let Some(code) = failed.permanent_code {
            self.looping = true;
            let cause = Cause::PermanentCode(code);
            return RestartDecision::CrashLoop {
                retry_ms: None,
                cause,
            };
        }
        let cause = self.cause(now_ms, crash_loop);
        match cause {
            Some(cause) => {
                self.looping = true;
                let retry_ms = crash_loop.slow_retry_ms;
                RestartDecision::CrashLoop { retry_ms, cause }
            }
            None => RestartDecision::Backoff {
                pause_ms: restart_pause_ms(restart, self.in_a_row, jitter),
            },
        }
    }

    fn cause(&self, now_ms: u64, crash_loop: &CrashLoopSettings) -> Option<Cause> {
        let is_recent = |at_ms: &&u64| at_ms.saturating_add(crash_loop.window_ms) > now_ms;
        let failures = self.recent_ms.iter().filter(is_recent).count() as u32;
        if self.looping {
            return Some(Cause::RetryFailed);
        }
        match self.same {
            Some((_, times)) if times >= crash_loop.same_signature.max(1) => {
                Some(Cause::SameSignature { failures: times })
            }
            _ if failures >= crash_loop.failures.max(1) => Some(Cause::Failures {
                failures,
                window_ms: crash_loop.window_ms,
            }),
            _ => None,
        }
    }

    /// Stays in crash loop, whatever was forgotten.
    pub(crate) fn stay_in_crash_loop(&mut self) {
        self.looping = true;
    }

    /// Forgets everything.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Cause, Failed, FailureTally, RestartDecision};
    use crate::{
        jitter::Jitter,
        settings::{CrashLoopSettings, RestartSettings},
    };

    struct Bench {
        tally: FailureTally,
        restart: RestartSettings,
        crash_loop: CrashLoopSettings,
        jitter: Jitter,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                tally: FailureTally::default(),
                restart: RestartSettings {
                    jitter: 0.0,
                    ..RestartSettings::default()
                },
                crash_loop: CrashLoopSettings::default(),
                jitter: Jitter::new(1),
            }
        }

        fn fail(&mut self, now_ms: u64, signature: u64, ready_ms: Option<u64>) -> RestartDecision {
            let failed = Failed {
                signature,
                ready_ms,
                permanent_code: None,
            };
            self.tally.add(
                now_ms,
                failed,
                &self.restart,
                &self.crash_loop,
                &mut self.jitter,
            )
        }
    }

    #[test]
    fn five_different_failures_in_five_minutes_are_a_crash_loop() {
        let mut bench = Bench::new();
        for (at, pause_ms) in [1_000, 2_000, 4_000, 8_000].into_iter().enumerate() {
            assert_eq!(
                bench.fail(at as u64 * 60_000, at as u64, None),
                RestartDecision::Backoff { pause_ms }
            );
        }
        let cause = Cause::Failures {
            failures: 5,
            window_ms: 300_000,
        };
        assert_eq!(
            bench.fail(299_999, 9, None),
            RestartDecision::CrashLoop {
                retry_ms: Some(600_000),
                cause
            }
        );
        // A slow retry that fails too goes straight back.
        let cause = Cause::RetryFailed;
        assert_eq!(
            bench.fail(900_000, 10, None),
            RestartDecision::CrashLoop {
                retry_ms: Some(600_000),
                cause
            }
        );
    }

    #[test]
    fn failures_spread_wider_than_the_window_never_are() {
        let mut bench = Bench::new();
        for n in 0..100 {
            let decision = bench.fail(n * 75_000, n, Some(10));
            assert!(
                matches!(decision, RestartDecision::Backoff { .. }),
                "{n}: {decision:?}"
            );
        }
    }

    #[test]
    fn the_same_failure_thrice_without_ever_being_ready_stops_earlier() {
        let mut bench = Bench::new();
        bench.fail(0, 7, None);
        bench.fail(1_000, 7, None);
        let cause = Cause::SameSignature { failures: 3 };
        assert_eq!(
            bench.fail(2_000, 7, None),
            RestartDecision::CrashLoop {
                retry_ms: Some(600_000),
                cause
            }
        );

        let mut bench = Bench::new();
        for (at, ready) in [(0, None), (1, None), (2, Some(5)), (3, None)] {
            assert!(matches!(
                bench.fail(at, 7, ready),
                RestartDecision::Backoff { .. }
            ));
        }
    }

    #[test]
    fn ten_minutes_of_service_wipe_the_slate() {
        let mut bench = Bench::new();
        for n in 0..5 {
            bench.fail(n, n, None);
        }
        assert_eq!(
            bench.fail(10, 9, Some(599_999)),
            RestartDecision::CrashLoop {
                retry_ms: Some(600_000),
                cause: Cause::RetryFailed
            }
        );
        assert_eq!(
            bench.fail(11, 9, Some(600_000)),
            RestartDecision::Backoff { pause_ms: 1_000 }
        );
        bench.tally.forget();
        assert!(bench.tally.is_clean());
    }

    #[test]
    fn a_reload_that_raises_the_threshold_finds_the_failures_before_it() {
        let mut bench = Bench::new();
        bench.crash_loop.failures = 4;
        for n in 0..3 {
            bench.fail(n * 100_000, n, Some(1));
        }
        bench.crash_loop.failures = 5;
        bench.crash_loop.window_ms = 600_000;
        assert!(matches!(
            bench.fail(300_000, 3, Some(1)),
            RestartDecision::Backoff { .. }
        ));
        let cause = Cause::Failures {
            failures: 5,
            window_ms: 600_000,
        };
        let retry_ms = Some(600_000);
        assert_eq!(
            bench.fail(300_001, 4, Some(1)),
            RestartDecision::CrashLoop { retry_ms, cause }
        );
    }

    #[test]
    fn a_permanent_code_is_not_retried() {
        let mut bench = Bench::new();
        let failed = Failed {
            signature: 1,
            ready_ms: Some(5),
            permanent_code: Some(78),
        };
        let decision = bench.tally.add(
            0,
            failed,
            &bench.restart,
            &bench.crash_loop,
            &mut bench.jitter,
        );
        assert_eq!(
            decision,
            RestartDecision::CrashLoop {
                retry_ms: None,
                cause: Cause::PermanentCode(78)
            }
        );
    }

    proptest! {
        #[test]
        fn crash_loop_comes_exactly_with_the_fifth_failure_of_a_window(gaps in prop::collection::vec(0_u64..200_000, 1..40)) {
            let mut bench = Bench::new();
            let (mut now_ms, mut at) = (0, Vec::new());
            for (n, gap) in gaps.into_iter().enumerate() {
                now_ms += gap;
                at.push(now_ms);
                let within = at.iter().filter(|at| **at + 300_000 > now_ms).count();
                let looped = matches!(bench.fail(now_ms, n as u64, Some(0)), RestartDecision::CrashLoop { .. });
                prop_assert_eq!(looped, within >= 5);
                if looped { break; }
            }
        }
    }
}
