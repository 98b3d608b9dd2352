//! Requests and their answers, through many sessions at once.

use router_proxy::ProxyCount;
use serde_json::{Value, json};

use crate::{
    client::{Events, whole},
    world::World,
};

#[tokio::test]
async fn a_session_begins_without_a_message_to_the_instance() {
    let (world, instance) = World::ready().await;
    let mut client = world.raw_client();
    let result = client.initialize("2025-06-18").await;
    assert_eq!(
        result,
        json!({
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": true}, "logging": {}, "resources": {"subscribe": true}},
            "serverInfo": {"name": "obedient", "version": "1.2.3"},
            "instructions": "Do as the test says.",
        })
    );
    for version in ["2024-11-05", "2025-03-26", "2025-11-25"] {
        assert_eq!(world.client_of(version).await.version, version);
    }
    assert_eq!(world.client_of("2099-01-01").await.version, "2025-11-25");
    assert_eq!(instance.count("initialize"), 1);
    assert_eq!(world.proxy.session_count(&world.id), 5);
    assert_eq!(world.notes.count(ProxyCount::SessionOpened), 5);
}

#[tokio::test]
async fn an_answer_is_plain_json_and_keeps_the_id() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    for id in [
        json!(0),
        json!("a\"b"),
        json!(-1),
        json!(u64::MAX),
        Value::Null,
    ] {
        let answer = client
            .work_json(id.clone(), json!({"x": [1, {"y": null}]}))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.body,
            json!({"jsonrpc": "2.0", "id": id, "result": {"echo": {"x": [1, {"y": null}]}}})
        );
    }
}

#[tokio::test]
async fn sixty_four_sessions_with_the_same_ids_get_their_own_answers() {
    let (world, _instance) = World::ready().await;
    let mut clients = Vec::new();
    for n in 0..64 {
        let client = world.client().await;
        clients.push(tokio::spawn(async move {
            for id in 0..20 {
                // Every fourth answer becomes a stream, with a token that all sessions use.
                if id % 4 == 0 {
                    let params = json!({"name": "work", "_meta": {"progressToken": 1},
                                        "arguments": {"do": "progress", "amount": id + 1}});
                    let events = Events::of(client.request(id, "tools/call", params).await)
                        .rest()
                        .await;
                    let messages: Vec<Value> = events
                        .into_iter()
                        .map(|event| event.message)
                        .filter(|m| !m.is_null())
                        .collect();
                    assert_eq!(messages.len(), id + 2);
                    assert!(
                        messages[..id + 1]
                            .iter()
                            .all(|message| message["params"]["progressToken"] == 1)
                    );
                    assert_eq!(
                        messages[id + 1],
                        json!({"jsonrpc": "2.0", "id": id, "result": {"done": id + 1}})
                    );
                } else {
                    let answer = client.work_json(id, json!({"n": n, "id": id})).await;
                    assert_eq!(
                        answer.body,
                        json!({"jsonrpc": "2.0", "id": id, "result": {"echo": {"n": n, "id": id}}})
                    );
                }
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn notifications_are_accepted_and_sent_on() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let answer = client.notify("notifications/odd", json!({"a": 1})).await;
    assert_eq!((answer.status.as_u16(), answer.body), (202, Value::Null));
    assert_eq!(
        instance.saw_method("notifications/odd").await["params"],
        json!({"a": 1})
    );
    // An instance is notified of its first client with roots, and never initialized again.
    assert_eq!(instance.count("notifications/initialized"), 1);
}

#[tokio::test]
async fn cancelling_ends_the_wait() {
    let world = World::new().await;
    let instance = world
        .start_run_with(1, |config| {
            config.limits.cancel_grace = std::time::Duration::from_millis(20);
        })
        .await;
    let client = world.client().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.work_json(7, json!({"do": "hold"})).await }
    });
    let request = instance.saw_method("tools/call").await;
    client
        .notify(
            "notifications/cancelled",
            json!({"requestId": 7, "reason": "never mind"}),
        )
        .await;
    let cancelled = instance.saw_method("notifications/cancelled").await;
    assert_eq!(
        cancelled["params"],
        json!({"requestId": request["id"], "reason": "never mind"})
    );
    let answer = waiting.await.unwrap();
    assert_eq!(
        (&answer.body["id"], answer.status.as_u16()),
        (&json!(7), 200)
    );
    assert!(answer.message().contains("cancelled"), "{answer:?}");
    assert_eq!(
        world.notes.errors(),
        [],
        "a client that cancels is no error"
    );
}

#[tokio::test]
async fn questions_of_the_instance_go_through_the_request_and_back() {
    let (world, _instance) = World::ready().await;
    let (client, other) = (world.client().await, world.client().await);
    let mut events = Events::of(
        client
            .work(1, json!({"do": "ask", "method": "sampling/createMessage"}))
            .await,
    );
    let question = events.message().await;
    assert_eq!(
        (&question["method"], &question["params"]),
        (&json!("sampling/createMessage"), &json!({"q": 1}))
    );
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"text": "hi"}});
    let stolen = whole(other.post(&answer).await).await;
    assert_eq!(stolen.status, 400, "only the one who was asked may answer");
    assert_eq!(client.post(&answer).await.status(), 202);
    let done = events.message().await;
    assert_eq!(done["id"], 1);
    assert_eq!(done["result"]["reply"]["result"], json!({"text": "hi"}));
    assert_eq!(events.next().await, None);
    assert_eq!(client.post(&answer).await.status(), 400, "nor twice");
}

#[tokio::test]
async fn a_question_for_a_client_that_cannot_answer_it_is_refused_for_it() {
    let (world, _instance) = World::ready().await;
    let mut client = world.raw_client();
    client.initialize_with("2025-11-25", json!({})).await;
    let answer = client
        .work_json(1, json!({"do": "ask", "method": "elicitation/create"}))
        .await;
    assert_eq!(answer.body["result"]["reply"]["error"]["code"], -32601);
}

#[tokio::test]
async fn lists_come_from_memory_where_the_operator_wants_it() {
    let world = World::new().await;
    let instance = world
        .start_run_with(1, |config| {
            config.cache_ttl = std::time::Duration::from_secs(60);
        })
        .await;
    let before = instance.count("tools/list");
    for n in 0..10 {
        let client = world.client().await;
        let answer = whole(client.request(n, "tools/list", json!({})).await).await;
        assert_eq!(answer.body["result"]["tools"][0]["name"], "work");
        assert_eq!(answer.body["id"], n);
    }
    assert_eq!(instance.count("tools/list"), before + 1);
}

#[tokio::test]
async fn long_answers_and_requests_pass_whole() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let answer = client
        .work_json(1, json!({"do": "big", "amount": 5_000_000}))
        .await;
    assert_eq!(
        answer.body["result"]["text"].as_str().unwrap().len(),
        5_000_000
    );
    let text = "é\\\"{[".repeat(500_000);
    let answer = client.work_json(2, json!({"text": text})).await;
    assert_eq!(answer.body["result"]["echo"]["text"], text);
}
