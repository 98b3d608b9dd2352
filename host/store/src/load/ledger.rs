//! The history of load in memory: what was read of it, and what this life of the router adds.
//!
//! Memory is complete from the moment the rows of earlier lives have been read, so the database is read once in a life and a row
//! is always written as a whole. All times are given: nothing here reads a clock, and one that is set back or forth only
//! makes minutes that lie apart from the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Included},
};

use router_core::capacity::{LoadDay, LoadHistory, LoadMinute, Usage, UsageTally};

pub(crate) const MINUTE_MS: u64 = 60_000;
pub(crate) const DAY_MS: u64 = 1_440 * MINUTE_MS;

/// A day of minutes.
pub(crate) const MINUTES_MAX: usize = 1_440;
/// A year and a month, so that one can be compared with the one before.
pub(crate) const DAYS_MAX: usize = 400;

/// A time, by its beginning in milliseconds since 1970, and the load in it.
pub(crate) type Tallied = (u64, UsageTally);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    minutes: BTreeMap<u64, UsageTally>,
    days: BTreeMap<u64, UsageTally>,
    /// What earlier lives wrote is in it.
    is_read: bool,
    /// The minute that samples are still added to.
    open: Option<u64>,
    /// Minutes that are over and differ from their rows.
    unwritten: BTreeSet<u64>,
    lost: u64,
    /// When the last sample was taken.
    latest_ms: u64,
}

impl Ledger {
    /// Takes in a sample. Whether a minute is over with it.
    pub(crate) fn record(&mut self, at_ms: u64, usage: Usage) -> bool {
        self.latest_ms = at_ms;
        let (minute, sample) = (floor(at_ms, MINUTE_MS), UsageTally::of(usage));
        add(&mut self.minutes, (minute, sample));
        add(&mut self.days, (floor(at_ms, DAY_MS), sample));
        let before = self.open.replace(minute);
        let closed = before.filter(|before| *before != minute);
        self.unwritten.extend(closed);
        self.trim(at_ms);
        closed.is_some()
    }

    /// The minute that is open is to be written as it is. Whether there is one.
    pub(crate) fn close(&mut self) -> bool {
        let closed = self.open.take();
        self.unwritten.extend(closed);
        closed.is_some()
    }

    /// Takes in what earlier lives wrote. Must come before anything of this life is written.
    pub(crate) fn absorb(&mut self, minutes: Vec<Tallied>, days: Vec<Tallied>, now_ms: u64) {
        for row in minutes {
            add(&mut self.minutes, row);
        }
        for row in days {
            add(&mut self.days, row);
        }
        self.is_read = true;
        self.trim(now_ms);
    }

    /// Whether what earlier lives wrote is in it.
    pub(crate) fn is_read(&self) -> bool {
        self.is_read
    }

    /// When the last sample was taken: the present, as far as rows are concerned.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.latest_ms
    }

    /// Minutes that are over and not written.
    pub(crate) fn unwritten(&self) -> Vec<Tallied> {
        let minutes = self.unwritten.iter();
        minutes
            .filter_map(|at_ms| Some((*at_ms, *self.minutes.get(at_ms)?)))
            .collect()
    }

    /// How many those are.
    pub(crate) fn unwritten_count(&self) -> usize {
        self.unwritten.len()
    }

    /// Minutes were written as they are given here. How many were given up before they could be, since the last time.
    pub(crate) fn written(&mut self, minutes: &[Tallied]) -> u64 {
        for (at_ms, tally) in minutes {
            // A minute that grew meanwhile, because the clock was set back into it, is written once more.
            if self.minutes.get(at_ms) == Some(tally) {
                self.unwritten.remove(at_ms);
            }
        }
        std::mem::take(&mut self.lost)
    }

    /// The history as of now.
    pub(crate) fn history(&self, now_ms: u64) -> LoadHistory {
        let minutes = until(&self.minutes, floor(now_ms, MINUTE_MS), DAY_MS);
        let days = until(&self.days, floor(now_ms, DAY_MS), DAY_MS * DAYS_MAX as u64);
        LoadHistory {
            minutes: minutes
                .map(|(at_ms, tally)| LoadMinute {
                    at_ms,
                    peak: tally.peak,
                })
                .collect(),
            days: days
                .map(|(at_ms, tally)| LoadDay {
                    at_ms,
                    mean: tally.mean(),
                    peak: tally.peak,
                })
                .collect(),
        }
    }

    /// Keeps to the bounds.
    fn trim(&mut self, now_ms: u64) {
        while self.minutes.len() > MINUTES_MAX {
            let Some(at_ms) = take_furthest(&mut self.minutes, now_ms) else {
                break;
            };
            self.lost += u64::from(self.unwritten.remove(&at_ms));
        }
        while self.days.len() > DAYS_MAX {
            take_furthest(&mut self.days, now_ms);
        }
    }
}

