//! When a plugin that fails is not asked for a while, and when it is tried again.

use std::time::{Duration, Instant};

use crate::failure::FailureKind;

/// Failures in a row that put a plugin into quarantine; one is enough that ran into a bound.
const STRIKES_MAX: u32 = 3;

/// The first quarantine, and the longest; each further one doubles, and a success starts them over.
const PAUSE_FIRST: Duration = Duration::from_secs(10);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Strikes of a plugin, and the quarantine that they led to.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    strikes: u32,
    period: Option<Period>,
}

#[derive(Debug, Clone, Copy)]
struct Period {
    until: Instant,
    pause: Duration,
    /// Its time is over and one call tries the plugin.
    on_trial: bool,
    /// Its time is over and nothing tried the plugin.
    has_lapsed: bool,
}

impl Period {
    fn new(pause: Duration, now: Instant) -> Self {
        Self {
            until: now + pause,
            pause,
            on_trial: false,
            has_lapsed: false,
        }
    }

    /// Whether a call may try the plugin. A trial whose end is never reported costs one more pause, not the plugin.
    fn admits(&mut self, now: Instant) -> bool {
        let admits = now >= self.until;
        if admits {
            self.on_trial = true;
            self.until = now + self.pause;
        }
        admits
    }

    /// Notes, once, that nothing has tried the plugin for as long again as it lasted.
    fn lapse(&mut self, now: Instant) -> bool {
        let lapses = !self.has_lapsed && now >= self.until + self.pause;
        self.has_lapsed |= lapses;
        lapses
    }
}

impl Quarantine {
    /// Whether the plugin may be asked. After a pause one call tries it.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        self.period.as_mut().is_none_or(|period| period.admits(now))
    }

    /// Until when the plugin is not asked.
    pub(super) fn until(&self) -> Option<Instant> {
        let period = self.period.filter(|period| !period.has_lapsed);
        period.map(|period| period.until)
    }

    pub(super) fn is_active(&self) -> bool {
        self.until().is_some()
    }

    /// Ends a quarantine that no call will end, which would last for ever; whether one ended. Where a policy names the plugin, its
    /// next call is a trial all the same.
    pub(super) fn lapse(&mut self, is_in_use: bool, now: Instant) -> bool {
        if is_in_use {
            return self.period.as_mut().is_some_and(|period| period.lapse(now));
        }
        let was_active = self.is_active();
        *self = Self::default();
        was_active
    }

    /// Notes an answer; whether that ended a quarantine.
    pub(super) fn succeeded(&mut self) -> bool {
        self.strikes = 0;
        self.period.take().is_some()
    }

    /// Notes a failure; how long the quarantine lasts that it led to.
    pub(super) fn strike(&mut self, kind: FailureKind, now: Instant) -> Option<Duration> {
        // A trap costs microseconds. A call that used up its time, or its memory, cost all of it, and the next one would too.
        self.strikes += match kind {
            FailureKind::Timeout | FailureKind::Limit => STRIKES_MAX,
            FailureKind::Trap | FailureKind::Start => 1,
        };
        let pause = match self.period {
            Some(period) if period.on_trial => (period.pause * 2).min(PAUSE_MAX),
            None if self.strikes >= STRIKES_MAX => PAUSE_FIRST,
            _ => return None,
        };
        self.period = Some(Period::new(pause, now));
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{FailureKind, Period, Quarantine};

    #[test]
    fn each_pause_is_followed_by_one_trial_also_when_a_trial_never_ends() {
        let pause = Duration::from_secs(10);
        let begun = Instant::now();
        let mut period = Period::new(pause, begun);
        assert!(!period.admits(begun + pause / 2));
        assert!(!period.on_trial);
        assert!(period.admits(begun + pause));
        assert!(period.on_trial);
        assert!(!period.admits(begun + pause * 3 / 2), "one at a time");
        assert!(period.admits(begun + pause * 2), "the first was lost");
    }

    #[test]
    fn a_quarantine_that_no_call_ends_lapses() {
        let pause = Duration::from_secs(10);
        let begun = Instant::now();
        let quarantined = || Quarantine {
            strikes: 3,
            period: Some(Period::new(pause, begun)),
        };
        assert!(!quarantined().lapse(true, begun + pause * 3 / 2));
        assert!(quarantined().lapse(false, begun));
        let mut unasked = quarantined();
        assert!(unasked.lapse(true, begun + pause * 2));
        assert!(
            !unasked.lapse(true, begun + pause * 3),
            "it is reported once"
        );
        assert!(!unasked.is_active());
        // The call that comes after all is a trial: where it fails, the pause goes on growing.
        assert!(unasked.admits(begun + pause * 3));
        let pause_after = unasked.strike(FailureKind::Trap, begun + pause * 3);
        assert_eq!(pause_after, Some(pause * 2));
        let mut asked = quarantined();
        assert!(asked.admits(begun + pause));
        assert!(!asked.lapse(true, begun + pause * 2));
        assert!(asked.is_active());
        assert!(!Quarantine::default().lapse(false, begun));
    }
}
