//! What the configuration accepts the rooms accept, and nothing else. Rooms do not depend on each other, so that each of these
//! rules stands in two of them; here both are asked about the same texts.

use std::{io, path::Path};

use router_access::{Access, AccessSettings, Roles, SessionKey, TokenHash, TokenSettings};
use router_config::{Environment, load};
use router_core::Role;
use router_telemetry::{LogOptions, logs};

/// Asks the configuration, with a text in place of `@` in its file, and a room. Texts of both answers have to be there.
fn agree(file: &str, texts: &[&str], room: impl Fn(&str) -> bool) {
    let environment = Environment::new("/srv", [("", ""); 0]);
    let mut taken = 0;
    for text in texts {
        let quoted = serde_json::to_string(text).unwrap();
        let read = load(
            &file.replace('@', &quoted),
            Path::new("router.toml"),
            &environment,
        );
        assert_eq!(read.is_ok(), room(text), "{text:?}: {read:?}");
        taken += usize::from(read.is_ok());
    }
    assert!(taken > 0 && taken < texts.len(), "{taken}");
}

fn is_settled(settings: &AccessSettings) -> bool {
    Access::new(settings).is_ok()
}

#[test]
fn hosts() {
    let long = "a".repeat(254);
    let label = format!("{}.b", "a".repeat(64));
    let texts = [
        "localhost",
        "a.b.c",
        "Router.Example.",
        "router_1.internal",
        "-a-.b",
        "10.0.0.1",
        "10.0.0.1.",
        "[::1]",
        "[::ffff:10.0.0.1]:443",
        "exact.example:8443",
        "a:1",
        "a:65535",
        "a:00080",
        "a.",
        &label,
        "",
        ".",
        "a b",
        "a..b",
        "a..",
        "a/b",
        "ä",
        "user@a",
        "https://a",
        "router.1",
        "127.1",
        "0127.0.0.1",
        "2130706433",
        "0x7f.0.0.1",
        "0x7f000001",
        "0X7f",
        "1.2.3.4.5",
        "a.0x",
        "a:",
        "a:0",
        "a:+1",
        "a:000080",
        "a:65536",
        "a:1:1",
        ":1",
        "::1",
        "[::1",
        "[::1]1",
        "[::1]:",
        "[::1]]",
        "[10.0.0.1]",
        "[::1%lo]",
        " a",
        "a\t",
        "*",
        &long,
    ];
    agree("[server]\nallowed_hosts = [@]", &texts, |text| {
        is_settled(&AccessSettings {
            allowed_hosts: vec![text.to_owned()],
            ..AccessSettings::default()
        })
    });
}

#[test]
fn origins() {
    let texts = [
        "https://console.example",
        "HTTP://localhost:5173",
        "vscode-webview://abc123",
        "a+b.c://x",
        "http://[::1]:1",
        "https://a.",
        "ftp://x",
        "",
        "null",
        "*",
        "localhost",
        "http:a",
        "http://",
        "http://a/",
        "http://a/b",
        "http://a?b",
        "http://a#b",
        "http://user@a",
        "http://a http://b",
        "http://router.1",
        "http://a:0",
        "http://a:",
        "://a",
        "1http://a",
        "ht_tp://a",
        " http://a",
        "http://a ",
        "http://ä",
        "http://a://b",
    ];
    agree("[server]\nallowed_origins = [@]", &texts, |text| {
        is_settled(&AccessSettings {
            allowed_origins: vec![text.to_owned()],
            ..AccessSettings::default()
        })
    });
}

#[test]
fn log_levels() {
    let texts = [
        "info",
        " WARN ",
        "warning",
        "off",
        "trace",
        "router_proxy=debug",
        "info,router_proxy=TRACE",
        "router_Proxy::Post = debug , info",
        "a=info,a=debug",
        "audit=off",
        "",
        " ",
        "inof",
        "info,",
        ",info",
        "info,debug",
        "info;debug",
        "=debug",
        "a=",
        "a=loud",
        "a=b=info",
        "a b=info",
        "a-b=info",
        "[span]=info",
        "5",
        "info,,debug",
        "ÖFF",
    ];
    agree("[logging]\nlevel = @", &texts, |text| {
        let options = LogOptions {
            dir: None,
            level: text.to_owned(),
            ..LogOptions::default()
        };
        logs::start(&options, Box::new(io::sink())).is_ok()
    });
}

#[test]
fn session_keys() {
    let (long, longer, zeros) = ("ab".repeat(2_048), "ab".repeat(2_049), "0".repeat(64));
    let texts = [
        "0123456789abcdef0123456789abcdef",
        "  0123456789abcdef0123456789abcdef\n",
        &long,
        "",
        "0123456789abcdef0123456789abcde",
        &longer,
        &zeros,
        "two words and some more of them here",
        "0123456789abcdef\t0123456789abcdef",
        "ä0123456789abcdef0123456789abcdef",
    ];
    agree("[server]\nsession_key = @", &texts, |text| {
        SessionKey::from_text(text).is_ok()
    });
}

#[test]
fn names_of_tokens() {
    let (long, longer) = ("a".repeat(64), "a".repeat(65));
    let hash = TokenHash::of("x");
    let file = format!("[[token]]\nname = @\nsha256 = \"{hash}\"\nroles = [\"viewer\"]");
    let texts = [
        "grafana",
        "a.b_c@d-e",
        "7",
        &long,
        "",
        ".a",
        "-a",
        "a b",
        "a/b",
        "ä",
        &longer,
    ];
    agree(&file, &texts, |text| {
        is_settled(&AccessSettings {
            tokens: vec![token(text, "x")],
            ..AccessSettings::default()
        })
    });
}

fn token(name: &str, secret: &str) -> TokenSettings {
    TokenSettings {
        name: name.to_owned(),
        roles: Roles::of(&[Role::Viewer]),
        hash: TokenHash::of(secret),
        instances: None,
    }
}

#[test]
fn addresses_without_a_token() {
    let texts = [
        "127.0.0.1:0",
        "127.9.9.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "0.0.0.0:1",
        "[::]:1",
        "10.0.0.1:1",
        "[::ffff:10.0.0.1]:1",
    ];
    agree("[server]\nlisten = @", &texts, |text| {
        is_settled(&AccessSettings {
            listen: vec![text.parse().unwrap()],
            ..AccessSettings::default()
        })
    });
}

#[test]
fn numbers_of_tokens() {
    let environment = Environment::new("/srv", [("", ""); 0]);
    for (count, taken) in [(256, true), (257, false)] {
        let tokens: Vec<TokenSettings> = (0..count)
            .map(|n| token(&format!("t{n}"), &n.to_string()))
            .collect();
        let section = |token: &TokenSettings| {
            let (name, hash) = (&token.name, token.hash);
            format!("[[token]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nroles = [\"viewer\"]\n")
        };
        let file: String = tokens.iter().map(section).collect();
        let read = load(&file, Path::new("router.toml"), &environment);
        assert_eq!(read.is_ok(), taken, "{count}: {read:?}");
        let settings = AccessSettings {
            tokens,
            ..AccessSettings::default()
        };
        assert_eq!(is_settled(&settings), taken, "{count}");
    }
}
