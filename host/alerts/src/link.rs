//! Links to acknowledge by: what the token of one says. Sealing it is for who has the key.
//!
//! A token names one firing and the sink that it was sent through, and when. It ends with the firing, with the first acknowledgement
//! after it was sent, and with its time. The bytes are `alert 8 | firing 4 | sent 8 | sink`, integers big-endian: links of earlier
//! routers are read.

use std::sync::Arc;

use crate::identity::{AlertId, AlertRef};

/// How long a link is good for: as long as the least urgent severity leaves somebody (a day), and as a delivery is tried. What is still
/// open then is sent again under another link, or was looked at by nobody for a day.
pub const LINK_LIVES_MS: u64 = 24 * 60 * 60 * 1_000;

/// Longest name of a sink, in bytes, as the configuration has it.
const SINK_BYTES_MAX: usize = 64;

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckLink {
    /// Which firing of which alert. Number 0 is that of a test, which nobody can acknowledge.
    pub about: AlertRef,
    /// When it was sent, in milliseconds since 1970.
    pub sent_ms: u64,
    /// The sink that it was sent through.
    pub sink: Arc<str>,
}

impl AckLink {
    /// The number of firing that a test's link has.
    pub const TEST: u32 = 0;

    /// Whether its time is over.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        now_ms >= self.sent_ms.saturating_add(LINK_LIVES_MS)
    }

    /// As it is sealed; `None` where the sink's name is longer than any can be.
    #[must_use]
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let AlertRef { alert, firing } = self.about;
        let mut bytes = Vec::with_capacity(8 + 4 + 8 + self.sink.len());
        bytes.extend_from_slice(&alert.to_bytes());
        bytes.extend_from_slice(&firing.to_be_bytes());
        bytes.extend_from_slice(&self.sent_ms.to_be_bytes());
        bytes.extend_from_slice(self.sink.as_bytes());
        (self.sink.len() <= SINK_BYTES_MAX).then_some(bytes)
    }

    /// Reads what was sealed.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (alert, rest) = bytes.split_first_chunk()?;
        let (firing, rest) = rest.split_first_chunk()?;
        let (sent_ms, sink) = rest.split_first_chunk()?;
        let sink = std::str::from_utf8(sink).ok()?;
        (1..=SINK_BYTES_MAX).contains(&sink.len()).then(|| Self {
            about: AlertRef {
                alert: AlertId::from_bytes(*alert),
                firing: u32::from_be_bytes(*firing),
            },
            sent_ms: u64::from_be_bytes(*sent_ms),
            sink: sink.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{AckLink, LINK_LIVES_MS};
    use crate::identity::{AlertId, AlertRef};

    fn link(sink: &str) -> AckLink {
        AckLink {
            about: AlertRef {
                alert: AlertId::of("crash-loop:demo"),
                firing: 7,
            },
            sent_ms: 1_800_000_000_000,
            sink: sink.into(),
        }
    }

    #[test]
    fn a_link_is_read_as_it_was_written_and_nothing_else_is() {
        for sink in ["a", "on-call_2", &"s".repeat(64)] {
            let bytes = link(sink).to_bytes().unwrap();
            assert_eq!(AckLink::from_bytes(&bytes), Some(link(sink)));
        }
        assert_eq!(link(&"s".repeat(65)).to_bytes(), None);
        let bytes = link("a").to_bytes().unwrap();
        for end in 0..bytes.len() {
            assert_eq!(AckLink::from_bytes(&bytes[..end]), None, "{end}");
        }
        let not_text = [&bytes[..], &[0xff]].concat();
        assert_eq!(AckLink::from_bytes(&not_text), None);
    }

    /// Messages lie in channels for a day: links of the router before are read.
    #[test]
    fn the_layout_stays() {
        let bytes = link("oncall").to_bytes().unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = AlertId::of("crash-loop:demo");
        assert_eq!(hex, format!("{id}00000007000001a3185c50006f6e63616c6c"));
    }

    #[test]
    fn a_link_ends_a_day_after_it_was_sent() {
        let link = link("a");
        assert!(!link.is_expired(0) && !link.is_expired(link.sent_ms + LINK_LIVES_MS - 1));
        assert!(link.is_expired(link.sent_ms + LINK_LIVES_MS));
    }
}
