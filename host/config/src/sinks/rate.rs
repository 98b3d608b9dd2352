//! How often a sink is sent to at most.

use std::{fmt, time::Duration};

/// So many attempts in a time. They are spread evenly, without bursts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkRate {
    count: u32,
    per: RateUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RateUnit {
    Second,
    Minute,
}

impl SinkRate {
    /// Most attempts in one unit of time: more is no limit.
    const COUNT_MAX: u32 = 1_000;

    /// What the receivers that are known take, and what any may be expected to.
    pub(crate) fn of_plugin(plugin: &str) -> Self {
        let (count, per) = match plugin {
            "slack" => (1, RateUnit::Second),
            "pagerduty" => (120, RateUnit::Minute),
            _ => (10, RateUnit::Second),
        };
        Self { count, per }
    }

    /// Parses `1/s` or `120/m`; nothing slower than once a minute, which would hold back what somebody must be woken for.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let per = match unit {
            "s" => RateUnit::Second,
            "m" => RateUnit::Minute,
            _ => return None,
        };
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let count = count.parse().ok()?;
        (1..=Self::COUNT_MAX)
            .contains(&count)
            .then_some(Self { count, per })
    }

    /// The least time from the beginning of one attempt to that of the next.
    #[must_use]
    pub fn interval(self) -> Duration {
        let per = match self.per {
            RateUnit::Second => Duration::from_secs(1),
            RateUnit::Minute => Duration::from_secs(60),
        };
        per / self.count
    }
}

/// As it is written in the file.
impl fmt::Display for SinkRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per {
            RateUnit::Second => 's',
            RateUnit::Minute => 'm',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::SinkRate;

    #[test]
    fn rates_are_read_and_shown_alike() {
        for (text, ms) in [
            ("1/s", 1_000),
            ("120/m", 500),
            ("1000/s", 1),
            ("1/m", 60_000),
        ] {
            let rate = SinkRate::parse(text).unwrap();
            assert_eq!(rate.interval(), Duration::from_millis(ms), "{text}");
            assert_eq!(rate.to_string(), text);
        }
        for text in [
            "", "1", "0/s", "1001/s", "+1/s", "1/h", "1/ s", "1.5/s", "/s", "-1/s", "1/s/s",
        ] {
            assert_eq!(SinkRate::parse(text), None, "{text}");
        }
    }
}
