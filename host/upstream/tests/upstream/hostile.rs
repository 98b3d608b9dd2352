//! Instances that misbehave: garbage, floods, depth, silence.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use router_upstream::{Envelope, NotSent};
use serde_json::{Value, json};

use crate::peer::{Client, Got, config, ready};

#[tokio::test]
async fn stray_lines_are_counted_and_harm_no_request() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    peer.send_raw(b"Godot Engine v4.5\n\n   \n{]\n\xff\xfe\n{\"a\":1}\n42\nnull\n")
        .await;
    // A line that merely quotes the request is no answer to it.
    peer.send_raw(format!("received {request}\n").as_bytes())
        .await;
    peer.send_raw(format!("{request}\n").as_bytes()).await;
    peer.answer(&request, json!({"fine": true})).await;
    assert_eq!(client.answer().await["result"], json!({"fine": true}));
    assert!(
        upstream.counters().refused_lines.load(Relaxed) >= 7,
        "{:?}",
        upstream.counters()
    );
}

#[tokio::test]
async fn answers_that_cannot_be_read_fail_their_request() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: [(Vec<u8>, &str); 2] = [
        (deep.into_bytes(), "deeper than"),
        (b"\"\xff\"".to_vec(), "not UTF-8"),
    ];
    for (result, text) in cases {
        client.request(1, "tools/call", json!({}));
        let request = peer.next().await;
        let mut line =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":", request["id"]).into_bytes();
        line.extend(result);
        line.extend(b"}\n");
        peer.send_raw(&line).await;
        let reason = client.failure().await;
        assert!(reason.contains(text), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_past_the_bound_fails_its_request_whichever_end_the_id_is_at() {
    let mut config = config();
    config.limits.line_bytes_max = 100_000;
    let (upstream, _connection, mut peer) = ready(config);
    let mut client = Client::attach(&upstream);
    let long = "x".repeat(300_000);
    for is_id_first in [true, false] {
        client.request(1, "tools/call", json!({}));
        let id = peer.next().await["id"].clone();
        let line = if is_id_first {
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":\"{long}\"}}\n")
        } else {
            format!("{{\"result\":\"{long}\",\"jsonrpc\":\"2.0\",\"id\":{id}}}\n")
        };
        peer.send_raw(line.as_bytes()).await;
        assert!(client.failure().await.contains("longer than 100000"));
    }
    client.request(2, "ping", json!({}));
    let request = peer.next().await;
    peer.answer(&request, json!({})).await;
    assert_eq!(client.answer().await["id"], 2);
    assert_eq!(upstream.counters().overlong_lines.load(Relaxed), 2);
}

#[tokio::test]
async fn batches_of_an_instance_are_taken_apart() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    client.request(2, "tools/call", json!({}));
    let (first, second) = (peer.next().await, peer.next().await);
    let answer = |request: &Value| json!({"jsonrpc": "2.0", "id": request["id"], "result": {}});
    peer.send(json!([
        answer(&second),
        [answer(&first)],
        5,
        answer(&first)
    ]))
    .await;
    assert_eq!(client.answer().await["id"], 2);
    assert_eq!(client.answer().await["id"], 1);
    assert_eq!(upstream.counters().refused_lines.load(Relaxed), 2);
}

#[tokio::test]
async fn answers_without_a_question_are_counted() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    let other = request["id"].as_u64().unwrap() ^ 1;
    for id in [json!(1), json!(other), json!("e1.1"), Value::Null] {
        peer.send(json!({"jsonrpc": "2.0", "id": id, "result": "stolen"}))
            .await;
    }
    peer.answer(&request, json!("mine")).await;
    peer.answer(&request, json!("again")).await;
    peer.expect_nothing().await;
    assert_eq!(client.answer().await["result"], "mine");
    assert!(client.pending().is_empty());
    assert_eq!(upstream.counters().unknown_replies.load(Relaxed), 5);
}

#[tokio::test]
async fn answers_and_progress_match_by_value() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    let spellings: [fn(u64) -> String; 5] = [
        |id| format!("{id}"),
        |id| format!("{id}.0"),
        |id| format!("{id}e0"),
        |id| format!("\"{id}\""),
        |id| format!("{}.{:013}e13", id / 10_u64.pow(13), id % 10_u64.pow(13)),
    ];
    for spelt in spellings {
        client.request(1, "tools/call", json!({"_meta": {"progressToken": "mine"}}));
        let request = peer.next().await;
        let id = request["id"].as_u64().expect("an integer");
        assert!((10_u64.pow(13)..10_u64.pow(14)).contains(&id), "{id}");
        assert_eq!(request["params"]["_meta"]["progressToken"], id);
        let id = spelt(id);
        let progress = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1}}}}"#
        );
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
        peer.send_raw(format!("{progress}\n{answer}\n").as_bytes())
            .await;
        let Got::Through(_, progress) = client.next().await else {
            panic!("no progress for {id}");
        };
        assert_eq!(progress["params"]["progressToken"], "mine", "{id}");
        assert_eq!(client.answer().await["id"], 1, "{id}");
    }
    assert_eq!(upstream.counters().unknown_replies.load(Relaxed), 0);
}

