//! Instances that start, die, drain and come back while clients wait.

use std::{sync::Arc, time::Duration};

use router_core::{
    ErrorKind, InstanceId, SlotKey,
    event::{Event, TrafficEvent},
    permit::Class,
    route::{Route, Unavailable, UnavailableKind},
};
use router_proxy::{ProxyLimits, RoutingEntry};
use serde_json::json;

use crate::{
    client::{soon, whole},
    instance::Instance,
    world::World,
};

#[tokio::test]
async fn a_request_to_an_idle_instance_waits_for_its_start() {
    let mut world = World::new().await;
    world.route(Route::Startable { wait_ms: 10_000 });
    let initializing = tokio::spawn({
        let mut client = world.raw_client();
        async move {
            client.initialize("2025-11-25").await;
            client
        }
    });
    let Event::Traffic(TrafficEvent::Demand(key)) = world.next_event().await else {
        panic!("not a demand");
    };
    assert_eq!(key.instance, world.id);
    let deadline_ms = world.now_ms() + 60_000;
    world.route(Route::Starting { deadline_ms });
    let _instance = world.start_run(1).await;
    let client = initializing.await.unwrap();
    assert_eq!(client.work_json(1, json!({})).await.status, 200);
}

#[tokio::test]
async fn a_start_that_takes_too_long_or_fails_is_an_error_that_says_so() {
    let mut world = World::new().await;
    world.route(Route::Startable { wait_ms: 50 });
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let client = world.raw_client();
    let answer = whole(client.post(&initialize).await).await;
    assert!(
        answer.message().contains("did not become ready within"),
        "{answer:?}"
    );
    assert_eq!(answer.body["error"]["data"]["kind"], "spawn");
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Demand(_))
    ));
    world.route(Route::Startable { wait_ms: 10_000 });
    let waiting = tokio::spawn(async move { whole(client.post(&initialize).await).await });
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Demand(_))
    ));
    world.unavailable(
        UnavailableKind::Backoff,
        "Spawn failed: no such file",
        Some(2_000),
    );
    let answer = waiting.await.unwrap();
    assert!(
        answer
            .message()
            .contains("Instance demo: Spawn failed: no such file"),
        "{answer:?}"
    );
    assert_eq!(answer.body["error"]["data"]["state"], "backoff");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(world.notes.errors(), [ErrorKind::Spawn, ErrorKind::Spawn]);
}

/// A limit holds a start up: a request may wait so long for a place, and is then answered why there is none.
fn waiting(world: &World, wait_ms: u64) -> Route {
    Route::Waiting {
        wait_ms,
        refusal: Unavailable {
            kind: UnavailableKind::Capacity,
            reason: "2 of 2 are in use".into(),
            retry_at_ms: Some(world.now_ms() + 10_000),
        },
    }
}

#[tokio::test]
async fn who_gets_no_place_is_refused_with_the_limit_also_where_the_next_one_may_try() {
    let mut world = World::new().await;
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    // Its time is up while it waits, or the core has refused it a moment before.
    for is_refused_first in [false, true] {
        world.route(Route::Startable { wait_ms: 300 });
        let (client, initialize) = (world.raw_client(), initialize.clone());
        let asking = tokio::spawn(async move { whole(client.post(&initialize).await).await });
        assert!(matches!(
            world.next_event().await,
            Event::Traffic(TrafficEvent::Demand(_))
        ));
        world.route(waiting(&world, 400));
        if is_refused_first {
            tokio::time::sleep(Duration::from_millis(350)).await;
            world.route(Route::Startable { wait_ms: 300 });
        }
        let answer = asking.await.unwrap();
        assert!(answer.message().contains("2 of 2 are in use"), "{answer:?}");
        assert_eq!(answer.body["error"]["data"]["state"], "capacity");
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(world.notes.errors(), [ErrorKind::Spawn, ErrorKind::Spawn]);
}

#[tokio::test]
async fn who_gets_a_place_has_the_whole_time_of_a_start() {
    let mut world = World::new().await;
    world.route(Route::Startable { wait_ms: 300 });
    let initializing = tokio::spawn({
        let mut client = world.raw_client();
        async move {
            client.initialize("2025-11-25").await;
        }
    });
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Demand(_))
    ));
    world.route(waiting(&world, 60_000));
    // Longer than the start alone might have taken.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let deadline_ms = world.now_ms() + 60_000;
    world.route(Route::Starting { deadline_ms });
    let _instance = world.start_run(1).await;
    initializing.await.unwrap();
}

#[tokio::test]
async fn so_many_wait_for_a_start_and_no_more() {
    let limits = ProxyLimits {
        waiting_max: 1,
        ..ProxyLimits::default()
    };
    let mut world = World::with(limits, Arc::default(), "e1").await;
    world.route(Route::Startable { wait_ms: 10_000 });
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    let first = tokio::spawn({
        let (client, initialize) = (world.raw_client(), initialize.clone());
        async move { whole(client.post(&initialize).await).await }
    });
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Demand(_))
    ));
    let second = whole(world.raw_client().post(&initialize).await).await;
    assert!(
        second.message().contains("too many requests wait"),
        "{second:?}"
    );
    let _instance = world.start_run(1).await;
    assert!(first.await.unwrap().body["result"].is_object());
}

