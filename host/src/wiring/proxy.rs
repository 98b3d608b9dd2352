//! The proxy's limits, and its session ids: the proxy's claims, sealed by the access room.

use router_access::SessionSealer;
use router_config::Config;
use router_proxy::{ProxyLimits, SessionClaims, SessionSeal};
use router_upstream::{ClientCapabilities, ProtocolVersion};

/// The bits of [`router_access::SessionClaims::capabilities`].
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
pub(crate) struct Seal(pub(crate) SessionSealer);

impl SessionSeal for Seal {
    fn seal(&self, claims: &SessionClaims) -> String {
        let has = |is_there: bool, bit: u32| if is_there { bit } else { 0 };
        let client = claims.capabilities;
        let sealed = self.0.seal(&router_access::SessionClaims {
            instance: claims.instance.clone(),
            version: claims.version.as_str().to_owned(),
            capabilities: has(client.roots, ROOTS)
                | has(client.sampling, SAMPLING)
                | has(client.elicitation, ELICITATION),
            expires_unix_s: claims.expires_unix_s,
            nonce: claims.nonce,
        });
        sealed.expect("a served protocol version is ten visible characters")
    }

    fn open(&self, token: &str) -> Option<SessionClaims> {
        let claims = self.0.open(token).ok()?;
        let has = |bit: u32| claims.capabilities & bit != 0;
        Some(SessionClaims {
            version: ProtocolVersion::parse(&claims.version)?,
            capabilities: ClientCapabilities {
                roots: has(ROOTS),
                sampling: has(SAMPLING),
                elicitation: has(ELICITATION),
            },
            expires_unix_s: claims.expires_unix_s,
            nonce: claims.nonce,
            instance: claims.instance,
        })
    }
}

#[cfg(test)]
mod tests {
    use router_access::{SessionKey, SessionSealer};
    use router_core::InstanceId;
    use router_proxy::{SessionClaims, SessionSeal as _};
    use router_upstream::{ClientCapabilities, ProtocolVersion};

    use super::Seal;

    #[test]
    fn claims_come_back_as_they_went() {
        let key = SessionKey::from_text("0123456789abcdef0123456789abcdef").unwrap();
        let seal = Seal(SessionSealer::new(&key, &[]));
        for bits in 0_u8..8 {
            let claims = SessionClaims {
                instance: InstanceId::parse("demo").unwrap(),
                version: ProtocolVersion::V2025_06_18,
                capabilities: ClientCapabilities {
                    roots: bits & 1 != 0,
                    sampling: bits & 2 != 0,
                    elicitation: bits & 4 != 0,
                },
                expires_unix_s: 99,
                nonce: [bits; 16],
            };
            assert_eq!(seal.open(&seal.seal(&claims)), Some(claims));
        }
        assert_eq!(seal.open("nonsense"), None);
    }
}
