//! Receivers that mean harm, or do it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    call, failed, get, options,
    receiver::{Behaviour, Receiver},
};
use crate::{BODY_BYTES_MAX, Egress, EgressError, EgressResponse, HEADERS_MAX};

async fn send(behaviour: Behaviour, within: Duration) -> Result<EgressResponse, EgressError> {
    let receiver = Receiver::plain(behaviour).await;
    let egress = Egress::open(options(&[&receiver.http()], &[])).unwrap();
    let mut call = egress.begin(Instant::now() + within);
    let begun = Instant::now();
    let answer = call.send(get(receiver.http())).await;
    assert!(
        begun.elapsed() < within + Duration::from_secs(2),
        "it is held to its deadline"
    );
    answer
}

/// Longer than any of these takes that is not to end at its deadline.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(300);

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[tokio::test]
async fn what_takes_too_long_ends_at_the_deadline() {
    let pause = Duration::from_millis(20);
    let slow_head = Behaviour::Drip(bytes("HTTP/1.1 200 OK\r\n"), bytes("X: y\r\n"), pause);
    let endless = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let slow_body = Behaviour::Drip(bytes(endless), bytes("1\r\nx\r\n"), pause);
    let promised = Behaviour::Drip(
        bytes("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        bytes("x"),
        pause,
    );
    let before = Behaviour::Drip(bytes(""), bytes("HTTP/1.1 102 Processing\r\n\r\n"), pause);
    for behaviour in [Behaviour::Hang, slow_head, slow_body, promised, before] {
        let answer = send(behaviour, SHORT).await;
        assert_eq!(answer, Err(EgressError::TimedOut));
    }
}

#[tokio::test]
async fn of_a_body_without_end_the_beginning_is_taken() {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let until_closed = "HTTP/1.1 200 OK\r\n\r\n";
    for (head, again) in [(chunked, chunk), (until_closed, "x".repeat(1000))] {
        let behaviour = Behaviour::Flood(bytes(head), bytes(&again));
        let answer = send(behaviour, LONG).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, BODY_BYTES_MAX));
    }
}

#[tokio::test]
async fn a_flood_is_cut_off() {
    for (first, again) in [
        // Answers before the answer.
        ("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        ("", "HTTP/1.1 100 Continue\r\n\r\n"),
        // A head without end: many headers, or a long one.
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n"),
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyy"),
        ("HTTP/1.1 200 ", "OKOKOKOKOKOK"),
        // As much framing as can be.
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n",
        ),
        ("", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ] {
        let behaviour = Behaviour::Flood(bytes(first), bytes(&again.repeat(100)));
        failed(send(behaviour, LONG).await);
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_failure() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nxx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nxx",
        "HTTP/1.1 abc\r\n\r\n",
        "SSH-2.0-OpenSSH_10.0\r\n",
        "HTTP/1.1 200 OK\r\nX",
    ] {
        let reason = failed(send(Behaviour::Answer(bytes(answer)), LONG).await);
        assert!(!reason.is_empty(), "{answer:?}");
    }
    failed(send(Behaviour::Close, LONG).await);
}

#[tokio::test]
async fn more_than_was_promised_and_more_headers_than_a_sink_sees_are_left_out() {
    let more = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more";
    let answer = send(Behaviour::Answer(bytes(more)), LONG).await.unwrap();
    assert_eq!(answer.body, b"ok");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(100));
    let answer = send(Behaviour::Answer(bytes(&many)), LONG).await.unwrap();
    assert_eq!(answer.headers.len(), HEADERS_MAX);
}

#[tokio::test]
async fn a_body_in_an_encoding_that_was_not_asked_for_is_not_shown() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nhunter2";
    let answer = send(Behaviour::Answer(bytes(answer)), LONG).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
}

#[tokio::test]
async fn a_receiver_that_echoes_gives_no_secret_to_the_sink() {
    let body = "no token hunter2/9, {\"token\":\"hunter2\\/9\"}, aHVudGVyMi85, hunter2%2f9";
    let echo = format!(
        "HTTP/1.1 400 Bad Request\r\nX-Token: hunter2%2F9\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let receiver = Receiver::answering(&echo).await;
    let hook = format!("{}/services/T0/B0/x", receiver.http());
    let secrets = [("key", "hunter2/9"), ("hook", hook.as_str())];
    let egress = Egress::open(options(&[&receiver.http()], &secrets)).unwrap();
    let mut sending = call(&egress);
    let (key, token) = (
        sending.placeholder("key").unwrap(),
        sending.placeholder("hook").unwrap(),
    );
    let answer = sending.send(get(format!("{token}?{key}"))).await.unwrap();
    let shown = format!("{answer:?}");
    assert!(
        !shown.contains("hunter2") && !shown.contains("aHVudGVyMi85"),
        "{shown}"
    );
    assert_eq!(shown.matches("[redacted]").count(), 5, "{shown}");
    // Nor does an error: where nothing listens any more, its words speak of the address.
    let gone = receiver.address;
    drop(receiver);
    let reason = failed(sending.send(get(token)).await);
    assert!(reason.contains(&gone.port().to_string()), "{reason}");
    assert!(!reason.contains("services"), "{reason}");
}
