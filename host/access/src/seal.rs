//! Tokens that speak for themselves, as session ids and links to acknowledge by do: what one stands for, signed, so that a router that
//! never saw it can go on with it.
//!
//! A token is base64url (visible ASCII, as MCP asks of ids) of `format 1 | payload | HMAC-SHA256 32`; what the payload says is the
//! caller's. It is signed, not encrypted: its holder may read it. Nothing of it is believed before the signature is.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use router_values::SessionKey;
use sha2::Sha256;

/// The first byte. Another layout, of the id or of its payload, gets another number.
const FORMAT: u8 = 1;

/// Bytes of the signature.
const MAC_BYTES: usize = 32;

/// Longest payload: numbers of 28 bytes in sum, and two texts of at most 64 bytes with their lengths.
pub const PAYLOAD_BYTES_MAX: usize = 36 + 2 * (1 + 64);

/// Longest token that is opened: the longest payload, in base64.
const TOKEN_BYTES_MAX: usize = (1 + PAYLOAD_BYTES_MAX + MAC_BYTES).div_ceil(3) * 4;

/// Most keys: one in use and those replaced while their sessions last.
const KEYS_MAX: usize = 4;

/// What tokens are for: one key signs them all, and none is taken for another. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealPurpose {
    /// The id of a session.
    Session,
    /// A link to acknowledge an alert by.
    AckLink,
}

impl SealPurpose {
    /// What is signed in front of each token.
    fn prefix(self) -> &'static [u8] {
        match self {
            Self::Session => b"godot-mcp-router session id\0",
            Self::AckLink => b"godot-mcp-router acknowledge link\0",
        }
    }
}

/// Why a text is not a token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum UnsealError {
    /// Not of the form of our tokens.
    #[error("the token is malformed")]
    Malformed,
    /// Of a layout that this version does not read.
    #[error("the token has format {0}, which this version does not read")]
    Format(u8),
    /// Not signed by a key that we hold, or changed since.
    #[error("the token was not made with a key of this router")]
    Signature,
}

/// Makes and opens tokens of one purpose.
#[derive(Clone)]
pub struct Sealer {
    /// The first one seals; all open.
    keyed: Vec<Hmac<Sha256>>,
}

impl Sealer {
    /// Seals with `current`, opens also what `older` keys sealed (the first three of them).
    #[must_use]
    pub fn new(purpose: SealPurpose, current: &SessionKey, older: &[SessionKey]) -> Self {
        let keys = std::iter::once(current).chain(older).take(KEYS_MAX);
        Self {
            keyed: keys.map(|key| keyed(purpose, key)).collect(),
        }
    }

    /// The token for this payload: visible ASCII, at most 268 bytes. A payload past [`PAYLOAD_BYTES_MAX`] could not be opened again.
    #[must_use]
    pub fn seal(&self, payload: &[u8]) -> String {
        debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX, "{}", payload.len());
        let mut bytes = Vec::with_capacity(1 + payload.len() + MAC_BYTES);
        bytes.push(FORMAT);
        bytes.extend_from_slice(payload);
        let mut mac = self.keyed[0].clone();
        mac.update(&bytes);
        bytes.extend_from_slice(&mac.finalize().into_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The payload of a token that a key of ours signed. What it says, its expiry above all, is for the caller to check.
    ///
    /// # Errors
    /// [`UnsealError::Malformed`], [`UnsealError::Format`] or [`UnsealError::Signature`].
    pub fn open(&self, token: &str) -> Result<Vec<u8>, UnsealError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(UnsealError::Malformed);
        }
        // Strict: no padding, no stray bits in the last character, so that each token has one spelling.
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| UnsealError::Malformed)?;
        match bytes.first() {
            Some(&FORMAT) => {}
            Some(&other) => return Err(UnsealError::Format(other)),
            None => return Err(UnsealError::Malformed),
        }
        let (body, signature) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(UnsealError::Malformed)?;
        let signed = self.keyed.iter().any(|keyed| {
            let mut mac = keyed.clone();
            mac.update(body);
            mac.verify_slice(signature).is_ok()
        });
        if !signed {
            return Err(UnsealError::Signature);
        }
        let (_format, payload) = body.split_first().ok_or(UnsealError::Malformed)?;
        Ok(payload.to_owned())
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({} keys)", self.keyed.len())
    }
}

fn keyed(purpose: SealPurpose, key: &SessionKey) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    mac.update(purpose.prefix());
    mac
}

#[cfg(test)]
mod tests;
