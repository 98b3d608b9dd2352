//! What names an alert, one of its firings, and one delivery about it, wherever it is kept or sent.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{
    condition::KEY_BYTES_MAX,
    notice::{DELIVERY_ID_BYTES_MAX, GROUP_KEY_BYTES_MAX},
};

/// Hexadecimal digits of an [`AlertId`].
const ID_DIGITS: usize = 16;

/// Names an alert in paths, tokens, the journal and the database: the first 64 bits of the SHA-256 of its key, so that it is the
/// same over restarts and routers, however long the key is and whatever it holds. Shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlertId(u64);

impl AlertId {
    /// The id of the alert with this key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(first_bits(key))
    }

    /// Reads an id as it is shown.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_shown_so = text.len() == ID_DIGITS
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_shown_so {
            u64::from_str_radix(text, 16).ok().map(Self)
        } else {
            None
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(bytes))
    }
}

fn first_bits(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AlertId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AlertId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not the id of an alert"))
    }
}

/// One firing of one alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AlertRef {
    /// Which alert.
    pub alert: AlertId,
    /// Which time that it fired, from 1.
    pub firing: u32,
}

/// What the other side drops repeats by: `{key}#{firing}`. A key that leaves no room for the number is cut, and a hash of the whole
/// takes the end's place.
#[must_use]
pub fn dedup_key(key: &str, firing: u32) -> String {
    let whole = format!("{key}#{firing}");
    if whole.len() <= GROUP_KEY_BYTES_MAX {
        return whole;
    }
    const _: () = assert!(KEY_BYTES_MAX <= GROUP_KEY_BYTES_MAX);
    let end = format!("~{:016x}#{firing}", first_bits(key));
    let cut = key.floor_char_boundary(GROUP_KEY_BYTES_MAX - end.len());
    format!("{}{end}", &key[..cut])
}

/// The firings that a dedup key may be of: of the alert whose key stands there, or of the one whose key was cut. Which it is, if any,
/// is seen by [`dedup_key`] of the alert's own key.
pub fn parse_dedup_key(text: &str) -> impl Iterator<Item = AlertRef> {
    let parts = text.rsplit_once('#');
    let firing = parts.and_then(|(_, firing)| firing.parse().ok());
    let key = parts.map_or("", |(key, _)| key);
    let cut = key.rsplit_once('~').and_then(|(_, id)| AlertId::parse(id));
    let alerts = [Some(AlertId::of(key)), cut];
    let of = move |alert| {
        Some(AlertRef {
            alert,
            firing: firing?,
        })
    };
    alerts.into_iter().flatten().filter_map(of)
}

/// Names one delivery: the same for each of its attempts and over restarts, and without a dot. Made of alert, firing, step and
/// sink, so that its row is inserted once however often that is tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeliveryId(String);

impl DeliveryId {
    /// The id of the delivery to `sink` that step `step` of the alert decided.
    #[must_use]
    pub fn new(about: AlertRef, step: u32, sink: &str) -> Self {
        let AlertRef { alert, firing } = about;
        // 16 + 10 + 10 + 16 digits and three hyphens at most. A sink's name may hold dots.
        let text = format!("{alert}-{firing}-{step}-{:016x}", first_bits(sink));
        debug_assert!(text.len() <= DELIVERY_ID_BYTES_MAX);
        Self(text)
    }

    /// The id of the same delivery to another sink, as a fallback gets it.
    #[must_use]
    pub fn for_sink(&self, sink: &str) -> Self {
        let decided = self.0.rfind('-').map_or("", |end| &self.0[..end]);
        Self(format!("{decided}-{:016x}", first_bits(sink)))
    }

    /// The id of what the same step says of one of its firings, to another sink: a fallback that gets one delivery per alert.
    #[must_use]
    pub fn for_firing(&self, about: AlertRef, sink: &str) -> Self {
        Self::new(about, self.step(), sink)
    }

    /// Which step of its alert decided it: the number grows with the alert.
    #[must_use]
    pub fn step(&self) -> u32 {
        let step = self.0.rsplit('-').nth(1);
        step.and_then(|step| step.parse().ok()).unwrap_or_default()
    }

    /// As it is sent, shown and kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_has_one_id_and_is_read_back_by_it() {
        let id = AlertId::of("crash-loop:demo");
        assert_eq!(id, AlertId::of("crash-loop:demo"));
        assert_ne!(id, AlertId::of("crash-loop:demo2"));
        assert_eq!(AlertId::parse(&id.to_string()), Some(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<AlertId>(&json).unwrap(), id);
        for text in ["", "0", "+123456789abcdef", "0123456789ABCDEF"] {
            assert_eq!(AlertId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_dedup_key_fits_and_stays_apart() {
        assert_eq!(dedup_key("disk:/data", 3), "disk:/data#3");
        let (a, b) = ("ä".repeat(126) + "a", "ä".repeat(126) + "b");
        for key in [&a, &b] {
            let cut = dedup_key(key, 1_000);
            assert!(
                cut.len() <= GROUP_KEY_BYTES_MAX && cut.ends_with("#1000"),
                "{cut}"
            );
        }
        assert_ne!(dedup_key(&a, 1_000), dedup_key(&b, 1_000));
        for key in ["disk:/data", "a#1", "odd~0123456789abcdef", a.as_str(), &b] {
            let about = AlertRef {
                alert: AlertId::of(key),
                firing: 1_000,
            };
            let text = dedup_key(key, 1_000);
            assert!(parse_dedup_key(&text).any(|one| one == about), "{text}");
        }
        for text in [
            "",
            "disk:/data",
            "disk:/data#",
            "disk:/data#x",
            "a#-1",
            "a#99999999999",
        ] {
            assert_eq!(parse_dedup_key(text).next(), None, "{text}");
        }
    }

    #[test]
    fn ids_of_deliveries_fit_hold_no_dot_and_tell_sinks_apart() {
        let about = AlertRef {
            alert: AlertId::of("x"),
            firing: u32::MAX,
        };
        let id = DeliveryId::new(about, u32::MAX, "team.a@b");
        assert!(id.as_str().len() <= DELIVERY_ID_BYTES_MAX && !id.as_str().contains('.'));
        let other = id.for_sink("console");
        assert_ne!(id, other);
        assert_eq!(other, DeliveryId::new(about, u32::MAX, "console"));
        assert_eq!(other.for_sink("team.a@b"), id);
        let second = AlertRef {
            alert: AlertId::of("y"),
            firing: 1,
        };
        assert_eq!(
            id.for_firing(second, "console"),
            DeliveryId::new(second, u32::MAX, "console")
        );
    }
}
