//! Alert rules: the bundled one through the engine, at each threshold; hostile ones, whose answers resolve nothing; and that a rule
//! answers whatever policies do.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use router_alerts::{
    Condition, Severity,
    facts::{
        DiskFacts, FleetFacts, FleetPage, FleetTotals, InstanceFacts, LimitFacts,
        PAGE_INSTANCES_MAX, PluginFacts, PluginRefusal, RouterState, SinkFacts,
    },
};
use router_core::{InstanceId, policy::PolicyKind};

use super::world::{NAME as POLICY, World, guest, settings};
use crate::{CallFailure, FailureKind, Limits, PluginSettings, kinds::Priority};

const BUNDLED: &str = "default-alerts";
const HOSTILE: &str = "hostile-rule";

const NOW_MS: u64 = 1_800_000_000_000;

fn instance(id: &str) -> InstanceFacts {
    InstanceFacts {
        instance: InstanceId::parse(id).unwrap(),
        template: Some("godot".to_owned()),
        status: "healthy",
        lifecycle: "ready",
        reason: String::new(),
        breaker: "CLOSED",
        openings: 0,
        error_share: Some(0.0),
        p95_ms: Some(10.0),
        restarts_recent: 0,
        memory_bytes: Some(100 << 20),
        memory_limit_bytes: None,
        heartbeat_age_ms: Some(0),
        attributes: Vec::new(),
    }
}

fn plugin() -> PluginFacts {
    PluginFacts {
        name: "default-health".to_owned(),
        world: "health-policy".to_owned(),
        state: "serving",
        reason: None,
        in_use: true,
        refusal: None,
        held: None,
        quarantined_since_ms: None,
        default_answers: 0,
        attributes: Vec::new(),
    }
}

fn sink() -> SinkFacts {
    SinkFacts {
        name: "slack".to_owned(),
        failing_since_ms: None,
        reason: None,
        gone: None,
        waiting: 0,
        dead_letters: 0,
        attributes: Vec::new(),
    }
}

/// A fleet of one instance, with nothing wrong.
fn fleet() -> FleetFacts {
    FleetFacts {
        now_ms: NOW_MS,
        page: FleetPage::ONLY,
        instances: vec![instance("demo")],
        router: Arc::new(RouterState {
            totals: FleetTotals {
                instances: 10,
                wanted: 10,
                able: 10,
                breakers: 10,
                ..FleetTotals::default()
            },
            plugins: vec![plugin()],
            sinks: vec![sink()],
            database: "connected",
            pool_share: 0.1,
            database_connections: Some(5),
            disks: vec![DiskFacts {
                path: "/data".to_owned(),
                used_share: 0.5,
                attributes: Vec::new(),
            }],
            capacity_required: Some(12),
            capacity_limits: Vec::new(),
            capacity_forecast: None,
            capacity_forecast_ms: None,
            uptime_ms: 3_600_000,
            attributes: Vec::new(),
        }),
    }
}

async fn loaded(name: &str, settings: PluginSettings) -> World {
    let mut world = World::new(settings);
    world.put(name, &guest(name));
    world.swapped(name).await;
    world
}

async fn evaluate(world: &World, name: &str) -> Option<Result<Vec<Condition>, CallFailure>> {
    world.engine.evaluate(name, fleet()).await
}

/// A value, from at the threshold to above it, and what is then raised.
type Change = fn(&mut InstanceFacts, &mut RouterState, bool);

