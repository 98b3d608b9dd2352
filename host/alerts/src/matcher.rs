//! Which alerts something is about: a route, a silence, a maintenance window.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::{Condition, KEY_BYTES_MAX, Severity};

/// Most patterns in each list of a matcher: more is a mistake, and each is tried for each alert.
pub const PATTERNS_MAX: usize = 100;

/// A text in which `*` stands for any characters, also none; everything else stands for itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(String);

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It would match nothing.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// It is longer than what it is compared with.
    #[error("a pattern has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is empty, or longer than what it is compared with.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        match text.len() {
            0 => Err(InvalidPattern::Empty),
            1..=KEY_BYTES_MAX => Ok(Self(text.to_owned())),
            _ => Err(InvalidPattern::TooLong),
        }
    }

    /// Whether the whole of `text` is matched. At most pattern times text comparisons: on a mismatch only the last `*` takes in
    /// one more byte.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, t));
                    p += 1;
                }
                Some(byte) if *byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut star {
                    Some((at, taken)) => {
                        *taken += 1;
                        (p, t) = (*at + 1, *taken);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Matches an alert when each list that is not empty holds something that matches. Empty altogether it matches every alert.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matcher {
    /// Severities.
    pub severity: Vec<Severity>,
    /// Names of alerts.
    pub name: Vec<Pattern>,
    /// Instances. An alert of the fleet has none, and matches no list.
    pub instance: Vec<Pattern>,
    /// Keys.
    pub key: Vec<Pattern>,
}

impl Matcher {
    /// Whether it matches every alert.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.severity.is_empty()
            && self.name.is_empty()
            && self.instance.is_empty()
            && self.key.is_empty()
    }

    /// Whether it matches a condition that is an alert of this severity.
    #[must_use]
    pub fn matches(&self, severity: Severity, condition: &Condition) -> bool {
        let instance = condition.instance.as_ref().map(|id| id.as_str());
        self.matches_parts(severity, &condition.name, instance, Some(&condition.key))
    }

    /// Whether it would match such an alert. Of one whose key is not known only the rest is compared.
    #[must_use]
    pub fn matches_parts(
        &self,
        severity: Severity,
        name: &str,
        instance: Option<&str>,
        key: Option<&str>,
    ) -> bool {
        let one_of = |patterns: &[Pattern], text: Option<&str>| {
            patterns.is_empty()
                || text.is_some_and(|text| patterns.iter().any(|pattern| pattern.matches(text)))
        };
        (self.severity.is_empty() || self.severity.contains(&severity))
            && one_of(&self.name, Some(name))
            && one_of(&self.instance, instance)
            && (key.is_none() || one_of(&self.key, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let cases = [
            ("disk", "disk", true),
            ("disk", "disks", false),
            ("disk*", "disks", true),
            ("*", "", true),
            ("*:demo", "crash:demo", true),
            ("*:demo", "crash:demo2", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("**a", "a", true),
            ("?", "x", false),
        ];
        for (pattern, text, matches) in cases {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(text), matches, "{pattern} {text}");
        }
        assert_eq!(Pattern::parse(""), Err(InvalidPattern::Empty));
        assert_eq!(
            Pattern::parse(&"x".repeat(256)),
            Err(InvalidPattern::TooLong)
        );
        // Does not take exponential time.
        let hard = Pattern::parse(&"a*".repeat(100)).unwrap();
        assert!(!hard.matches(&("a".repeat(99) + "b")));
    }

    #[test]
    fn every_list_that_is_there_must_match() {
        let matcher: Matcher =
            serde_json::from_str(r#"{"severity": ["P1", "P2"], "instance": ["maze@*", "42"]}"#)
                .unwrap();
        let matches = |severity, instance| matcher.matches_parts(severity, "x", instance, None);
        assert!(matches(Severity::P1, Some("maze@1.0")) && matches(Severity::P2, Some("42")));
        assert!(!matches(Severity::P3, Some("42")) && !matches(Severity::P1, Some("43")));
        assert!(!matches(Severity::P1, None));
        assert!(Matcher::default().is_empty() && !matcher.is_empty());
        assert!(serde_json::from_str::<Matcher>(r#"{"instnace": ["x"]}"#).is_err());
    }
}
