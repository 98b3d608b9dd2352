//! Several messages in one POST, which one version of the protocol has.

use std::sync::Arc;

use router_core::{ErrorKind, route::UnavailableKind};
use router_proxy::ProxyLimits;
use serde_json::{Value, json};

use crate::{
    client::{Events, whole},
    world::World,
};

fn call(id: impl Into<Value>, arguments: Value) -> Value {
    let params = json!({"name": "work", "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params})
}

#[tokio::test]
async fn only_the_version_that_has_batches_serves_them() {
    let (world, instance) = World::ready().await;
    let batch = json!([call(1, json!({"n": 1})), call(2, json!({"n": 2}))]);
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let client = world.client_of(version).await;
        let answer = whole(client.post(&batch).await).await;
        assert_eq!(answer.status, 400, "{version}");
        assert_eq!(answer.body["error"]["code"], -32600, "{version}");
        assert!(answer.message().contains("is a batch"), "{answer:?}");
    }
    assert_eq!(instance.count("tools/call"), 0);
    let client = world.client_of("2025-03-26").await;
    let events = Events::of(client.post(&batch).await).rest().await;
    let messages: Vec<&Value> = events.iter().map(|event| &event.message).collect();
    let answer = |n| json!({"jsonrpc": "2.0", "id": n, "result": {"echo": {"n": n}}});
    assert_eq!(messages, [&answer(1), &answer(2)]);
}

#[tokio::test]
async fn no_answer_of_a_batch_waits_for_a_slower_one() {
    let (world, instance) = World::ready().await;
    let client = world.client_of("2025-03-26").await;
    let batch = json!([
        call("slow", json!({"do": "hold"})),
        {"jsonrpc": "2.0", "method": "notifications/odd"},
        call("quick", json!({})),
        call("bad", json!({"do": "error", "code": -32602})),
    ]);
    let mut events = Events::of(client.post(&batch).await);
    assert_eq!(events.message().await["id"], "quick");
    assert_eq!(events.message().await["error"]["code"], -32602);
    instance.saw_method("notifications/odd").await;
    instance.release();
    assert_eq!(events.message().await["id"], "slow");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn notifications_alone_are_accepted() {
    let (world, instance) = World::ready().await;
    let client = world.client_of("2025-03-26").await;
    let batch = json!([
        {"jsonrpc": "2.0", "method": "notifications/one"},
        {"jsonrpc": "2.0", "method": "notifications/two"},
    ]);
    let answer = whole(client.post(&batch).await).await;
    assert_eq!((answer.status.as_u16(), answer.body), (202, Value::Null));
    instance.saw_method("notifications/one").await;
    instance.saw_method("notifications/two").await;
}

#[tokio::test]
async fn a_batch_with_anything_wrong_in_it_is_not_begun() {
    let limits = ProxyLimits {
        batch_messages_max: 3,
        ..ProxyLimits::default()
    };
    let world = World::with(limits, Arc::default(), "e1").await;
    let instance = world.start_run(1).await;
    let client = world.client_of("2025-03-26").await;
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
    let good = call(1, json!({}));
    let deep = format!("[{good},{}1{}]", "[".repeat(10_000), "]".repeat(10_000));
    for (body, code) in [
        ("[]".to_owned(), -32600),
        (json!([good, {}]).to_string(), -32600),
        (json!([good, 1]).to_string(), -32600),
        (json!([good, [good]]).to_string(), -32600),
        (json!([good, initialize]).to_string(), -32600),
        (json!([good, good, good, good]).to_string(), -32600),
        (format!("[{good},"), -32700),
        (deep, -32600),
    ] {
        let answer = whole(client.post_text(body.clone()).await).await;
        let shown: String = body.chars().take(100).collect();
        assert_eq!(answer.status, 400, "{shown}: {answer:?}");
        assert_eq!(answer.body["error"]["code"], code, "{shown}: {answer:?}");
    }
    assert_eq!(instance.count("tools/call"), 0);
    // Without a session there is no version that would have them.
    let answer = whole(world.raw_client().post(&json!([good])).await).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn an_instance_that_dies_answers_every_request_of_a_batch() {
    let (world, instance) = World::ready().await;
    let client = world.client_of("2025-03-26").await;
    let batch = json!([
        call(1, json!({"do": "hold"})),
        call(2, json!({"do": "hold"})),
        call(3, json!({"do": "die"})),
    ]);
    let events = Events::of(client.post(&batch).await).rest().await;
    let mut ids: Vec<i64> = Vec::new();
    for event in &events {
        let error = event.message["error"]["message"].as_str().unwrap();
        assert!(error.starts_with("Instance demo: "), "{error}");
        ids.push(event.message["id"].as_i64().unwrap());
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    instance.connection.await.unwrap();
    // Where the instance does not serve, each of them gets the reason.
    world.unavailable(UnavailableKind::Stopped, "stopped by an operator", None);
    let answer = whole(client.post(&batch).await).await;
    let errors = answer.body.as_array().unwrap();
    assert_eq!(errors.len(), 3);
    for (error, id) in errors.iter().zip(1..) {
        assert_eq!(error["id"], id);
        assert_eq!(error["error"]["data"]["state"], "stopped");
    }
    assert_eq!(world.notes.errors(), [ErrorKind::Upstream; 6]);
}
