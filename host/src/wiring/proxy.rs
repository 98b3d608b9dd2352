//! The proxy's limits, and its session ids: the proxy's claims as bytes, sealed by the access room.
//!
//! The bytes are `expires 8 | nonce 16 | capabilities 4 | length 1, version | length 1, instance | owner 8`, integers
//! big-endian. Ids outlive the router that made them: another layout takes another format of the sealer.

use router_access::Sealer;
use router_config::Config;
use router_core::InstanceId;
use router_proxy::{OwnerMark, ProxyLimits, SessionClaims, SessionSeal};
use router_upstream::{ClientCapabilities, ProtocolVersion};

/// The bits of a client's capabilities.
const ROOTS: u32 = 1;
const SAMPLING: u32 = 1 << 1;
const ELICITATION: u32 = 1 << 2;

/// What the proxy allows its clients.
pub(crate) fn limits(config: &Config) -> ProxyLimits {
    let server = &config.server;
    ProxyLimits {
        body_bytes_max: server.max_body_bytes,
        body_timeout: server.body_timeout,
        sessions_per_instance_max: server.max_sessions,
        session_idle: server.session_idle_timeout,
        session_lifetime: server.session_ttl,
        ..ProxyLimits::default()
    }
}

/// Makes session ids and reads them back.
pub(crate) struct Seal(pub(crate) Sealer);

impl SessionSeal for Seal {
    fn seal(&self, claims: &SessionClaims) -> String {
        self.0.seal(&to_bytes(claims))
    }

    fn open(&self, token: &str) -> Option<SessionClaims> {
        from_bytes(&self.0.open(token).ok()?)
    }
}

fn to_bytes(claims: &SessionClaims) -> Vec<u8> {
    let has = |is_there: bool, bit: u32| if is_there { bit } else { 0 };
    let client = claims.capabilities;
    let capabilities = has(client.roots, ROOTS)
        | has(client.sampling, SAMPLING)
        | has(client.elicitation, ELICITATION);
    let mut bytes = Vec::with_capacity(router_access::PAYLOAD_BYTES_MAX);
    bytes.extend_from_slice(&claims.expires_unix_s.to_be_bytes());
    bytes.extend_from_slice(&claims.nonce);
    bytes.extend_from_slice(&capabilities.to_be_bytes());
    for text in [claims.version.as_str(), claims.instance.as_str()] {
        bytes.push(u8::try_from(text.len()).expect("versions and ids have at most 64 bytes"));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&claims.owner);
    bytes
}

fn from_bytes(bytes: &[u8]) -> Option<SessionClaims> {
    let (expires, rest) = bytes.split_first_chunk::<8>()?;
    let (nonce, rest) = rest.split_first_chunk::<16>()?;
    let (capabilities, rest) = rest.split_first_chunk::<4>()?;
    let (version, rest) = read_text(rest)?;
    let (instance, rest) = read_text(rest)?;
    let owner = OwnerMark::try_from(rest).ok()?;
    let capabilities = u32::from_be_bytes(*capabilities);
    let has = |bit: u32| capabilities & bit != 0;
    Some(SessionClaims {
        instance: InstanceId::parse(instance).ok()?,
        version: ProtocolVersion::parse(version)?,
        capabilities: ClientCapabilities {
            roots: has(ROOTS),
            sampling: has(SAMPLING),
            elicitation: has(ELICITATION),
        },
        expires_unix_s: u64::from_be_bytes(*expires),
        nonce: *nonce,
        owner,
    })
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use router_access::{PAYLOAD_BYTES_MAX, SealPurpose, Sealer};
    use router_core::InstanceId;
    use router_proxy::{SessionClaims, SessionSeal as _};
    use router_upstream::{ClientCapabilities, ProtocolVersion};
    use router_values::SessionKey;

    use super::{Seal, from_bytes, to_bytes};

    fn claims(instance: &str, bits: u8) -> SessionClaims {
        SessionClaims {
            instance: InstanceId::parse(instance).unwrap(),
            version: ProtocolVersion::V2025_06_18,
            capabilities: ClientCapabilities {
                roots: bits & 1 != 0,
                sampling: bits & 2 != 0,
                elicitation: bits & 4 != 0,
            },
            expires_unix_s: 99,
            nonce: [bits; 16],
            owner: [7; 8],
        }
    }

    #[test]
    fn claims_come_back_as_they_went() {
        let key = SessionKey::parse("0123456789abcdef0123456789abcdef").unwrap();
        let seal = Seal(Sealer::new(SealPurpose::Session, &key, &[]));
        for bits in 0_u8..8 {
            for instance in ["demo", "maze@1.0.2", &"a".repeat(64)] {
                let claims = claims(instance, bits);
                assert!(to_bytes(&claims).len() <= PAYLOAD_BYTES_MAX);
                assert_eq!(seal.open(&seal.seal(&claims)), Some(claims));
            }
        }
        assert_eq!(seal.open("nonsense"), None);
    }

    /// Clients hold ids for weeks: those of earlier routers are read.
    #[test]
    fn the_layout_stays() {
        let key = SessionKey::parse("0123456789abcdef0123456789abcdef").unwrap();
        let seal = Seal(Sealer::new(SealPurpose::Session, &key, &[]));
        let id = "AQAAAAAAAABjBQUFBQUFBQUFBQUFBQUFBQAAAAUKMjAyNS0wNi0xOARkZW1vBwcHBwcHBwfbiCiUEw4Vu8kTBfHZGgPEMj0lGczFn7YPPuSBRoioeQ";
        assert_eq!(seal.seal(&claims("demo", 5)), id);
        assert_eq!(seal.open(id), Some(claims("demo", 5)));
        // Without an owner it would answer to everybody: its client begins anew.
        let ownerless = "AQAAAAAAAABjBQUFBQUFBQUFBQUFBQUFBQAAAAUKMjAyNS0wNi0xOARkZW1vNKhQGRSwD8YWe1UqRf6DtK2LPLjo3dozSFwRbXrCM5w";
        assert_eq!(seal.open(ownerless), None);
    }

    #[test]
    fn what_is_cut_or_longer_or_unknown_says_nothing() {
        let bytes = to_bytes(&claims("demo", 7));
        for end in 0..bytes.len() {
            assert_eq!(from_bytes(&bytes[..end]), None, "{end}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(from_bytes(&longer), None);
        let mut unknown = bytes;
        unknown[29] = b'3';
        assert_eq!(from_bytes(&unknown), None);
    }
}
