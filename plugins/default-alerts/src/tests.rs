//! Each threshold just below, at and above; what each alert says; and how the configuration changes them.

mod documents;

use std::collections::BTreeSet;

use proptest::prelude::*;
use router_plugin_sdk::{
    Settings, Value,
    alert_rule::{
        AlertRule as _, CONDITIONS_MAX, CapacityLimit, Condition, Disk, Fleet, InstanceState,
        KEY_BYTES_MAX, PluginState, Refusal, Severity, SinkState, Totals,
    },
};

use crate::{CATALOGUE, DefaultAlerts, LIMITS};

fn evaluate(fleet: &Fleet, settings: &Settings) -> Vec<Condition> {
    DefaultAlerts::evaluate(fleet, settings)
}

/// The names of what is raised.
fn names(fleet: &Fleet) -> Vec<String> {
    let raised = evaluate(fleet, &Settings::default()).into_iter();
    raised.map(|condition| condition.name).collect()
}

fn of_instance(change: impl Fn(&mut InstanceState)) -> Fleet {
    let mut instance = InstanceState::default();
    change(&mut instance);
    Fleet {
        instances: vec![instance],
        ..Fleet::default()
    }
}

fn of_totals(change: impl Fn(&mut Totals)) -> Fleet {
    let mut totals = Totals {
        instances: 10,
        wanted: 10,
        able: 10,
        breakers: 10,
        ..Totals::default()
    };
    change(&mut totals);
    Fleet {
        totals,
        ..Fleet::default()
    }
}

fn of_fleet(change: impl Fn(&mut Fleet)) -> Fleet {
    let mut fleet = Fleet::default();
    change(&mut fleet);
    fleet
}

fn of_plugin(change: impl Fn(&mut PluginState)) -> Fleet {
    let mut plugin = PluginState::default();
    change(&mut plugin);
    of_fleet(|fleet| fleet.plugins = vec![plugin.clone()])
}

fn of_sink(change: impl Fn(&mut SinkState, u64)) -> Fleet {
    let mut sink = SinkState::default();
    change(&mut sink, Fleet::default().now_ms);
    of_fleet(|fleet| fleet.sinks = vec![sink.clone()])
}

#[test]
fn nothing_is_wrong_with_what_is_well() {
    let fleet = Fleet {
        instances: vec![InstanceState::default()],
        plugins: vec![PluginState::default()],
        sinks: vec![SinkState::default()],
        disks: vec![disk("/data", 0.5)],
        ..of_totals(|_| {})
    };
    assert_eq!(names(&fleet), Vec::<String>::new());
    assert_eq!(names(&Fleet::default()), Vec::<String>::new());
}

fn disk(path: &str, used_share: f64) -> Disk {
    Disk {
        path: path.to_owned(),
        used_share,
        attributes: Vec::new(),
    }
}

fn limit(used: u64, most: u64) -> CapacityLimit {
    CapacityLimit {
        of: "running instances".to_owned(),
        used,
        most,
        attributes: Vec::new(),
    }
}

/// One threshold: what makes a fleet with a value, the values at which nothing and something is raised, in the order of size.
struct Threshold {
    alert: &'static str,
    fleet: fn(f64) -> Fleet,
    quiet: &'static [f64],
    raised: &'static [f64],
}

const DAY: f64 = 86_400_000.0;
const MIB: f64 = 1_048_576.0;

