//! Ids that are ours, and everything else.

use proptest::prelude::*;
use router_core::InstanceId;

use super::{OpenError, SealError, SessionClaims, SessionSealer, TOKEN_BYTES_MAX};
use crate::key::SessionKey;

fn key(seed: u8) -> SessionKey {
    SessionKey::from_text(&format!("{seed:03}-0123456789abcdef0123456789abcdef")).unwrap()
}

fn sealer(seed: u8) -> SessionSealer {
    SessionSealer::new(&key(seed), &[])
}

fn claims() -> SessionClaims {
    SessionClaims {
        instance: InstanceId::parse("maze@1.0.2").unwrap(),
        version: "2025-11-25".into(),
        capabilities: 0b101,
        expires_unix_s: 2_000_000_000,
        nonce: [7; 16],
    }
}

prop_compose! {
    fn any_claims()(
        instance in "[A-Za-z0-9][A-Za-z0-9._@-]{0,63}",
        version in "[!-~]{1,64}",
        capabilities: u32,
        expires_unix_s: u64,
        nonce: [u8; 16],
    ) -> SessionClaims {
        let instance = InstanceId::parse(&instance).unwrap();
        SessionClaims { instance, version, capabilities, expires_unix_s, nonce }
    }
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened_as_it_was(claims in any_claims()) {
        let id = sealer(1).seal(&claims).unwrap();
        prop_assert!(id.len() <= TOKEN_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert_eq!(sealer(1).open(&id), Ok(claims));
        prop_assert_eq!(sealer(2).open(&id), Err(OpenError::Signature));
    }

    #[test]
    fn garbage_is_refused_without_harm(text in ".{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use base64::Engine;
        prop_assert!(sealer(1).open(&text).is_err());
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        prop_assert!(sealer(1).open(&encoded).is_err());
    }

    #[test]
    fn any_other_text_of_the_same_length_is_refused(claims in any_claims(), at: prop::sample::Index, letter in "[ -~]") {
        let id = sealer(1).seal(&claims).unwrap();
        let at = at.index(id.len());
        let mut changed = id.clone();
        changed.replace_range(at..=at, &letter);
        prop_assume!(changed != id);
        prop_assert!(sealer(1).open(&changed).is_err());
    }
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let sealer = sealer(1);
    let id = sealer.seal(&claims()).unwrap();
    for at in 0..id.len() {
        for bit in 0..7 {
            let mut bytes = id.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let text = String::from_utf8(bytes).unwrap();
            assert!(sealer.open(&text).is_err(), "bit {bit} of character {at}");
        }
        assert!(sealer.open(&id[..at]).is_err(), "cut to {at}");
    }
    for appended in ["=", "A", "AA", "AAAA", " ", "\n"] {
        assert!(
            sealer.open(&format!("{id}{appended}")).is_err(),
            "{appended:?}"
        );
    }
}

#[test]
fn replaced_keys_open_but_do_not_seal() {
    let old_id = sealer(1).seal(&claims()).unwrap();
    let rotated = SessionSealer::new(&key(2), &[key(1)]);
    assert_eq!(rotated.open(&old_id), Ok(claims()));
    let new_id = rotated.seal(&claims()).unwrap();
    assert_eq!(sealer(2).open(&new_id), Ok(claims()));
    assert_eq!(sealer(1).open(&new_id), Err(OpenError::Signature));
    assert_eq!(
        SessionSealer::new(&key(3), &[key(4)]).open(&old_id),
        Err(OpenError::Signature)
    );
}

#[test]
fn an_unknown_format_is_told_apart() {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let id = sealer(1).seal(&claims()).unwrap();
    let mut bytes = engine.decode(id).unwrap();
    bytes[0] = 2;
    assert_eq!(
        sealer(1).open(&engine.encode(bytes)),
        Err(OpenError::Format(2))
    );
}

#[test]
fn a_version_that_cannot_be_in_an_id_is_refused() {
    let long = "x".repeat(65);
    for version in ["", "2025 11", "2025\n", "é", long.as_str()] {
        let claims = SessionClaims {
            version: version.to_owned(),
            ..claims()
        };
        assert!(
            matches!(sealer(1).seal(&claims), Err(SealError::Version { .. })),
            "{version:?}"
        );
    }
}
