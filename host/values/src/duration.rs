//! Durations as they are written: `500ms`, `30s`, `5m`, `1h30m`, `400d`.

use std::time::Duration;

use crate::whole_ms;

/// Units, longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longest duration. Ten years; what is longer is a mistake, and some clocks cannot count it.
const MS_MAX: u64 = 3_653 * 86_400_000;

/// What to do about a text that is none.
pub const DURATION_REMEDY: &str =
    "write a number and its unit (ms, s, m, h, d), such as \"500ms\", \"30s\" or \"1h30m\"";

/// Reads a duration; `None` where it is none. Each unit at most once, longest first.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total_ms, mut smaller_than) = (text, 0_u64, usize::MAX);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let unit = UNITS
            .iter()
            .position(|(unit, _)| *unit == &rest[..letters])?;
        if smaller_than != usize::MAX && unit <= smaller_than {
            return None;
        }
        (smaller_than, rest) = (unit, &rest[letters..]);
        total_ms = total_ms.checked_add(number.checked_mul(UNITS[unit].1)?)?;
    }
    (total_ms <= MS_MAX).then(|| Duration::from_millis(total_ms))
}

/// Writes a duration in the longest unit that needs no fraction.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let ms = whole_ms(duration);
    if ms == 0 {
        return "0s".to_owned();
    }
    let (unit, size) = UNITS
        .into_iter()
        .find(|(_, size)| ms.is_multiple_of(*size))
        .unwrap_or(("ms", 1));
    format!("{}{unit}", ms / size)
}

#[cfg(test)]
mod tests {
    use super::{parse_duration as parse, show_duration as show};

    #[test]
    fn durations_are_read_and_shown() {
        for (text, ms, shown) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("300s", 300_000, "5m"),
            ("1h30m", 5_400_000, "90m"),
            ("1m500ms", 60_500, "60500ms"),
            ("400d", 34_560_000_000, "400d"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(duration.as_millis(), ms, "{text}");
            assert_eq!(show(duration), shown);
            assert_eq!(parse(shown), Some(duration));
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "30 s",
            "30S",
            "1m1h",
            "1m1m",
            "30s5",
            "99999999999999999999s",
            "4000d",
            "18446744073709551615d",
            "1µs",
            "½s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
