//! Maintenance windows: times, once or every week by the clock of some place, in which nobody hears of alerts.
//!
//! The time-zone database is the one compiled in, so that a decision does not depend on what a machine has installed.

use std::sync::Arc;

use jiff::{
    Timestamp, ToSpan,
    civil::{DateTime, Time, Weekday},
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::matcher::Matcher;

/// Shortest window, in milliseconds.
pub const WINDOW_MS_MIN: u64 = 60_000;
/// Longest window, in milliseconds: a day less than the week after which it comes again.
pub const WINDOW_MS_MAX: u64 = 6 * 24 * 3_600_000;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct MaintenanceWindow {
    /// Its name, as people see it.
    pub name: Arc<str>,
    /// Which alerts it is about; empty: all.
    pub matcher: Matcher,
    begins: Begins,
    for_ms: u64,
    zone: TimeZone,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Begins {
    Once(DateTime),
    Weekly(Weekday, Time),
}

/// Why there is no such window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// It is not clear when it begins.
    #[error(
        "{0:?} is no beginning: write a weekday and a time (\"Mon 02:00\"), or a date and a time (\"2027-01-31 02:00\")"
    )]
    Begins(String),
    /// It is too short or too long.
    #[error("a window lasts from 1 minute to 6 days")]
    Length,
    /// There is no such time zone.
    #[error("{0:?} is no time zone: write UTC, or a name like Europe/Berlin")]
    Zone(String),
}

impl MaintenanceWindow {
    /// Reads a window as the configuration writes it: `at` is `Mon 02:00` or `2027-01-31 02:00`, by the clocks of `timezone`.
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub fn parse(
        name: &str,
        at: &str,
        for_ms: u64,
        timezone: &str,
        matcher: Matcher,
    ) -> Result<Self, InvalidWindow> {
        let begins = parse_begins(at).ok_or_else(|| InvalidWindow::Begins(at.to_owned()))?;
        if !(WINDOW_MS_MIN..=WINDOW_MS_MAX).contains(&for_ms) {
            return Err(InvalidWindow::Length);
        }
        let zone = TimeZoneDatabase::bundled()
            .get(timezone)
            .map_err(|_| InvalidWindow::Zone(timezone.to_owned()))?;
        Ok(Self {
            name: name.into(),
            matcher,
            begins,
            for_ms,
            zone,
        })
    }

    /// From when to when it lasts, in milliseconds since 1970, the first time that it has not ended at `now_ms`; `None`: it is over
    /// for good. A beginning that the clocks leave out is as much later as they are put forward; of one that comes twice the first
    /// counts. It lasts as long as it is to by the clock on no wall.
    #[must_use]
    pub fn span_after(&self, now_ms: u64) -> Option<(u64, u64)> {
        match self.begins {
            Begins::Once(at) => self.span_from(at).filter(|(_, end_ms)| *end_ms > now_ms),
            Begins::Weekly(weekday, time) => {
                let earliest_ms = i64::try_from(now_ms.saturating_sub(self.for_ms)).ok()?;
                let earliest = Timestamp::from_millisecond(earliest_ms).ok()?;
                // A day earlier, for clocks that are put forward or back meanwhile.
                let mut date = self.zone.to_datetime(earliest).date().yesterday().ok()?;
                while date.weekday() != weekday {
                    date = date.tomorrow().ok()?;
                }
                // The first may have ended already; the second has not.
                for _ in 0..3 {
                    if let Some((start_ms, end_ms)) = self.span_from(date.to_datetime(time))
                        && end_ms > now_ms
                    {
                        return Some((start_ms, end_ms));
                    }
                    date = date.checked_add(7.days()).ok()?;
                }
                None
            }
        }
    }

    fn span_from(&self, local: DateTime) -> Option<(u64, u64)> {
        let instant = self.zone.to_ambiguous_timestamp(local).compatible().ok()?;
        let start_ms = u64::try_from(instant.as_millisecond()).ok()?;
        Some((start_ms, start_ms.checked_add(self.for_ms)?))
    }
}

