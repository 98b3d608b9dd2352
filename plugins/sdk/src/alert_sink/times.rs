//! Times as receivers write and read them.

/// A time in milliseconds since 1970 as RFC 3339 writes it, in UTC and to the second: `2027-01-15T08:00:00Z`.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day since 1970, by the calendar that begins its years in March (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn date_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// How long `Retry-After` (RFC 9110 §10.2.3) says to wait, in milliseconds: seconds, with a fraction as some receivers write it, or
/// a date.
pub(super) fn retry_after_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        let is_sensible = seconds.is_finite() && (0.0..1e9).contains(&seconds);
        return is_sensible.then(|| (seconds * 1_000.0).ceil() as u64);
    }
    Some(http_date_ms(value)?.saturating_sub(now_ms))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, in milliseconds since 1970.
fn http_date_ms(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, text) = text.strip_suffix(" GMT")?.split_once(", ")?;
    let mut parts = text.split([' ', ':']);
    let mut next = || parts.next();
    let day: u64 = next()?.parse().ok()?;
    let month = next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = next()?
        .parse()
        .ok()
        .filter(|year| (1_970..10_000).contains(year))?;
    let mut number = |max: u64| -> Option<u64> {
        let number = next()?.parse().ok()?;
        (number <= max).then_some(number)
    };
    let (hour, minute, second) = (number(23)?, number(59)?, number(60)?);
    // The first day of the year, from about where it is, and the day from there.
    let about = (year - 1_970) * 365 + (year - 1_969) / 4;
    let mut days = about.saturating_sub(40)..about + 400;
    let days = days.find(|days| date_of(*days) == (year, month, day))?;
    Some((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::{retry_after_ms, rfc3339};

    #[test]
    fn times_are_written_in_utc() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59Z"),
            (1_800_000_000_000, "2027-01-15T08:00:00Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now_ms = 784_111_777_000;
        for (value, ms) in [
            ("30", Some(30_000)),
            (" 0.75 ", Some(750)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60_000)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            (
                "Wed, 31 Dec 2036 23:59:59 GMT",
                Some(2_114_380_799_000 - now_ms),
            ),
            ("-1", None),
            ("inf", None),
            ("soon", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("", None),
        ] {
            assert_eq!(retry_after_ms(value, now_ms), ms, "{value}");
        }
    }
}
