//! Instances that are lost while clients wait, and what the clients learn of it.

use std::time::{Duration, Instant};

use router_core::{
    ErrorKind,
    event::{Event, TrafficEvent},
    permit::Class,
    route::UnavailableKind,
};
use serde_json::json;

use crate::{client::Events, instance::Instance, world::World};

#[tokio::test]
async fn an_instance_that_dies_answers_all_at_once_with_what_comes_next() {
    let (mut world, instance) = World::ready().await;
    let mut waiting = Vec::new();
    for id in 0..8 {
        let client = world.client().await;
        waiting.push(tokio::spawn(async move {
            client.work_json(id, json!({"do": "hold"})).await
        }));
    }
    let streaming = world.client().await;
    let params = json!({"name": "work", "_meta": {"progressToken": 1}, "arguments": {"do": "progress", "then": "hold"}});
    let mut events = Events::of(streaming.request("s", "tools/call", params).await);
    assert_eq!(events.message().await["params"]["progress"], 1);
    while instance.upstream.in_flight() < 9 {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    instance.die();
    instance.connection.await.unwrap();
    world.unavailable(UnavailableKind::Backoff, "exited with code 1", Some(60_000));
    for (id, client) in waiting.into_iter().enumerate() {
        let answer = client.await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body["id"]),
            (200, &json!(id))
        );
        let message = answer.message();
        assert!(
            message.starts_with("Instance demo: the instance went away"),
            "{message}"
        );
        assert!(
            message.contains("It is being restarted. Retry in "),
            "{message}"
        );
    }
    let last = events.message().await;
    assert_eq!(last["id"], "s");
    assert!(
        last["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Instance demo"),
        "{last}"
    );
    assert_eq!(events.next().await, None);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "no request waits for a timeout"
    );
    let mut died = 0;
    while died < 9 {
        if let Event::Traffic(TrafficEvent::Outcome {
            report,
            upstream_died,
            run,
            ..
        }) = world.next_event().await
        {
            assert_eq!(
                (report.class, upstream_died, run.0),
                (Class::Failure, true, 1)
            );
            died += 1;
        }
    }
    assert_eq!(world.notes.errors(), [ErrorKind::Upstream; 9]);
    // And the next run serves.
    let _next = world.start_run(2).await;
    assert_eq!(streaming.work_json(2, json!({})).await.status, 200);
}

/// A client whose request has become a stream, and one with a batch: both hold.
async fn streaming_and_batch(world: &World, instance: &Instance) -> (Events, Events) {
    let (streaming, batching) = (world.client().await, world.client_of("2025-03-26").await);
    let params = json!({"name": "work", "_meta": {"progressToken": 1}, "arguments": {"do": "progress", "then": "hold"}});
    let mut stream = Events::of(streaming.request(1, "tools/call", params).await);
    assert_eq!(stream.message().await["params"]["progress"], 1);
    let hold = |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "work", "arguments": {"do": "hold"}}});
    let batch = Events::of(batching.post(&json!([hold(1), hold(2)])).await);
    while instance.upstream.in_flight() < 3 {
        tokio::task::yield_now().await;
    }
    (stream, batch)
}

/// The errors of the three requests of [`streaming_and_batch`].
async fn errors_of((stream, batch): (Events, Events)) -> Vec<String> {
    let mut messages = Vec::new();
    for events in [stream, batch] {
        let errors = events.rest().await;
        let errors = errors.iter().filter(|event| !event.message.is_null());
        messages.extend(errors.map(|event| {
            let message = event.message["error"]["message"].as_str();
            message.unwrap_or_else(|| panic!("{event:?}")).to_owned()
        }));
    }
    assert_eq!(messages.len(), 3, "{messages:?}");
    messages
}

#[tokio::test]
async fn streams_and_batches_learn_what_comes_next_from_the_driver() {
    let world = World::new().await;
    world.stop_clock();
    let cases = [
        (
            UnavailableKind::Backoff,
            Some(60_000),
            "It is being restarted. Retry in 60000ms",
        ),
        (
            UnavailableKind::CrashLoop,
            Some(600_000),
            "It is tried again in 600000 ms, or at once with POST",
        ),
        (UnavailableKind::Stopped, None, "It stays so until"),
    ];
    for (run, (kind, retry_after_ms, next)) in (1..).zip(cases) {
        let instance = world.start_run(run).await;
        let waiting = streaming_and_batch(&world, &instance).await;
        instance.die();
        // The driver decides a moment after the loss.
        instance.connection.await.unwrap();
        tokio::task::yield_now().await;
        world.unavailable(kind, "exited with code 1", retry_after_ms);
        for message in errors_of(waiting).await {
            assert!(message.starts_with("Instance demo: the instance went away"));
            assert!(message.contains(next), "{kind:?}: {message}");
        }
    }
}

#[tokio::test]
async fn where_no_route_comes_streams_end_all_the_same() {
    let (world, instance) = World::ready().await;
    let waiting = streaming_and_batch(&world, &instance).await;
    instance.die();
    for message in errors_of(waiting).await {
        assert!(message.contains("It is being restarted"), "{message}");
    }
    // Another run may serve already.
    let instance = world.start_run(2).await;
    let waiting = streaming_and_batch(&world, &instance).await;
    let _next = world.start_run(3).await;
    instance.die();
    for message in errors_of(waiting).await {
        assert!(message.contains("It is running again"), "{message}");
    }
}
