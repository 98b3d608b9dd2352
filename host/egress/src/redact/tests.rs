use std::collections::BTreeMap;

use router_values::Secret;

use super::Redactor;
use crate::{message::BODY_BYTES_MAX, secrets::Secrets};

fn redactor(values: &[&str]) -> Redactor {
    let pairs = values.iter().enumerate();
    let pairs = pairs.map(|(at, value)| (format!("s{at}"), Secret::new(*value)));
    let secrets: BTreeMap<_, _> = pairs.collect();
    Redactor::new(&Secrets::new(secrets).unwrap())
}

#[test]
fn a_secret_is_found_however_it_is_written() {
    let redactor = redactor(&["p\"q\\r/s&t u<v>'w\u{e9}"]);
    for written in [
        "p\"q\\r/s&t u<v>'w\u{e9}",
        "p%22q%5Cr%2Fs%26t%20u%3Cv%3E%27w%C3%A9",
        "p%22q%5cr%2fs%26t%20u%3cv%3e%27w%c3%a9",
        "p%22q%5Cr%2Fs%26t+u%3Cv%3E%27w%C3%A9",
        "p\\\"q\\\\r/s&t u<v>'w\u{e9}",
        "p\\\"q\\\\r\\/s&t u<v>'w\u{e9}",
        "p&quot;q\\r/s&amp;t u&lt;v&gt;&#39;w\u{e9}",
        "cCJxXHIvcyZ0IHU8dj4nd8Op",
    ] {
        let cut = redactor.text(&format!("no such token: {written}!"));
        assert_eq!(cut, "no such token: [redacted]!", "{written}");
    }
}

#[test]
fn an_address_is_found_by_its_path_and_a_key_without_its_prefix() {
    let redactor = redactor(&[
        "https://hooks.example/services/T0/B0/abc",
        "whsec_c2VjcmV0IGtleQ==",
        "https://a.example/",
    ]);
    for (text, cut) in [
        (
            "POST https://hooks.example/services/T0/B0/abc failed",
            "POST [redacted] failed",
        ),
        ("cannot POST /services/T0/B0/abc", "cannot POST [redacted]"),
        (
            "at hooks.example/services/T0/B0/abc?x",
            "at hooks.example[redacted]?x",
        ),
        ("key c2VjcmV0IGtleQ==", "key [redacted]"),
        ("a / is no secret", "a / is no secret"),
    ] {
        assert_eq!(redactor.text(text), cut);
    }
}

#[test]
fn the_longer_of_two_secrets_is_cut_out_whole() {
    let redactor = redactor(&["abcd1234", "abcd1234efgh"]);
    assert_eq!(
        redactor.text("abcd1234efgh abcd1234"),
        "[redacted] [redacted]"
    );
}

#[test]
fn a_body_that_is_cut_ends_with_no_part_of_a_secret() {
    let secret = "0123456789abcdef".repeat(20);
    let redactor = redactor(&[&secret]);
    let read = redactor.body_bytes_max();
    assert!(read >= BODY_BYTES_MAX + secret.len());
    // Many secrets make what is kept shorter, so that what was read last comes to stand within the bound.
    let mut body = secret.repeat(100);
    body.push_str(&"x".repeat(read - body.len() - 100));
    body.push_str(&secret[..100]);
    assert_eq!(body.len(), read);
    let kept = String::from_utf8(redactor.body(body.as_bytes(), true)).unwrap();
    assert!(
        kept.len() < BODY_BYTES_MAX && kept.ends_with("xx"),
        "a part of it is left"
    );
    let whole = redactor.body(&body.as_bytes()[..200], false);
    assert_eq!(whole.len(), 200, "a whole body is not cut");
    let long = redactor.body("y".repeat(read).as_bytes(), true);
    assert_eq!(long.len(), BODY_BYTES_MAX);
}