/// The beginning of the minute or day that a moment is in.
fn floor(at_ms: u64, length_ms: u64) -> u64 {
    at_ms - at_ms % length_ms
}

fn add(held: &mut BTreeMap<u64, UsageTally>, (at_ms, tally): Tallied) {
    let held = held.entry(at_ms).or_default();
    *held = held.plus(tally);
}

/// What lies in the time before a moment, which is itself the last.
fn until(
    held: &BTreeMap<u64, UsageTally>,
    last_ms: u64,
    length_ms: u64,
) -> impl Iterator<Item = Tallied> {
    let before = last_ms.checked_sub(length_ms).map_or(Included(0), Excluded);
    held.range((before, Included(last_ms)))
        .map(|(at_ms, tally)| (*at_ms, *tally))
}

/// Takes out what is furthest from now, before or after it: whichever way a clock was wrong, it is what it made that goes.
fn take_furthest(held: &mut BTreeMap<u64, UsageTally>, now_ms: u64) -> Option<u64> {
    let (first, last) = (*held.first_key_value()?.0, *held.last_key_value()?.0);
    let furthest = if last.abs_diff(now_ms) > first.abs_diff(now_ms) {
        last
    } else {
        first
    };
    held.remove(&furthest);
    Some(furthest)
}

#[cfg(test)]
mod tests {
    use router_core::capacity::{Usage, UsageTally};

    use super::{DAY_MS, DAYS_MAX, Ledger, MINUTE_MS, MINUTES_MAX};

    /// Noon of some day.
    const NOON: u64 = 20_000 * DAY_MS + DAY_MS / 2;

    fn running(running: u32) -> Usage {
        Usage {
            running,
            ..Usage::default()
        }
    }

    fn peaks(ledger: &Ledger, now_ms: u64) -> Vec<(u64, u32)> {
        let minutes = ledger.history(now_ms).minutes;
        let peak = minutes.iter();
        peak.map(|minute| ((minute.at_ms - NOON) / MINUTE_MS, minute.peak.running))
            .collect()
    }

    #[test]
    fn a_minute_is_to_be_written_when_it_is_over_and_shown_before() {
        let mut ledger = Ledger::default();
        assert!(!ledger.record(NOON, running(1)));
        assert!(!ledger.record(NOON + MINUTE_MS - 1, running(3)));
        assert_eq!(ledger.unwritten(), []);
        assert_eq!(peaks(&ledger, NOON), [(0, 3)]);
        assert!(ledger.record(NOON + MINUTE_MS, running(2)));
        let over = UsageTally::of(running(1)).plus(UsageTally::of(running(3)));
        assert_eq!(ledger.unwritten(), [(NOON, over)]);
        ledger.written(&[(NOON, over)]);
        assert_eq!(ledger.unwritten_count(), 0);
        assert!(ledger.close() && !ledger.close());
        assert_eq!(ledger.unwritten_count(), 1);
        assert_eq!(ledger.history(NOON + MINUTE_MS).days[0].mean, running(2));
    }

