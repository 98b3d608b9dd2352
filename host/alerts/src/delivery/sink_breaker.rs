//! The breaker of one sink: a receiver that fails is left alone for a while, and then tried with one delivery.

use router_core::jitter::Jitter;
use serde::{Deserialize, Serialize};

/// So many failures in a row open it.
const FAILURES_MAX: u32 = 3;
/// So does a failure after this long without a success, in milliseconds, however few were tried.
const FAILING_MS_MAX: u64 = 60_000;
/// How long it stays open the first time; each further time twice as long.
const OPEN_MS_FIRST: u64 = 30_000;
/// The longest: the schedule of a P1 tries every 5 minutes.
const OPEN_MS_LONGEST: u64 = 300_000;
/// Jitter makes it shorter by so much at most.
const SPREAD: f64 = 0.1;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct SinkBreaker {
    /// Failures since the last success.
    failures: u32,
    /// The first of them, in milliseconds since 1970.
    pub(super) failing_since_ms: Option<u64>,
    /// Times that it opened since then.
    openings: u32,
    /// It is open until then, and half-open afterwards; `None`: it is closed.
    open_until_ms: Option<u64>,
}

impl SinkBreaker {
    /// Until when nothing is attempted, where it is open.
    pub(super) fn open_until_ms(&self, now_ms: u64) -> Option<u64> {
        self.open_until_ms.filter(|until_ms| *until_ms > now_ms)
    }

    /// One delivery at a time is attempted, to see whether it works again.
    pub(super) fn is_half_open(&self, now_ms: u64) -> bool {
        self.open_until_ms
            .is_some_and(|until_ms| until_ms <= now_ms)
    }

    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// The receiver asked to be left alone: no fault of its, but no success either.
    pub(super) fn postpone(&mut self, now_ms: u64) {
        self.failing_since_ms.get_or_insert(now_ms);
    }

    /// An attempt failed. One that began before it opened opens it no further.
    pub(super) fn fail(&mut self, now_ms: u64, jitter: &mut Jitter) {
        let since_ms = *self.failing_since_ms.get_or_insert(now_ms);
        self.failures = self.failures.saturating_add(1);
        let is_long = now_ms.saturating_sub(since_ms) >= FAILING_MS_MAX;
        let opens = self.is_half_open(now_ms)
            || self.open_until_ms.is_none() && (self.failures >= FAILURES_MAX || is_long);
        if opens {
            let doubled_ms = OPEN_MS_FIRST << self.openings.min(8);
            let open_ms = doubled_ms.min(OPEN_MS_LONGEST) as f64 * (1.0 - SPREAD * jitter.unit());
            self.open_until_ms = Some(now_ms + open_ms as u64);
            self.openings = self.openings.saturating_add(1);
        }
    }

    /// An operator, or a change of what the sink is, has it tried at once.
    pub(super) fn reopen(&mut self, now_ms: u64) {
        self.open_until_ms = self.open_until_ms.map(|until_ms| until_ms.min(now_ms));
    }

    /// After a restart, on a clock that may have been set back meanwhile.
    pub(super) fn resume(&mut self, now_ms: u64) {
        let latest_ms = now_ms + OPEN_MS_LONGEST;
        self.open_until_ms = self.open_until_ms.map(|until_ms| until_ms.min(latest_ms));
        self.failing_since_ms = self.failing_since_ms.map(|since_ms| since_ms.min(now_ms));
    }
}

#[cfg(test)]
mod tests {
    use router_core::jitter::Jitter;

    use super::SinkBreaker;

    #[test]
    fn three_failures_open_it_for_longer_each_time_until_a_success() {
        for seed in 0..20 {
            let mut jitter = Jitter::new(seed);
            let mut breaker = SinkBreaker::default();
            let mut now_ms = 1_000;
            for _ in 0..2 {
                breaker.fail(now_ms, &mut jitter);
                assert_eq!(breaker.open_until_ms(now_ms), None);
            }
            for nominal_ms in [30_000, 60_000, 120_000, 240_000, 300_000, 300_000] {
                breaker.fail(now_ms, &mut jitter);
                let until_ms = breaker.open_until_ms(now_ms).unwrap();
                // What was under way when it opened says nothing new.
                breaker.fail(now_ms + 1, &mut jitter);
                assert_eq!(breaker.open_until_ms(now_ms + 1), Some(until_ms));
                let open_ms = until_ms - now_ms;
                let within = nominal_ms * 9 / 10..=nominal_ms;
                assert!(within.contains(&open_ms), "{open_ms} of {nominal_ms}");
                now_ms = until_ms;
                assert!(breaker.is_half_open(now_ms));
            }
            breaker.succeed();
            assert!(!breaker.is_half_open(now_ms));
            breaker.fail(now_ms, &mut jitter);
            assert_eq!(breaker.open_until_ms(now_ms), None);
        }
    }

    #[test]
    fn a_minute_without_a_success_opens_it_however_seldom_it_is_tried() {
        let mut jitter = Jitter::new(1);
        let mut breaker = SinkBreaker::default();
        breaker.fail(0, &mut jitter);
        breaker.fail(59_999, &mut jitter);
        assert_eq!(breaker.open_until_ms(59_999), None);
        breaker = SinkBreaker::default();
        breaker.fail(0, &mut jitter);
        breaker.fail(60_000, &mut jitter);
        assert!(breaker.open_until_ms(60_000).is_some());
    }
}
