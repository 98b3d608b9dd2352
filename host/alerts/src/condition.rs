//! What a rule says holds now: the record `condition` of `wit/deps/alerts/types.wit`, with its bounds.

use std::fmt;

use router_core::InstanceId;
use serde::{Deserialize, Serialize};

/// Longest key, in bytes: what PagerDuty takes as `dedup_key`.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest name of an alert, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest summary, in bytes: what PagerDuty takes as `summary`.
pub const SUMMARY_BYTES_MAX: usize = 1_024;
/// Longest remedy, in bytes.
pub const REMEDY_BYTES_MAX: usize = 1_024;
/// Longest anchor of the runbook, in bytes.
pub const ANCHOR_BYTES_MAX: usize = 256;
/// Most attributes of any record.
pub const ATTRIBUTES_MAX: usize = 64;
/// Longest name or value of an attribute, in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;
/// Most conditions in one answer of a rule.
pub const CONDITIONS_MAX: usize = 1_000;
/// Longest time that a condition may have to hold before it is an alert, in milliseconds: a week. A longer one would not live to
/// see it between two upgrades.
pub const FOR_MS_MAX: u64 = 7 * 24 * 3_600 * 1_000;

/// How soon somebody has to act. Closed. The most severe is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// At once: the person on call is paged.
    P1,
    /// Within 15 minutes.
    P2,
    /// Within an hour: a ticket.
    P3,
    /// Within a day: a planned repair.
    P4,
}

impl Severity {
    /// All of them, the most severe first.
    pub const ALL: [Self; 4] = [Self::P1, Self::P2, Self::P3, Self::P4];

    /// The name in JSON, logs and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::P1 => "P1",
            Self::P2 => "P2",
            Self::P3 => "P3",
            Self::P4 => "P4",
        }
    }

    /// The severity of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == text)
    }

    /// Whether somebody is woken for it: P1 and P2.
    #[must_use]
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::P1 | Self::P2)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A condition that somebody should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The same for the same condition, over restarts and routers; two rules that give the same key speak of one alert. From 1 to
    /// [`KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// The name of the alert, which many conditions may share. From 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// How soon somebody has to act.
    pub severity: Severity,
    /// What is wrong, in one line. At most [`SUMMARY_BYTES_MAX`] bytes.
    pub summary: String,
    /// What to do. At most [`REMEDY_BYTES_MAX`] bytes.
    pub remedy: String,
    /// The heading of the runbook that speaks of it, as in an address after `#`. At most [`ANCHOR_BYTES_MAX`] bytes.
    pub runbook_anchor: Option<String>,
    /// The instance concerned; `None`: it concerns the fleet or the router.
    pub instance: Option<InstanceId>,
    /// How long it must hold before it is an alert, in milliseconds; 0: at once. At most [`FOR_MS_MAX`].
    pub for_ms: u64,
    /// Further facts about it: at most [`ATTRIBUTES_MAX`], names and values of [`ATTRIBUTE_BYTES_MAX`] bytes.
    pub attributes: Vec<(String, String)>,
}

