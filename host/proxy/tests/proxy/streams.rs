//! Streams of events: when an answer becomes one, what goes where, resumption, and readers that do not read.

use std::time::Duration;

use router_proxy::{ProxyCount, ProxyLimits};
use serde_json::{Value, json};

use crate::{
    client::{Event, Events, soon},
    world::World,
};

fn changed() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
}

#[tokio::test]
async fn an_answer_becomes_a_stream_only_when_something_comes_before_it() {
    let (world, _instance) = World::ready().await;
    for (version, is_primed) in [
        ("2025-11-25", true),
        ("2025-06-18", false),
        ("2024-11-05", false),
    ] {
        let client = world.client_of(version).await;
        let plain = client.work(1, json!({})).await;
        assert_eq!(plain.headers()["content-type"], "application/json");
        let events = Events::of(client.work(2, json!({"do": "log", "amount": 2})).await)
            .rest()
            .await;
        let messages: Vec<&Value> = events.iter().map(|event| &event.message).collect();
        let first = usize::from(is_primed);
        assert_eq!(messages[..first], vec![&Value::Null; first], "{version}");
        assert_eq!(messages[first]["params"]["data"]["n"], 0);
        assert_eq!(messages[first + 1]["params"]["data"]["n"], 1);
        assert_eq!(
            messages[first + 2],
            &json!({"jsonrpc": "2.0", "id": 2, "result": {"done": 2}})
        );
        assert_eq!(messages.len(), first + 3);
    }
}

#[tokio::test]
async fn a_long_wait_becomes_a_stream_that_is_kept_alive() {
    let limits = ProxyLimits {
        keep_alive: Duration::from_millis(20),
        ..ProxyLimits::default()
    };
    let world = World::with(limits, std::sync::Arc::default(), "e1").await;
    let instance = world
        .start_run_with(1, |config| {
            config.limits.waiting_after = Duration::from_millis(50);
        })
        .await;
    let client = world.client().await;
    let mut response = client.work(1, json!({"do": "hold"})).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while text.matches(": keep-alive\n\n").count() < 3 {
        let chunk = soon("a comment", response.chunk()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.starts_with("id: "), "{text}");
    instance.release();
    let mut events = Events::of(response);
    assert_eq!(events.message().await["result"], json!({"released": true}));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_notification_reaches_every_session_once_whatever_it_has_open() {
    let (world, instance) = World::ready().await;
    let (a, b, none) = (
        world.client().await,
        world.client().await,
        world.client().await,
    );
    let (mut first, mut second) = (a.get().await, a.get().await);
    let mut other = b.get().await;
    instance.say(changed());
    assert_eq!(first.message().await, changed());
    assert_eq!(other.message().await, changed());
    // A session that reads nothing finds it when it does.
    let mut late = none.get().await;
    assert_eq!(late.message().await, changed());
    // The second stream of a session gets only what the first does not.
    drop(first);
    soon("the end of the first stream to be noticed", async {
        while world.proxy.open().streams > 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    instance.say(changed());
    assert_eq!(second.message().await, changed());
}

#[tokio::test]
async fn subscriptions_levels_and_questions_go_to_the_stream_of_their_session() {
    let (world, instance) = World::ready().await;
    let (a, b) = (world.client().await, world.client().await);
    let (mut for_a, mut for_b) = (a.get().await, b.get().await);
    a.request(1, "resources/subscribe", json!({"uri": "x:1"}))
        .await;
    b.request(1, "logging/setLevel", json!({"level": "error"}))
        .await;
    instance.say(updated("x:1"));
    for level in ["info", "error"] {
        let params = json!({"level": level, "data": 1});
        instance
            .say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
    }
    assert_eq!(for_a.message().await, updated("x:1"));
    assert_eq!(for_a.message().await["params"]["level"], "info");
    assert_eq!(for_a.message().await["params"]["level"], "error");
    assert_eq!(for_b.message().await["params"]["level"], "error");
    assert_eq!(a.delete().await, 204);
    assert_eq!(
        for_a.next().await,
        None,
        "the end of a session ends its streams"
    );
    instance.saw_method("resources/unsubscribe").await;
    // Now only one session is left, so a question can only be meant for it.
    instance.say(json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"}));
    let question = for_b.message().await;
    assert_eq!(question["method"], "roots/list");
    b.post(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}))
        .await;
    let reply = instance
        .saw(|message| message["result"]["roots"].is_array())
        .await;
    assert_eq!(reply["id"], 5);
}

#[tokio::test]
async fn an_answer_is_resumed_where_the_connection_broke() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let params = json!({"name": "work", "_meta": {"progressToken": "t"},
                        "arguments": {"do": "progress", "amount": 3, "then": "hold"}});
    let mut events = Events::of(client.request(4, "tools/call", params).await);
    let primed = events.next().await.unwrap();
    assert!(primed.message.is_null());
    let first = events.next().await.unwrap();
    drop(events);
    // What comes while there is no reader is kept.
    instance.release();
    let resumed = client.resume(Some(&first.id)).await.rest().await;
    let progress: Vec<&Value> = resumed
        .iter()
        .map(|event| &event.message["params"]["progress"])
        .collect();
    assert_eq!(progress, [&json!(2), &json!(3), &Value::Null]);
    assert_eq!(resumed[2].message["id"], 4);
    // The whole answer can be had again, from the very first event.
    let again = client.resume(Some(&primed.id)).await.rest().await;
    assert_eq!(again.len(), 4);
    assert_eq!(again[1..], resumed[..]);
    assert_eq!(world.notes.count(ProxyCount::StreamResumed), 2);
}

#[tokio::test]
async fn a_get_stream_is_resumed_and_nothing_is_sent_twice() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    client
        .request(1, "resources/subscribe", json!({"uri": "x:1"}))
        .await;
    let mut events = client.get().await;
    instance.say(updated("x:1"));
    let mut last = events.next().await.unwrap();
    while last.message.is_null() {
        last = events.next().await.unwrap();
    }
    drop(events);
    for _ in 0..3 {
        instance.say(updated("x:1"));
    }
    // Whether the server has noticed the end of the old connection or not, the new one takes its place.
    let mut resumed = client.resume(Some(&last.id)).await;
    let mut ids = vec![last.id];
    for _ in 0..3 {
        let Event { id, message } = resumed.next().await.unwrap();
        assert_eq!(message, updated("x:1"));
        assert!(!ids.contains(&id));
        ids.push(id);
    }
    // An id that means nothing here begins a stream of its own.
    let mut fresh = client.resume(Some("e0.77.3")).await;
    assert!(fresh.next().await.unwrap().message.is_null());
}

#[tokio::test]
async fn a_session_has_so_many_streams_and_no_more() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(client.get().await);
    }
    let refused = client.get_raw(None).await;
    assert_eq!(refused.status(), 409);
}

