//! Bearer tokens: made here, shown once, kept as a hash.
//!
//! A token is 256 random bits, so that no slow password hash is needed, and none would be welcome on the path of every request.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{TryRng as _, rngs::SysRng};
use router_values::TokenHash;

/// What every token of ours starts with, so that scanners for leaked secrets can know it.
const PREFIX: &str = "gmr_";

/// Random bytes in a token: 256 bits.
const TOKEN_BYTES: usize = 32;

/// Longest presented token that is hashed. Ours have 47 characters; a JWT of an identity provider may have more than a thousand,
/// but is not accepted as one anyway.
const PRESENTED_BYTES_MAX: usize = 512;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomnessError(#[from] rand::rngs::SysError);

/// A new token of 256 random bits (`gmr_` and 43 characters of base64url), to be shown once, and its hash.
///
/// # Errors
/// The operating system gave no random bytes.
pub fn new_token() -> Result<(String, TokenHash), RandomnessError> {
    let mut bytes = [0_u8; TOKEN_BYTES];
    SysRng.try_fill_bytes(&mut bytes)?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = TokenHash::of(&token);
    Ok((token, hash))
}

/// The token of an `Authorization` header: the scheme in any case, one space or more, and `b68token` of RFC 6750 §2.1.
/// `None` for anything else.
pub(crate) fn bearer(header: &str) -> Option<&str> {
    let (scheme, rest) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let token = rest.trim_start_matches(' ').trim_end_matches(' ');
    let body = token.trim_end_matches('=');
    let body_is_fine = !body.is_empty()
        && body
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b));
    (body_is_fine && token.len() <= PRESENTED_BYTES_MAX).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::{TokenHash, bearer, new_token};

    #[test]
    fn a_new_token_is_long_fresh_and_matches_its_hash() {
        let (first, first_hash) = new_token().unwrap();
        let (second, second_hash) = new_token().unwrap();
        assert_ne!(first, second);
        assert!(first.starts_with("gmr_") && first.len() == 47, "{first}");
        assert_eq!(bearer(&format!("Bearer {first}")), Some(first.as_str()));
        assert!(bool::from(TokenHash::of(&first).matches(&first_hash)));
        assert!(!bool::from(TokenHash::of(&first).matches(&second_hash)));
    }

    #[test]
    fn only_one_well_formed_bearer_token_is_taken() {
        let cases = [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER   abc", Some("abc")),
            ("Bearer abc==", Some("abc==")),
            ("Bearer abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer ==", None),
            ("Bearer a b", None),
            ("Bearer a,b", None),
            ("Bearer a=b", None),
            ("Bearer abc\u{e9}", None),
            ("Bearer\tabc", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(bearer(header), expected, "{header:?}");
        }
        assert_eq!(bearer(&format!("Bearer {}", "a".repeat(513))), None);
    }
}
