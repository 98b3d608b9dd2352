//! How a line looks, whatever is put into it.

use std::{error::Error, fmt, io};

use proptest::prelude::*;
use serde_json::Value;

use super::{Bench, LogFormat, line};
use crate::logs::{escape, line::Fields};

#[test]
fn a_text_line_has_time_level_origin_message_phrases_and_fields() {
    let text = line(LogFormat::Text, || {
        tracing::warn!(target: "router_proxy", instance = "demo", kind = "timeout", elapsed_ms = 5_000, reason = "no answer", "request failed");
    });
    assert_eq!(
        text,
        "2026-01-02T03:04:05.678Z  WARN router_proxy: request failed version_id: demo TIMEOUT kind=timeout elapsed_ms=5000 reason=\"no answer\"\n"
    );
}

#[test]
fn a_json_line_is_one_flat_object_and_holds_the_phrases() {
    let text = line(LogFormat::Json, || {
        tracing::error!(target: "router_proxy", instance = "demo", kind = "timeout", elapsed_ms = 5_000, share = 0.5, bad = f64::NAN, retried = true, level = "mine", "request failed");
    });
    assert_eq!(text.lines().count(), 1);
    let value: Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "timestamp": "2026-01-02T03:04:05.678Z", "level": "ERROR", "target": "router_proxy", "message": "request failed",
        "words": "version_id: demo TIMEOUT", "instance": "demo", "kind": "timeout", "elapsed_ms": 5000, "share": 0.5,
        "bad": "NaN", "retried": true, "level_": "mine",
    });
    assert_eq!(value, expected);
}

#[test]
fn what_the_message_says_already_is_not_said_twice() {
    let cases: [(fn(), &str); 6] = [
        (
            || tracing::info!(instance = "demo", "swept (version_id: demo)"),
            "swept (version_id: demo)",
        ),
        (
            || tracing::info!(instance = "4", "swept (version_id: 42)"),
            "swept (version_id: 42) version_id: 4",
        ),
        (
            || tracing::info!(kind = "validation", "VALIDATION: refused"),
            "VALIDATION: refused kind=validation",
        ),
        (
            || tracing::info!(instance = "a", version_id = "a", "x"),
            "x version_id: a",
        ),
        (|| tracing::info!(instance = "", "x"), "x"),
        (
            || tracing::info!(kind = "breaker", state = "OPEN", "circuit breaker opened"),
            "circuit breaker opened kind=breaker state=OPEN",
        ),
    ];
    for (say, expected) in cases {
        let text = line(LogFormat::Text, say);
        let (_, rest) = text.split_once(": ").unwrap();
        assert_eq!(rest.trim_end(), expected);
    }
}

#[derive(Debug)]
struct Outer(io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot read the page")
    }
}

impl Error for Outer {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn an_error_is_logged_with_its_causes() {
    let text = line(LogFormat::Text, || {
        let error = Outer(io::Error::other("disk on fire"));
        tracing::error!(error = &error as &dyn Error, "it failed");
    });
    assert!(
        text.ends_with("it failed error=\"cannot read the page: disk on fire\"\n"),
        "{text}"
    );
}

#[test]
fn fields_of_spans_count_for_their_lines() {
    let text = line(LogFormat::Text, || {
        let outer = tracing::info_span!(
            "serve",
            instance = "demo",
            request_id = 1,
            state = tracing::field::Empty
        );
        let _outer = outer.enter();
        let inner = tracing::info_span!("call", request_id = 2);
        let _inner = inner.enter();
        outer.record("state", "late");
        tracing::info!(own = 3, "done");
    });
    assert!(
        text.ends_with("done version_id: demo request_id=2 state=late own=3\n"),
        "{text}"
    );
}

/// What somebody would send to make one line look like two, or like another instance's.
const HOSTILE: &str = "x\n2026-01-02T03:04:05.678Z ERROR router: forged version_id: victim\r\u{1b}[2J\u{1b}[31m\u{9b}31m\u{0}\u{85}\u{2028}\u{202e}\"\\\t";

#[test]
fn nothing_that_is_sent_can_break_a_line_or_reach_the_terminal() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = line(format, || {
            tracing::warn!(instance = HOSTILE, reason = HOSTILE, other = ?HOSTILE, "said {HOSTILE}");
        });
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let body = text.trim_end_matches('\n');
        let unsafe_char = body
            .chars()
            .find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}'));
        assert_eq!(unsafe_char, None, "{text:?}");
        if format == LogFormat::Json {
            let value: Value = serde_json::from_str(body).unwrap();
            assert_eq!(value["reason"], HOSTILE, "nothing is lost either");
        }
    }
}

proptest! {
    #[test]
    fn every_value_stays_on_its_line_and_json_gives_it_back(text in any::<String>()) {
        let mut bare = String::new();
        escape::bare(&mut bare, &text);
        let mut value = String::new();
        escape::value(&mut value, &text);
        for written in [&bare, &value] {
            prop_assert!(!written.chars().any(char::is_control));
        }
        let parts = value.split(' ').count();
        prop_assert!(parts == 1 || (value.starts_with('"') && value.ends_with('"')));
        let mut json = String::new();
        escape::json(&mut json, &text);
        prop_assert!(!json.chars().any(char::is_control));
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}

/// Endless, as a Debug that loops would be.
struct Endless;

impl fmt::Debug for Endless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        loop {
            f.write_str("ä and more ")?;
        }
    }
}

#[test]
fn however_much_is_said_a_line_is_bounded() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let text = line(format, || {
            let long = "ü".repeat(1 << 20);
            tracing::info!(a = ?Endless, b = %long, c = long, d = long, e = long, f = long, g = 7, "{:?}", Endless);
        });
        assert!(
            text.len() < 20_000 && text.contains("[cut]"),
            "{} bytes",
            text.len()
        );
        assert!(
            text.contains("g=7") || text.contains("\"g\":7"),
            "numbers stay"
        );
    }
}

#[test]
fn a_span_that_records_for_ever_does_not_grow() {
    let bench = Bench::new(|_| {});
    bench.log(|| {
        let span = tracing::info_span!("long", state = tracing::field::Empty);
        let _entered = span.enter();
        for at in 0..10_000 {
            span.record("state", "a state of some length".repeat(10).as_str());
            if at == 9_999 {
                tracing::info!("still here");
            }
        }
    });
    let (stdout, _dir) = bench.finish();
    assert!(stdout.len() < 1_000, "{}", stdout.len());
    assert!(
        stdout.contains("a state of some length"),
        "the latest value is logged: {stdout}"
    );
    assert!(Fields::default().list.is_empty());
}