fn parse_begins(at: &str) -> Option<Begins> {
    let (day, time) = at.split_once(' ')?;
    let time = Time::strptime("%H:%M", time).ok()?;
    let weekday = match day {
        "Mon" => Weekday::Monday,
        "Tue" => Weekday::Tuesday,
        "Wed" => Weekday::Wednesday,
        "Thu" => Weekday::Thursday,
        "Fri" => Weekday::Friday,
        "Sat" => Weekday::Saturday,
        "Sun" => Weekday::Sunday,
        _ => {
            let date = jiff::civil::Date::strptime("%Y-%m-%d", day).ok()?;
            return Some(Begins::Once(date.to_datetime(time)));
        }
    };
    Some(Begins::Weekly(weekday, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(rfc3339: &str) -> u64 {
        let at: Timestamp = rfc3339.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    fn window(at: &str, hours: u64, zone: &str) -> MaintenanceWindow {
        MaintenanceWindow::parse("w", at, hours * 3_600_000, zone, Matcher::default()).unwrap()
    }

    #[test]
    fn windows_follow_the_clocks_of_their_place_over_both_changes() {
        let (berlin, york, howe) = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe");
        // At, hours, zone, now, beginning, end.
        let cases = [
            (
                "Mon 02:00",
                1,
                "UTC",
                "2026-12-01T00:00:00Z",
                "2026-12-07T02:00:00Z",
                "2026-12-07T03:00:00Z",
            ),
            // In it, and at its very end.
            (
                "Mon 02:00",
                1,
                "UTC",
                "2026-12-07T02:59:59Z",
                "2026-12-07T02:00:00Z",
                "2026-12-07T03:00:00Z",
            ),
            (
                "Mon 02:00",
                1,
                "UTC",
                "2026-12-07T03:00:00Z",
                "2026-12-14T02:00:00Z",
                "2026-12-14T03:00:00Z",
            ),
            // Clocks are put forward at 02:00 on 28 March 2027: 02:30 is not there, and becomes 03:30.
            (
                "Sun 02:30",
                1,
                berlin,
                "2027-03-27T00:00:00Z",
                "2027-03-28T01:30:00Z",
                "2027-03-28T02:30:00Z",
            ),
            (
                "Sun 01:30",
                2,
                berlin,
                "2027-03-27T00:00:00Z",
                "2027-03-28T00:30:00Z",
                "2027-03-28T02:30:00Z",
            ),
            // They are put back at 03:00 on 31 October 2027: of the two 02:30 the first.
            (
                "Sun 02:30",
                1,
                berlin,
                "2027-10-30T00:00:00Z",
                "2027-10-31T00:30:00Z",
                "2027-10-31T01:30:00Z",
            ),
            (
                "Sun 12:00",
                1,
                berlin,
                "2027-10-30T00:00:00Z",
                "2027-10-31T11:00:00Z",
                "2027-10-31T12:00:00Z",
            ),
            (
                "Sun 02:30",
                1,
                york,
                "2027-03-13T00:00:00Z",
                "2027-03-14T07:30:00Z",
                "2027-03-14T08:30:00Z",
            ),
            (
                "Sun 01:30",
                1,
                york,
                "2027-11-06T00:00:00Z",
                "2027-11-07T05:30:00Z",
                "2027-11-07T06:30:00Z",
            ),
            // By half an hour: 4 October 2026 forward at 02:00, 5 April 2026 back at 02:00.
            (
                "Sun 02:15",
                1,
                howe,
                "2026-10-01T00:00:00Z",
                "2026-10-03T15:45:00Z",
                "2026-10-03T16:45:00Z",
            ),
            (
                "Sun 01:45",
                1,
                howe,
                "2026-04-01T00:00:00Z",
                "2026-04-04T14:45:00Z",
                "2026-04-04T15:45:00Z",
            ),
            // Over a month's and a year's end, longer than a day, begun before now.
            (
                "Thu 22:00",
                72,
                berlin,
                "2027-01-02T12:00:00Z",
                "2026-12-31T21:00:00Z",
                "2027-01-03T21:00:00Z",
            ),
            (
                "2027-02-28 23:00",
                3,
                york,
                "2027-01-01T00:00:00Z",
                "2027-03-01T04:00:00Z",
                "2027-03-01T07:00:00Z",
            ),
        ];
        for (at, hours, zone, now, start, end) in cases {
            let span = window(at, hours, zone).span_after(ms(now));
            assert_eq!(span, Some((ms(start), ms(end))), "{at} {zone} at {now}");
        }
        let once = window("2027-02-28 23:00", 3, york);
        assert_eq!(once.span_after(ms("2027-03-01T07:00:00Z")), None);
    }

    #[test]
    fn what_is_wrong_with_a_window_is_named() {
        let fault = |at: &str, for_ms, zone: &str| {
            MaintenanceWindow::parse("w", at, for_ms, zone, Matcher::default())
                .unwrap_err()
                .to_string()
        };
        for at in [
            "",
            "Mon",
            "Mon 25:00",
            "monday 02:00",
            "2027-02-30 02:00",
            "Mon 02:00 x",
        ] {
            assert!(
                fault(at, WINDOW_MS_MIN, "UTC").contains("no beginning"),
                "{at}"
            );
        }
        assert!(fault("Mon 02:00", WINDOW_MS_MIN - 1, "UTC").contains("6 days"));
        assert!(fault("Mon 02:00", WINDOW_MS_MAX + 1, "UTC").contains("6 days"));
        assert!(fault("Mon 02:00", WINDOW_MS_MIN, "Berlin").contains("Europe/Berlin"));
    }
}
