//! Ids, progress, cancellation and order, with many sessions on one connection.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use serde_json::{Value, json};

use crate::peer::{Client, Got, config, ready};

#[tokio::test]
async fn answers_find_their_session_although_ids_collide() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut clients: Vec<Client> = (0..64).map(|_| Client::attach(&upstream)).collect();
    let ids = [
        json!(1),
        json!("1"),
        Value::Null,
        json!(u64::MAX),
        json!(-5),
        json!("ü\"\\"),
    ];
    for (n, client) in clients.iter().enumerate() {
        for id in &ids {
            client.request(
                id.clone(),
                "tools/call",
                json!({"name": "echo", "arguments": {"client": n, "id": id}}),
            );
        }
    }
    let mut requests = Vec::new();
    for _ in 0..clients.len() * ids.len() {
        requests.push(peer.expect("tools/call").await);
    }
    let mut seen: Vec<&Value> = requests.iter().map(|request| &request["id"]).collect();
    seen.sort_by_key(|id| id.to_string());
    seen.dedup();
    assert_eq!(
        seen.len(),
        requests.len(),
        "ids towards the instance are unique"
    );
    // The instance answers in another order than it was asked.
    for request in requests.iter().rev() {
        peer.answer(request, request["params"]["arguments"].clone())
            .await;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        for id in ids.iter().rev() {
            let answer = client.answer().await;
            assert_eq!(
                answer,
                json!({"jsonrpc": "2.0", "id": id, "result": {"client": n, "id": id}})
            );
        }
    }
    assert_eq!(upstream.in_flight(), 0);
}

#[tokio::test]
async fn payloads_pass_untouched() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({"name": "x"}));
    let request = peer.next().await;
    let odd = r#"{"unknown":{"b":1,"a":12345678901234567890123,"x":1.50},"list":[1e400,"\u00e9"],"z":null}"#;
    let line = format!(
        "{{\"result\":{odd},\"id\":{},\"jsonrpc\":\"2.0\"}}\r\n",
        request["id"]
    );
    // The client's side is compared as text: a parser of values would already have changed it.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let source = bytes::Bytes::from_static(
        br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"big":9007199254740993.0}}"#,
    );
    let (_, envelope) = router_upstream::Envelope::parse(&source).unwrap();
    upstream
        .call(
            client.key,
            &source,
            &envelope,
            std::sync::Arc::new(Raw(parking_lot::Mutex::new(Some(sender)))),
        )
        .unwrap();
    let second = peer.next_line().await;
    assert!(
        second.contains(r#""params":{"big":9007199254740993.0}}"#),
        "{second}"
    );
    let second: Value = serde_json::from_str(&second).unwrap();
    peer.send_raw(
        line.replace(&request["id"].to_string(), &second["id"].to_string())
            .as_bytes(),
    )
    .await;
    let answer = crate::peer::soon("the answer", receiver).await.unwrap();
    assert_eq!(
        answer,
        format!(r#"{{"result":{odd},"id":2,"jsonrpc":"2.0"}}"#)
    );
    assert!(client.pending().is_empty());
}

struct Raw(parking_lot::Mutex<Option<tokio::sync::oneshot::Sender<String>>>);

impl router_upstream::ReplySink for Raw {
    fn interleave(&self, _: &str) -> bool {
        false
    }
    fn finish(&self, reply: router_upstream::Reply) {
        let router_upstream::Reply::Answer { message, .. } = reply else {
            panic!("no answer");
        };
        self.0
            .lock()
            .take()
            .unwrap()
            .send(String::from_utf8(message.to_vec()).unwrap())
            .unwrap();
    }
}

#[tokio::test]
async fn pretty_printed_requests_become_one_line() {
    let (upstream, _connection, mut peer) = ready(config());
    let client = Client::attach(&upstream);
    let source = bytes::Bytes::from_static(
        b"{\r\n \"jsonrpc\": \"2.0\",\n \"id\": 1,\n \"method\": \"ping\"\n}\n",
    );
    let (_, envelope) = router_upstream::Envelope::parse(&source).unwrap();
    let (sender, _receiver) = tokio::sync::oneshot::channel();
    upstream
        .call(
            client.key,
            &source,
            &envelope,
            std::sync::Arc::new(Raw(parking_lot::Mutex::new(Some(sender)))),
        )
        .unwrap();
    peer.expect("ping").await;
    peer.expect_nothing().await;
}

#[tokio::test]
async fn progress_reaches_the_request_that_asked_for_it() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut a, mut b) = (Client::attach(&upstream), Client::attach(&upstream));
    let params = json!({"name": "slow", "_meta": {"progressToken": 1, "other": true}});
    a.request("a", "tools/call", params.clone());
    b.request("b", "tools/call", params);
    let (first, second) = (peer.next().await, peer.next().await);
    let token = |request: &Value| request["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token(&first), token(&second));
    assert_eq!(first["params"]["_meta"]["other"], true);
    let progress = |request: &Value, n: u32| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
               "params": {"progressToken": token(request), "progress": n, "message": "m"}})
    };
    peer.send(progress(&second, 1)).await;
    peer.send(progress(&first, 2)).await;
    peer.answer(&first, json!({})).await;
    // Late, and with an unknown token: both are dropped.
    peer.send(progress(&first, 3)).await;
    peer.send(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 9}})).await;
    peer.answer(&second, json!({})).await;
    let restored = |n: u32| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
               "params": {"progressToken": 1, "progress": n, "message": "m"}})
    };
    assert_eq!(a.next().await, Got::Through("\"a\"".into(), restored(2)));
    assert_eq!(a.answer().await["id"], "a");
    assert_eq!(b.next().await, Got::Through("\"b\"".into(), restored(1)));
    assert_eq!(b.answer().await["id"], "b");
    assert_eq!(upstream.counters().undelivered.load(Relaxed), 2);
}

