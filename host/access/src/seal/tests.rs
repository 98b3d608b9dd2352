//! Ids that are ours, and everything else.

use proptest::prelude::*;
use router_values::SessionKey;

use super::{PAYLOAD_BYTES_MAX, SealPurpose, Sealer, TOKEN_BYTES_MAX, UnsealError};

const PAYLOAD: &[u8] = b"2025-11-25 maze@1.0.2";

fn key(seed: u8) -> SessionKey {
    SessionKey::parse(&format!("{seed:03}-0123456789abcdef0123456789abcdef")).unwrap()
}

fn sealer(seed: u8) -> Sealer {
    Sealer::new(SealPurpose::Session, &key(seed), &[])
}

fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=PAYLOAD_BYTES_MAX)
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened_as_it_was(payload in any_payload()) {
        let id = sealer(1).seal(&payload);
        prop_assert!(id.len() <= TOKEN_BYTES_MAX && id.bytes().all(|b| b.is_ascii_graphic()));
        prop_assert_eq!(sealer(1).open(&id), Ok(payload));
        prop_assert_eq!(sealer(2).open(&id), Err(UnsealError::Signature));
    }

    #[test]
    fn garbage_is_refused_without_harm(text in ".{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use base64::Engine;
        prop_assert!(sealer(1).open(&text).is_err());
        let encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        prop_assert!(sealer(1).open(&encoded).is_err());
    }

    #[test]
    fn any_other_text_of_the_same_length_is_refused(payload in any_payload(), at: prop::sample::Index, letter in "[ -~]") {
        let id = sealer(1).seal(&payload);
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
    let id = sealer.seal(PAYLOAD);
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
    let old_id = sealer(1).seal(PAYLOAD);
    let rotated = Sealer::new(SealPurpose::Session, &key(2), &[key(1)]);
    assert_eq!(rotated.open(&old_id), Ok(PAYLOAD.to_vec()));
    let new_id = rotated.seal(PAYLOAD);
    assert_eq!(sealer(2).open(&new_id), Ok(PAYLOAD.to_vec()));
    assert_eq!(sealer(1).open(&new_id), Err(UnsealError::Signature));
    assert_eq!(
        Sealer::new(SealPurpose::Session, &key(3), &[key(4)]).open(&old_id),
        Err(UnsealError::Signature)
    );
}

#[test]
fn an_unknown_format_is_distinguished() {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let id = sealer(1).seal(PAYLOAD);
    let mut bytes = engine.decode(id).unwrap();
    bytes[0] = 2;
    assert_eq!(
        sealer(1).open(&engine.encode(bytes)),
        Err(UnsealError::Format(2))
    );
}

#[test]
fn a_token_is_good_for_its_own_purpose_only() {
    let link = Sealer::new(SealPurpose::AckLink, &key(1), &[]).seal(PAYLOAD);
    assert_eq!(sealer(1).open(&link), Err(UnsealError::Signature));
    let links = Sealer::new(SealPurpose::AckLink, &key(1), &[]);
    assert_eq!(links.open(&link), Ok(PAYLOAD.to_vec()));
    let id = sealer(1).seal(PAYLOAD);
    assert_eq!(links.open(&id), Err(UnsealError::Signature));
}
