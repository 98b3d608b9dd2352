//! What the end of a request means for the breaker, the driver and the metrics, and what an open breaker does to requests.

use std::sync::Arc;

use router_core::{
    ErrorKind,
    action::BreakerCause,
    event::{Event, TrafficEvent},
    permit::{BreakerSetting, BreakerState, Class},
};
use router_proxy::SharedBreaker;
use serde_json::json;

use crate::{client::whole, world::World};

#[tokio::test]
async fn metrics_and_driver_receive_how_requests_end() {
    let (mut world, _instance) = World::ready().await;
    let client = world.client().await;
    world.notes.finished.lock().clear();
    client.work_json(1, json!({})).await;
    client.work_json(2, json!({"do": "fail"})).await;
    let refused = client
        .work_json(3, json!({"do": "error", "code": -32602}))
        .await;
    assert_eq!(
        refused.body["error"],
        json!({"code": -32602, "message": "as you wish"})
    );
    client
        .work_json(4, json!({"do": "error", "code": -32603}))
        .await;
    let finished: Vec<_> = world
        .notes
        .finished
        .lock()
        .iter()
        .map(|(_, kind, fault)| (*kind, *fault))
        .collect();
    assert_eq!(
        finished,
        [
            (None, false),
            (None, false),
            (Some(ErrorKind::Validation), false),
            (Some(ErrorKind::Upstream), true)
        ]
    );
    let totals = world.breaker.cell().totals();
    assert_eq!(
        (totals.calls, totals.failures),
        (3, 0),
        "an error of the server's own says nothing"
    );
    // Without a streak, only the use is sent.
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Used(_))
    ));
    assert!(world.events.try_recv().is_err());
    world.set_breaker(BreakerSetting {
        streak: true,
        ..BreakerSetting::default()
    });
    client.work_json(5, json!({})).await;
    let Event::Traffic(TrafficEvent::Outcome {
        report,
        upstream_died,
        ..
    }) = world.next_event().await
    else {
        panic!("not an outcome");
    };
    assert_eq!((report.class, upstream_died), (Class::Success, false));
}

#[tokio::test]
async fn an_open_breaker_rejects_with_the_runbooks_sentence() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    world.stop_clock();
    let cases = [
        (
            Some(25_000),
            "Circuit breaker is OPEN. Retry in 25000ms",
            Some("25"),
        ),
        (
            Some(24_001),
            "Circuit breaker is OPEN. Retry in 24001ms",
            Some("25"),
        ),
        (Some(0), "Circuit breaker is OPEN. Retry in 0ms", Some("1")),
        (
            None,
            "Circuit breaker is OPEN. An operator isolated this instance until the breaker is reset",
            None,
        ),
    ];
    for (generation, (retry_after_ms, text, seconds)) in (2..).zip(cases) {
        world.set_breaker(BreakerSetting {
            state: BreakerState::Open,
            generation,
            retry_at_ms: retry_after_ms.map(|ms| world.now_ms() + ms),
            ..BreakerSetting::default()
        });
        let answer = client.work_json(9, json!({})).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["id"]),
            (200, &json!(9))
        );
        assert_eq!(
            answer.message(),
            format!("{text}. This request was not sent.")
        );
        assert_eq!(
            answer.body["error"]["data"]["retryAfterMs"],
            json!(retry_after_ms)
        );
        assert_eq!(answer.header("retry-after"), seconds);
    }
    assert_eq!(instance.count("tools/call"), 0);
    assert_eq!(world.notes.errors(), [ErrorKind::Breaker; 4]);
}

