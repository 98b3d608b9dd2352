//! A bound on how often something is written down, however often it happens.

use std::time::{Duration, Instant};

/// Lets a number of events per second through, and counts those that it suppressed.
#[derive(Debug)]
pub struct RateBudget {
    per_second_max: u32,
    since: Instant,
    spent: u32,
    suppressed: u64,
}

impl RateBudget {
    /// A budget of which nothing is spent.
    #[must_use]
    pub fn new(per_second_max: u32, now: Instant) -> Self {
        Self {
            per_second_max,
            since: now,
            spent: 0,
            suppressed: 0,
        }
    }

    /// How many were suppressed since the last one that passed, where this one may; `None` where it is suppressed, too.
    pub fn spend(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.since = now;
            self.spent = 0;
        }
        if self.spent >= self.per_second_max {
            self.suppressed += 1;
            return None;
        }
        self.spent += 1;
        Some(self.take_suppressed())
    }

    /// How many were suppressed since the last one that passed, or since this was last asked.
    pub fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::RateBudget;

    #[test]
    fn what_is_past_the_bound_is_counted_and_reported_with_the_next() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut budget = RateBudget::new(2, start);
        let spent = [0, 10, 20, 999, 1000, 1001].map(|ms| budget.spend(at(ms)));
        assert_eq!(spent, [Some(0), Some(0), None, None, Some(2), Some(0)]);
        assert_eq!(budget.spend(at(1002)), None);
        assert_eq!((budget.take_suppressed(), budget.take_suppressed()), (1, 0));
        assert_eq!(budget.spend(at(2000)), Some(0));
    }
}
