//! When a weekly window is on, by a table of three places' clock changes and not by a time-zone database.

use super::dice::Dice;

const MIN: i64 = 60_000;
const DAY: i64 = 24 * 60 * MIN;

/// A place, its offset from UTC in minutes before the first change, and each change with the offset after it: taken from the
/// published rules of the European Union, the United States and New South Wales for 2026 to 2028.
pub(super) struct Place {
    pub(super) zone: &'static str,
    first: i64,
    changes: &'static [(i64, i64)],
}

pub(super) const PLACES: [Place; 3] = [
    Place {
        zone: "Europe/Berlin",
        first: 60,
        // 28 March 2027 01:00, 31 October 2027 01:00, 26 March 2028 01:00 UTC.
        changes: &[
            (1_806_195_600_000, 120),
            (1_824_944_400_000, 60),
            (1_837_645_200_000, 120),
        ],
    },
    Place {
        zone: "America/New_York",
        first: -300,
        // 14 March 2027 07:00, 7 November 2027 06:00, 12 March 2028 07:00 UTC.
        changes: &[
            (1_805_007_600_000, -240),
            (1_825_567_200_000, -300),
            (1_836_457_200_000, -240),
        ],
    },
    Place {
        zone: "Australia/Lord_Howe",
        first: 660,
        // By half an hour: 3 April 2027 15:00, 2 October 2027 15:30 UTC.
        changes: &[(1_806_764_400_000, 630), (1_822_491_000_000, 660)],
    },
];

/// A window on Sundays.
pub(super) struct Sunday {
    pub(super) place: &'static Place,
    /// Minutes after midnight.
    pub(super) minute: i64,
    pub(super) for_ms: u64,
}

impl Place {
    fn offset_ms(&self, at_ms: i64) -> i64 {
        let after = self
            .changes
            .iter()
            .rev()
            .find(|(from_ms, _)| *from_ms <= at_ms);
        after.map_or(self.first, |(_, minutes)| *minutes) * MIN
    }

    /// A moment shortly before one of its changes.
    pub(super) fn near_change(&self, dice: &mut Dice) -> u64 {
        let (at_ms, _) = dice.pick(&self.changes[..2]);
        u64::try_from(at_ms).expect("after 1970") - dice.between(8, 9) * DAY as u64
    }
}

impl Sunday {
    pub(super) fn at(&self) -> String {
        format!("Sun {:02}:{:02}", self.minute / 60, self.minute % 60)
    }

    /// Until when it is on, where it is.
    pub(super) fn active_until(&self, now_ms: u64) -> Option<u64> {
        let now_ms = i64::try_from(now_ms).expect("before the year 292 million");
        let for_ms = i64::try_from(self.for_ms).expect("days");
        let first_day = (now_ms - for_ms).div_euclid(DAY) - 1;
        let last_day = now_ms.div_euclid(DAY) + 1;
        (first_day..=last_day)
            // 1 January 1970 was a Thursday.
            .filter(|day| (day + 4).rem_euclid(7) == 0)
            .map(|day| self.start_on(day * DAY + self.minute * MIN))
            .find(|start_ms| (*start_ms..start_ms + for_ms).contains(&now_ms))
            .and_then(|start_ms| u64::try_from(start_ms + for_ms).ok())
    }

    /// When the clocks show this: the first time of two; where they never do, as much later as they skip.
    fn start_on(&self, local_ms: i64) -> i64 {
        let before = self
            .place
            .offset_ms(local_ms - self.place.first * MIN - DAY);
        let after = self
            .place
            .offset_ms(local_ms - self.place.first * MIN + DAY);
        let shown = [before, after]
            .into_iter()
            .map(|offset_ms| (local_ms - offset_ms, offset_ms))
            .filter(|(at_ms, offset_ms)| self.place.offset_ms(*at_ms) == *offset_ms)
            .map(|(at_ms, _)| at_ms)
            .min();
        shown.unwrap_or(local_ms - before)
    }
}
