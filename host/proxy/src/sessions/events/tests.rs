use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::{EventBudget, EventLog, ReaderId};
use crate::config::ProxyLimits;

fn log() -> EventLog {
    let limits = ProxyLimits {
        kept_events_max: 4,
        kept_bytes_max: 1000,
        unsent_events_max: 8,
        unsent_bytes_max: 2000,
        ..ProxyLimits::default()
    };
    EventLog::new("e1", &limits, EventBudget::new(&limits))
}

/// What a reader gets without waiting: the data of each event, and `$` for the end.
fn drain(log: &mut EventLog, reader: ReaderId) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        match log.poll_next(reader, &Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(frame)) => {
                let frame = String::from_utf8(frame.to_vec()).unwrap();
                let (_, data) = frame.split_once("data: ").unwrap();
                seen.push(data.trim_end_matches('\n').to_owned());
            }
            Poll::Ready(None) => {
                seen.push("$".to_owned());
                return seen;
            }
            Poll::Pending => return seen,
        }
    }
}

#[test]
fn a_stream_is_read_in_order_to_its_end() {
    let mut log = log();
    let stream = log.open(true);
    log.push(stream, "a");
    let reader = log.read(stream).unwrap();
    assert_eq!(drain(&mut log, reader), ["a"]);
    log.push(stream, "b");
    log.finish(stream);
    assert_eq!(drain(&mut log, reader), ["b", "$"]);
}

#[test]
fn a_client_resumes_after_the_last_event_it_names() {
    let mut log = log();
    let stream = log.open(true);
    for message in ["a", "b", "c"] {
        log.push(stream, message);
    }
    let reader = log.read(stream).unwrap();
    assert_eq!(drain(&mut log, reader), ["a", "b", "c"]);
    log.leave(reader);
    log.push(stream, "d");
    log.finish(stream);
    for (last, expected) in [
        ("e1.1.0", vec!["b", "c", "d", "$"]),
        ("e1.1.2", vec!["d", "$"]),
        ("e1.1.3", vec!["$"]),
    ] {
        let found = log.rewind(last).unwrap();
        let reader = log.read(found).unwrap();
        assert_eq!(drain(&mut log, reader), expected, "{last}");
    }
    for unknown in [
        "e0.1.0",
        "e1.2.0",
        "e1.1.4",
        "e1.1",
        "",
        "..",
        "e1.x.y",
        "e1.1.99999999999999999999999",
    ] {
        assert_eq!(log.rewind(unknown), None, "{unknown}");
    }
}

#[test]
fn a_new_reader_takes_the_place_of_the_one_before() {
    let mut log = log();
    let stream = log.open(false);
    let first = log.read(stream).unwrap();
    let second = log.read(stream).unwrap();
    log.push(stream, "a");
    assert_eq!(drain(&mut log, first), ["$"]);
    assert_eq!(drain(&mut log, second), ["a"]);
    // The end of the one before is no end of its successor.
    log.leave(first);
    log.push(stream, "b");
    assert_eq!(drain(&mut log, second), ["b"]);
}

#[test]
fn messages_of_the_session_go_to_exactly_one_stream() {
    let mut log = log();
    assert!(log.push_to_session("early").is_some());
    let waiting = log.waiting_stream().unwrap();
    let first = log.read(waiting).unwrap();
    let other = log.open(false);
    let second = log.read(other).unwrap();
    log.push_to_session("now");
    assert_eq!(drain(&mut log, first), ["early", "now"]);
    assert!(drain(&mut log, second).is_empty());
    log.leave(first);
    log.push_to_session("later");
    assert_eq!(drain(&mut log, second), ["later"]);
    // Answers to requests are not for it, nor is a closed log.
    let answer = log.open(true);
    log.read(answer).unwrap();
    log.leave(second);
    log.push_to_session("last");
    assert!(log.waiting_stream().is_some_and(|stream| stream != answer));
    log.close();
    assert!(log.push_to_session("gone").is_none());
    assert_eq!(log.read(answer), None);
}