const THRESHOLDS: &[Threshold] = &[
    Threshold {
        alert: "AllInstancesFailing",
        fleet: |able| of_totals(|totals| totals.able = able as u32),
        quiet: &[10.0, 1.0],
        raised: &[0.0],
    },
    Threshold {
        alert: "BreakersOpenedTogether",
        fleet: |count| of_totals(|totals| totals.breakers_opened_together = count as u32),
        quiet: &[0.0, 4.0, 5.0],
        raised: &[6.0, 10.0],
    },
    Threshold {
        // Two of three are a coincidence.
        alert: "BreakersOpenedTogether",
        fleet: |count| {
            of_totals(|totals| {
                (totals.breakers, totals.breakers_opened_together) = (3, count as u32);
            })
        },
        quiet: &[1.0, 2.0],
        raised: &[3.0],
    },
    Threshold {
        alert: "HighErrorRate",
        fleet: |share| of_totals(|totals| totals.error_share = Some(share)),
        quiet: &[0.0, 0.049, 0.05],
        raised: &[0.0501, 1.0],
    },
    Threshold {
        alert: "SlowRequests",
        fleet: |ms| of_totals(|totals| totals.p95_ms = Some(ms)),
        quiet: &[1.0, 199.9, 200.0],
        raised: &[200.1, 60_000.0],
    },
    Threshold {
        alert: "InstanceErrors",
        fleet: |share| of_instance(|one| one.error_share = Some(share)),
        quiet: &[0.0, 0.049, 0.05],
        raised: &[0.0501, 1.0],
    },
    Threshold {
        alert: "InstanceSlow",
        fleet: |ms| of_instance(|one| one.p95_ms = Some(ms)),
        quiet: &[1.0, 199.9, 200.0],
        raised: &[200.1],
    },
    Threshold {
        alert: "InstanceRestarts",
        fleet: |count| of_instance(|one| one.restarts_recent = count as u32),
        quiet: &[0.0, 4.0, 5.0],
        raised: &[6.0],
    },
    Threshold {
        alert: "InstanceBreaker",
        fleet: |count| of_instance(|one| one.openings = count as u32),
        quiet: &[0.0, 1.0, 2.0],
        raised: &[3.0],
    },
    Threshold {
        alert: "InstanceSilent",
        fleet: |ms| of_instance(|one| one.heartbeat_age_ms = Some(ms as u64)),
        quiet: &[0.0, 29_999.0, 30_000.0],
        raised: &[30_001.0],
    },
    Threshold {
        alert: "InstanceMemory",
        fleet: |bytes| of_instance(|one| one.memory_bytes = Some(bytes as u64)),
        quiet: &[0.0, 500.0 * MIB - 1.0, 500.0 * MIB],
        raised: &[500.0 * MIB + 1.0],
    },
    Threshold {
        alert: "InstanceMemory",
        fleet: |bytes| {
            of_instance(|one| {
                one.memory_limit_bytes = Some(1_000);
                one.memory_bytes = Some(bytes as u64);
            })
        },
        quiet: &[0.0, 799.0, 800.0],
        raised: &[801.0],
    },
    Threshold {
        alert: "PoolNearlyFull",
        fleet: |share| of_fleet(|fleet| fleet.pool_share = share),
        quiet: &[0.0, 0.799, 0.8],
        raised: &[0.801, 1.0],
    },
    Threshold {
        alert: "ManyConnections",
        fleet: |count| of_fleet(|fleet| fleet.database_connections = Some(count as u32)),
        quiet: &[0.0, 24.0, 25.0],
        raised: &[26.0],
    },
    Threshold {
        alert: "DiskNearlyFull",
        fleet: |share| of_fleet(|fleet| fleet.disks = vec![disk("/data", share)]),
        quiet: &[0.0, 0.799, 0.8, f64::NAN],
        raised: &[0.801, 1.0],
    },
    Threshold {
        alert: "CapacityNearlyUsed",
        fleet: |used| of_fleet(|fleet| fleet.capacity_limits = vec![limit(used as u64, 100)]),
        quiet: &[0.0, 79.0, 80.0],
        raised: &[81.0, 100.0],
    },
    Threshold {
        alert: "CapacityForecast",
        fleet: |left_ms| {
            of_fleet(|fleet| {
                fleet.capacity_forecast = Some("80 % of memory on 2027-01-15".to_owned());
                fleet.capacity_forecast_ms =
                    Some(fleet.now_ms.saturating_add_signed(left_ms as i64));
            })
        },
        quiet: &[8.0 * DAY, 7.0 * DAY + 1.0],
        raised: &[7.0 * DAY, 1.0, -DAY],
    },
    Threshold {
        alert: "DeliveryFailing",
        fleet: |ms| of_sink(|sink, now_ms| sink.failing_since_ms = Some(now_ms - ms as u64)),
        quiet: &[0.0, 59_999.0, 60_000.0],
        raised: &[60_001.0],
    },
    Threshold {
        alert: "DeadLetters",
        fleet: |count| of_sink(|sink, _| sink.dead_letters = count as u32),
        quiet: &[0.0],
        raised: &[1.0],
    },
];

#[test]
fn each_threshold_is_exceeded_above_it_and_not_at_it() {
    for threshold in THRESHOLDS {
        for value in threshold.quiet {
            let raised = names(&(threshold.fleet)(*value));
            assert!(
                raised.is_empty(),
                "{} at {value}: {raised:?}",
                threshold.alert
            );
        }
        for value in threshold.raised {
            let raised = names(&(threshold.fleet)(*value));
            assert_eq!(raised, [threshold.alert], "at {value}");
        }
    }
}

