//! What the instance asks its clients.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use router_upstream::ClientCapabilities;
use serde_json::{Value, json};

use crate::peer::{Client, Got, all_capabilities, config, ready};

fn question(id: impl Into<Value>, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": {"q": 1}})
}

#[tokio::test]
async fn a_question_reaches_the_one_session_at_work() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut a, mut b) = (Client::attach(&upstream), Client::attach(&upstream));
    a.request("work", "tools/call", json!({}));
    let request = peer.next().await;
    for id in [json!(0), json!("x"), json!(12345678901234567890_u64)] {
        peer.send(question(id.clone(), "sampling/createMessage"))
            .await;
        let Got::Through(through, asked) = a.next().await else {
            panic!("not through the request");
        };
        assert_eq!(
            (through.as_str(), &asked["method"]),
            ("\"work\"", &json!("sampling/createMessage"))
        );
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"text": "hi", "n": 1}});
        assert!(!b.respond(answer.clone()), "no other session may answer");
        assert!(a.respond(answer.clone()));
        assert!(!a.respond(answer), "nor twice");
        assert_eq!(
            peer.next().await,
            json!({"jsonrpc": "2.0", "id": id, "result": {"text": "hi", "n": 1}})
        );
    }
    peer.answer(&request, json!({})).await;
    a.answer().await;
    assert!(b.pending().is_empty());
}

#[tokio::test]
async fn without_work_a_question_reaches_the_only_session() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut only = Client::attach(&upstream);
    peer.send(question(3, "elicitation/create")).await;
    let Got::Session(asked) = only.next().await else {
        panic!("not through the session");
    };
    assert!(only.respond(
        json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -1, "message": "no"}})
    ));
    let answer = peer.next().await;
    assert_eq!(
        answer,
        json!({"jsonrpc": "2.0", "id": 3, "error": {"code": -1, "message": "no"}})
    );
}

#[tokio::test]
async fn a_question_that_may_be_meant_for_several_names_the_remedy() {
    let (upstream, _connection, mut peer) = ready(config());
    let (a, b) = (Client::attach(&upstream), Client::attach(&upstream));
    peer.send(question(1, "sampling/createMessage")).await;
    let refused = peer.next().await;
    assert_eq!(refused["id"], 1);
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("sharing = \"per-session\""),
        "{refused}"
    );
    a.request(1, "tools/call", json!({}));
    b.request(1, "tools/call", json!({}));
    peer.next().await;
    peer.next().await;
    peer.send(question(2, "sampling/createMessage")).await;
    assert_eq!(peer.next().await["error"]["code"], -32000);
    assert_eq!(upstream.counters().refused_questions.load(Relaxed), 2);
}

#[tokio::test]
async fn questions_that_cannot_be_put_are_refused() {
    let (upstream, _connection, mut peer) = ready(config());
    peer.send(question(1, "roots/list")).await;
    let refused = peer.next().await;
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no client is connected"),
        "{refused}"
    );
    let without = ClientCapabilities {
        sampling: false,
        ..all_capabilities()
    };
    let mut client = Client::attach_with(&upstream, without, false, Arc::default());
    peer.send(question(2, "sampling/createMessage")).await;
    assert_eq!(peer.next().await["error"]["code"], -32601);
    assert!(client.pending().is_empty());
}

#[tokio::test]
async fn a_question_that_is_withdrawn_is_withdrawn_at_the_client() {
    let (upstream, _connection, mut peer) = ready(config());
    let mut client = Client::attach(&upstream);
    peer.send(question("q", "elicitation/create")).await;
    let Got::Session(asked) = client.next().await else {
        panic!();
    };
    peer.send(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "q"}})).await;
    let Got::Session(withdrawn) = client.next().await else {
        panic!();
    };
    assert_eq!(withdrawn["params"]["requestId"], asked["id"]);
    assert!(!client.respond(json!({"jsonrpc": "2.0", "id": asked["id"], "result": {}})));
}

