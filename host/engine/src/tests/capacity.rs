//! Capacity policies: the bundled one answers as the built-in rule does, also through all that lies between; and hostile ones.

use std::sync::Arc;

use router_core::capacity::{
    CapacityLoad, CapacityPlan, LIMITS_MAX, LoadDay, LoadHistory, LoadMinute, Measure,
    TemplateLoad, Usage, builtin,
};

use super::world::{World, guest, settings};
use crate::{CallFailure, FailureKind, PluginSettings};

const BUNDLED: &str = "default-capacity";
const HOSTILE: &str = "hostile-capacity";

/// As much history as there can be.
fn load() -> CapacityLoad {
    let usage = |running: u32| Usage {
        running,
        in_flight: 3,
        memory_bytes: u64::from(running) << 20,
    };
    let day_ms = 86_400_000;
    let now_ms = 20_000 * day_ms;
    let minutes = (0..1_440).map(|n| LoadMinute {
        at_ms: now_ms - (1_440 - n) * 60_000,
        peak: usage(n as u32 % 50),
    });
    let days = (0..400).map(|n| LoadDay {
        at_ms: now_ms - (400 - n) * day_ms,
        mean: usage(n as u32 / 20),
        peak: usage(n as u32 / 10),
    });
    CapacityLoad {
        now_ms,
        instances: 60,
        usage: usage(40),
        memory_total_bytes: 1 << 30,
        memory_free_bytes: 1 << 29,
        processors: 2,
        templates: vec![TemplateLoad {
            name: "godot".into(),
            instances: 60,
            running: 40,
        }],
        history: Arc::new(LoadHistory {
            minutes: minutes.collect(),
            days: days.collect(),
        }),
        attributes: Vec::new(),
    }
}

async fn loaded(name: &str, settings: PluginSettings) -> World {
    let mut world = World::new(settings);
    world.put(name, &guest(name));
    world.swapped(name).await;
    world
}

async fn plan(world: &World, name: &str) -> Option<Result<CapacityPlan, CallFailure>> {
    world.engine.plan_capacity(name, None, load()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_one_answers_as_the_built_in_rule() {
    let world = loaded(BUNDLED, PluginSettings::default()).await;
    let expected = builtin(&load());
    assert!(!expected.forecasts.is_empty());
    assert_eq!(plan(&world, BUNDLED).await, Some(Ok(expected.clone())));
    let view = world.view(BUNDLED);
    assert_eq!((view.world, view.calls), ("capacity-policy", 1));
    let decision = serde_json::to_value(&view.decisions[0]).unwrap();
    assert_eq!(decision["required"], expected.required);
    assert_eq!(decision["load"]["days"], 400);
    // It answers no other question.
    assert!(world.judge(BUNDLED).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_limits_are_those_of_its_configuration() {
    let config = "running_max = 5\nmemory_max_share = 0.5\n[template_max]\ngodot = 4";
    let world = loaded(BUNDLED, settings(BUNDLED, config)).await;
    let limits = plan(&world, BUNDLED).await.unwrap().unwrap().limits;
    let limits: Vec<_> = limits.iter().map(|limit| (&limit.of, limit.most)).collect();
    assert_eq!(
        limits,
        [
            (&Measure::Running, 5),
            (&Measure::MemoryBytes, 1 << 29),
            (&Measure::RunningOfTemplate("godot".into()), 4),
        ]
    );
    let bad = settings(BUNDLED, "running_max = 0\nruning_max = 5");
    let report = world.engine.reconfigure(bad).await;
    let reason = &report.refused[BUNDLED];
    assert!(
        reason.contains("running_max is 0") && reason.contains("runing_max is not known"),
        "{reason}"
    );
    assert!(plan(&world, BUNDLED).await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ones_are_stopped_and_quarantined() {
    for (mode, kind) in [
        ("loop", FailureKind::Timeout),
        ("trap", FailureKind::Trap),
        ("flood", FailureKind::Limit),
    ] {
        let config = format!("mode = '{mode}'");
        let world = loaded(HOSTILE, settings(HOSTILE, &config)).await;
        let failure = plan(&world, HOSTILE).await.unwrap().unwrap_err();
        assert_eq!(failure.kind, kind, "{mode}");
        for _ in 0..3 {
            plan(&world, HOSTILE).await;
        }
        assert_eq!(world.view(HOSTILE).state, "quarantined", "{mode}");
        assert!(plan(&world, HOSTILE).await.is_none(), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plan_comes_through_to_be_refused() {
    for (mode, reason) in [
        ("zero", "0 would let nothing start"),
        ("huge", "required is 4294967295"),
        ("huge-limit", "18446744073709551615"),
        ("twice", "one of the same before"),
        ("nobody", "there is no template \"nobody's\""),
        ("many", "more than 256 limits"),
        ("never", "at-ms is 18446744073709551615"),
    ] {
        let config = format!("mode = '{mode}'");
        let world = loaded(HOSTILE, settings(HOSTILE, &config)).await;
        let plan = plan(&world, HOSTILE).await.unwrap().unwrap();
        assert!(plan.limits.len() <= LIMITS_MAX + 1);
        let fault = plan.check(&load().templates).unwrap_err();
        assert!(fault.contains(reason), "{mode}: {fault}");
    }
}
