//! Session ids that speak for themselves: what a session is, signed, so that a router that never saw it can go on with it.
//!
//! An id is base64url (visible ASCII, as MCP asks) of
//! `format 1 | expires 8 | nonce 16 | capabilities 4 | length 1, version | length 1, instance | HMAC-SHA256 32`,
//! integers big-endian. It is signed, not encrypted: its holder may read it. Nothing of it is believed before the signature is.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use router_core::InstanceId;
use sha2::Sha256;

use crate::key::SessionKey;

/// The first byte. Another layout gets another number.
const FORMAT: u8 = 1;

/// Bytes before the two texts.
const FIXED_BYTES: usize = 1 + 8 + 16 + 4;

/// Bytes of the signature.
const MAC_BYTES: usize = 32;

/// Longest text in an id: a version has 10 bytes, an instance at most 64.
const TEXT_BYTES_MAX: usize = 64;

/// Longest id that is looked at: all fields at their longest, in base64.
const TOKEN_BYTES_MAX: usize = (FIXED_BYTES + 2 * (1 + TEXT_BYTES_MAX) + MAC_BYTES).div_ceil(3) * 4;

/// Most keys: one in use and those replaced while their sessions last.
const KEYS_MAX: usize = 4;

/// Keeps signatures of ids apart from whatever else a key may sign one day.
const PURPOSE: &[u8] = b"godot-mcp-router session id\0";

/// What a session id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionClaims {
    /// The instance that the session belongs to.
    pub instance: InstanceId,
    /// The protocol version that was agreed on: 1 to 64 visible characters.
    pub version: String,
    /// What the client can be asked, as bits whose meaning is the caller's.
    pub capabilities: u32,
    /// When the id stops being valid, in seconds since the Unix epoch.
    pub expires_unix_s: u64,
    /// Random, so that no two sessions share an id.
    pub nonce: [u8; 16],
}

/// Why no id was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Empty, longer than 64 bytes, or not visible ASCII.
    #[error("{version:?} cannot be a protocol version in a session id")]
    Version {
        /// The refused text.
        version: String,
    },
}

/// Why a text is not the id of a session that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Not of the form of our ids.
    #[error("the session id is malformed")]
    Malformed,
    /// Of a layout that this version does not read.
    #[error("the session id has format {0}, which this version does not read")]
    Format(u8),
    /// Not signed by a key that we hold, or changed since.
    #[error("the session id was not made with a key of this router")]
    Signature,
}

/// Makes and opens session ids.
#[derive(Clone)]
pub struct SessionSealer {
    /// The first one seals; all open.
    keyed: Vec<Hmac<Sha256>>,
}

impl SessionSealer {
    /// Seals with `current`, opens also what `older` keys sealed (the first three of them).
    #[must_use]
    pub fn new(current: &SessionKey, older: &[SessionKey]) -> Self {
        let keys = std::iter::once(current).chain(older).take(KEYS_MAX);
        Self {
            keyed: keys.map(keyed).collect(),
        }
    }

    /// The id for these claims: visible ASCII, at most 256 bytes, some 115 as a rule.
    ///
    /// # Errors
    /// The version cannot stand in an id.
    pub fn seal(&self, claims: &SessionClaims) -> Result<String, SealError> {
        let version = claims.version.as_bytes();
        let fits = (1..=TEXT_BYTES_MAX).contains(&version.len());
        if !fits || !version.iter().all(u8::is_ascii_graphic) {
            return Err(SealError::Version {
                version: claims.version.chars().take(80).collect(),
            });
        }
        let mut bytes = Vec::with_capacity(TOKEN_BYTES_MAX);
        bytes.push(FORMAT);
        bytes.extend_from_slice(&claims.expires_unix_s.to_be_bytes());
        bytes.extend_from_slice(&claims.nonce);
        bytes.extend_from_slice(&claims.capabilities.to_be_bytes());
        for text in [version, claims.instance.as_str().as_bytes()] {
            bytes.push(u8::try_from(text.len()).expect("a text of an id has at most 64 bytes"));
            bytes.extend_from_slice(text);
        }
        let mut mac = self.keyed[0].clone();
        mac.update(&bytes);
        bytes.extend_from_slice(&mac.finalize().into_bytes());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What an id says that a key of ours signed. Expiry and instance are for the caller to check.
    ///
    /// # Errors
    /// [`OpenError::Malformed`], [`OpenError::Format`] or [`OpenError::Signature`].
    pub fn open(&self, token: &str) -> Result<SessionClaims, OpenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(OpenError::Malformed);
        }
        // Strict: no padding, no stray bits in the last character, so that each id has one spelling.
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| OpenError::Malformed)?;
        match bytes.first() {
            Some(&FORMAT) => {}
            Some(&other) => return Err(OpenError::Format(other)),
            None => return Err(OpenError::Malformed),
        }
        let (body, signature) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(OpenError::Malformed)?;
        let signed = self.keyed.iter().any(|keyed| {
            let mut mac = keyed.clone();
            mac.update(body);
            mac.verify_slice(signature).is_ok()
        });
        if !signed {
            return Err(OpenError::Signature);
        }
        read_claims(body).ok_or(OpenError::Malformed)
    }
}

impl fmt::Debug for SessionSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionSealer({} keys)", self.keyed.len())
    }
}

fn keyed(key: &SessionKey) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key.bytes()).expect("HMAC takes keys of any length");
    mac.update(PURPOSE);
    mac
}

fn read_claims(body: &[u8]) -> Option<SessionClaims> {
    let (_format, rest) = body.split_first()?;
    let (expires, rest) = rest.split_first_chunk::<8>()?;
    let (nonce, rest) = rest.split_first_chunk::<16>()?;
    let (capabilities, rest) = rest.split_first_chunk::<4>()?;
    let (version, rest) = read_text(rest)?;
    let (instance, rest) = read_text(rest)?;
    rest.is_empty().then_some(())?;
    Some(SessionClaims {
        instance: InstanceId::parse(instance).ok()?,
        version: version.to_owned(),
        capabilities: u32::from_be_bytes(*capabilities),
        expires_unix_s: u64::from_be_bytes(*expires),
        nonce: *nonce,
    })
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests;