/// Why a condition is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCondition {
    /// Nothing would name the alert.
    #[error("a condition has an empty {0}")]
    Empty(&'static str),
    /// A text is longer than it may be.
    #[error("the {field} of the condition has {bytes} bytes, and may have {bytes_max}")]
    TooLong {
        /// Which.
        field: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// A key or a name is shown in one line and logged.
    #[error("the {0} of the condition holds a control character")]
    ControlCharacter(&'static str),
    /// It has too many attributes.
    #[error("the condition has {0} attributes, and may have {ATTRIBUTES_MAX}")]
    TooManyAttributes(usize),
    /// It would have to hold for too long.
    #[error("the condition is to hold for {0} ms before it is an alert, and may for {FOR_MS_MAX}")]
    ForTooLong(u64),
}

impl Condition {
    /// Checks it against the bounds of its fields.
    ///
    /// # Errors
    /// Names the first field that is out of bounds.
    pub fn check(&self) -> Result<(), InvalidCondition> {
        let fields = [
            ("key", self.key.as_str(), KEY_BYTES_MAX),
            ("name", &self.name, NAME_BYTES_MAX),
            ("summary", &self.summary, SUMMARY_BYTES_MAX),
            ("remedy", &self.remedy, REMEDY_BYTES_MAX),
            (
                "runbook anchor",
                self.runbook_anchor.as_deref().unwrap_or_default(),
                ANCHOR_BYTES_MAX,
            ),
        ];
        let attributes = self.attributes.iter().flat_map(|(name, value)| {
            [
                ("name of an attribute", name.as_str(), ATTRIBUTE_BYTES_MAX),
                ("value of an attribute", value, ATTRIBUTE_BYTES_MAX),
            ]
        });
        for (field, text, bytes_max) in fields.into_iter().chain(attributes) {
            let bytes = text.len();
            if bytes > bytes_max {
                return Err(InvalidCondition::TooLong {
                    field,
                    bytes,
                    bytes_max,
                });
            }
        }
        for (field, text) in [("key", &self.key), ("name", &self.name)] {
            if text.is_empty() {
                return Err(InvalidCondition::Empty(field));
            }
            if text.chars().any(char::is_control) {
                return Err(InvalidCondition::ControlCharacter(field));
            }
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(InvalidCondition::TooManyAttributes(self.attributes.len()));
        }
        if self.for_ms > FOR_MS_MAX {
            return Err(InvalidCondition::ForTooLong(self.for_ms));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition() -> Condition {
        Condition {
            key: "crash-loop:demo".to_owned(),
            name: "crash-loop".to_owned(),
            severity: Severity::P2,
            summary: "demo is in crash loop".to_owned(),
            remedy: "restart it".to_owned(),
            runbook_anchor: Some("crash-loop".to_owned()),
            instance: Some(InstanceId::parse("demo").expect("letters are an id")),
            for_ms: 0,
            attributes: vec![("restarts".to_owned(), "5".to_owned())],
        }
    }

    #[test]
    fn every_bound_of_a_condition_is_checked() {
        type Edit = fn(&mut Condition);
        let cases: [(Edit, Option<&str>); 12] = [
            (|_| {}, None),
            (|one| one.key = "k".repeat(255), None),
            (|one| one.key = "k".repeat(256), Some("key")),
            (|one| one.key.clear(), Some("empty key")),
            (
                |one| one.name = "a\nb".to_owned(),
                Some("control character"),
            ),
            (|one| one.name = "n".repeat(65), Some("name")),
            (|one| one.summary = "s".repeat(1_025), Some("summary")),
            (|one| one.remedy = "r".repeat(1_025), Some("remedy")),
            (
                |one| one.runbook_anchor = Some("a".repeat(257)),
                Some("anchor"),
            ),
            (
                |one| one.attributes = vec![(String::new(), String::new()); 65],
                Some("65 attributes"),
            ),
            (
                |one| one.attributes[0].1 = "v".repeat(257),
                Some("value of an attribute"),
            ),
            (|one| one.for_ms = FOR_MS_MAX + 1, Some("hold")),
        ];
        for (edit, fault) in cases {
            let mut one = condition();
            edit(&mut one);
            match (one.check(), fault) {
                (Ok(()), None) => {}
                (Err(error), Some(fault)) => {
                    let message = error.to_string();
                    assert!(message.contains(fault), "{message} lacks {fault}");
                }
                (result, fault) => panic!("{result:?}, not {fault:?}"),
            }
        }
    }

    #[test]
    fn the_most_severe_is_the_least_and_each_is_read_back() {
        assert!(Severity::ALL.is_sorted());
        for severity in Severity::ALL {
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
        }
        assert_eq!(Severity::parse("p1"), None);
        assert_eq!(
            Severity::ALL.map(Severity::is_urgent),
            [true, true, false, false]
        );
    }
}
