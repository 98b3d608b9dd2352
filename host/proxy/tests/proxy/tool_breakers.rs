//! Tools that have breakers of their own: what they reject, what they give back, and what their calls say about the instance.

use std::sync::Arc;

use router_core::{
    action::{BreakerCause, GuardedTool},
    event::{Event, TrafficEvent},
    permit::{BreakerSetting, BreakerState, Class},
};
use serde_json::json;

use crate::world::World;

fn guarded(tool: &str, setting: BreakerSetting) -> GuardedTool {
    GuardedTool {
        tool: tool.into(),
        classes: Arc::default(),
        setting,
        cause: Some(Arc::new(BreakerCause {
            reason: "3 requests in a row failed".into(),
            since_ms: 0,
        })),
    }
}

fn open() -> BreakerSetting {
    BreakerSetting {
        state: BreakerState::Open,
        generation: 2,
        retry_at_ms: Some(65_000),
        ..BreakerSetting::default()
    }
}

#[tokio::test]
async fn an_open_tool_is_rejected_and_the_others_are_served() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    world.stop_clock();
    world.pass(40_000 - world.now_ms());
    world.guard(&instance, vec![guarded("work", open())]);
    let rejected = client.work_json(1, json!({})).await;
    assert_eq!(
        rejected.message(),
        "Circuit breaker is OPEN. Retry in 25000ms. Tool work of instance demo: 3 requests in a row failed; its breaker has not been \
         CLOSED for 40 s. This request was not sent. The other tools of the instance are admitted."
    );
    let data = &rejected.body["error"]["data"];
    assert_eq!(
        (&data["tool"], &data["state"]),
        (&json!("work"), &json!("OPEN"))
    );
    assert_eq!(rejected.header("retry-after"), Some("25"));
    assert_eq!(instance.count("tools/call"), 0);
    client
        .request(2, "tools/call", json!({"name": "other"}))
        .await;
    assert_eq!(instance.count("tools/call"), 1);
}

#[tokio::test]
async fn a_refused_tool_gives_the_permit_of_the_instance_back() {
    let (world, instance) = World::ready().await;
    let client = world.client().await;
    world.guard(&instance, vec![guarded("work", open())]);
    world.set_breaker(BreakerSetting {
        state: BreakerState::HalfOpen,
        generation: 3,
        permits: 1,
        probe_ms: 60_000,
        ..BreakerSetting::default()
    });
    for id in 1..4 {
        let rejected = client.work_json(id, json!({})).await;
        assert!(rejected.message().contains("Tool work"), "{rejected:?}");
    }
    client
        .request(4, "tools/call", json!({"name": "other"}))
        .await;
    assert_eq!(instance.count("tools/call"), 1);
}

#[tokio::test]
async fn a_tool_that_takes_too_long_says_nothing_about_its_instance() {
    let mut world = World::new().await;
    let instance = world
        .start_run_with(1, |config| {
            config.request_timeout = std::time::Duration::from_millis(50);
        })
        .await;
    let client = world.client().await;
    let tools = world.guard(&instance, vec![guarded("work", BreakerSetting::default())]);
    client.work_json(1, json!({"do": "hold"})).await;
    let (report, timed_out) = loop {
        match world.next_event().await {
            Event::Traffic(TrafficEvent::ToolOutcome {
                tool,
                report,
                timed_out,
                upstream_died: false,
                ..
            }) => {
                assert_eq!(&*tool, "work");
                break (report.unwrap(), timed_out);
            }
            Event::Traffic(TrafficEvent::Used(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    // The driver knows whether pings fail too, and of which generation the permit was.
    assert_eq!((report.class, timed_out), (Class::Failure, Some(1)));
    let of_tool = tools.get("work").unwrap().breaker.cell().totals();
    let of_instance = world.breaker.cell().totals();
    assert_eq!((of_tool.calls, of_tool.failures), (1, 1));
    assert_eq!((of_instance.calls, of_instance.failures), (0, 0));
    // What it answers counts for both.
    instance.release();
    client.work_json(2, json!({})).await;
    assert_eq!(world.breaker.cell().totals().calls, 1);
}

#[tokio::test]
async fn calls_are_counted_by_the_tools_of_the_list_and_under_no_name_that_a_client_invents() {
    let world = World::new().await;
    let instance = world
        .start_run_with(1, |config| {
            config.request_timeout = std::time::Duration::from_millis(50);
        })
        .await;
    let client = world.client().await;
    let counted = || std::mem::take(&mut *world.notes.called.lock());
    client.work_json(1, json!({})).await;
    counted();
    client.work_json(2, json!({})).await;
    assert_eq!(counted(), [(None, false)], "nobody wants to know of it");

    let guarded = vec![guarded("other", BreakerSetting::default())];
    world.meter(&instance, &["work", "other"], guarded);
    client.work_json(3, json!({})).await;
    for (id, params) in [
        (4, json!({"name": "invented"})),
        (5, json!({"name": "other"})),
        // Not at the beginning of the parameters.
        (6, json!({"arguments": {"name": "x"}, "name": "other"})),
    ] {
        client.request(id, "tools/call", params).await;
    }
    client.request(7, "prompts/list", json!({})).await;
    client.work_json(8, json!({"do": "hold"})).await;
    let called: Vec<_> = counted();
    let called: Vec<_> = called
        .iter()
        .map(|(tool, is_wrong)| (tool.as_deref(), *is_wrong))
        .collect();
    assert_eq!(
        called,
        [
            (Some("work"), false),
            (Some(""), false),
            (Some("other"), false),
            (Some("other"), false),
            (None, false),
            (Some("work"), true),
        ]
    );
}
