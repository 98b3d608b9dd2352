//! Sessions: their beginning and end, their bound, and their life beyond a router's.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use router_proxy::{ProxyCount, ProxyLimits, SessionClaims, SessionOwner, SessionSeal as _};
use router_upstream::{ClientCapabilities, ProtocolVersion};
use serde_json::{Value, json};

use crate::{
    client::{Client, Events, soon, whole},
    instance::Instance,
    world::{Seals, World},
};

#[tokio::test]
async fn a_session_that_was_ended_is_not_found() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.work_json(1, json!({"do": "hold"})).await }
    });
    instance.saw_method("tools/call").await;
    assert_eq!(client.delete().await, 204);
    instance.saw_method("notifications/cancelled").await;
    assert!(waiting.await.unwrap().message().contains("session ended"));
    let answer = client.work_json(2, json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["id"]),
        (404, &json!(2))
    );
    assert_eq!(client.delete().await, 404);
    assert_eq!(client.get_raw(None).await.status(), 404);
    assert_eq!(world.proxy.session_count(&world.id), 0);
    assert_eq!(instance.upstream.session_count(), 0);
}

#[tokio::test]
async fn a_session_goes_on_with_the_next_router() {
    let seals = Arc::new(Seals::default());
    let first = World::with(ProxyLimits::default(), seals.clone(), "e1").await;
    let instance = first.start_run(1).await;
    let mut client = first.client_of("2025-06-18").await;
    let mut ended = first.client().await;
    let mut events = client.get().await;
    instance.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    let last = events.next().await.unwrap();
    drop(first);

    let second = World::with(ProxyLimits::default(), seals, "e2").await;
    let instance = second.start_run(1).await;
    client.url = second.raw_client().url;
    ended.url.clone_from(&client.url);
    assert_eq!(client.work_json(1, json!({})).await.body["id"], 1);
    assert_eq!(second.notes.count(ProxyCount::SessionRevived), 1);
    // Its client's abilities stand in the id, and an id of an event of the other router is none of this one's.
    let mut events = client.resume(Some(&last.id)).await;
    instance.say(json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create"}));
    assert_eq!(events.message().await["method"], "elicitation/create");
    // It also hears of what it may have subscribed to before.
    let updated = json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "x:1"}});
    instance.say(updated.clone());
    assert_eq!(events.message().await, updated);
    assert_eq!(
        ended.delete().await,
        204,
        "the first request of a session may be its last"
    );
    assert_eq!(ended.delete().await, 404);
}

#[tokio::test]
async fn a_session_that_was_ended_is_not_found_by_the_next_router_either() {
    let seals = Arc::new(Seals::default());
    let first = World::with(ProxyLimits::default(), seals.clone(), "e1").await;
    let _instance = first.start_run(1).await;
    let (mut ended, mut kept) = (first.client().await, first.client().await);
    assert_eq!(ended.delete().await, 204);
    assert_eq!(ended.delete().await, 404);
    assert_eq!(seals.ended.lock().len(), 1, "kept once");
    drop(first);

    let second = World::with(ProxyLimits::default(), seals.clone(), "e2").await;
    let _instance = second.start_run(1).await;
    for client in [&mut ended, &mut kept] {
        client.url = second.raw_client().url;
    }
    assert_eq!(ended.work_json(1, json!({})).await.status, 404);
    assert_eq!(ended.get_raw(None).await.status(), 404);
    assert_eq!(ended.delete().await, 404);
    assert_eq!(second.notes.count(ProxyCount::SessionRevived), 0);
    assert_eq!(kept.work_json(1, json!({})).await.status, 200);
    assert_eq!(kept.delete().await, 204);
    assert_eq!(seals.ended.lock().len(), 2);
}

#[tokio::test]
async fn a_session_answers_to_nobody_but_who_began_it() {
    let seals = Arc::new(Seals::default());
    let first = World::with(ProxyLimits::default(), seals.clone(), "e1").await;
    let _instance = first.start_run(1).await;
    let mut owner = first.raw_client();
    owner.caller = Some("a");
    owner.initialize("2025-11-25").await;
    let check = async |owner: &Client| {
        for caller in [Some("b"), Some(""), None] {
            let mut other = owner.clone();
            other.caller = caller;
            assert_eq!(
                other.work_json(1, json!({})).await.status,
                404,
                "{caller:?}"
            );
            assert_eq!(other.get_raw(None).await.status(), 404, "{caller:?}");
            assert_eq!(other.delete().await, 404, "{caller:?}");
        }
        assert_eq!(owner.work_json(1, json!({})).await.status, 200);
    };
    check(&owner).await;
    drop(first);
    // The next router knows it by its id alone.
    let second = World::with(ProxyLimits::default(), seals, "e2").await;
    let _instance = second.start_run(1).await;
    owner.url = second.raw_client().url;
    let mut other = owner.clone();
    other.caller = Some("b");
    assert_eq!(other.work_json(1, json!({})).await.status, 404);
    assert_eq!(second.notes.count(ProxyCount::SessionRevived), 0);
    check(&owner).await;
    let repeated = owner
        .build(Method::DELETE)
        .header("mcp-session-id", "another");
    assert_eq!(repeated.send().await.unwrap().status(), 400);
    assert_eq!(owner.delete().await, 204);
}

