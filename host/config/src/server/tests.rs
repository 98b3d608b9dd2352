//! Which tokens and addresses are taken.

use std::path::Path;

use router_values::TokenHash;

use crate::{Config, Environment, Faults, load};

fn read(text: &str) -> Result<Config, Faults> {
    let environment = Environment::new("/srv", [("", ""); 0]);
    load(text, Path::new("router.toml"), &environment)
}

fn token(name: &str, secret: &str) -> String {
    let (name, hash) = (format!("{name:?}"), TokenHash::of(secret));
    format!("[[token]]\nname = {name}\nsha256 = \"{hash}\"\nroles = [\"viewer\"]\n")
}

#[test]
fn names_of_tokens_are_short_and_plain() {
    let (long, longer) = ("a".repeat(64), "a".repeat(65));
    for (name, taken) in [
        ("grafana", true),
        ("a.b_c@d-e", true),
        ("7", true),
        (long.as_str(), true),
        ("", false),
        (".a", false),
        (".hidden", false),
        ("-a", false),
        ("a b", false),
        ("two words", false),
        ("a/b", false),
        ("ä", false),
        (longer.as_str(), false),
    ] {
        let read = read(&token(name, "x"));
        assert_eq!(read.is_ok(), taken, "{name:?}: {read:?}");
    }
}

#[test]
fn the_number_of_tokens_is_bounded() {
    for (count, taken) in [(256, true), (257, false)] {
        let text: String = (0..count)
            .map(|number| token(&format!("t{number}"), &number.to_string()))
            .collect();
        let read = read(&text);
        assert_eq!(read.is_ok(), taken, "{count}: {read:?}");
    }
}

#[test]
fn listening_for_other_machines_needs_a_token() {
    for (listen, reachable) in [
        ("127.0.0.1:0", false),
        ("127.9.9.9:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("10.0.0.1:1", true),
        ("[::ffff:10.0.0.1]:1", true),
    ] {
        let open = format!("[server]\nlisten = \"{listen}\"\n");
        assert_eq!(read(&open).is_err(), reachable, "{listen}");
        read(&format!("{open}{}", token("one", "x"))).unwrap();
    }
}