/// What is wrong without a number, with the words of the summary.
fn states() -> Vec<(&'static str, Fleet, &'static str)> {
    let state = |state: &'static str, world: &'static str| {
        of_plugin(move |plugin| {
            state.clone_into(&mut plugin.state);
            world.clone_into(&mut plugin.world);
            plugin.reason = Some("three calls in a row trapped".to_owned());
            plugin.default_answers = 7;
        })
    };
    let refusal = |code: &'static str| {
        of_plugin(move |plugin| {
            plugin.refusal = Some(Refusal {
                code: code.to_owned(),
                reason: "p95_ms is 0".to_owned(),
            });
        })
    };
    vec![
        (
            "InstanceCrashLoop",
            of_instance(|one| {
                "crash_loop".clone_into(&mut one.lifecycle);
                "unhealthy".clone_into(&mut one.status);
                "exit code 3, five times".clone_into(&mut one.reason);
            }),
            "instance demo: crash loop: exit code 3, five times",
        ),
        (
            "InstanceUnhealthy",
            of_instance(|one| {
                "unhealthy".clone_into(&mut one.status);
                "three pings failed".clone_into(&mut one.reason);
            }),
            "instance demo: unhealthy: three pings failed",
        ),
        (
            "DatabaseLost",
            of_fleet(|fleet| "disconnected".clone_into(&mut fleet.database)),
            "the database is lost",
        ),
        (
            "DatabaseLost",
            of_fleet(|fleet| {
                "disconnected".clone_into(&mut fleet.database);
                let reason = ("database-reason".to_owned(), "no answer".to_owned());
                fleet.attributes = vec![reason];
            }),
            "the database is lost: no answer",
        ),
        (
            "PluginDown",
            state("quarantined", "health-policy"),
            "plugin default-health is quarantined: three calls in a row trapped; the built-in rule answered 7 times",
        ),
        (
            "PluginDown",
            state("missing", ""),
            "plugin default-health is missing: three calls",
        ),
        (
            "AlertingPluginDown",
            state("refused", "alert-sink"),
            "plugin default-health is refused: three calls",
        ),
        (
            "PluginRefusesSettings",
            refusal("refused_config"),
            "plugin default-health: p95_ms is 0",
        ),
        (
            "PluginHeld",
            of_plugin(|plugin| plugin.held = Some("it would recycle 5 of 6".to_owned())),
            "the new generation of plugin default-health is held: it would recycle 5 of 6",
        ),
        (
            "PluginHeld",
            state("held", "health-policy"),
            "the new generation of plugin default-health is held: three calls",
        ),
        (
            "SinkGone",
            of_sink(|sink, _| sink.gone = Some("no_service".to_owned())),
            "nothing is delivered to sink slack any more: no_service",
        ),
    ]
}

#[test]
fn each_state_is_raised_with_its_reason() {
    for (alert, fleet, summary) in states() {
        let raised = evaluate(&fleet, &Settings::default());
        assert_eq!(raised.len(), 1, "{alert}: {raised:?}");
        assert_eq!(raised[0].name, alert);
        assert!(
            raised[0].summary.starts_with(summary),
            "{}",
            raised[0].summary
        );
    }
}

#[test]
fn what_is_no_fault_of_what_is_in_use_is_not_raised() {
    let unused = |mut fleet: Fleet| {
        fleet.plugins[0].in_use = false;
        fleet
    };
    for (alert, fleet, _) in states() {
        if !fleet.plugins.is_empty() {
            assert_eq!(names(&unused(fleet)), Vec::<String>::new(), "{alert}");
        }
    }
    // A copy under way is refused until it is complete, and the generation before serves meanwhile.
    let damaged = of_plugin(|plugin| {
        plugin.refusal = Some(Refusal {
            code: "damaged".to_owned(),
            reason: "cut off".to_owned(),
        });
    });
    assert_eq!(names(&damaged), Vec::<String>::new());
    let loading = of_plugin(|plugin| "loading".clone_into(&mut plugin.state));
    assert_eq!(names(&loading), Vec::<String>::new());
    let empty = of_totals(|totals| *totals = Totals::default());
    assert_eq!(names(&empty), Vec::<String>::new());
}

#[test]
fn every_alert_is_raised_in_these_tests() {
    let thresholds = THRESHOLDS.iter().map(|threshold| threshold.alert);
    let states = states().into_iter().map(|(alert, _, _)| alert);
    let raised: BTreeSet<&str> = thresholds
        .chain(states)
        .chain(["TooManyConditions"])
        .collect();
    let known: BTreeSet<&str> = CATALOGUE.iter().map(|alert| alert.name).collect();
    assert_eq!(raised, known);
    assert_eq!(known.len(), CATALOGUE.len(), "two alerts have one name");
}