#[tokio::test]
async fn an_id_that_is_none_or_someone_elses_is_not_found() {
    let seals = Arc::new(Seals::default());
    let claims = SessionClaims {
        instance: router_core::InstanceId::parse("demo").unwrap(),
        version: ProtocolVersion::LATEST,
        capabilities: ClientCapabilities::default(),
        expires_unix_s: 1_700_000_000,
        nonce: [7; 16],
        owner: SessionOwner::default().mark(),
    };
    let stale = Some(seals.seal(&claims));

    let world = World::with(ProxyLimits::default(), seals, "e2").await;
    let _instance = world.start_run(1).await;
    let mut client = world.client().await;
    let good = client.session.clone();
    for session in [
        stale,
        Some("nonsense".to_owned()),
        Some("x".repeat(5000)),
        Some(String::new()),
    ] {
        client.session = session.clone();
        let answer = client.work_json(1, json!({})).await;
        assert_eq!(answer.status, 404, "{session:?}");
        assert!(answer.message().contains("Initialize again"), "{answer:?}");
    }
    client.session = None;
    assert_eq!(client.work_json(1, json!({})).await.status, 400);
    // A session belongs to one instance.
    let other = router_core::InstanceId::parse("other").unwrap();
    let instance = Instance::start(&other, 1, |_| {}).await;
    let key = router_core::SlotKey::first(other);
    let route = router_core::route::Route::Ready {
        key: key.clone(),
        run: router_core::Run(1),
    };
    world.table.set(router_proxy::RoutingEntry::new(
        key,
        route,
        Some(instance.upstream.clone()),
        Arc::default(),
    ));
    client.session = good;
    client.url = client.url.replace("/demo", "/other");
    assert_eq!(client.work_json(1, json!({})).await.status, 404);
}

#[tokio::test]
async fn a_session_in_use_ends_when_its_id_expires() {
    let limits = ProxyLimits {
        session_lifetime: Duration::from_secs(1),
        ..ProxyLimits::default()
    };
    let world = World::with(limits, Arc::default(), "e1").await;
    let instance = world.start_run(1).await;
    // The second may be over before its first request is.
    let client = world.raw_client();
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}});
    let begun = whole(client.request(0, "initialize", params).await).await;
    let mut client = client;
    client.session = begun.header("mcp-session-id").map(str::to_owned);
    assert!(client.session.is_some(), "{begun:?}");
    soon("the session to expire", async {
        while client.work_json(1, json!({})).await.status != 404 {}
    })
    .await;
    assert_eq!(world.proxy.session_count(&world.id), 0);
    assert_eq!(instance.upstream.session_count(), 0);
}