#[tokio::test]
async fn a_rejection_says_what_happened_since_when_and_who_answers_instead() {
    let (world, _instance) = World::ready().await;
    let client = world.client().await;
    world.stop_clock();
    world.pass(60_000);
    let open = BreakerSetting {
        state: BreakerState::Open,
        generation: 2,
        retry_at_ms: Some(world.now_ms() + 25_000),
        ..BreakerSetting::default()
    };
    let cause = BreakerCause {
        reason: "3 requests in a row failed".into(),
        since_ms: world.now_ms() - 5_000,
    };
    world.breaker.set(Some(Arc::new(cause)), &open);
    let text = "Circuit breaker is OPEN. Retry in 25000ms. Instance demo: 3 requests in a row failed; its breaker has not been CLOSED for \
                5 s. This request was not sent.";
    let answer = client.work_json(1, json!({})).await;
    assert_eq!(answer.message(), text);
    let data = &answer.body["error"]["data"];
    assert_eq!(
        (
            &data["state"],
            &data["reason"],
            &data["sinceMs"],
            &data["answering"]
        ),
        (
            &json!("OPEN"),
            &json!("3 requests in a row failed"),
            &json!(5_000),
            &json!([])
        )
    );
    // Others that serve, one whose own breaker is OPEN, and one that is gone.
    let _serve = [
        world.start_other("one", Arc::default()).await,
        world.start_other("two", Arc::default()).await,
    ];
    let broken = Arc::new(SharedBreaker::default());
    broken.cell().apply(&open);
    let _broken = world.start_other("three", broken).await;
    let gone = world.start_other("four", Arc::default()).await;
    gone.die();
    gone.connection.await.unwrap();
    assert_eq!(
        client.work_json(2, json!({})).await.message(),
        text,
        "known for a second"
    );
    world.pass(1_000);
    let message = client.work_json(3, json!({})).await.message().to_owned();
    let others = message.split_once("This request was not sent. ").unwrap().1;
    assert!(
        [
            "Other instances answer: one, two.",
            "Other instances answer: two, one."
        ]
        .contains(&others),
        "{message}"
    );
    // However many there are, a few are named, and never the one that rejects.
    let mut more = Vec::new();
    for n in 0..8 {
        more.push(
            world
                .start_other(&format!("more-{n}"), Arc::default())
                .await,
        );
    }
    world.pass(1_000);
    let answer = client.work_json(4, json!({})).await;
    let named = answer.body["error"]["data"]["answering"]
        .as_array()
        .unwrap();
    assert_eq!(named.len(), 3, "{answer:?}");
    assert!(!named.contains(&json!("demo")), "{answer:?}");
}

#[tokio::test]
async fn a_half_open_breaker_admits_its_probes_and_no_more() {
    let (mut world, instance) = World::ready().await;
    let client = world.client().await;
    world.set_breaker(BreakerSetting {
        state: BreakerState::HalfOpen,
        generation: 3,
        permits: 1,
        probe_ms: 60_000,
        ..BreakerSetting::default()
    });
    let probe = tokio::spawn({
        let client = client.clone();
        async move { client.work_json(1, json!({"do": "hold"})).await }
    });
    instance.saw_method("tools/call").await;
    let rejected = client.work_json(2, json!({})).await;
    assert!(
        rejected
            .message()
            .starts_with("Circuit breaker is HALF_OPEN"),
        "{rejected:?}"
    );
    instance.release();
    assert_eq!(
        probe.await.unwrap().body["result"],
        json!({"released": true})
    );
    assert!(matches!(
        world.next_event().await,
        Event::Traffic(TrafficEvent::Used(_))
    ));
    let Event::Traffic(TrafficEvent::Outcome { report, .. }) = world.next_event().await else {
        panic!("not an outcome");
    };
    assert_eq!((report.generation, report.class), (3, Class::Success));
}

#[tokio::test]
async fn what_the_router_answers_by_itself_says_nothing_about_the_instance() {
    let mut world = World::new().await;
    let instance = world
        .start_run_with(1, |config| {
            config.cache_ttl = std::time::Duration::from_secs(60);
        })
        .await;
    let (first, second) = (world.client().await, world.client().await);
    let uri = json!({"uri": "x:1"});
    first.request(1, "tools/list", json!({})).await;
    first.request(2, "resources/subscribe", uri.clone()).await;
    let asked = (
        instance.count("tools/list"),
        instance.count("resources/subscribe"),
    );
    let before = world.breaker.cell().totals();
    world.set_breaker(BreakerSetting {
        state: BreakerState::HalfOpen,
        generation: 3,
        permits: 1,
        probe_ms: 60_000,
        ..BreakerSetting::default()
    });
    for (method, params) in [
        ("tools/list", json!({})),
        ("tools/list", json!({})),
        ("resources/subscribe", uri.clone()),
        ("resources/unsubscribe", uri),
    ] {
        // Each gives its permit back: there is one.
        let answer = whole(second.request(1, method, params).await).await;
        assert!(answer.body["result"].is_object(), "{method}: {answer:?}");
    }
    assert_eq!(
        asked,
        (
            instance.count("tools/list"),
            instance.count("resources/subscribe")
        )
    );
    assert_eq!(instance.count("resources/unsubscribe"), 0);
    assert_eq!(world.breaker.cell().totals(), before);
    // Requests they are all the same, and the first verdict is that of one that was sent.
    assert_eq!(world.notes.errors(), []);
    second.work_json(2, json!({"do": "fail"})).await;
    loop {
        match world.next_event().await {
            Event::Traffic(TrafficEvent::Outcome { report, .. }) => {
                assert_eq!((report.generation, report.class), (3, Class::Success));
                break;
            }
            Event::Traffic(TrafficEvent::Used(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(world.events.try_recv().is_err());
}
