//! The policy beside the built-in default, and its own limits.

use proptest::prelude::*;
use router_core::health::{Health, HealthFacts, builtin};
use router_plugin_sdk::{
    Settings, Value,
    health_policy::{Facts, HealthPolicy as _, Status},
};

use super::DefaultHealth;

fn facts_of(facts: &HealthFacts) -> Facts {
    Facts {
        instance: facts.instance.clone(),
        slot: facts.slot,
        uptime_ms: facts.uptime_ms,
        memory_bytes: facts.memory_bytes,
        memory_limit_bytes: facts.memory_limit_bytes,
        heartbeat_age_ms: facts.heartbeat_age_ms,
        pings_failed: facts.pings_failed,
        ping_ms: facts.ping_ms,
        window_requests: facts.window_requests,
        window_errors: facts.window_errors,
        window_p95_ms: facts.window_p95_ms,
        restarts_recent: facts.restarts_recent,
        in_flight: facts.in_flight,
        tools_missing: facts.tools_missing.clone(),
        tools_count: facts.tools_count,
        attributes: facts.attributes.clone(),
    }
}

prop_compose! {
    fn any_facts()(
        memory_bytes in prop::option::of(0_u64..2_000_000_000),
        memory_limit_bytes in prop::option::of(1_u64..2_000_000_000),
        heartbeat_age_ms in prop_oneof![0_u64..100_000, 300_000_u64..400_000],
        pings_failed in 0_u32..8,
        window_requests in 0_u64..100,
        errors_share in 0_u64..=100,
        window_p95_ms in prop::option::of(0.0..10_000.0),
        restarts_recent in 0_u32..6,
        in_flight in 0_u32..3,
        tools_missing in prop::collection::vec("[a-z]{1,8}", 0..8),
    ) -> HealthFacts {
        HealthFacts {
            memory_bytes,
            memory_limit_bytes,
            heartbeat_age_ms,
            pings_failed,
            window_requests,
            window_errors: window_requests * errors_share / 100,
            window_p95_ms,
            restarts_recent,
            in_flight,
            tools_missing,
            ..HealthFacts::default()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]
    #[test]
    fn without_configuration_it_answers_as_the_built_in_default(facts in any_facts()) {
        let expected = builtin(&facts);
        let verdict = DefaultHealth::judge(&facts_of(&facts), &Settings::default());
        let health = match verdict.status {
            Status::Healthy => Health::Healthy,
            Status::Degraded => Health::Degraded,
            Status::Unhealthy => Health::Unhealthy,
        };
        prop_assert_eq!(health, expected.health);
        prop_assert_eq!(verdict.reason, expected.reason);
        prop_assert_eq!(verdict.recycle, expected.recycle);
    }
}

#[test]
fn each_limit_can_be_set() {
    let check = |key: &'static str, value: f64, facts: Facts| {
        let default = DefaultHealth::judge(&facts, &Settings::default());
        let strict = DefaultHealth::judge(&facts, &Settings::of([(key, Value::Number(value))]));
        assert_ne!(default.status, strict.status, "{key}");
    };
    check(
        "memory_degraded_mb",
        10.0,
        Facts {
            memory_bytes: Some(50 << 20),
            ..Facts::default()
        },
    );
    check(
        "silent_unhealthy_ms",
        2_000.0,
        Facts {
            heartbeat_age_ms: 2_001,
            ..Facts::default()
        },
    );
    check(
        "pings_unhealthy",
        1.0,
        Facts {
            pings_failed: 1,
            ..Facts::default()
        },
    );
    check(
        "p95_degraded_ms",
        100.0,
        Facts {
            window_p95_ms: Some(101.0),
            ..Facts::default()
        },
    );
    check(
        "restarts_degraded",
        1.0,
        Facts {
            restarts_recent: 1,
            ..Facts::default()
        },
    );
    let failing = Facts {
        window_requests: 100,
        window_errors: 3,
        ..Facts::default()
    };
    check("errors_degraded", 0.01, failing.clone());
    check("errors_unhealthy", 0.02, failing);
    let few = Facts {
        window_requests: 4,
        window_errors: 4,
        ..Facts::default()
    };
    check("requests_min", 4.0, few);
}

#[test]
fn every_fault_of_a_configuration_is_named() {
    let settings = Settings::of([
        ("memory_degraded_mb", Value::Whole(0)),
        ("errors_degraded", Value::Text("few".into())),
        ("memory_mb", Value::Whole(5)),
        ("p95_degraded_ms", Value::Whole(200)),
    ]);
    let faults = DefaultHealth::check(&settings);
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["memory_degraded_mb", "errors_degraded", "memory_mb"]);
    assert!(
        faults[2].reason.contains("memory_degraded_mb"),
        "{:?}",
        faults[2]
    );
}
