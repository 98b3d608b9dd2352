//! What is kept of a bearer token: its SHA-256.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The SHA-256 of a token. A token has 256 random bits, so that its plain hash cannot be searched backwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

/// A text that is no hash. It may be the token itself, and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not the SHA-256 of a token (64 hexadecimal digits)")]
pub struct InvalidTokenHash;

impl TokenHash {
    /// The hash of a token.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Parses 64 hexadecimal digits, with `sha256:` in front or without.
    ///
    /// # Errors
    /// [`InvalidTokenHash`].
    pub fn parse(text: &str) -> Result<Self, InvalidTokenHash> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        if digits.len() != 64 {
            return Err(InvalidTokenHash);
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(InvalidTokenHash);
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?)
                .expect("two hexadecimal digits are a byte");
        }
        Ok(Self(bytes))
    }

    /// Compares in a time that does not depend on where the hashes differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

/// `sha256:` and 64 lower-case hexadecimal digits: what goes into the configuration.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Not even the hash is for logs: it identifies whose token was used elsewhere.
impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::TokenHash;

    /// The SHA-256 of "abc" (FIPS 180-4, example B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_hash_is_written_as_it_is_read_and_never_logged() {
        let hash = TokenHash::of("abc");
        assert_eq!(hash.to_string(), format!("sha256:{ABC}"));
        assert!(!format!("{hash:?}").contains("ba78"));
        for text in [
            ABC.to_owned(),
            format!("sha256:{ABC}"),
            ABC.to_ascii_uppercase(),
        ] {
            assert_eq!(TokenHash::parse(&text), Ok(hash), "{text}");
        }
        assert!(bool::from(hash.matches(&TokenHash::of("abc"))));
        assert!(!bool::from(hash.matches(&TokenHash::of("abd"))));
    }

    #[test]
    fn what_is_no_hash_is_refused_without_being_repeated() {
        for bad in [
            "",
            "sha256:",
            "hunter2",
            &ABC[1..],
            &format!("{ABC}0"),
            &format!("g{}", &ABC[1..]),
            &format!("+{}", &ABC[1..]),
            &format!("ä{}", &ABC[2..]),
        ] {
            let error = TokenHash::parse(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
    }
}
