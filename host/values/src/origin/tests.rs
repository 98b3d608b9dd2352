//! Spellings of origins.

use super::{InvalidOrigin, Origin};

#[test]
fn origins_are_compared_by_scheme_host_and_port() {
    let same = [
        ("http://localhost:80", "HTTP://LocalHost"),
        ("https://router.example", "https://router.example.:443"),
        ("http://[::ffff:10.0.0.1]:1", "http://10.0.0.1:1"),
        ("vscode-webview://abc123", "vscode-webview://abc123"),
    ];
    for (a, b) in same {
        assert_eq!(Origin::parse(a).unwrap(), Origin::parse(b).unwrap());
    }
    let different = [
        ("http://a.example", "https://a.example"),
        ("http://a.example", "http://a.example:8080"),
        ("http://a.example", "http://b.a.example"),
        ("http://a.example", "http://a.example.evil.example"),
    ];
    for (a, b) in different {
        assert_ne!(Origin::parse(a).unwrap(), Origin::parse(b).unwrap());
    }
    for bad in [
        "",
        "null",
        "localhost",
        "http://",
        "http://a/",
        "http://a/b",
        "http://a http://b",
        "http://user@a",
        "://a",
        "1http://a",
        "http:a",
        "*",
        "http://a?b",
        "http://a#b",
        "http://router.1",
        "http://a:0",
        "http://a:",
        "ht_tp://a",
        " http://a",
        "http://a ",
        "http://ä",
        "http://a://b",
    ] {
        assert!(Origin::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn pages_may_have_any_scheme_with_a_host() {
    for (text, shown) in [
        ("https://console.example", "https://console.example"),
        ("HTTP://localhost:5173", "http://localhost:5173"),
        ("vscode-webview://abc123", "vscode-webview://abc123"),
        ("a+b.c://x", "a+b.c://x"),
        ("http://[::1]:1", "http://[::1]:1"),
        ("https://a.", "https://a"),
        ("ftp://x", "ftp://x"),
    ] {
        let parsed = Origin::parse(text).map(|origin| origin.to_string());
        assert_eq!(parsed.as_deref(), Ok(shown), "{text}");
    }
}

#[test]
fn requests_go_to_a_host_over_http_and_to_nothing_behind_it() {
    let shown = |text: &str| Origin::parse_http(text).map(|origin| origin.to_string());
    for (text, expected) in [
        ("https://Hooks.Slack.com", "https://hooks.slack.com"),
        ("https://hooks.slack.com:443", "https://hooks.slack.com"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ] {
        assert_eq!(shown(text).as_deref(), Ok(expected));
    }
    for (bad, what) in [
        ("hooks.slack.com", InvalidOrigin::Scheme),
        ("ftp://x", InvalidOrigin::NotHttp),
        ("https://", InvalidOrigin::Host),
        ("https://a/b", InvalidOrigin::Trailing),
        ("https://a?b", InvalidOrigin::Trailing),
        ("https://a:0", InvalidOrigin::Port),
        ("https://a:x", InvalidOrigin::Port),
        ("https://a:", InvalidOrigin::Port),
        ("https://a:70000", InvalidOrigin::Port),
        ("https://user@host", InvalidOrigin::Host),
        ("https://[::1", InvalidOrigin::Host),
        ("https://a..b", InvalidOrigin::Host),
        ("https://*.a", InvalidOrigin::Host),
        ("https://[x]:1", InvalidOrigin::Host),
        ("https://a:+1", InvalidOrigin::Port),
    ] {
        assert_eq!(Origin::parse_http(bad), Err(what), "{bad}");
    }
}