    #[test]
    fn a_clock_that_is_set_back_adds_to_a_minute_which_is_written_again() {
        let mut ledger = Ledger::default();
        ledger.record(NOON, running(5));
        ledger.record(NOON + MINUTE_MS, running(1));
        let first = ledger.unwritten();
        ledger.record(NOON + 1, running(7));
        ledger.written(&first);
        assert_eq!(ledger.unwritten_count(), 2, "both were changed since");
        assert_eq!(peaks(&ledger, NOON + MINUTE_MS), [(0, 7), (1, 1)]);
        assert_eq!(ledger.history(NOON).days[0].peak, running(7));
        // What lies ahead of the present is not shown until the present has come to it.
        assert_eq!(peaks(&ledger, NOON), [(0, 7)]);
    }

    #[test]
    fn what_earlier_lives_wrote_is_added_to_what_this_one_counted_before_it_was_read() {
        let mut ledger = Ledger::default();
        ledger.record(NOON, running(2));
        let earlier = UsageTally::of(running(6));
        let (yesterday, today) = (NOON - DAY_MS / 2 - DAY_MS, NOON - DAY_MS / 2);
        ledger.absorb(
            vec![(NOON, earlier), (NOON - 2 * MINUTE_MS, earlier)],
            vec![(yesterday, earlier), (today, earlier.plus(earlier))],
            NOON,
        );
        let history = ledger.history(NOON);
        assert_eq!(history.minutes.len(), 2);
        assert_eq!(history.days.len(), 2);
        assert_eq!(history.days[1].mean, running(5));
        ledger.close();
        let both = UsageTally::of(running(2)).plus(earlier);
        assert_eq!(ledger.unwritten(), [(NOON, both)], "only what has changed");
    }

    #[test]
    fn a_day_of_minutes_waits_for_the_database_and_older_ones_are_counted_as_lost() {
        let mut ledger = Ledger::default();
        let minutes = MINUTES_MAX as u64 + 10;
        for minute in 0..minutes {
            ledger.record(NOON + minute * MINUTE_MS, running(1));
        }
        let now_ms = NOON + minutes * MINUTE_MS;
        assert_eq!(
            ledger.unwritten_count(),
            MINUTES_MAX - 1,
            "and the open one"
        );
        let waiting = ledger.unwritten();
        assert_eq!(waiting[0].0, NOON + 10 * MINUTE_MS);
        assert_eq!(ledger.written(&waiting), 10);
        assert_eq!(ledger.written(&[]), 0);
        assert_eq!(ledger.history(now_ms).minutes.len(), MINUTES_MAX - 1);
    }

    #[test]
    fn a_wrong_clock_costs_no_more_than_the_time_that_it_was_wrong() {
        for (wrong_ms, left) in [(0, MINUTES_MAX - 5), (NOON + 3_000 * DAY_MS, MINUTES_MAX)] {
            let mut ledger = Ledger::default();
            for minute in 0..MINUTES_MAX as u64 {
                ledger.record(NOON + minute * MINUTE_MS, running(1));
            }
            for minute in 0..5 {
                ledger.record(wrong_ms + minute * MINUTE_MS, running(9));
            }
            let now_ms = NOON + DAY_MS + 9 * MINUTE_MS;
            for minute in 0..10 {
                ledger.record(NOON + DAY_MS + minute * MINUTE_MS, running(2));
            }
            let history = ledger.history(now_ms);
            assert!(
                history
                    .minutes
                    .iter()
                    .all(|minute| minute.peak != running(9))
            );
            assert_eq!(history.minutes.len(), left, "{wrong_ms}");
            assert_eq!(history.days.len(), 2);
        }
    }

    #[test]
    fn days_are_bounded_by_their_number_and_by_their_age() {
        let mut ledger = Ledger::default();
        for day in 0..=DAYS_MAX as u64 {
            ledger.record(NOON + day * DAY_MS, running(1));
        }
        let now_ms = NOON + DAYS_MAX as u64 * DAY_MS;
        assert_eq!(ledger.history(now_ms).days.len(), DAYS_MAX);
        assert_eq!(
            ledger.history(now_ms + 100 * DAY_MS).days.len(),
            DAYS_MAX - 100
        );
    }
}
