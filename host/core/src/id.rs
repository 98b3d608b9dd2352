//! Identity: instance ids, slots and runs, parsed once into types that cannot hold an invalid value.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest instance id, in bytes: together with `/tmp/godot-mcp-….sock` it stays under the 107 bytes of `sun_path`.
pub const INSTANCE_ID_BYTES_MAX: usize = 64;

/// The id of an instance: `[A-Za-z0-9][A-Za-z0-9._@-]{0,63}`. It is the `versionId` that clients name. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(Arc<str>);

/// Why a text is not an instance id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidInstanceId {
    /// The refused text, cut to what is useful in a message.
    pub text: String,
}

impl InstanceId {
    /// Parses an id.
    ///
    /// # Errors
    /// The text is empty, too long, or holds a character outside the alphabet.
    pub fn parse(text: &str) -> Result<Self, InvalidInstanceId> {
        let bytes = text.as_bytes();
        let starts_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let holds_only = bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'@' | b'-'));
        if starts_well && holds_only && bytes.len() <= INSTANCE_ID_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(InvalidInstanceId {
                text: text.chars().take(80).collect(),
            })
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number that JSON's `id` shows where the id is all digits (and fits), so that `select(.id==42)` works.
    #[must_use]
    pub fn as_number(&self) -> Option<u64> {
        let digits = self.0.bytes().all(|b| b.is_ascii_digit());
        // "007" stays a string: as a number it would read back as another id.
        let canonical = self.0.len() == 1 || !self.0.starts_with('0');
        if digits && canonical {
            self.0.parse().ok()
        } else {
            None
        }
    }
}

impl fmt::Display for InvalidInstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is not an instance id: it starts with a letter or digit, holds only letters, digits and . _ @ -, and has at most {INSTANCE_ID_BYTES_MAX} characters",
            self.text
        )
    }
}

impl std::error::Error for InvalidInstanceId {}

impl FromStr for InstanceId {
    type Err = InvalidInstanceId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for InstanceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for InstanceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// One process place of an instance. A `shared` instance has slot 0 only; a `per-session` one has one per client session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotKey {
    /// Whose slot.
    pub instance: InstanceId,
    /// Which of its slots, from 0.
    pub slot: u32,
}

impl SlotKey {
    /// Slot 0 of an instance, the only one of a `shared` instance.
    #[must_use]
    pub fn first(instance: InstanceId) -> Self {
        Self { instance, slot: 0 }
    }
}

impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.instance, self.slot)
    }
}

/// One start of one slot's process. Strictly increasing over the life of a data directory (the router seeds it from
/// its epoch), so that a late answer about an earlier process is recognised and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run(pub u64);

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::InstanceId;

    #[test]
    fn ids_are_parsed_once_and_wholly() {
        let cases = [
            ("demo", true),
            ("42", true),
            ("maze@1.0.2", true),
            ("a", true),
            ("", false),
            (".hidden", false),
            ("-x", false),
            ("a/b", false),
            ("a b", false),
            ("ä", false),
            ("../etc", false),
        ];
        for (text, ok) in cases {
            assert_eq!(InstanceId::parse(text).is_ok(), ok, "{text:?}");
        }
        assert!(InstanceId::parse(&"x".repeat(64)).is_ok());
        assert!(InstanceId::parse(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_refused_id_is_named_and_cut() {
        let refused = "x/".repeat(500).parse::<InstanceId>().unwrap_err();
        assert_eq!(refused.text.chars().count(), 80);
        let message = InstanceId::parse("a b").unwrap_err().to_string();
        assert!(
            message.contains("\"a b\"") && message.contains("64"),
            "{message}"
        );
    }

    #[test]
    fn only_canonical_digits_become_numbers() {
        let number = |text: &str| InstanceId::parse(text).unwrap().as_number();
        assert_eq!(number("42"), Some(42));
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("007"), None);
        assert_eq!(number("4a"), None);
        assert_eq!(number("99999999999999999999999"), None);
    }
}
