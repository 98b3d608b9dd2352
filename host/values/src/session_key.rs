//! The key that session ids are sealed with, from the text that stands for it.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A key for sealing, never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionKey([u8; 32]);

/// What is wrong with a text that is no key. Its messages repeat nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSessionKey {
    /// Too short.
    #[error("has fewer than {} characters", SessionKey::TEXT_BYTES_MIN)]
    Short,
    /// Too long.
    #[error("has more than {} characters", SessionKey::TEXT_BYTES_MAX)]
    Long,
    /// Not visible ASCII.
    #[error("holds a space, or another sign that is not visible ASCII")]
    Invisible,
    /// As in a file of zeros, or a placeholder.
    #[error("is one sign again and again")]
    Uniform,
}

impl SessionKey {
    /// Shortest text of a key: `openssl rand -hex 16` has 32 characters and 128 bits. Below, an HMAC can be searched for.
    pub const TEXT_BYTES_MIN: usize = 32;

    /// Longest text of a key: what is longer is not a key but some other file.
    pub const TEXT_BYTES_MAX: usize = 4_096;

    /// The key that a text stands for. Any visible text will do, surrounding white space is dropped; its strength is the strength of
    /// the key, so it should come from a random generator.
    ///
    /// # Errors
    /// See [`InvalidSessionKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidSessionKey> {
        let text = text.trim();
        if text.len() < Self::TEXT_BYTES_MIN {
            return Err(InvalidSessionKey::Short);
        }
        if text.len() > Self::TEXT_BYTES_MAX {
            return Err(InvalidSessionKey::Long);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidSessionKey::Invisible);
        }
        let first = text.bytes().next();
        if text.bytes().all(|byte| Some(byte) == first) {
            return Err(InvalidSessionKey::Uniform);
        }
        let mut hash = Sha256::new();
        hash.update(b"godot-mcp-router session key\0");
        hash.update(text.as_bytes());
        Ok(Self(hash.finalize().into()))
    }

    /// The key's bytes, for the one place that seals.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::SessionKey;

    #[test]
    fn only_long_visible_varied_texts_are_keys() {
        for (text, taken) in [
            ("0123456789abcdef0123456789abcdef", true),
            ("  0123456789abcdef0123456789abcdef\n", true),
            ("hunter2hunter2hunter2hunter2hunter2", true),
            (&"ab".repeat(2_048), true),
            ("", false),
            ("0123456789abcdef0123456789abcde", false),
            (&"ab".repeat(2_049), false),
            (&"0".repeat(64), false),
            ("two words and some more of them here", false),
            ("0123456789abcdef\t0123456789abcdef", false),
            ("ä0123456789abcdef0123456789abcdef", false),
        ] {
            assert_eq!(SessionKey::parse(text).is_ok(), taken, "{text:?}");
        }
    }

    #[test]
    fn white_space_around_a_key_does_not_count_and_everything_else_does() {
        let key = |text: &str| SessionKey::parse(text).unwrap();
        let text = "0123456789abcdef0123456789abcdef";
        assert_eq!(key(text), key(&format!(" {text}\n")));
        assert_ne!(key(text), key(&text.to_uppercase()));
    }

    #[test]
    fn nothing_shows_a_key() {
        let key = SessionKey::parse("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(format!("{key:?}"), "SessionKey(…)");
        let error = SessionKey::parse("not-long-enough").unwrap_err();
        assert!(!error.to_string().contains("not-long-enough"), "{error}");
    }
}
