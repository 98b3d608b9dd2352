//! Signing with a sink's secrets, without handing them out.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::signature::Ed25519KeyPair;
use sha2::Sha256;

/// Base 64 as people paste it: with its padding or without.
const PASTED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256. A secret that begins with `whsec_` is decoded first, as Standard Webhooks has it.
    HmacSha256,
    /// Ed25519, with a key as Standard Webhooks writes it: `whsk_` and base 64.
    Ed25519,
}

/// Why a secret cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The sink has no secret of this name.
    #[error("the sink has no such secret")]
    Unknown,
    /// Its value is not what the algorithm takes; says what it takes.
    #[error("{0}")]
    Unsuitable(&'static str),
}

/// Signs bytes with a secret.
pub(crate) fn sign(
    secret: &str,
    algorithm: Algorithm,
    bytes: &[u8],
) -> Result<Vec<u8>, SecretError> {
    match algorithm {
        Algorithm::HmacSha256 => {
            let unsuitable = SecretError::Unsuitable("what follows whsec_ is not base 64");
            let key = match secret.strip_prefix("whsec_") {
                Some(encoded) => PASTED.decode(encoded).map_err(|_| unsuitable.clone())?,
                None => secret.as_bytes().to_vec(),
            };
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| unsuitable)?;
            mac.update(bytes);
            Ok(mac.finalize().into_bytes().to_vec())
        }
        Algorithm::Ed25519 => {
            let unsuitable = SecretError::Unsuitable(
                "it is no key of Ed25519: whsk_ and the base 64 of its 32 bytes, or of those and the 32 of its public key",
            );
            let key = secret
                .strip_prefix("whsk_")
                .and_then(|encoded| PASTED.decode(encoded).ok());
            let pair = match key.as_deref().map(|key| key.split_at_checked(32)) {
                Some(Some((seed, []))) => Ed25519KeyPair::from_seed_unchecked(seed).ok(),
                Some(Some((seed, public))) => {
                    Ed25519KeyPair::from_seed_and_public_key(seed, public).ok()
                }
                _ => None,
            };
            let pair = pair.ok_or(unsuitable)?;
            Ok(pair.sign(bytes).as_ref().to_vec())
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::{Algorithm, SecretError, sign};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn hmac_is_that_of_the_specifications() {
        // RFC 4231, test case 2.
        let signed = sign(
            "Jefe",
            Algorithm::HmacSha256,
            b"what do ya want for nothing?",
        )
        .unwrap();
        assert_eq!(
            hex(&signed),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // The example of Standard Webhooks' own libraries.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let signed = sign(
            secret,
            Algorithm::HmacSha256,
            b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}",
        );
        assert_eq!(
            STANDARD.encode(signed.unwrap()),
            "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn ed25519_is_that_of_the_specification() {
        // RFC 8032 §7.1, test 2.
        let bytes = |hex: &str| -> Vec<u8> {
            let digits = (0..hex.len()).step_by(2);
            digits
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect()
        };
        let seed = bytes("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = bytes("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
            085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        for key in [seed.clone(), [seed, public].concat()] {
            let secret = format!("whsk_{}", STANDARD.encode(key));
            let signed = sign(&secret, Algorithm::Ed25519, &[0x72]).unwrap();
            assert_eq!(hex(&signed), expected);
        }
    }

    #[test]
    fn a_secret_that_is_no_key_is_refused_and_not_shown() {
        for (secret, algorithm) in [
            ("whsec_!!", Algorithm::HmacSha256),
            ("hunter2", Algorithm::Ed25519),
            ("whsk_aHVudGVyMg==", Algorithm::Ed25519),
            ("whsk_!!", Algorithm::Ed25519),
        ] {
            let Err(SecretError::Unsuitable(reason)) = sign(secret, algorithm, b"") else {
                panic!("{secret} is no key");
            };
            assert!(!reason.contains("hunter2") && !reason.contains("!!"));
        }
    }
}
