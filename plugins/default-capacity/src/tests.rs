//! The policy beside the built-in default, and its own numbers.

use std::sync::Arc;

use proptest::prelude::*;
use router_core::capacity as core;
use router_plugin_sdk::{
    Settings, Value,
    capacity_policy::{
        CapacityPlan, CapacityPolicy as _, Day, History, Load, Measure, Minute, TemplateLoad, Usage,
    },
};

use super::{DAY_MS, DefaultCapacity};

fn usage_of(usage: core::Usage) -> Usage {
    Usage {
        running: usage.running,
        in_flight: usage.in_flight,
        memory_bytes: usage.memory_bytes,
    }
}

fn asked(load: &core::CapacityLoad) -> (Load, History) {
    let minutes = load.history.minutes.iter().map(|minute| Minute {
        at_ms: minute.at_ms,
        peak: usage_of(minute.peak),
        attributes: Vec::new(),
    });
    let days = load.history.days.iter();
    let days = days.map(|day| Day::new(day.at_ms, usage_of(day.mean), usage_of(day.peak)));
    let history = History {
        minutes: minutes.collect(),
        days: days.collect(),
        attributes: Vec::new(),
    };
    let load = Load {
        now_ms: load.now_ms,
        instances: load.instances,
        usage: usage_of(load.usage),
        memory_total_bytes: load.memory_total_bytes,
        memory_free_bytes: load.memory_free_bytes,
        processors: load.processors,
        templates: Vec::new(),
        attributes: Vec::new(),
    };
    (load, history)
}

fn measure_of(of: &core::Measure) -> Measure {
    match of {
        core::Measure::Running => Measure::Running,
        core::Measure::MemoryBytes => Measure::MemoryBytes,
        core::Measure::InFlight => Measure::InFlight,
        core::Measure::RunningOfTemplate(name) => Measure::RunningOfTemplate(name.to_string()),
        core::Measure::Other(name) => Measure::Other(name.to_string()),
    }
}

prop_compose! {
    fn any_usage()(running in 0_u32..500, in_flight in 0_u32..100, memory_bytes in 0_u64..1 << 36) -> core::Usage {
        core::Usage { running, in_flight, memory_bytes }
    }
}