const CHANGES: &[(&str, Change)] = &[
    ("AllInstancesFailing", |_, router, above| {
        router.totals.able = u32::from(!above);
    }),
    ("BreakersOpenedTogether", |_, router, above| {
        router.totals.breakers_opened_together = 5 + u32::from(above);
    }),
    ("HighErrorRate", |_, router, above| {
        router.totals.error_share = Some(if above { 0.0501 } else { 0.05 });
    }),
    ("SlowRequests", |_, router, above| {
        router.totals.p95_ms = Some(if above { 200.1 } else { 200.0 });
    }),
    ("InstanceCrashLoop", |one, _, above| {
        one.lifecycle = if above { "crash_loop" } else { "backoff" };
    }),
    ("InstanceUnhealthy", |one, _, above| {
        one.status = if above { "unhealthy" } else { "degraded" };
    }),
    ("InstanceErrors", |one, _, above| {
        one.error_share = Some(if above { 0.0501 } else { 0.05 });
    }),
    ("InstanceSlow", |one, _, above| {
        one.p95_ms = Some(if above { 200.1 } else { 200.0 });
    }),
    ("InstanceRestarts", |one, _, above| {
        one.restarts_recent = 5 + u32::from(above);
    }),
    ("InstanceBreaker", |one, _, above| {
        one.openings = 2 + u32::from(above);
    }),
    ("InstanceSilent", |one, _, above| {
        one.heartbeat_age_ms = Some(30_000 + u64::from(above));
    }),
    ("InstanceMemory", |one, _, above| {
        one.memory_limit_bytes = Some(1_000);
        one.memory_bytes = Some(800 + u64::from(above));
    }),
    ("DatabaseLost", |_, router, above| {
        router.database = if above { "disconnected" } else { "connected" };
    }),
    ("PoolNearlyFull", |_, router, above| {
        router.pool_share = if above { 0.801 } else { 0.8 };
    }),
    ("ManyConnections", |_, router, above| {
        router.database_connections = Some(25 + u32::from(above));
    }),
    ("DiskNearlyFull", |_, router, above| {
        router.disks[0].used_share = if above { 0.801 } else { 0.8 };
    }),
    ("CapacityNearlyUsed", |_, router, above| {
        router.capacity_limits = vec![LimitFacts {
            of: "running instances".to_owned(),
            used: 80 + u64::from(above),
            most: 100,
            attributes: Vec::new(),
        }];
    }),
    ("CapacityForecast", |_, router, above| {
        router.capacity_forecast = Some("80 % of memory in a week".to_owned());
        router.capacity_forecast_ms = Some(NOW_MS + 7 * 86_400_000 + u64::from(!above));
    }),
    ("PluginDown", |_, router, above| {
        router.plugins[0].state = if above { "quarantined" } else { "loading" };
    }),
    ("AlertingPluginDown", |_, router, above| {
        "alert-rule".clone_into(&mut router.plugins[0].world);
        router.plugins[0].state = if above { "missing" } else { "serving" };
    }),
    ("PluginRefusesSettings", |_, router, above| {
        router.plugins[0].refusal = Some(PluginRefusal {
            code: if above { "refused_config" } else { "damaged" },
            reason: "p95_ms is 0".to_owned(),
        });
    }),
    ("PluginHeld", |_, router, above| {
        router.plugins[0].held = above.then(|| "it would recycle 5 of 6".to_owned());
    }),
    ("DeliveryFailing", |_, router, above| {
        router.sinks[0].failing_since_ms = Some(NOW_MS - 60_000 - u64::from(above));
    }),
    ("SinkGone", |_, router, above| {
        router.sinks[0].gone = above.then(|| "no_service".to_owned());
    }),
    ("DeadLetters", |_, router, above| {
        router.sinks[0].dead_letters = u32::from(above);
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_one_raises_each_condition_above_its_threshold() {
    let world = loaded(BUNDLED, PluginSettings::default()).await;
    assert_eq!(evaluate(&world, BUNDLED).await, Some(Ok(Vec::new())));
    for (name, change) in CHANGES {
        for above in [false, true] {
            let mut fleet = fleet();
            let router = Arc::make_mut(&mut fleet.router);
            change(&mut fleet.instances[0], router, above);
            let raised = world
                .engine
                .evaluate(BUNDLED, fleet)
                .await
                .unwrap()
                .unwrap();
            let names: Vec<&str> = raised.iter().map(|one| one.name.as_str()).collect();
            let expected: &[&str] = if above { &[name] } else { &[] };
            assert_eq!(names, expected, "above: {above}");
        }
    }
    let view = world.view(BUNDLED);
    assert_eq!((view.world, view.failures), ("alert-rule", 0));
    let decision = serde_json::to_value(view.decisions.last().unwrap()).unwrap();
    assert_eq!(decision["fleet"]["totals"]["wanted"], 10);
    // It answers no other question.
    assert!(world.judge(BUNDLED).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_conditions_come_with_all_that_they_say() {
    let config =
        "errors_share = 0.1\n[severity]\nInstanceErrors = 'P3'\n[for_ms]\nInstanceErrors = 5";
    let world = loaded(BUNDLED, settings(BUNDLED, config)).await;
    let mut fleet = fleet();
    fleet.instances[0].error_share = Some(0.25);
    let raised = world
        .engine
        .evaluate(BUNDLED, fleet)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(raised.len(), 1);
    let Condition {
        key,
        summary,
        remedy,
        instance,
        severity,
        for_ms,
        runbook_anchor,
        ..
    } = &raised[0];
    assert_eq!(key, "InstanceErrors/demo");
    assert_eq!(
        summary,
        "instance demo: 25.0 % of requests failed over 5 min; 10.0 % are allowed"
    );
    assert!(remedy.contains("/api/instances/demo"), "{remedy}");
    assert_eq!(instance.as_ref().map(InstanceId::as_str), Some("demo"));
    assert_eq!((*severity, *for_ms), (Severity::P3, 5));
    assert_eq!(runbook_anchor.as_deref(), Some("p2-many-errors"));
    let decision = serde_json::to_value(&world.view(BUNDLED).decisions[0]).unwrap();
    assert_eq!(decision["conditions"][0]["key"], "InstanceErrors/demo");
    let bad = settings(BUNDLED, "error_share = 0.1\n[severity]\nInstanceErrors = 3");
    let report = world.engine.reconfigure(bad).await;
    let reason = &report.refused[BUNDLED];
    assert!(
        reason.contains("error_share is not known")
            && reason.contains("severity.InstanceErrors is no severity"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bundled_one_answers_for_a_whole_page() {
    // In a release it takes a fifth of what a call may; this host is not optimised.
    let settings = PluginSettings {
        limits: Limits {
            call_timeout: Duration::from_millis(200),
            ..Limits::default()
        },
        ..PluginSettings::default()
    };
    let world = loaded(BUNDLED, settings).await;
    let mut fleet = fleet();
    let instances = (0..PAGE_INSTANCES_MAX).map(|n| InstanceFacts {
        reason: "three pings failed in a row".to_owned(),
        status: "unhealthy",
        error_share: Some(0.5),
        ..instance(&format!("i{n}"))
    });
    fleet.instances = instances.collect();
    Arc::make_mut(&mut fleet.router).totals.able = 0;
    let raised = world
        .engine
        .evaluate(BUNDLED, fleet)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(raised.len(), 1_000);
    assert_eq!(raised[0].severity, Severity::P1);
    assert_eq!(
        raised[999].summary,
        "9002 more conditions hold than one answer may name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_never_served_counts_as_the_kind_that_it_is_named_for() {
    let mut world = World::new(PluginSettings::default());
    let named = |name: &str| (name.to_owned(), [PolicyKind::AlertRule].into());
    let named = ["missing", "broken"].map(named).into();
    world.engine.use_policies(named);
    world.put("broken", b"not a component");
    world.refused("broken").await;
    world
        .until("what is missing is noticed", |engine| {
            engine
                .show("missing")
                .is_some_and(|view| view.state == "missing")
        })
        .await;
    let faults = world.engine.conditions().borrow().faults.clone();
    assert!(
        faults[0].starts_with("alert rule broken: it is not WebAssembly"),
        "{faults:?}"
    );
    assert!(
        faults[1].starts_with("alert rule missing: alerts.rules names it"),
        "{faults:?}"
    );
    for (name, state) in [("missing", "missing"), ("broken", "refused")] {
        let listed = world
            .engine
            .list()
            .into_iter()
            .find(|view| view.name == name);
        for view in [world.view(name), listed.unwrap()] {
            assert_eq!((view.world, view.state), ("alert-rule", state), "{name}");
        }
    }
}

async fn hostile(mode: &str) -> World {
    loaded(HOSTILE, settings(HOSTILE, &format!("mode = '{mode}'"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ones_fail_and_never_answer_that_nothing_holds() {
    for (mode, kind, reason) in [
        (
            "loop",
            FailureKind::Timeout,
            "it took longer than the 50 ms",
        ),
        ("trap", FailureKind::Trap, "it panicked"),
        ("log", FailureKind::Limit, "it logged more than"),
        ("flood", FailureKind::Limit, "fuel"),
        ("heavy", FailureKind::Limit, "fuel"),
        (
            "many",
            FailureKind::Limit,
            "it names 1001 conditions, and may name 1000",
        ),
        (
            "twice",
            FailureKind::Limit,
            "two conditions with the key \"same\"",
        ),
        ("empty-key", FailureKind::Limit, "an empty key"),
        ("empty-name", FailureKind::Limit, "an empty name"),
        (
            "long-key",
            FailureKind::Limit,
            "20000 bytes, and may have 255",
        ),
        (
            "two-lines",
            FailureKind::Limit,
            "the key of the condition holds a control character",
        ),
        (
            "nobody",
            FailureKind::Limit,
            "the instance of one of its conditions is none",
        ),
        ("for-ever", FailureKind::Limit, "18446744073709551615 ms"),
    ] {
        let world = hostile(mode).await;
        let failure = evaluate(&world, HOSTILE).await.unwrap().unwrap_err();
        assert_eq!(failure.kind, kind, "{mode}: {failure}");
        assert!(failure.message.contains(reason), "{mode}: {failure}");
        for _ in 0..3 {
            // In quarantine or not: there is no answer.
            let again = evaluate(&world, HOSTILE).await;
            assert!(!matches!(again, Some(Ok(_))), "{mode}: {again:?}");
        }
        assert_eq!(world.view(HOSTILE).state, "quarantined", "{mode}");
        assert_eq!(evaluate(&world, HOSTILE).await, None, "{mode}");
    }
    // Nor one that is not there.
    assert_eq!(evaluate(&hostile("nothing").await, "missing").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_there_may_be_are_taken_and_long_texts_are_cut() {
    let world = hostile("most").await;
    let raised = evaluate(&world, HOSTILE).await.unwrap().unwrap();
    assert_eq!((raised.len(), raised[999].key.as_str()), (1_000, "999"));
    let world = hostile("huge-texts").await;
    let raised = evaluate(&world, HOSTILE).await.unwrap().unwrap();
    let one = &raised[0];
    assert_eq!((one.summary.len(), one.remedy.len()), (1_023, 1_024));
    assert!(one.summary.starts_with("first second é"), "{}", one.summary);
    assert_eq!(one.runbook_anchor.as_ref().map(String::len), Some(256));
    assert_eq!((one.attributes.len(), one.attributes[0].1.len()), (64, 256));
    assert_eq!(one.check(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_answers_while_the_thread_of_policies_is_kept() {
    let mut world = loaded(HOSTILE, PluginSettings::default()).await;
    world.put(POLICY, &guest(POLICY));
    world.swapped(POLICY).await;
    // Nothing that runs there yields.
    let (release, kept) = mpsc::channel::<()>();
    let (begin, begun) = tokio::sync::oneshot::channel();
    world.engine.shared.machine.runtime.spawn(async move {
        let _ = begin.send(());
        let _ = kept.recv();
    });
    begun.await.unwrap();
    let engine = world.engine.clone();
    let judged =
        tokio::spawn(async move { engine.judge(POLICY, None, super::world::facts()).await });
    for _ in 0..3 {
        let answer = tokio::time::timeout(Duration::from_secs(30), evaluate(&world, HOSTILE)).await;
        let raised = answer.expect("no policy keeps the thread of rules");
        assert_eq!(raised.unwrap().unwrap()[0].summary, "1 on this page");
    }
    assert!(!judged.is_finished(), "the policy's thread was to be kept");
    drop(release);
    assert!(judged.await.unwrap().unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_answers_within_its_deadline_while_a_policy_loops() {
    let limits = Limits {
        call_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let mut world = World::hostile_with("loop", limits).await;
    world.put(HOSTILE, &guest(HOSTILE));
    world.swapped(HOSTILE).await;
    let engine = world.engine.clone();
    let begun = Instant::now();
    let looping = tokio::spawn(async move {
        engine
            .judge("hostile-health", None, super::world::facts())
            .await
    });
    let mut answers = 0;
    while !looping.is_finished() && begun.elapsed() < Duration::from_secs(1) {
        let asked = Instant::now();
        assert!(evaluate(&world, HOSTILE).await.unwrap().is_ok());
        assert!(
            asked.elapsed() < Duration::from_millis(500),
            "{:?}",
            asked.elapsed()
        );
        answers += 1;
    }
    assert!(!looping.is_finished() && answers > 0, "{answers} answers");
    let failure = looping.await.unwrap().unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_run_at_the_priority_of_requests_and_policies_below() {
    let world = World::new(PluginSettings::default());
    let priority_of = async |priority| {
        let runtime = world.engine.shared.machine.runtime_of(priority);
        let priority = runtime.spawn(async { rustix::process::getpriority_process(None) });
        priority.await.unwrap().unwrap()
    };
    let own = rustix::process::getpriority_process(None).unwrap();
    assert_eq!(priority_of(Priority::Normal).await, own);
    assert_eq!(priority_of(Priority::Low).await, 19);
}
