//! Points in time as people and files name them: RFC 3339 in UTC, and days.
//!
//! The calendar is the proleptic Gregorian one, by Howard Hinnant's `civil_from_days`
//! (howardhinnant.github.io/date_algorithms.html); a date library would bring time zones that nothing here needs.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The time as `2026-01-02T03:04:05.678Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    rfc3339_unix_ms(unix_ms(time))
}

/// The time `unix_ms` milliseconds after the epoch as `2026-01-02T03:04:05.678Z`.
#[must_use]
pub fn rfc3339_unix_ms(unix_ms: i64) -> String {
    let mut text = String::with_capacity(24);
    write_rfc3339(&mut text, unix_ms);
    text
}

/// Appends the time as [`rfc3339_unix_ms`] writes it.
pub fn write_rfc3339(text: &mut String, unix_ms: i64) {
    let (year, month, day) = civil(unix_ms.div_euclid(DAY_MS));
    let ms = unix_ms.rem_euclid(DAY_MS);
    let (s, ms) = (ms / 1000, ms % 1000);
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        s / 3600,
        s / 60 % 60,
        s % 60
    );
}

/// Milliseconds since the epoch, negative before it.
#[must_use]
pub fn unix_ms(time: SystemTime) -> i64 {
    let ms =
        |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => ms(after),
        Err(before) => -ms(before.duration()),
    }
}

/// Reads a time of RFC 3339 in UTC (`2026-01-02T03:04:05Z`, with up to nine digits of a fraction), in milliseconds since 1970. `None`
/// for what is none, and for what stands in another zone.
#[must_use]
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    let (day, time) = text.split_at_checked(10)?;
    let Day(days) = Day::parse(day)?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let time = time.strip_suffix(['Z', 'z'])?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = clock.split(':').map(|part| {
        let number = part.parse::<i64>().ok();
        number.filter(|_| part.len() == 2 && is_digits(part))
    });
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let is_time = hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    if !is_time || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let thousandths = format!("{fraction:0<3}")[..3].parse::<i64>().ok()?;
    Some(days * DAY_MS + ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths)
}

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of a time, in milliseconds since the epoch.
    #[must_use]
    pub fn of_unix_ms(unix_ms: i64) -> Self {
        Self(unix_ms.div_euclid(DAY_MS))
    }

    /// The day of a time.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self::of_unix_ms(unix_ms(time))
    }

    /// So many days earlier.
    #[must_use]
    pub fn minus(self, days: u32) -> Self {
        Self(self.0 - i64::from(days))
    }

    /// Reads `2026-01-02`; a date that the calendar does not have is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shaped = bytes.len() == 10
            && bytes.iter().enumerate().all(|(at, b)| match at {
                4 | 7 => *b == b'-',
                _ => b.is_ascii_digit(),
            });
        if !shaped {
            return None;
        }
        let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().ok();
        let day = Self(days(number(0..4)?, number(5..7)?, number(8..10)?));
        (day.to_string() == text).then_some(day)
    }
}

/// `2026-01-02`.
impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (year, month, day) = civil(self.0);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Year, month and day of a day since 1970-01-01. Years begin in March here, so that a leap day ends its year; an era is the
/// 400 years after which the calendar repeats.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{Day, civil, days, parse_rfc3339_ms, rfc3339, rfc3339_unix_ms};

    #[test]
    fn moments_are_written_as_rfc_3339_asks() {
        // Each checked with `date -u -d @SECONDS`.
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (1_772_323_200_007, "2026-03-01T00:00:00.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(rfc3339_unix_ms(ms), text);
        }
        assert_eq!(rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_millis(1)),
            "1969-12-31T23:59:59.999Z"
        );
    }

    #[test]
    fn every_day_of_eight_centuries_is_found_again_and_follows_the_one_before() {
        let mut before = civil(days(1700, 1, 1) - 1);
        for day in days(1700, 1, 1)..days(2500, 1, 1) {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
            assert_eq!(Day::parse(&Day(day).to_string()), Some(Day(day)));
            let next = of_month == before.2 + 1 && month == before.1 && year == before.0;
            let new_month = of_month == 1 && (27..=31).contains(&before.2);
            assert!(
                next || new_month,
                "{before:?} then {year}-{month}-{of_month}"
            );
            before = (year, month, of_month);
        }
    }

    #[test]
    fn only_dates_of_the_calendar_are_days() {
        for bad in [
            "",
            "2026-02-30",
            "2025-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-1-02",
            "+026-01-02",
            "2026-01-0é",
        ] {
            assert_eq!(Day::parse(bad), None, "{bad:?}");
        }
        assert!(Day::parse("2024-02-29").is_some());
    }

    #[test]
    fn times_read_back_and_what_is_none_does_not() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-30T11:21:28.25Z", Some(1_796_037_688_250)),
            ("2026-11-30t11:21:28.123456789z", Some(1_796_037_688_123)),
            ("2026-11-30 11:21:28Z", Some(1_796_037_688_000)),
            ("2026-02-29T00:00:00Z", None),
            ("2026-11-30T24:00:00Z", None),
            ("2026-11-30T11:21Z", None),
            ("2026-11-30T11:21:28:00Z", None),
            ("2026-11-30T1:21:28Z", None),
            ("2026-11-30T+1:21:28Z", None),
            ("2026-11-30T11:21:28.Z", None),
            ("2026-11-30T11:21:28", None),
            ("2026-11-30T11:21:28+01:00", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339_ms(text), ms, "{text}");
        }
        assert_eq!(
            rfc3339_unix_ms(1_796_037_688_250),
            "2026-11-30T11:21:28.250Z"
        );
    }
}