#[test]
fn a_reader_that_falls_behind_loses_its_connection_and_not_its_events() {
    let mut log = log();
    let stream = log.open(false);
    let reader = log.read(stream).unwrap();
    for n in 0..9 {
        let pushed = log.push(stream, &n.to_string());
        assert_eq!((pushed.slow_closed, pushed.dropped), (false, 0), "{n}");
    }
    let pushed = log.push(stream, "9");
    assert_eq!((pushed.slow_closed, pushed.dropped), (true, 0));
    assert_eq!(drain(&mut log, reader), ["$"]);
    let reader = log.read(stream).unwrap();
    let all: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(drain(&mut log, reader), all);
}

#[test]
fn what_waited_before_a_reader_came_is_no_fault_of_its_own() {
    let mut log = log();
    let stream = log.open(false);
    for n in 0..15 {
        log.push(stream, &n.to_string());
    }
    let reader = log.read(stream).unwrap();
    assert!(!log.push(stream, "15").slow_closed);
    assert_eq!(drain(&mut log, reader).len(), 16);
}

#[test]
fn a_reader_that_stays_away_loses_the_oldest_events() {
    let mut log = log();
    let stream = log.open(false);
    let dropped: u64 = (0..20)
        .map(|n| log.push(stream, &n.to_string()).dropped)
        .sum();
    assert_eq!(dropped, 4);
    let reader = log.read(stream).unwrap();
    let newest: Vec<String> = (4..20).map(|n| n.to_string()).collect();
    assert_eq!(drain(&mut log, reader), newest);
}

#[test]
fn one_long_event_is_no_fault_of_its_reader() {
    let mut log = log();
    let stream = log.open(true);
    let reader = log.read(stream).unwrap();
    let long = "x".repeat(1_000_000);
    let pushed = log.push(stream, &long);
    assert!(!pushed.slow_closed && pushed.dropped == 0);
    log.finish(stream);
    assert_eq!(drain(&mut log, reader), [&long, "$"]);
}

#[test]
fn abandoned_answers_are_kept_only_within_the_bound() {
    let mut log = log();
    for n in 0..100 {
        let stream = log.open(true);
        log.push(stream, &format!("{n}{}", "x".repeat(200)));
        log.finish(stream);
        assert!(log.streams.len() <= 17, "{}", log.streams.len());
    }
    assert!(log.rewind("e1.1.0").is_none());
    assert!(
        log.streams
            .values()
            .map(|stream| stream.bytes)
            .sum::<usize>()
            <= 4000
    );
}

#[test]
fn what_a_client_has_by_its_own_word_counts_as_sent() {
    let mut log = log();
    let stream = log.open(false);
    for n in 0..16 {
        log.push(stream, &n.to_string());
    }
    assert_eq!(log.rewind("e1.1.13"), Some(stream));
    let kept = log.streams.values().map(|stream| stream.events.len());
    assert_eq!(kept.sum::<usize>(), 4 + 2, "four that were sent");
    let reader = log.read(stream).unwrap();
    assert_eq!(drain(&mut log, reader), ["14", "15"]);
}

