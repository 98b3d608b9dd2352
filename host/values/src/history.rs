//! The history: what happened to the fleet and to the router, in order.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One thing that happened. The caller says what; the store adds the moment, the number and the router. Its serde form is the one
/// on disk and in statements: a field may be added, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// Its number in the database: later rows have larger ones. What [`HistoryQuery::before`] takes.
    #[serde(skip)]
    pub seq: i64,
    /// Unique over all routers.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// What kind of state changed: `lifecycle`, `health`, `breaker`, `readiness`, `plugin`, `config`, `router`, `alert` or `delivery`.
    pub axis: String,
    /// Which instance; empty where it is about none.
    pub instance: String,
    /// Which of its slots.
    pub slot: Option<u32>,
    /// Which of the slot's runs.
    pub run: Option<u64>,
    /// What else it is about: the tool whose breaker changed, a plugin, a file, the name of an alert, a sink; or empty.
    pub subject: String,
    /// The state before; empty where there was none.
    pub from: String,
    /// The state since.
    pub to: String,
    /// Why, for people.
    pub reason: String,
    /// More for people.
    pub detail: String,
    /// Which router saw it.
    pub router_id: String,
    /// In which life of that router.
    pub epoch: i64,
    /// Its number in that life, from 1.
    pub sequence: i64,
}

impl HistoryRow {
    /// Where it stands in the stream of events.
    #[must_use]
    pub fn position(&self) -> EventPosition {
        EventPosition {
            epoch: self.epoch,
            sequence: self.sequence,
        }
    }
}

/// Where an event stands in the stream of one router: what server-sent events carry as `id`, as `EPOCH-SEQUENCE`. Ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    /// [`HistoryRow::epoch`].
    pub epoch: i64,
    /// [`HistoryRow::sequence`].
    pub sequence: i64,
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

/// A text that names no event of this router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is EPOCH-SEQUENCE, such as 7-123")]
pub struct InvalidEventPosition;

impl FromStr for EventPosition {
    type Err = InvalidEventPosition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.parse().ok().filter(|_| is_plain);
            number.ok_or(InvalidEventPosition)
        };
        let (epoch, sequence) = text.split_once('-').ok_or(InvalidEventPosition)?;
        Ok(Self {
            epoch: number(epoch)?,
            sequence: number(sequence)?,
        })
    }
}

/// Which rows to read, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only rows whose `seq` is smaller.
    pub before: Option<i64>,
    /// At most so many; see [`HistoryQuery::rows_max`].
    pub limit: Option<u32>,
    /// Only rows about this instance.
    pub instance: Option<String>,
    /// Only rows on this axis.
    pub axis: Option<String>,
    /// Only rows at or after this, in milliseconds since 1970.
    pub since_ms: Option<i64>,
}

impl HistoryQuery {
    /// Rows of a full page: as many as were asked for, from 1 to 1,000, and 100 where no number was given.
    #[must_use]
    pub fn rows_max(&self) -> u32 {
        self.limit.unwrap_or(100).clamp(1, 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::{EventPosition, HistoryRow, InvalidEventPosition};

    #[test]
    fn positions_read_back_and_are_ordered_by_life_first() {
        let position: EventPosition = "7-123".parse().unwrap();
        assert_eq!(position.to_string(), "7-123");
        let later: EventPosition = "8-1".parse().unwrap();
        assert!(position < later);
        for wrong in [
            "",
            "7",
            "7-",
            "-7-1",
            "7--1",
            "7-1-1",
            "+7-1",
            "7-99999999999999999999",
            "x-1",
        ] {
            assert_eq!(
                wrong.parse::<EventPosition>(),
                Err(InvalidEventPosition),
                "{wrong}"
            );
        }
    }

    /// A spool of an earlier version is read, and what it wrote means the same.
    #[test]
    fn the_form_on_disk_stays() {
        let text = r#"{"id":"1f","at_ms":5,"axis":"lifecycle","instance":"demo","slot":0,"run":3,"subject":"","from":"ready","to":"backoff","reason":"r","detail":"d","router_id":"r","epoch":7,"sequence":9}"#;
        let row: HistoryRow = serde_json::from_str(text).unwrap();
        assert_eq!((row.seq, row.at_ms, row.epoch, row.sequence), (0, 5, 7, 9));
        assert_eq!(serde_json::to_string(&row).unwrap(), text);
    }
}
