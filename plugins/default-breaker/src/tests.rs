//! The policy beside the built-in default, and its own settings.

use proptest::prelude::*;
use router_core::{
    breaker::plan::{BreakerPlan, PlanMode, builtin},
    classify::ClassTable,
    settings::BreakerThresholds,
};
use router_plugin_sdk::{
    Settings, Value,
    breaker_policy::{BreakerPolicy as _, Mode, Plan, Profile, Thresholds},
};

use super::{DefaultBreaker, KEYS};

fn to_guest(thresholds: &BreakerThresholds) -> Thresholds {
    Thresholds {
        consecutive_failures: thresholds.consecutive_failures,
        window_ms: thresholds.window_ms,
        min_samples: thresholds.min_samples,
        failure_share: thresholds.failure_share,
        slow_share: thresholds.slow_share,
        slow_ms: thresholds.slow_ms,
        open_first_ms: thresholds.open_first_ms,
        open_max_ms: thresholds.open_max_ms,
        successes: thresholds.successes,
        permits: thresholds.permits,
        probe_timeout_ms: thresholds.probe_ms,
        reset_after_ms: thresholds.forget_after_ms,
        attributes: Vec::new(),
    }
}

/// What the router makes of a plan without rows.
fn to_router(plan: Plan) -> BreakerPlan {
    let Plan {
        thresholds,
        table,
        tools,
        mode,
        reason,
        attributes,
    } = plan;
    assert!(table.is_empty() && tools.is_empty() && attributes.is_empty());
    BreakerPlan {
        table: ClassTable::new(Vec::new(), thresholds.slow_ms),
        thresholds: BreakerThresholds {
            consecutive_failures: thresholds.consecutive_failures,
            window_ms: thresholds.window_ms,
            min_samples: thresholds.min_samples,
            failure_share: thresholds.failure_share,
            slow_share: thresholds.slow_share,
            slow_ms: thresholds.slow_ms,
            open_first_ms: thresholds.open_first_ms,
            open_max_ms: thresholds.open_max_ms,
            successes: thresholds.successes,
            permits: thresholds.permits,
            probe_ms: thresholds.probe_timeout_ms,
            forget_after_ms: thresholds.reset_after_ms,
        },
        tools: Vec::new(),
        mode: match mode {
            Mode::Enforce => PlanMode::Enforce,
            Mode::Observe | Mode::Other(_) => PlanMode::Observe,
        },
        reason,
    }
}

prop_compose! {
    /// Whatever the configuration may hold.
    fn any_configured()(
        consecutive_failures in 1_u32..=10_000,
        window_ms in 1_000_u64..=3_600_000,
        min_samples in 1_u64..=1_000_000,
        shares in (0.01_f64..=2.0, 0.01_f64..=2.0),
        slow_ms in prop::option::of(1_u64..=86_400_000),
        open_first_ms in 100_u64..=43_200_000,
        open_more_ms in 0_u64..=43_200_000,
        successes in 1_u32..=1_000,
        permits in 1_u32..=8,
        probe_ms in 100_u64..=3_600_000,
        forget_after_ms in 1_000_u64..=86_400_000,
    ) -> BreakerThresholds {
        BreakerThresholds {
            consecutive_failures,
            window_ms,
            min_samples,
            failure_share: shares.0,
            slow_share: shares.1,
            slow_ms,
            open_first_ms,
            open_max_ms: open_first_ms + open_more_ms,
            successes,
            permits,
            probe_ms,
            forget_after_ms,
        }
    }
}