#[derive(Debug, Clone)]
enum Step {
    Open(bool),
    Push(usize, usize),
    PushToSession(usize),
    Finish(usize),
    Read(usize),
    Drain(usize, usize),
    Leave(usize),
    Rewind(usize, u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let stream = 0..6_usize;
    prop_oneof![
        any::<bool>().prop_map(Step::Open),
        (stream.clone(), 0..600_usize).prop_map(|(s, n)| Step::Push(s, n)),
        (0..300_usize).prop_map(Step::PushToSession),
        stream.clone().prop_map(Step::Finish),
        stream.clone().prop_map(Step::Read),
        (stream.clone(), 1..5_usize).prop_map(|(s, n)| Step::Drain(s, n)),
        stream.clone().prop_map(Step::Leave),
        (stream, 0..20_u64).prop_map(|(s, n)| Step::Rewind(s, n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens: the counts agree with the events, and what is kept stays within the bounds.
    #[test]
    fn the_books_balance(steps in prop::collection::vec(any_step(), 1..200)) {
        let mut log = log();
        let mut readers = std::collections::BTreeMap::new();
        let nth = |log: &EventLog, n: usize| log.streams.keys().nth(n).copied();
        for step in steps {
            match step {
                Step::Open(is_answer) => {
                    log.open(is_answer);
                }
                Step::Push(n, bytes) => {
                    if let Some(id) = nth(&log, n) {
                        log.push(id, &"x".repeat(bytes));
                    }
                }
                Step::PushToSession(bytes) => {
                    log.push_to_session(&"y".repeat(bytes));
                }
                Step::Finish(n) => {
                    if let Some(id) = nth(&log, n) {
                        log.finish(id);
                    }
                }
                Step::Read(n) => {
                    if let Some(id) = nth(&log, n) {
                        readers.insert(id, log.read(id).unwrap());
                    }
                }
                Step::Drain(n, times) => {
                    if let Some(id) = nth(&log, n)
                        && let Some(reader) = readers.get(&id)
                    {
                        for _ in 0..times {
                            let _ = log.poll_next(*reader, &Context::from_waker(Waker::noop()));
                        }
                    }
                }
                Step::Leave(n) => {
                    if let Some(id) = nth(&log, n)
                        && let Some(reader) = readers.get(&id)
                    {
                        log.leave(*reader);
                    }
                }
                Step::Rewind(n, seq) => {
                    if let Some(id) = nth(&log, n) {
                        log.rewind(&format!("e1.{}.{seq}", id.0));
                    }
                }
            }
            let held: usize = log.streams.values().map(|stream| stream.bytes).sum();
            prop_assert_eq!(log.budget.bytes(), held);
            // A step that only moves a reader drops nothing; the next event or read does.
            let slack = 10 * log.streams.len();
            let (mut sent, mut sent_bytes, mut orphans, mut orphans_bytes) = (0, 0, 0, 0);
            for stream in log.streams.values() {
                let bytes: usize = stream.events.iter().map(|event| event.frame.len()).sum();
                prop_assert_eq!(bytes, stream.bytes);
                let unsent: Vec<usize> =
                    stream.events.iter().filter(|event| event.seq >= stream.unsent_seq).map(|event| event.frame.len()).collect();
                prop_assert_eq!(unsent.iter().sum::<usize>(), stream.unsent_bytes);
                prop_assert_eq!(unsent.len(), stream.unsent());
                let seqs: Vec<u64> = stream.events.iter().map(|event| event.seq).collect();
                prop_assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
                prop_assert!(!stream.is_read() || unsent.len() <= 10 + 17 + slack);
                sent += stream.events.len() - unsent.len();
                sent_bytes += bytes - stream.unsent_bytes;
                if !stream.is_read() {
                    orphans += unsent.len();
                    orphans_bytes += stream.unsent_bytes;
                }
            }
            prop_assert!(sent <= 4 + slack && orphans <= 16 + slack, "{} {}", sent, orphans);
            prop_assert!(sent_bytes <= 1000 + 700 * slack && orphans_bytes <= 4000 + 700 * slack);
        }
    }
}

#[test]
fn all_sessions_together_are_bounded_and_give_back_what_they_held() {
    let limits = ProxyLimits {
        events_bytes_max: 1_000_000,
        ..ProxyLimits::default()
    };
    let budget = EventBudget::new(&limits);
    let mut logs: Vec<EventLog> = (0..200)
        .map(|_| EventLog::new("e1", &limits, budget.clone()))
        .collect();
    let message = "x".repeat(1000);
    for _ in 0..300 {
        for log in &mut logs {
            log.push_to_session(&message).unwrap();
        }
    }
    // What they hold beyond the bound is their small part: 200 of them without a reader, twice 32 KiB each.
    let held = budget.bytes();
    assert!((1_000_000..200 * 70_000).contains(&held), "{held}");
    // The newest is there for the next reader.
    let log = logs.last_mut().unwrap();
    log.push_to_session("newest").unwrap();
    let stream = log.waiting_stream().unwrap();
    let reader = log.read(stream).unwrap();
    let seen = drain(log, reader);
    assert_eq!(seen.last().map(String::as_str), Some("newest"));
    drop(logs);
    assert_eq!(budget.bytes(), 0);
}