/// To a parser that compares names without case, a notification with an `ID` is a request, and its answer that of the client whose request has this id.
#[tokio::test]
async fn no_member_that_is_none_of_json_rpc_passes_either_way() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    let other = Client::attach(&upstream);
    let text = json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"a": 1}, "i_d": request["id"], "x": 1});
    let text = text.to_string();
    let envelope = Envelope::parse_text(&text).unwrap();
    upstream.notify(other.key, &text, &envelope).unwrap();
    let heard = peer.next().await;
    assert_eq!(
        heard,
        json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"a": 1}})
    );
    other
        .call(json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {}, "x": {"id": 3}}))
        .unwrap();
    let second = peer.next().await;
    assert_eq!(
        second,
        json!({"jsonrpc": "2.0", "id": second["id"], "method": "tools/call", "params": {}})
    );
    peer.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": {}, "x": 1, "iD2": 2}))
        .await;
    assert_eq!(
        client.answer().await,
        json!({"jsonrpc": "2.0", "id": 1, "result": {}})
    );
    peer.send(json!({"jsonrpc": "2.0", "id": second["id"], "Id": request["id"], "result": {}}))
        .await;
    peer.expect_nothing().await;
    assert_eq!(upstream.counters().refused_lines.load(Relaxed), 1);
}

#[tokio::test]
async fn what_sessions_share_is_not_changed_by_what_could_be_read_in_two_ways() {
    let (upstream, _connection, mut peer) = ready(config());
    let client = Client::attach(&upstream);
    for (method, params) in [
        ("resources/unsubscribe", json!({"URI": "x://a"})),
        (
            "resources/unsubscribe",
            json!({"uri": "x://b", "Uri": "x://a"}),
        ),
        ("resources/subscribe", json!({"URI": "x://a"})),
        ("logging/setLevel", json!({"Level": "emergency"})),
    ] {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let error = client.call(message).unwrap_err().to_string();
        assert!(error.contains("only in case"), "{method} {params}: {error}");
    }
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_cancellation_that_could_be_read_in_two_ways_is_not_passed_on() {
    let (upstream, _connection, mut peer) = ready(config());
    let (client, other) = (Client::attach(&upstream), Client::attach(&upstream));
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    other.request(1, "tools/call", json!({}));
    peer.next().await;
    other.notify(
        "notifications/cancelled",
        json!({"requestId": 1, "RequestID": request["id"]}),
    );
    other.notify(
        "notifications/cancelled",
        json!({"requestID": request["id"]}),
    );
    peer.expect_nothing().await;
    assert_eq!(upstream.in_flight(), 2);
}

#[tokio::test]
async fn an_instance_that_does_not_read_is_busy_and_not_a_hole() {
    let mut config = config();
    config.limits.queue_bytes_max = 300_000;
    config.request_timeout = Duration::from_millis(200);
    let (upstream, _connection, _peer) = ready(config);
    let mut client = Client::attach(&upstream);
    let big = "x".repeat(100_000);
    let mut taken = 0;
    let refusal = loop {
        let request =
            json!({"jsonrpc": "2.0", "id": taken, "method": "tools/call", "params": {"big": big}});
        match client.call(request) {
            Ok(()) => taken += 1,
            Err(error) => break error.to_string(),
        }
        tokio::task::yield_now().await;
        assert!(taken < 100, "the queue has no bound");
    };
    assert!(refusal.contains("does not read"), "{refusal}");
    for _ in 0..taken {
        assert!(client.failure().await.contains("no answer within"));
    }
}

#[tokio::test]
async fn what_is_not_read_is_not_heaped_up_by_notifications_and_answers_either() {
    let mut config = config();
    config.limits.queue_bytes_max = 300_000;
    let (upstream, _connection, mut peer) = ready(config);
    let mut client = Client::attach(&upstream);
    peer.send(json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}))
        .await;
    let Got::Session(asked) = client.next().await else {
        panic!("not a question");
    };
    let big = "x".repeat(100_000);
    let mut taken = 0;
    while client.try_notify("notifications/odd", json!({"big": big})) != Err(NotSent::Busy) {
        taken += 1;
        assert!(taken < 100, "the queue has no bound");
        tokio::task::yield_now().await;
    }
    let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"big": big}});
    assert_eq!(client.try_respond(answer.clone()), Err(NotSent::Busy));
    for _ in 0..taken {
        peer.expect("notifications/odd").await;
    }
    // The question is still open.
    assert_eq!(client.try_respond(answer.clone()), Ok(()));
    assert_eq!(peer.next().await["id"], 1);
    assert_eq!(client.try_respond(answer), Err(NotSent::NoSuchQuestion));
}

#[tokio::test]
async fn a_flood_of_notifications_does_not_starve_answers() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    let noise = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}});
    let flood = format!("{noise}\n").repeat(20_000);
    peer.send_raw(flood.as_bytes()).await;
    peer.answer(&request, json!({})).await;
    let mut heard = 0;
    loop {
        match client.next().await {
            Got::Through(..) => heard += 1,
            Got::Answer(..) => break,
            got => panic!("{got:?}"),
        }
    }
    assert_eq!(heard, 20_000);
}

#[tokio::test]
async fn questions_of_an_instance_that_does_not_read_are_not_heaped_up() {
    let mut config = config();
    config.limits.queue_bytes_max = 100_000;
    let (upstream, _connection, mut peer) = ready(config);
    // More than the queue and the pipe hold answers to.
    let count = 20_000;
    let pings: String = (0..count)
        .map(|id| {
            format!(
                "{}\n",
                json!({"jsonrpc": "2.0", "id": id, "method": "ping"})
            )
        })
        .collect();
    peer.send_raw(pings.as_bytes()).await;
    crate::peer::soon("the queue to be full", async {
        while upstream.counters().refused_questions.load(Relaxed) < count / 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Each was answered or counted, and what is read makes room again.
    let mut answers = 0;
    while upstream.counters().refused_questions.load(Relaxed) + answers < count {
        assert_eq!(peer.next().await["result"], json!({}));
        answers += 1;
    }
    peer.expect_nothing().await;
}
