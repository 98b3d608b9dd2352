//! Links to acknowledge by: the alerts room's claims, sealed by the access room, under the address where people reach this router.

use parking_lot::Mutex;
use router_access::{SealPurpose, Sealer};
use router_alerts::link::AckLink;
use router_values::SessionKey;

/// Makes links and reads them back.
pub(crate) struct AckLinks {
    sealer: Sealer,
    /// `alerts.public_url`; without it there are no links.
    public_url: Mutex<Option<String>>,
}

impl AckLinks {
    /// Links that are sealed with this key.
    pub(crate) fn new(key: &SessionKey, public_url: Option<String>) -> Self {
        Self {
            sealer: Sealer::new(SealPurpose::AckLink, key, &[]),
            public_url: Mutex::new(public_url),
        }
    }

    /// Where people reach this router from now on.
    pub(crate) fn set_public_url(&self, public_url: Option<String>) {
        *self.public_url.lock() = public_url;
    }

    /// Where people reach this router, without a slash at the end.
    pub(crate) fn public_url(&self) -> Option<String> {
        self.public_url.lock().clone()
    }

    /// The address that acknowledges, where people can reach this router.
    pub(crate) fn address(&self, link: &AckLink) -> Option<String> {
        let base = self.public_url()?;
        let token = self.sealer.seal(&link.to_bytes()?);
        Some(format!("{base}/ack/{token}"))
    }

    /// What a token says that this router made, or an earlier one with the same key.
    pub(crate) fn open(&self, token: &str) -> Option<AckLink> {
        AckLink::from_bytes(&self.sealer.open(token).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use router_access::{PAYLOAD_BYTES_MAX, SealPurpose, Sealer};
    use router_alerts::{AlertId, AlertRef, link::AckLink};
    use router_values::SessionKey;

    use super::AckLinks;

    fn key(seed: u8) -> SessionKey {
        SessionKey::parse(&format!("{seed:03}-0123456789abcdef0123456789abcdef")).unwrap()
    }

    fn links(seed: u8) -> AckLinks {
        AckLinks::new(&key(seed), Some("https://router.example/gmr".to_owned()))
    }

    #[test]
    fn a_link_is_read_by_its_own_router_and_by_no_other() {
        let link = AckLink {
            about: AlertRef {
                alert: AlertId::of("a"),
                firing: u32::MAX,
            },
            sent_ms: u64::MAX,
            sink: "s".repeat(64).into(),
        };
        assert!(link.to_bytes().unwrap().len() <= PAYLOAD_BYTES_MAX);
        let address = links(1).address(&link).unwrap();
        let token = address.strip_prefix("https://router.example/gmr/ack/");
        let token = token.unwrap();
        assert_eq!(links(1).open(token), Some(link.clone()));
        assert_eq!(links(2).open(token), None);
        assert_eq!(AckLinks::new(&key(1), None).address(&link), None);
        // What the same key signs for another purpose is no link.
        let session = Sealer::new(SealPurpose::Session, &key(1), &[]);
        assert_eq!(
            links(1).open(&session.seal(&link.to_bytes().unwrap())),
            None
        );
    }
}
