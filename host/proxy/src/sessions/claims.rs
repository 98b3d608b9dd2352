//! Session ids: what stands in them, and who can make one.

use router_core::InstanceId;
use router_upstream::{ClientCapabilities, ProtocolVersion};

use super::revocation::RevokedSession;
use crate::session_owner::OwnerMark;

/// Longest session id that is tried. A sealed one takes some 200 bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 1024;

/// What a session id says about its session, so that a router that never saw it can go on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionClaims {
    /// The instance that the session belongs to.
    pub instance: InstanceId,
    /// The protocol version that was agreed on.
    pub version: ProtocolVersion,
    /// What its client can be asked.
    pub capabilities: ClientCapabilities,
    /// When the id stops being valid, in seconds since the Unix epoch.
    pub expires_unix_s: u64,
    /// Random, so that no two sessions share an id.
    pub nonce: [u8; 16],
    /// Who began it.
    pub owner: OwnerMark,
}

impl SessionClaims {
    /// What must be remembered of the session once its client has ended it.
    pub(crate) fn revocation(&self) -> RevokedSession {
        RevokedSession {
            expires_unix_s: self.expires_unix_s,
            nonce: self.nonce,
        }
    }
}

/// Makes session ids that nobody else can make. Implemented by the app over the keys of `access`.
pub trait SessionSeal: Send + Sync {
    /// The id for these claims: visible ASCII, at most 1,024 bytes.
    fn seal(&self, claims: &SessionClaims) -> String;

    /// The claims of an id that [`SessionSeal::seal`] made with the same key, `None` for anything else. Expiry is
    /// checked by the caller.
    fn open(&self, token: &str) -> Option<SessionClaims>;
}