#[tokio::test]
async fn cancelling_reaches_only_ones_own_request() {
    let mut config = config();
    config.limits.cancel_grace = Duration::from_millis(50);
    config.request_timeout = Duration::from_secs(1);
    let (upstream, _connection, mut peer) = ready(config);
    let (mut a, mut b) = (Client::attach(&upstream), Client::attach(&upstream));
    a.request(1, "tools/call", json!({}));
    b.request(1, "tools/call", json!({}));
    let (first, second) = (peer.next().await, peer.next().await);
    // Not one of its ids, in value or type.
    a.notify("notifications/cancelled", json!({"requestId": 2}));
    a.notify("notifications/cancelled", json!({"requestId": "1"}));
    peer.expect_nothing().await;
    b.notify(
        "notifications/cancelled",
        json!({"requestId": 1, "reason": "enough"}),
    );
    let cancelled = peer.expect("notifications/cancelled").await;
    assert_eq!(
        cancelled["params"],
        json!({"requestId": second["id"], "reason": "enough"})
    );
    assert!(b.failure().await.contains("cancelled by its client"));
    peer.answer(&first, json!({"ok": true})).await;
    assert_eq!(a.answer().await["result"], json!({"ok": true}));
    // An instance that answers a cancelled request within the grace period is read.
    b.request(2, "tools/call", json!({}));
    let third = peer.next().await;
    b.notify("notifications/cancelled", json!({"requestId": 2}));
    peer.expect("notifications/cancelled").await;
    peer.answer(&third, json!({"partial": 1})).await;
    assert_eq!(b.answer().await["result"], json!({"partial": 1}));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_cancelled_at_the_instance() {
    let mut config = config();
    config.request_timeout = Duration::from_millis(100);
    let (upstream, _connection, mut peer) = ready(config);
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    assert!(client.failure().await.contains("no answer within"));
    let cancelled = peer.expect("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
    peer.answer(&request, json!({})).await;
    peer.expect_nothing().await;
    assert_eq!(upstream.counters().unknown_replies.load(Relaxed), 1);
    assert!(client.pending().is_empty());
    // The next one has its own time.
    client.request(2, "ping", json!({}));
    let request = peer.next().await;
    peer.answer(&request, json!({})).await;
    assert_eq!(client.answer().await["id"], 2);
}

#[tokio::test]
async fn a_long_wait_is_announced_once() {
    let mut config = config();
    config.limits.waiting_after = Duration::from_millis(30);
    let (upstream, _connection, mut peer) = ready(config);
    let mut client = Client::attach(&upstream);
    client.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    assert_eq!(client.next().await, Got::Waiting("1".into()));
    // When a later one is announced, the first has been waiting for twice as long.
    client.request(2, "tools/call", json!({}));
    let later = peer.next().await;
    assert_eq!(client.next().await, Got::Waiting("2".into()));
    for (id, request) in [(1, &request), (2, &later)] {
        peer.answer(request, json!({})).await;
        assert_eq!(client.answer().await["id"], id);
    }
}

#[tokio::test]
async fn bounds_refuse_before_anything_is_sent() {
    let mut config = config();
    config.limits.in_flight_per_session_max = 2;
    config.limits.in_flight_max = 3;
    config.limits.sessions_max = 2;
    let (upstream, _connection, mut peer) = ready(config);
    let (a, b) = (Client::attach(&upstream), Client::attach(&upstream));
    let request = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
    a.call(request(1)).unwrap();
    a.call(request(2)).unwrap();
    assert!(
        a.call(request(3))
            .unwrap_err()
            .to_string()
            .contains("this session")
    );
    b.call(request(1)).unwrap();
    assert!(
        b.call(request(2))
            .unwrap_err()
            .to_string()
            .contains("too many requests")
    );
    for _ in 0..3 {
        peer.expect("ping").await;
    }
    peer.expect_nothing().await;
    let spec = router_upstream::SessionSpec {
        capabilities: crate::peer::all_capabilities(),
        is_inherited: false,
        memory: std::sync::Arc::default(),
        sink: std::sync::Arc::new(IgnoreMessages),
    };
    assert!(
        upstream
            .attach(spec)
            .unwrap_err()
            .to_string()
            .contains("2 sessions")
    );
}

struct IgnoreMessages;

impl router_upstream::SessionSink for IgnoreMessages {
    fn deliver(&self, _: &str) -> bool {
        false
    }
}

#[tokio::test]
async fn waits_without_end_and_without_length_are_waits_all_the_same() {
    let mut config = config();
    config.request_timeout = Duration::MAX;
    config.cache_ttl = Duration::MAX;
    config.limits.waiting_after = Duration::ZERO;
    let (upstream, _connection, mut peer) = ready(config);
    let mut client = Client::attach(&upstream);
    upstream.set_request_timeout(Duration::MAX);
    client.request(1, "tools/list", json!({}));
    let request = peer.next().await;
    assert!(matches!(client.next().await, Got::Waiting(_)));
    peer.answer(&request, json!({"tools": []})).await;
    assert_eq!(client.answer().await["id"], 1);
    client.request(2, "tools/list", json!({}));
    assert_eq!(client.answer().await["id"], 2, "from memory");
}