#[test]
fn a_condition_says_all_that_somebody_needs_and_keeps_its_key() {
    let fleet = of_instance(|one| one.error_share = Some(0.125));
    let raised = evaluate(&fleet, &Settings::default());
    let later = Fleet {
        now_ms: fleet.now_ms + 1_000_000,
        ..of_instance(|one| one.error_share = Some(0.5))
    };
    let again = evaluate(&later, &Settings::default());
    let condition = &raised[0];
    assert_eq!(condition.key, "InstanceErrors/demo");
    assert_eq!(again[0].key, condition.key);
    assert_eq!(condition.severity, Severity::P2);
    assert_eq!(condition.instance.as_deref(), Some("demo"));
    assert_eq!(condition.for_ms, 30_000);
    assert_eq!(
        condition.summary,
        "instance demo: 12.5 % of requests failed over 5 min; 5.0 % are allowed"
    );
    assert!(condition.remedy.contains("GET /api/instances/demo"));
    assert_eq!(condition.runbook_anchor.as_deref(), Some("p2-many-errors"));
    for alert in CATALOGUE {
        let length = alert.remedy.replace("{}", &"x".repeat(64)).len();
        assert!((1..=1_024).contains(&length), "{}", alert.name);
    }
}

#[test]
fn a_remedy_names_what_it_is_for() {
    for (alert, fleet, _) in states() {
        let remedy = evaluate(&fleet, &Settings::default()).pop().unwrap().remedy;
        assert!(!remedy.contains("{}"), "{alert}: {remedy}");
    }
    let gone = of_sink(|sink, _| sink.gone = Some("no_service".to_owned()));
    let raised = evaluate(&gone, &Settings::default());
    assert!(raised[0].remedy.contains("test --sink slack"));
    assert_eq!(raised[0].instance, None);
}

#[test]
fn the_configuration_moves_thresholds_severities_and_times() {
    let fleet = of_instance(|one| one.error_share = Some(0.08));
    let text = |text: &str| Value::Text(text.to_owned());
    let set = |pairs: Vec<(&'static str, Value)>| {
        let settings = Settings::of(pairs);
        assert_eq!(DefaultAlerts::check(&settings), []);
        evaluate(&fleet, &settings)
    };
    assert_eq!(set(vec![("errors_share", Value::Number(0.1))]), []);
    assert_eq!(set(vec![("severity.InstanceErrors", text("off"))]), []);
    let changed = set(vec![
        ("severity.InstanceErrors", text("P4")),
        ("for_ms.InstanceErrors", Value::Whole(5)),
    ]);
    assert_eq!((changed[0].severity, changed[0].for_ms), (Severity::P4, 5));
}

#[test]
fn what_is_wrong_with_the_configuration_is_named() {
    let fault = |key: &'static str, value: Value| {
        let faults = DefaultAlerts::check(&Settings::of([(key, value)]));
        assert_eq!(faults.len(), 1, "{key}: {faults:?}");
        assert_eq!(faults[0].key, key);
        faults[0].reason.clone()
    };
    for (key, default, least, most) in LIMITS {
        let at = |value: f64| DefaultAlerts::check(&Settings::of([(*key, Value::Number(value))]));
        assert_eq!(
            (at(*default), at(*least), at(*most)),
            (vec![], vec![], vec![]),
            "{key}"
        );
        for value in [least - 0.001, most * 1.001, f64::NAN] {
            assert!(
                fault(key, Value::Number(value)).contains("expected"),
                "{key}: {value}"
            );
        }
        assert!(fault(key, Value::Text("1".to_owned())).contains("no number"));
    }
    let text = |text: &str| Value::Text(text.to_owned());
    assert!(fault("error_share", Value::Number(0.1)).contains("is not known"));
    assert!(fault("severity.InstanceErors", text("P1")).contains("not the name of an alert"));
    assert!(fault("severity.InstanceErrors", text("p1")).contains("is no severity"));
    assert!(fault("severity.InstanceErrors", Value::Whole(1)).contains("is no severity"));
    assert!(fault("for_ms.InstanceErrors", Value::Number(1e9)).contains("expected 0 to"));
    assert!(fault("for_ms.InstanceErors", Value::Whole(1)).contains("is not known"));
}