#[tokio::test]
async fn the_idlest_session_makes_room_and_comes_back_when_it_is_used() {
    let limits = ProxyLimits {
        sessions_per_instance_max: 2,
        ..ProxyLimits::default()
    };
    let world = World::with(limits, Arc::default(), "e1").await;
    let _instance = world.start_run(1).await;
    let first = world.client().await;
    let second = world.client().await;
    let _reading = second.get().await;
    let third = world.client().await;
    assert_eq!(world.proxy.session_count(&world.id), 2);
    assert_eq!(world.notes.count(ProxyCount::SessionForgotten), 1);
    // The second is being used and the third is new: the first had to go, and comes back in place of the third.
    assert_eq!(first.work_json(1, json!({})).await.status, 200);
    assert_eq!(world.proxy.session_count(&world.id), 2);
    let _both = first.get().await;
    let refused = third.work_json(1, json!({})).await;
    assert!(
        refused.message().contains("already has 2 active sessions"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn idle_sessions_are_forgotten_and_still_valid() {
    let limits = ProxyLimits {
        session_idle: Duration::from_millis(50),
        ..ProxyLimits::default()
    };
    let world = World::with(limits, Arc::default(), "e1").await;
    let instance = world.start_run(1).await;
    let (idle, reading) = (world.client().await, world.client().await);
    let _events = reading.get().await;
    let is_alone = || world.proxy.session_count(&world.id) == 1;
    world.notes.until("one to be left", is_alone).await;
    assert_eq!(instance.upstream.session_count(), 1);
    assert_eq!(idle.work_json(1, json!({})).await.status, 200);
}

#[tokio::test]
async fn an_event_of_a_forgotten_session_names_none_of_the_one_that_came_back() {
    let limits = ProxyLimits {
        session_idle: Duration::from_millis(50),
        ..ProxyLimits::default()
    };
    let world = World::with(limits, Arc::default(), "e1").await;
    let instance = world.start_run(1).await;
    let client = world.client().await;
    let call = |id: u32, then: &str| {
        let params = json!({"name": "work", "_meta": {"progressToken": "t"},
                            "arguments": {"do": "progress", "amount": 2, "then": then}});
        client.request(id, "tools/call", params)
    };
    let before = Events::of(call(1, "answer").await).rest().await;
    assert_eq!(before.last().unwrap().message["id"], 1);
    let is_forgotten = || world.proxy.session_count(&world.id) == 0;
    world.notes.until("it to be forgotten", is_forgotten).await;
    // It comes back with another answer, in the place where the first one stood.
    let mut events = Events::of(call(2, "hold").await);
    let second = events.next().await.unwrap();
    assert_ne!(second.id, before[0].id);
    let mut resumed = client.resume(Some(&before[0].id)).await;
    instance.release();
    assert_eq!(events.rest().await.last().unwrap().message["id"], 2);
    // A stream of its own: what comes first on it is what the instance says next.
    assert!(resumed.next().await.unwrap().message.is_null());
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    instance.say(changed.clone());
    assert_eq!(resumed.message().await, changed);
}

#[tokio::test]
async fn a_session_follows_its_instance_to_the_next_run() {
    let (world, instance) = World::ready().await;
    let (subscriber, listener) = (world.client().await, world.client().await);
    subscriber
        .request(1, "resources/subscribe", json!({"uri": "x:1"}))
        .await;
    subscriber
        .request(2, "logging/setLevel", json!({"level": "notice"}))
        .await;
    let mut events = listener.get().await;
    instance.die();
    soon("the end", instance.connection).await.unwrap();
    let next = world.start_run(2).await;
    // Without any request of its own.
    assert_eq!(
        next.saw_method("resources/subscribe").await["params"],
        json!({"uri": "x:1"})
    );
    assert_eq!(
        next.saw_method("logging/setLevel").await["params"],
        json!({"level": "notice"})
    );
    next.say(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    assert_eq!(
        events.message().await["method"],
        "notifications/tools/list_changed"
    );
    let answer = whole(subscriber.request(3, "ping", json!({})).await).await;
    assert_eq!(answer.body["result"], json!({}));
}

#[tokio::test]
async fn an_answer_to_what_an_earlier_run_asked_is_not_given_to_the_next() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let mut events = client.get().await;
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list"});
    instance.say(ask.clone());
    let earlier = events.message().await;
    instance.die();
    soon("the end", instance.connection).await.unwrap();
    // The router is the same, so its ids begin the same.
    let next = world
        .start_run_with(2, |config| "e1".clone_into(&mut config.question_prefix))
        .await;
    // The session follows by itself, since it has a stream open.
    soon("the session to be attached", async {
        while next.upstream.session_count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    next.say(ask);
    let later = events.message().await;
    let answer =
        |to: &Value, roots| json!({"jsonrpc": "2.0", "id": to["id"], "result": {"roots": roots}});
    let late = client.post(&answer(&earlier, json!(["late"]))).await;
    assert_eq!(late.status(), 400);
    assert_eq!(
        client
            .post(&answer(&later, json!(["right"])))
            .await
            .status(),
        202
    );
    let got = next
        .saw(|message| message["result"]["roots"].is_array())
        .await;
    assert_eq!(got["result"]["roots"], json!(["right"]));
}

#[tokio::test]
async fn sessions_go_with_an_instance_that_is_removed() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let mut events = client.get().await;
    world.table.remove(&world.id);
    while events.next().await.is_some() {}
    let answer = client.work_json(1, json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["id"]),
        (404, &json!(1))
    );
    assert!(
        answer.message().contains("There is no instance demo"),
        "{answer:?}"
    );
    assert_eq!(world.proxy.session_count(&world.id), 0);
}