#[tokio::test]
async fn a_reader_that_does_not_read_blocks_no_other_and_can_resume() {
    let limits = ProxyLimits {
        unsent_events_max: 50,
        ..ProxyLimits::default()
    };
    let world = World::with(limits, std::sync::Arc::default(), "e1").await;
    let instance = world.start_run(1).await;
    let (slow, quick) = (world.client().await, world.client().await);
    // A third one gets no such log messages, so that its answers stay plain.
    let busy = world.client().await;
    busy.request(0, "logging/setLevel", json!({"level": "error"}))
        .await;
    let mut stuck = slow.get().await;
    let primed = stuck.next().await.unwrap();
    let mut reading = quick.get().await;
    let total = 400;
    let reader = tokio::spawn(async move {
        for n in 0..total {
            let message = reading.message().await;
            assert_eq!(message["params"]["data"]["n"], n);
        }
    });
    let pad = "x".repeat(100_000);
    for n in 0..total {
        let params = json!({"level": "info", "data": {"n": n, "pad": pad}});
        instance
            .say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
        if n % 10 == 0 {
            // The others are served all the while.
            assert_eq!(busy.work_json(n, json!({})).await.status, 200);
        }
    }
    soon("the quick reader", reader).await.unwrap();
    assert!(world.notes.count(ProxyCount::SlowStreamClosed) >= 1);
    drop(stuck);
    let mut resumed = slow.resume(Some(&primed.id)).await;
    let first = resumed.message().await["params"]["data"]["n"]
        .as_u64()
        .unwrap();
    // The oldest are gone, what is left is in order to the last.
    for n in first + 1..total {
        assert_eq!(resumed.message().await["params"]["data"]["n"], n);
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.work(1, json!({"do": "hold"})).await }
    });
    instance.saw_method("tools/call").await;
    waiting.abort();
    assert!(waiting.await.is_err());
    assert_eq!(client.work_json(2, json!({})).await.status, 200);
    assert_eq!(instance.count("notifications/cancelled"), 0);
    assert_eq!(instance.upstream.in_flight(), 1);
    instance.release();
    soon("the answer to be taken", async {
        while instance.upstream.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(
        world.breaker.cell().totals().calls,
        2,
        "its end counts all the same"
    );
}

#[tokio::test]
async fn closing_all_streams_leaves_them_to_be_resumed() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let mut events = client.get().await;
    let primed = events.next().await.unwrap();
    world.proxy.close_streams();
    assert_eq!(events.next().await, None);
    instance.say(changed());
    let mut resumed = client.resume(Some(&primed.id)).await;
    assert_eq!(resumed.message().await, changed());
}

#[tokio::test]
async fn sessions_whose_clients_vanished_hold_little_together() {
    let limits = ProxyLimits {
        events_bytes_max: 500_000,
        ..ProxyLimits::default()
    };
    let world = World::with(limits, std::sync::Arc::default(), "e1").await;
    let instance = world.start_run(1).await;
    let mut vanished = Vec::new();
    for _ in 0..50 {
        vanished.push(world.client().await);
    }
    let here = world.client().await;
    let mut events = here.get().await;
    let total = 500;
    let pad = "x".repeat(1000);
    for n in 0..total {
        let params = json!({"level": "info", "data": {"n": n, "pad": pad}});
        instance
            .say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}));
        // A reader misses nothing.
        assert_eq!(events.message().await["params"]["data"]["n"], n);
    }
    let held = world.proxy.event_bytes();
    assert!((500_000..51 * 70_000).contains(&held), "{held}");
    assert!(world.notes.count(ProxyCount::StreamEventDropped) > 0);
    world.table.remove(&world.id);
    drop(events);
    soon("what they held to be given back", async {
        while world.proxy.event_bytes() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
