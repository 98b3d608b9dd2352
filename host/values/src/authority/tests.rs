//! Spellings of hosts.

use super::{Authority, is_reachable};

fn canonical(text: &str) -> Option<String> {
    Authority::parse(text)
        .ok()
        .map(|authority| authority.to_string())
}

#[test]
fn each_host_has_one_canonical_form() {
    let cases = [
        ("localhost", "localhost"),
        ("LOCALHOST:3002", "localhost:3002"),
        ("localhost.", "localhost"),
        ("localhost.:3002", "localhost:3002"),
        ("router_1.internal:80", "router_1.internal:80"),
        ("127.0.0.1:3002", "127.0.0.1:3002"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[::1]:3002", "[::1]:3002"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[::ffff:127.0.0.1]:3002", "127.0.0.1:3002"),
        ("[::FFFF:7f00:1]", "127.0.0.1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("-a-.b", "-a-.b"),
        ("a:00080", "a:80"),
        ("a:65535", "a:65535"),
    ];
    for (text, expected) in cases {
        assert_eq!(canonical(text).as_deref(), Some(expected), "{text:?}");
    }
}

#[test]
fn a_label_may_be_longer_than_resolvers_take() {
    let label = format!("{}.b", "a".repeat(64));
    assert_eq!(canonical(&label), Some(label));
}

#[test]
fn whatever_is_not_plainly_a_host_is_refused() {
    let long = "a".repeat(254);
    let cases = [
        "",
        ".",
        ":3002",
        "localhost:",
        "localhost:0",
        "localhost:+80",
        "localhost:65536",
        "localhost:000080",
        "[::1]]",
        "a/b",
        "https://a",
        "router.1",
        "1.2.3.4.5",
        "a.0x",
        "0X7f",
        "a:1:1",
        "a\t",
        "*",
        "localhost:80:80",
        "localhost:80 ",
        " localhost",
        "local host",
        "localhost,evil.example",
        "localhost/",
        "localhost#",
        "localhost?x",
        "localhost\\evil",
        "localhost@evil.example",
        "user:pass@localhost",
        "localhost..",
        "a..b",
        "::1",
        "[::1",
        "[::1]3002",
        "[::1]:",
        "[127.0.0.1]",
        "[::1%lo]:3002",
        "127.1",
        "127.0.0.1.1",
        "0127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "bücher.example",
        "localhost\0",
        long.as_str(),
    ];
    for text in cases {
        assert_eq!(canonical(text), None, "{text:?}");
    }
}

#[test]
fn only_names_and_addresses_of_this_machine_are_loopback() {
    let cases = [
        ("localhost", true),
        ("LocalHost.:1", true),
        ("127.0.0.1", true),
        ("127.200.3.4:1", true),
        ("[::1]", true),
        ("[::ffff:127.0.0.1]", true),
        ("0.0.0.0", false),
        ("[::]", false),
        ("localhost.evil.example", false),
        ("evil-localhost", false),
        ("app.localhost", false),
        ("127.0.0.1.nip.io", false),
        ("128.0.0.1", false),
        ("[::ffff:128.0.0.1]", false),
    ];
    for (text, expected) in cases {
        let host = Authority::parse(text).unwrap().host;
        assert_eq!(host.is_loopback(), expected, "{text:?}");
    }
}

#[test]
fn what_listens_on_loopback_is_reached_from_this_machine_only() {
    for (address, reachable) in [
        ("127.0.0.1:0", false),
        ("127.9.9.9:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("10.0.0.1:1", true),
        ("[::ffff:10.0.0.1]:1", true),
    ] {
        assert_eq!(
            is_reachable(address.parse().unwrap()),
            reachable,
            "{address}"
        );
    }
}