prop_compose! {
    fn any_load()(
        now_ms in 0_u64..20_000 * DAY_MS,
        usage in any_usage(),
        memory_total_bytes in prop_oneof![Just(0), 1_u64 << 30..1 << 38],
        minutes in prop::collection::vec(any_usage(), 0..5),
        // Days that grow, so that some of their lines reach something.
        base in any_usage(),
        days in prop::collection::vec((0_u64..3, any_usage(), 0_u32..40), 0..40),
        lies_ahead_ms in 0..2 * DAY_MS,
    ) -> core::CapacityLoad {
        let count = days.len() as u64;
        let mut at_ms = (now_ms + lies_ahead_ms).saturating_sub(count * DAY_MS);
        let days = days.into_iter().zip(0..).map(|((gap, mean, jitter), n)| {
            at_ms += gap * DAY_MS;
            let peak = core::Usage {
                running: base.running + 2 * n + jitter,
                memory_bytes: base.memory_bytes + (u64::from(n) << 26),
                ..base
            };
            core::LoadDay { at_ms, mean, peak }
        });
        let days = days.collect();
        let first_ms = now_ms.saturating_sub(200_000);
        let minutes = minutes.into_iter().zip(0..);
        let minutes = minutes.map(|(peak, n)| core::LoadMinute { at_ms: first_ms + n * 60_000, peak });
        let minutes = minutes.collect();
        core::CapacityLoad {
            now_ms,
            usage,
            memory_total_bytes,
            history: Arc::new(core::LoadHistory { minutes, days }),
            ..core::CapacityLoad::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn without_configuration_it_answers_as_the_built_in_default(load in any_load()) {
        let expected = core::builtin(&load);
        let (load, history) = asked(&load);
        let plan = DefaultCapacity::plan(&load, &history, &Settings::default());
        prop_assert_eq!(plan.required, expected.required);
        prop_assert_eq!(plan.reason, expected.reason);
        prop_assert_eq!(plan.attributes, expected.attributes);
        prop_assert!(plan.limits.is_empty() && expected.limits.is_empty());
        let given = plan.forecasts.into_iter();
        let given = given.map(|one| (one.of, one.at_ms, one.summary, one.attributes));
        let expected = expected.forecasts.into_iter();
        let expected = expected.map(|one| (measure_of(&one.of), one.at_ms, one.summary, one.attributes));
        prop_assert_eq!(given.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

#[test]
fn some_of_the_loads_that_are_compared_have_forecasts() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut plans = || {
        let load = any_load().new_tree(&mut runner).unwrap().current();
        core::builtin(&load).forecasts.len()
    };
    let forecasts: usize = (0..200).map(|_| plans()).sum();
    assert!(forecasts > 50, "{forecasts}");
}

fn running(running: u32) -> Usage {
    Usage {
        running,
        ..Usage::default()
    }
}

fn plan(load: &Load, pairs: &[(&'static str, f64)]) -> CapacityPlan {
    let pairs = pairs
        .iter()
        .map(|(key, value)| (*key, Value::Number(*value)));
    DefaultCapacity::plan(load, &History::default(), &Settings::of(pairs))
}

#[test]
fn the_example_of_the_runbook_and_other_numbers() {
    let load = Load {
        usage: running(100),
        ..Load::default()
    };
    let servers = |plan: &CapacityPlan| {
        let servers = plan.attributes.iter().find(|(name, _)| name == "servers");
        servers.unwrap().1.clone()
    };
    let example = plan(&load, &[]);
    assert_eq!((example.required, servers(&example).as_str()), (360, "4"));
    let other = plan(
        &load,
        &[
            ("peak_multiplier", 2.0),
            ("buffer", 0.5),
            ("per_server", 40.0),
        ],
    );
    assert_eq!((other.required, servers(&other).as_str()), (300, "8"));
    assert_eq!(
        other.reason,
        "100.0 running instances on average now, x 2 at the peak = 200.0, + 50 % = 300; at 40 for each server: 8"
    );
}

#[test]
fn limits_are_those_that_are_configured() {
    let template = |name: &str| TemplateLoad {
        name: name.to_owned(),
        instances: 3,
        running: 1,
        attributes: Vec::new(),
    };
    let load = Load {
        memory_total_bytes: 1_000 << 20,
        templates: vec![template("godot"), template("node")],
        ..Load::default()
    };
    let plan = plan(
        &load,
        &[
            ("running_max", 2.0),
            ("memory_max_mb", 900.0),
            ("memory_max_share", 0.5),
            ("in_flight_max", 64.0),
            ("template_max.node", 7.0),
            // Configured for a template that is gone: no limit, rather than a plan that is refused.
            ("template_max.gone", 1.0),
        ],
    );
    let limits: Vec<_> = plan
        .limits
        .iter()
        .map(|limit| (&limit.of, limit.most))
        .collect();
    let node = Measure::RunningOfTemplate("node".to_owned());
    assert_eq!(
        limits,
        [
            (&Measure::Running, 2),
            (&Measure::MemoryBytes, 500 << 20),
            (&Measure::InFlight, 64),
            (&node, 7),
        ]
    );
    for (limit, key) in plan.limits.iter().zip([
        "running_max",
        "memory_max_share",
        "in_flight_max",
        "template_max.node",
    ]) {
        assert!(limit.refusal.contains(key), "{}", limit.refusal);
    }
}

#[test]
fn forecasts_are_about_the_limits_where_there_are_any() {
    let load = Load::default();
    let days = (1..=20_u32).map(|n| {
        let at_ms = load.now_ms - u64::from(21 - n) * DAY_MS;
        let peak = Usage {
            in_flight: 2 * n,
            ..running(n)
        };
        Day::new(at_ms, running(1), peak)
    });
    let history = History {
        days: days.collect(),
        ..History::default()
    };
    let summaries = |pairs: &[(&'static str, f64)]| -> Vec<String> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (*key, Value::Number(*value)));
        let plan = DefaultCapacity::plan(&load, &history, &Settings::of(pairs));
        plan.forecasts.into_iter().map(|one| one.summary).collect()
    };
    let of_hundred = "80 % of 100 running instances: in 59 days, at 1.0 more each day";
    assert_eq!(summaries(&[]), [of_hundred]);
    assert_eq!(
        summaries(&[("running_max", 50.0), ("in_flight_max", 60.0)]),
        [
            "80 % of 60 requests in flight: in 3 days, at 2.0 more each day",
            "80 % of 50 running instances: in 19 days, at 1.0 more each day",
        ]
    );
    assert_eq!(
        summaries(&[("servers", 2.0), ("forecast_share", 0.5)]),
        ["50 % of 200 running instances: in 79 days, at 1.0 more each day"]
    );
    assert_eq!(summaries(&[("trend_days_min", 21.0)]), [""; 0]);
    assert_eq!(
        summaries(&[("running_max", 10.0)]),
        ["80 % of 10 running instances: already"]
    );
}

#[test]
fn every_fault_of_a_configuration_is_named() {
    let settings = Settings::of([
        ("peak_multiplier", Value::Whole(0)),
        ("running_max", Value::Text("few".into())),
        ("max_running", Value::Whole(5)),
        ("template_max.godot", Value::Whole(0)),
        ("template_max.node", Value::Whole(5)),
    ]);
    let faults = DefaultCapacity::check(&settings);
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "peak_multiplier",
            "running_max",
            "max_running",
            "template_max.godot"
        ]
    );
    assert!(faults[2].reason.contains("running_max"), "{:?}", faults[2]);
}