#[tokio::test]
async fn who_hangs_up_while_an_instance_starts_waits_no_more() {
    let limits = ProxyLimits {
        waiting_max: 1,
        ..ProxyLimits::default()
    };
    let mut world = World::with(limits, Arc::default(), "e1").await;
    world.route(Route::Startable { wait_ms: 60_000 });
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}});
    for _ in 0..3 {
        let hasty = tokio::spawn({
            let (client, initialize) = (world.raw_client(), initialize.clone());
            async move { whole(client.post(&initialize).await).await }
        });
        assert!(matches!(
            world.next_event().await,
            Event::Traffic(TrafficEvent::Demand(_))
        ));
        hasty.abort();
        assert!(hasty.await.is_err());
        // Its place is free as soon as the server has noticed; until then the next one would be refused.
        soon("its place to be free", async {
            while world.proxy.waiting_count() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
    assert_eq!(world.proxy.session_count(&world.id), 0);
}

#[tokio::test]
async fn a_demand_that_finds_no_room_is_repeated() {
    let mut world = World::new().await;
    world.route(Route::Startable { wait_ms: 10_000 });
    let waiting: Vec<_> = (0..70)
        .map(|_| {
            let mut client = world.raw_client();
            tokio::spawn(async move { client.initialize("2025-11-25").await })
        })
        .collect();
    // More than the queue to the driver holds.
    for _ in 0..70 {
        assert!(matches!(
            world.next_event().await,
            Event::Traffic(TrafficEvent::Demand(_))
        ));
    }
    let _instance = world.start_run(1).await;
    for client in waiting {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_was_not_sent_yet_goes_to_the_next_run() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    instance.die();
    instance.connection.await.unwrap();
    // The table still names the dead run.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.work_json(1, json!({"x": 1})).await }
    });
    let next = Instance::start(&world.id, 2, |_| {}).await;
    world.route_to(&next);
    assert_eq!(
        waiting.await.unwrap().body["result"],
        json!({"echo": {"x": 1}})
    );
    // Where no route comes, it is not waited for, however often the routes of others change.
    next.die();
    next.connection.await.unwrap();
    let other = SlotKey::first(InstanceId::parse("other").unwrap());
    let others_change = async {
        loop {
            let route = Route::Startable { wait_ms: 1 };
            let entry = RoutingEntry::new(other.clone(), route, None, Arc::default());
            world.table.set(entry);
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::select! {
        answer = client.work_json(2, json!({})) => answer,
        () = others_change => unreachable!(),
    };
    assert!(answer.message().contains("went away"), "{answer:?}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_timeout() {
    let mut world = World::new().await;
    let instance = world
        .start_run_with(1, |config| {
            config.request_timeout = Duration::from_millis(60);
        })
        .await;
    let client = world.client().await;
    let answer = client.work_json(1, json!({"do": "hold"})).await;
    assert!(answer.message().contains("no answer within"), "{answer:?}");
    assert_eq!(
        answer.body["error"]["data"],
        json!({"kind": "timeout", "instance": "demo"})
    );
    instance.saw_method("notifications/cancelled").await;
    assert_eq!(world.notes.errors(), [ErrorKind::Timeout]);
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Used(_))
    ));
    let Event::Traffic(TrafficEvent::Outcome {
        report,
        upstream_died,
        ..
    }) = world.next_event().await
    else {
        panic!("not an outcome");
    };
    assert_eq!((report.class, upstream_died), (Class::Failure, false));
    // A late answer does no harm.
    instance.release();
    assert_eq!(client.work_json(2, json!({})).await.body["id"], 2);
}

#[tokio::test]
async fn states_in_which_no_request_is_served_say_so() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    let cases = [
        (UnavailableKind::Stopped, None, "stopped", "/start"),
        (
            UnavailableKind::CrashLoop,
            Some(600_000),
            "crash_loop",
            "/crashes",
        ),
        (UnavailableKind::Draining, None, "draining", "Try again"),
        (UnavailableKind::Removing, None, "draining", "no more"),
        (
            UnavailableKind::ShuttingDown,
            None,
            "shutting_down",
            "Try again",
        ),
    ];
    for (kind, retry, state, text) in cases {
        world.unavailable(kind, "because", retry);
        let answer = client.work_json(1, json!({})).await;
        assert!(
            answer.message().contains("because") && answer.message().contains(text),
            "{answer:?}"
        );
        assert_eq!(answer.body["error"]["data"]["state"], state);
        assert_eq!(
            client.notify("notifications/odd", json!({})).await.status,
            202
        );
    }
}

#[tokio::test]
async fn a_drain_lets_the_present_finish_and_sends_the_future_elsewhere() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.work_json(1, json!({"do": "hold"})).await }
    });
    instance.saw_method("tools/call").await;
    let draining = tokio::spawn({
        let upstream = instance.upstream.clone();
        async move { upstream.drain(Duration::from_secs(10)).await }
    });
    let next = world.start_run(2).await;
    assert_eq!(client.work_json(2, json!({})).await.status, 200);
    next.saw_method("tools/call").await;
    instance.release();
    assert_eq!(
        waiting.await.unwrap().body["result"],
        json!({"released": true})
    );
    assert!(draining.await.unwrap());
}