#[tokio::test]
async fn the_end_of_a_session_releases_all_that_waits_for_it() {
    let (upstream, _connection, mut peer) = ready(config());
    let (mut a, mut b) = (Client::attach(&upstream), Client::attach(&upstream));
    a.request(1, "tools/call", json!({}));
    let request = peer.next().await;
    peer.send(question("q", "sampling/createMessage")).await;
    assert!(matches!(a.next().await, Got::Through(..)));
    upstream.detach(a.key);
    let cancelled = peer.expect("notifications/cancelled").await;
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
    let refused = peer.next().await;
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json!("q"), &json!(-32000))
    );
    assert!(a.failure().await.contains("session ended"));
    assert!(
        a.call(json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}))
            .is_err()
    );
    assert_eq!(upstream.session_count(), 1);
    // The one that is left is now the only one.
    peer.send(question("r", "roots/list")).await;
    assert!(matches!(b.next().await, Got::Session(_)));
}

#[tokio::test]
async fn the_first_client_with_roots_makes_the_instance_ask_again() {
    let (upstream, _connection, mut peer) = ready(config());
    let a = Client::attach(&upstream);
    a.notify("notifications/initialized", json!({}));
    peer.expect("notifications/roots/list_changed").await;
    let b = Client::attach(&upstream);
    b.notify("notifications/initialized", json!({}));
    peer.expect_nothing().await;
    b.notify("notifications/roots/list_changed", json!({}));
    peer.expect("notifications/roots/list_changed").await;
}

#[tokio::test]
async fn a_question_that_is_not_answered_expires() {
    let mut config = config();
    config.request_timeout = Duration::from_millis(60);
    config.limits.questions_max = 1;
    let (upstream, _connection, mut peer) = ready(config);
    let mut client = Client::attach(&upstream);
    // Each takes the only place there is.
    for id in ["q", "r"] {
        peer.send(question(id, "elicitation/create")).await;
        let Got::Session(asked) = client.next().await else {
            panic!("not through the session");
        };
        assert_eq!(asked["method"], "elicitation/create");
        let given_up = peer.next().await;
        assert_eq!(
            (&given_up["id"], &given_up["error"]["code"]),
            (&json!(id), &json!(-32001))
        );
        let Got::Session(withdrawn) = client.next().await else {
            panic!("not withdrawn");
        };
        assert_eq!(withdrawn["method"], "notifications/cancelled");
        assert_eq!(withdrawn["params"]["requestId"], asked["id"]);
        let late = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {}});
        assert!(!client.respond(late));
    }
}

#[tokio::test]
async fn a_request_that_was_cancelled_makes_no_session_ambiguous() {
    let mut config = config();
    config.limits.in_flight_per_session_max = 3;
    let (upstream, _connection, mut peer) = ready(config);
    let (mut a, mut b) = (Client::attach(&upstream), Client::attach(&upstream));
    a.request(1, "tools/call", json!({}));
    a.request(2, "tools/call", json!({}));
    peer.next().await;
    peer.next().await;
    a.notify("notifications/cancelled", json!({"requestId": 2}));
    a.notify("notifications/cancelled", json!({"requestId": 2}));
    peer.expect("notifications/cancelled").await;
    peer.expect_nothing().await;
    // What is said goes through the request that is still wanted.
    peer.send(question("q", "sampling/createMessage")).await;
    assert!(matches!(a.next().await, Got::Through(id, _) if id == "1"));
    // It still takes room: an instance that ignores cancellations cannot be flooded.
    a.request(3, "tools/call", json!({}));
    peer.next().await;
    assert!(
        a.call(json!({"jsonrpc": "2.0", "id": 4, "method": "ping"}))
            .is_err()
    );
    for id in [1, 3] {
        a.notify("notifications/cancelled", json!({"requestId": id}));
        peer.expect("notifications/cancelled").await;
    }
    b.request(1, "tools/call", json!({}));
    peer.next().await;
    peer.send(question("r", "sampling/createMessage")).await;
    assert!(matches!(b.next().await, Got::Through(id, _) if id == "1"));
    // The end of the session ends them too, and the instance gets no second answer.
    upstream.detach(a.key);
    let refused = peer.next().await;
    assert_eq!(refused["id"], "q");
    peer.expect_nothing().await;
    for _ in 0..3 {
        assert!(a.failure().await.contains("session ended"));
    }
    assert_eq!(upstream.in_flight(), 1);
}
