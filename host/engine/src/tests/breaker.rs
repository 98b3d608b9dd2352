//! Breaker policies: the bundled one answers as the built-in rule does, also through all that lies between; and hostile ones.

use std::time::Duration;

use router_core::breaker::plan::{
    BreakerPlan, BreakerProfile, ROWS_MAX, TOOL_NAME_BYTES_MAX, TOOL_ROWS_MAX, ToolProfile, builtin,
};

use super::world::{World, guest, settings};
use crate::{CallFailure, FailureKind, PluginSettings, texts::REASON_BYTES_MAX};

const BUNDLED: &str = "default-breaker";
const HOSTILE: &str = "hostile-breaker";

fn profile() -> BreakerProfile {
    let tool = |name: &str, calls| ToolProfile {
        name: name.to_owned(),
        calls,
        p50_ms: Some(12.5),
        ..ToolProfile::default()
    };
    BreakerProfile {
        instance: "demo".to_owned(),
        template: Some("godot".to_owned()),
        transport: "stdio".to_owned(),
        tools: vec![tool("render", 40), tool("export", 3)],
        attributes: vec![("rest-calls".to_owned(), "7".to_owned())],
        ..BreakerProfile::default()
    }
}

async fn loaded(name: &str, settings: PluginSettings) -> World {
    let mut world = World::new(settings);
    world.put(name, &guest(name));
    world.swapped(name).await;
    world
}

async fn hostile(mode: &str) -> World {
    let mut settings = settings(HOSTILE, &format!("mode = '{mode}'"));
    if mode != "loop" {
        // To fill memory or a plan takes time on a loaded machine, and this is not about time.
        settings.limits.call_timeout = Duration::from_secs(10);
    }
    loaded(HOSTILE, settings).await
}

async fn plan(world: &World, name: &str) -> Option<Result<BreakerPlan, CallFailure>> {
    world.engine.plan_breaker(name, None, profile()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_one_answers_as_the_built_in_rule() {
    let world = loaded(BUNDLED, PluginSettings::default()).await;
    let expected = builtin(&profile().configured);
    assert_eq!(plan(&world, BUNDLED).await, Some(Ok(expected)));
    let view = world.view(BUNDLED);
    assert_eq!((view.world, view.calls), ("breaker-policy", 1));
    let decision = serde_json::to_value(&view.decisions[0]).unwrap();
    assert_eq!(decision["profile"]["tools"][0]["name"], "render");
    assert_eq!(decision["profile"]["attributes"]["rest-calls"], "7");
    // It answers no other question.
    assert!(world.judge(BUNDLED).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_learns_what_single_tools_are_like() {
    let world = hostile("tools").await;
    let plan = plan(&world, HOSTILE).await.unwrap().unwrap();
    assert_eq!(plan.reason, "render 40, export 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ones_are_stopped_and_quarantined() {
    for (mode, kind) in [
        ("loop", FailureKind::Timeout),
        ("trap", FailureKind::Trap),
        ("memory", FailureKind::Limit),
        ("flood", FailureKind::Limit),
        ("longer-reason", FailureKind::Limit),
    ] {
        let world = hostile(mode).await;
        let failure = plan(&world, HOSTILE).await.unwrap().unwrap_err();
        assert_eq!(failure.kind, kind, "{mode}: {failure}");
        for _ in 0..3 {
            plan(&world, HOSTILE).await;
        }
        assert_eq!(world.view(HOSTILE).state, "quarantined", "{mode}");
        assert!(plan(&world, HOSTILE).await.is_none(), "{mode}");
    }
}

/// Refused by the core, which must not be given more of it than it takes to say why.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plan_comes_through_to_be_refused() {
    for (mode, reason) in [
        ("nan", "thresholds.failure-share is NaN; expected 0.01 to 2"),
        ("infinite", "thresholds.slow-share is inf"),
        ("negative", "thresholds.failure-share is -0.5"),
        ("zero", "thresholds.consecutive-failures is 0"),
        ("no-permits", "thresholds.permits is 0; expected 1 to 8"),
        ("huge", "thresholds.window-ms is 18446744073709551615"),
        (
            "huge-open",
            "thresholds.open-max-ms is 18446744073709551615",
        ),
        ("short-open", "expected at least thresholds.open-first-ms"),
        ("huge-slow", "thresholds.slow-ms is 18446744073709551615"),
        ("many-rows", "table has more than 64 rows"),
        ("many-tools", "tools has more than 256 rows"),
        ("rows-of-tools", "tools[0].table has more than 64 rows"),
        ("no-name", "tools[0].tool is \"\""),
        ("long-name", "expected at most 256 bytes"),
        ("forged-name", "neither blanks nor control characters"),
        ("inner-star", "expected * at the end only"),
    ] {
        let world = hostile(mode).await;
        let plan = plan(&world, HOSTILE).await.unwrap().unwrap();
        assert!(plan.table.rules().len() <= ROWS_MAX + 1, "{mode}");
        assert!(plan.tools.len() <= TOOL_ROWS_MAX + 1, "{mode}");
        let longest = plan.tools.iter().map(|row| row.tool.len()).max();
        assert!(longest.unwrap_or(0) <= TOOL_NAME_BYTES_MAX + 4, "{mode}");
        let fault = plan.check().unwrap_err().to_string();
        assert!(fault.contains(reason), "{mode}: {fault}");
        assert!(!fault.contains('\n'), "{mode}: {fault}");
        let view = world.view(HOSTILE);
        let decision = serde_json::to_value(&view.decisions[0]).unwrap();
        assert_eq!(decision["refused"], fault, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reason_without_end_is_cut() {
    let world = hostile("long-reason").await;
    let plan = plan(&world, HOSTILE).await.unwrap().unwrap();
    assert!(
        plan.reason.len() <= REASON_BYTES_MAX,
        "{}",
        plan.reason.len()
    );
    assert_eq!(plan.check(), Ok(()));
}