/// A value of each key, within the bounds that [`DefaultBreaker::check`] has for it.
fn any_settings() -> impl Strategy<Value = Settings> {
    let one = KEYS.iter().map(|key| {
        let is_whole = key.most > 2.0;
        let number = (key.least..=key.most).prop_map(move |number| {
            if is_whole {
                Value::Whole(number as i64)
            } else {
                Value::Number(number)
            }
        });
        prop::option::weighted(0.3, number.prop_map(|value| (key.name, value)))
    });
    let all: Vec<_> = one.collect();
    all.prop_map(|pairs| Settings::of(pairs.into_iter().flatten()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn without_configuration_it_answers_as_the_built_in_default(
        configured in any_configured(),
        calls_per_minute in 0.0..10_000.0,
        error_share in prop::option::of(0.0..1.0),
    ) {
        let profile = Profile {
            configured: to_guest(&configured),
            calls_per_minute,
            error_share,
            ..Profile::default()
        };
        let plan = DefaultBreaker::plan(&profile, &Settings::default());
        prop_assert_eq!(to_router(plan), builtin(&configured));
    }

    #[test]
    fn what_its_check_accepts_the_router_accepts(
        configured in any_configured(),
        settings in any_settings(),
    ) {
        prop_assume!(DefaultBreaker::check(&settings).is_empty());
        let profile = Profile { configured: to_guest(&configured), ..Profile::default() };
        let plan = to_router(DefaultBreaker::plan(&profile, &settings));
        prop_assert_eq!(plan.check(), Ok(()));
    }
}

#[test]
fn the_defaults_of_the_sdk_are_those_of_the_router() {
    assert_eq!(
        Thresholds::default(),
        to_guest(&BreakerThresholds::default())
    );
}

#[test]
fn each_threshold_can_be_set_and_the_reason_says_so() {
    for key in &KEYS {
        let value = if key.most > 2.0 {
            Value::Whole(key.most as i64)
        } else {
            Value::Number(key.most)
        };
        let settings = Settings::of([(key.name, value)]);
        assert_eq!(DefaultBreaker::check(&settings), [], "{}", key.name);
        let plan = DefaultBreaker::plan(&Profile::default(), &settings);
        assert_ne!(plan.thresholds, Thresholds::default(), "{}", key.name);
        assert!(plan.reason.contains(key.name), "{}", plan.reason);
    }
    let settings = Settings::of([
        ("consecutive_failures", Value::Whole(5)),
        ("mode", Value::Text("observe".to_owned())),
    ]);
    let plan = DefaultBreaker::plan(&Profile::default(), &settings);
    let reason =
        "the thresholds of the configuration, with consecutive_failures = 5 of its settings";
    assert_eq!((plan.reason.as_str(), plan.mode), (reason, Mode::Observe));
    assert_eq!(plan.thresholds.consecutive_failures, 5);
}

#[test]
fn every_fault_of_a_configuration_is_named() {
    let settings = Settings::of([
        ("consecutive_failures", Value::Number(2.5)),
        ("permits", Value::Whole(9)),
        ("failure_share", Value::Text("half".to_owned())),
        ("consecutive", Value::Whole(5)),
        ("open_first_ms", Value::Whole(60_000)),
        ("open_max_ms", Value::Whole(30_000)),
        ("mode", Value::Text("shadow".to_owned())),
    ]);
    let faults = DefaultBreaker::check(&settings);
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    let expected = [
        "permits",
        "failure_share",
        "consecutive",
        "consecutive_failures",
        "open_max_ms",
        "mode",
    ];
    assert_eq!(keys, expected, "{faults:?}");
    let unknown = &faults[2].reason;
    assert!(unknown.contains("consecutive_failures"), "{unknown}");
}

#[test]
fn tools_that_are_named_get_rows() {
    let with = |value: Value| Settings::of([("tools", value)]);
    let check = |tools: &str| DefaultBreaker::check(&with(Value::Text(tools.to_owned())));
    let plan = |tools: &str| {
        let settings = with(Value::Text(tools.to_owned()));
        let profile = Profile::default();
        DefaultBreaker::plan(&profile, &settings).tools
    };
    assert!(check("render, export_*").is_empty());
    let rows = plan("render, export_*");
    let named: Vec<&str> = rows.iter().map(|row| row.tool.as_str()).collect();
    assert_eq!(named, ["render", "export_*"]);
    let many = (0..257).map(|n| format!("tool_{n}")).collect::<Vec<_>>();
    for tools in [
        "",
        "a,,b",
        "a b",
        "a*b",
        "a, a",
        &"x".repeat(257),
        &many.join(","),
    ] {
        assert_eq!(check(tools).len(), 1, "{tools:?}");
    }
    assert_eq!(DefaultBreaker::check(&with(Value::Number(1.0))).len(), 1);
}
