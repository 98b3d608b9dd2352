//! Calls that another service signs with a secret that both know, as PagerDuty's v3 webhooks are: `v1=` and the HMAC-SHA256 of the raw
//! body in hexadecimal digits, more than one of them while the secret is being replaced.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// Signatures that are looked at. A service sends one, or two while it replaces the secret.
const SIGNATURES_MAX: usize = 8;

/// Whether one of the signatures, separated by commas, is that of the body. How long it takes depends on their number alone.
#[must_use]
pub fn is_signed(secret: &str, signatures: &str, body: &[u8]) -> bool {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    let expected: [u8; 32] = mac.finalize().into_bytes().into();
    let presented = signatures.split(',').take(SIGNATURES_MAX);
    let found = presented.filter_map(|one| parse(one.trim()));
    let none = Choice::from(0);
    found
        .fold(none, |found, one| found | one.ct_eq(&expected))
        .into()
}

/// The bytes of a signature of the one version that we know.
fn parse(signature: &str) -> Option<[u8; 32]> {
    let digits = signature.strip_prefix("v1=")?.as_bytes();
    let mut bytes = [0; 32];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::is_signed;

    const SECRET: &str = "oreo";
    const BODY: &[u8] = b"{\"event\":{\"id\":\"1\"}}";
    /// By `openssl dgst -sha256 -hmac oreo`.
    const SIGNATURE: &str = "d2a04f8da1915967fed24ed25818f75b386b9c3991c3f1ea47f2e3a491fcee9d";

    #[test]
    fn a_signature_of_the_body_by_the_secret_passes_wherever_it_stands() {
        let other = format!("v1={}", "0".repeat(64));
        for signatures in [
            format!("v1={SIGNATURE}"),
            format!("v1={}", SIGNATURE.to_uppercase()),
            format!("{other},v1={SIGNATURE}"),
            format!("v1={SIGNATURE}, {other}"),
            format!("v2=abc,,v1={SIGNATURE}"),
        ] {
            assert!(is_signed(SECRET, &signatures, BODY), "{signatures}");
            assert!(!is_signed("oreos", &signatures, BODY), "{signatures}");
            assert!(!is_signed(SECRET, &signatures, b"{}"), "{signatures}");
        }
    }

    #[test]
    fn nothing_else_passes() {
        let many = format!("{}v1={SIGNATURE}", "v1=00,".repeat(10_000));
        for signatures in [
            "",
            "v1=",
            SIGNATURE,
            &format!("v1={}", &SIGNATURE[..62]),
            &format!("v1={SIGNATURE}00"),
            &format!("v2={SIGNATURE}"),
            &format!("v1=+{}", &SIGNATURE[1..]),
            &format!("v1={}g", &SIGNATURE[..63]),
            &many,
        ] {
            assert!(!is_signed(SECRET, signatures, BODY), "{signatures:.90}");
        }
    }
}