#[test]
fn of_too_much_the_most_severe_is_named_and_the_rest_counted() {
    let many = |count: usize| {
        let instances = (0..count).map(|n| InstanceState {
            instance: format!("i{n:04}"),
            p95_ms: Some(300.0),
            error_share: (n % 10 == 0).then_some(0.5),
            ..InstanceState::default()
        });
        Fleet {
            instances: instances.collect(),
            ..of_totals(|totals| totals.able = 0)
        }
    };
    // 99 with two conditions… and one of the fleet: exactly as many as there may be.
    let exact = Fleet {
        instances: many(999)
            .instances
            .into_iter()
            .map(|one| InstanceState {
                error_share: None,
                ..one
            })
            .collect(),
        ..many(0)
    };
    let raised = evaluate(&exact, &Settings::default());
    assert_eq!(raised.len(), CONDITIONS_MAX);
    assert!(
        raised
            .iter()
            .all(|condition| condition.name != "TooManyConditions")
    );
    let raised = evaluate(&many(5_000), &Settings::default());
    assert_eq!(raised.len(), CONDITIONS_MAX);
    assert_eq!(raised[0].name, "AllInstancesFailing");
    assert_eq!(
        raised
            .iter()
            .filter(|condition| condition.name == "InstanceErrors")
            .count(),
        500
    );
    let last = raised.last().unwrap();
    assert_eq!(last.name, "TooManyConditions");
    assert_eq!(
        last.summary,
        "4502 more conditions hold than one answer may name"
    );
    let keys: BTreeSet<&str> = raised
        .iter()
        .map(|condition| condition.key.as_str())
        .collect();
    assert_eq!(keys.len(), CONDITIONS_MAX, "two conditions have one key");
    assert_eq!(raised, evaluate(&many(5_000), &Settings::default()));
}

#[test]
fn a_key_is_one_short_line_and_there_is_one_of_each() {
    let long = |tail: &str| format!("/{}{tail}", "é".repeat(300));
    let paths = [&long("a"), &long("b"), "/a\nb", "/a\rb", "/a", "/a"];
    let fleet = of_fleet(|fleet| fleet.disks = paths.map(|path| disk(path, 0.9)).to_vec());
    let raised = evaluate(&fleet, &Settings::default());
    let keys: BTreeSet<&str> = raised
        .iter()
        .map(|condition| condition.key.as_str())
        .collect();
    assert_eq!((raised.len(), keys.len()), (5, 5));
    let is_plain = |key: &&str| key.len() <= KEY_BYTES_MAX && !key.contains(char::is_control);
    assert!(keys.iter().all(is_plain), "{keys:?}");
}

/// A number of any size, also what is none.
fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), 0.0..2.0]
}

fn any_instance() -> impl Strategy<Value = InstanceState> {
    let word = prop_oneof!["healthy", "unhealthy", "crash_loop", ".{0,9}"];
    let counts = (any::<u32>(), any::<u32>());
    let figures = (proptest::option::of(any_number()), any::<Option<u64>>());
    (".{0,40}", word, counts, figures).prop_map(|(id, word, counts, (number, bytes))| {
        InstanceState {
            instance: id,
            status: word.clone(),
            lifecycle: word,
            openings: counts.0,
            restarts_recent: counts.1,
            error_share: number,
            p95_ms: number,
            memory_bytes: bytes,
            memory_limit_bytes: bytes.map(|bytes| bytes / 2),
            heartbeat_age_ms: bytes,
            ..InstanceState::default()
        }
    })
}

proptest! {
    /// Whatever the facts are, the answer is one that the router takes.
    #[test]
    fn an_answer_stays_within_its_bounds(
        instances in prop::collection::vec(any_instance(), 0..400),
        paths in prop::collection::vec(("(?s).{0,300}", any_number()), 0..4),
        (number, count) in (any_number(), any::<u32>()),
    ) {
        let fleet = Fleet {
            instances,
            disks: paths.iter().map(|(path, share)| disk(path, *share)).collect(),
            capacity_limits: vec![limit(count.into(), 1)],
            pool_share: number,
            ..of_totals(|totals| {
                (totals.able, totals.breakers_opened_together) = (count, count);
                (totals.error_share, totals.p95_ms) = (Some(number), Some(number));
            })
        };
        let raised = evaluate(&fleet, &Settings::default());
        prop_assert!(raised.len() <= CONDITIONS_MAX);
        let keys: BTreeSet<&str> = raised.iter().map(|one| one.key.as_str()).collect();
        prop_assert_eq!(keys.len(), raised.len());
        for one in &raised {
            prop_assert!((1..=KEY_BYTES_MAX).contains(&one.key.len()), "{:?}", one.key);
            prop_assert!(!one.key.contains(char::is_control), "{:?}", one.key);
            prop_assert!(CATALOGUE.iter().any(|alert| alert.name == one.name));
        }
    }
}
