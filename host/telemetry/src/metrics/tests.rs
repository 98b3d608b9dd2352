//! The text that is scraped: valid as a strict parser reads it, and greppable as the runbook does.

mod alerts;
mod exposition;
mod runbook;

use std::{collections::BTreeSet, sync::Arc, thread, time::Duration};

use router_core::{
    ErrorKind, InstanceId, Now,
    capacity::{CapacityLoad, CapacityPlan, Forecast, Limit, Measure, TemplateLoad, Usage},
    permit::BreakerState,
    spec::Source,
    view::{
        AdmissionView, BreakerView, CapacityView, FleetView, InstanceView, Lifecycle, PlanInForce,
        Readiness, ReadinessView, Status, Summary, ToolBreakerView,
    },
};

use self::exposition::Exposition;
use super::{DURATION_BOUNDARIES_S, Metrics};
use crate::{Count, DatabaseFigures, Figures, Outcome, PluginFigures, SpoolFigures, ToolFigures};

fn id(text: &str) -> InstanceId {
    InstanceId::parse(text).unwrap()
}

fn breaker_view(state: BreakerState) -> BreakerView {
    BreakerView {
        state,
        reason: String::new(),
        since_ms: 0,
        retry_after_ms: None,
        isolated: false,
        openings: 0,
    }
}

fn instance(text: &str, status: Status, breaker: BreakerState) -> InstanceView {
    let (lifecycle, crash_loop) = match status {
        Status::Unhealthy => (Lifecycle::CrashLoop, true),
        Status::Idle => (Lifecycle::Idle, false),
        _ => (Lifecycle::Ready, false),
    };
    InstanceView {
        id: id(text),
        source: Source::Config,
        status,
        lifecycle,
        health: None,
        reason: String::new(),
        pid: None,
        run: None,
        uptime_ms: (status != Status::Idle).then_some(1_500),
        breaker: breaker_view(breaker),
        tools_guarded: 2,
        tool_breakers: match breaker {
            BreakerState::Closed => vec![ToolBreakerView {
                tool: "render all".into(),
                breaker: breaker_view(BreakerState::Open),
            }],
            _ => Vec::new(),
        },
        plan: None,
        retry_after_ms: None,
        crash_loop,
        restarts: 3,
        last_error: None,
        memory_bytes: Some(64 << 20),
        in_flight: 2,
        wanted: true,
        slots: Vec::new(),
    }
}

fn fleet(instances: Vec<InstanceView>) -> Arc<FleetView> {
    let mut summary = Summary::default();
    for view in &instances {
        summary.count(view.status, view.crash_loop);
    }
    Arc::new(FleetView {
        instances,
        summary,
        readiness: ReadinessView {
            status: Readiness::Degraded,
            reasons: Vec::new(),
            database: true,
            alert_journal: true,
            wanted: 0,
            able: 0,
            breakers: 0,
            breakers_open: 0,
            breakers_opened_together: 0,
            plugins_quarantined: 0,
            policies_held: 0,
            policy_faults: Vec::new(),
            disk_share: 0.0,
        },
        capacity: CapacityView::default(),
        shutting_down: false,
        adoption_finished: true,
    })
}

fn three() -> Arc<FleetView> {
    fleet(vec![
        instance("42", Status::Healthy, BreakerState::Closed),
        instance("demo", Status::Unhealthy, BreakerState::Open),
        instance("maze@1.0.2", Status::Idle, BreakerState::HalfOpen),
    ])
}

/// Everything reported and counted at least once.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    metrics.set_fleet(three());
    for at in 0..40 {
        let outcome = match at % 4 {
            0 => Outcome::Failed(ErrorKind::Timeout),
            1 => Outcome::ClientFault(ErrorKind::Validation),
            _ => Outcome::Answered,
        };
        metrics.observe("demo", Now::at(1_000), Duration::from_millis(7), outcome);
    }
    metrics.observe("demo", Now::at(1_000), Duration::ZERO, Outcome::Rejected);
    metrics.observe(
        "no such instance",
        Now::at(1_000),
        Duration::ZERO,
        Outcome::ClientFault(ErrorKind::Validation),
    );
    metrics.count_error(ErrorKind::Database);
    metrics.count(Count::SessionOpened);
    metrics.count_many(Count::LateReplyDropped, 5);
    metrics.observe_loop_lag(Duration::from_millis(2));
    metrics.set_database(DatabaseFigures {
        connected: true,
        active: 3,
        idle: 7,
        max: 10,
    });
    metrics.set_spool(SpoolFigures {
        rows: 4,
        lost: 1,
        left_out: 2,
        rejected: 2,
    });
    metrics.set_sessions(6, 2);
    metrics.set_log_lines_dropped(9);
    metrics.set_plugins(vec![PluginFigures {
        name: "default-health".into(),
        kind: "health-policy".into(),
        generation: 2,
        calls: 100,
        call_time: Duration::from_millis(250),
        failures: vec![("trap".into(), 1)],
        refusals: vec![("wrong world\n\"quoted\"\\".into(), 1)],
        ..PluginFigures::default()
    }]);
    metrics
}

#[test]
fn the_text_is_valid_and_no_label_holds_a_space() {
    for metrics in [Metrics::new(), busy()] {
        let text = metrics.encode(Now::at(1_000));
        let exposition = Exposition::parse(&text);
        for sample in &exposition.samples {
            for (name, value) in &sample.labels {
                assert!(
                    !value.contains(char::is_whitespace) && !value.is_empty(),
                    "{name}={value:?}"
                );
            }
        }
    }
}

#[test]
fn every_kind_of_error_is_there_from_the_start_in_both_families() {
    let exposition = Exposition::parse(&Metrics::new().encode(Now::at(0)));
    let kinds = [
        "database",
        "timeout",
        "validation",
        "spawn",
        "socket",
        "upstream",
        "breaker",
        "plugin",
        "internal",
    ];
    assert_eq!(exposition.count("mcp_errors_total"), kinds.len());
    for kind in kinds {
        assert_eq!(
            exposition.value("mcp_errors_total", &[("kind", kind)]),
            Some(0.0),
            "{kind}"
        );
        assert_eq!(
            exposition.value(&format!("mcp_errors_{kind}_total"), &[]),
            Some(0.0),
            "{kind}"
        );
    }
    let exposition = Exposition::parse(&busy().encode(Now::at(1_000)));
    for (kind, count) in [
        ("timeout", 10.0),
        ("validation", 11.0),
        ("breaker", 1.0),
        ("database", 1.0),
        ("spawn", 0.0),
    ] {
        assert_eq!(
            exposition.value("mcp_errors_total", &[("kind", kind)]),
            Some(count),
            "{kind}"
        );
        assert_eq!(
            exposition.value(&format!("mcp_errors_{kind}_total"), &[]),
            Some(count),
            "{kind}"
        );
    }
}

#[test]
fn errors_that_another_room_counted_are_added_once() {
    let metrics = busy();
    for total in [3, 5] {
        metrics.set_errors(ErrorKind::Database, total);
        let exposition = Exposition::parse(&metrics.encode(Now::at(1_000)));
        for (family, labels) in [
            ("mcp_errors_total", &[("kind", "database")][..]),
            ("mcp_errors_database_total", &[]),
        ] {
            // One is counted here.
            assert_eq!(exposition.value(family, labels), Some(total as f64 + 1.0));
        }
    }
}

#[test]
fn names_that_scripts_grep_for_belong_to_one_family_each() {
    let exposition = Exposition::parse(&busy().encode(Now::at(1_000)));
    for name in [
        "mcp_request_duration_seconds",
        "mcp_errors_total",
        "request_duration",
    ] {
        let families: BTreeSet<_> = exposition
            .families
            .iter()
            .filter(|family| family.name.contains(name) || family.help.contains(name))
            .map(|family| family.name.as_str())
            .collect();
        assert_eq!(families.len(), 1, "{name} in {families:?}");
    }
}

#[test]
fn the_histogram_has_no_labels_and_the_runbooks_boundary() {
    assert!(DURATION_BOUNDARIES_S.contains(&0.5));
    let metrics = busy();
    let exposition = Exposition::parse(&metrics.encode(Now::at(1_000)));
    // Forty requests and one for no instance; the rejection is apart.
    assert_eq!(
        exposition.value("mcp_request_duration_seconds_bucket", &[("le", "0.5")]),
        Some(41.0)
    );
    assert_eq!(
        exposition.value("mcp_request_duration_seconds_count", &[]),
        Some(41.0)
    );
    assert_eq!(exposition.value("mcp_requests_total", &[]), Some(41.0));
    assert_eq!(exposition.value("mcp_rejections_total", &[]), Some(1.0));
}

#[test]
fn the_fleet_is_exposed_as_the_view_says() {
    let exposition = Exposition::parse(&busy().encode(Now::at(1_000)));
    assert_eq!(exposition.value("mcp_instances_total", &[]), Some(3.0));
    assert_eq!(exposition.value("mcp_instances_crash_loop", &[]), Some(1.0));
    assert_eq!(exposition.value("mcp_router_readiness", &[]), Some(1.0));
    let parts: f64 = exposition
        .of("mcp_instances")
        .map(|sample| sample.value)
        .sum();
    assert_eq!(parts, 3.0, "statuses partition the total");
    for (instance, state) in [("42", 0.0), ("maze@1.0.2", 1.0), ("demo", 2.0)] {
        assert_eq!(
            exposition.value("mcp_circuit_breaker_state", &[("instance", instance)]),
            Some(state)
        );
    }
    let tool = [("instance", "42"), ("tool", "render_all")];
    let state = exposition.value("mcp_tool_circuit_breaker_state", &tool);
    assert_eq!(state, Some(2.0), "a label holds no blanks");
    let demo = [("instance", "demo")];
    for (family, value) in [
        ("mcp_instance_requests_total", 40.0),
        ("mcp_instance_errors_total", 10.0),
        ("mcp_instance_rejections_total", 1.0),
        ("mcp_instance_in_flight", 2.0),
        ("mcp_instance_restarts_total", 3.0),
        ("mcp_instance_error_ratio", 0.25),
        ("mcp_instance_uptime_seconds", 1.5),
        ("mcp_instance_memory_bytes", 67_108_864.0),
    ] {
        assert_eq!(exposition.value(family, &demo), Some(value), "{family}");
    }
    let p95 = exposition
        .value("mcp_instance_latency_p95_seconds", &demo)
        .unwrap();
    assert!((p95 - 0.007).abs() < 0.007 / 31.0, "{p95}");
    assert_eq!(
        exposition.value("mcp_instance_error_ratio", &[("instance", "42")]),
        None,
        "too few requests"
    );
    for (family, value) in [
        ("mcp_spool_rows", 4.0),
        ("mcp_sessions_open", 6.0),
        ("mcp_log_lines_dropped_total", 9.0),
    ] {
        assert_eq!(exposition.value(family, &[]), Some(value), "{family}");
    }
    assert_eq!(
        exposition.value("mcp_database_connections", &[("state", "idle")]),
        Some(7.0)
    );
    assert_eq!(
        exposition.value("mcp_dropped_total", &[("what", "late_reply")]),
        Some(5.0)
    );
}

#[test]
fn the_series_of_an_instance_or_plugin_vanish_with_it() {
    let metrics = busy();
    let before = metrics.meter(&id("demo")).unwrap();
    metrics.set_fleet(fleet(vec![instance(
        "42",
        Status::Healthy,
        BreakerState::Closed,
    )]));
    metrics.set_plugins(Vec::new());
    // A request that was still running then.
    before.observe(Now::at(1_000), Duration::from_millis(1), Outcome::Answered);
    metrics.observe(
        "demo",
        Now::at(1_000),
        Duration::from_millis(1),
        Outcome::Answered,
    );
    let text = metrics.encode(Now::at(1_000));
    assert!(
        !text.contains("demo") && !text.contains("maze") && !text.contains("default-health"),
        "{text}"
    );
    let exposition = Exposition::parse(&text);
    assert_eq!(
        exposition.value("mcp_requests_total", &[]),
        Some(43.0),
        "the fleet keeps count"
    );
    assert!(metrics.meter(&id("demo")).is_none());
    assert_eq!(
        metrics.figures(Some(&id("demo")), Now::at(1_000)),
        Figures::default()
    );
    // Who comes back begins anew.
    metrics.set_fleet(three());
    let exposition = Exposition::parse(&metrics.encode(Now::at(1_000)));
    assert_eq!(
        exposition.value("mcp_instance_requests_total", &[("instance", "demo")]),
        Some(0.0)
    );
}

#[test]
fn an_instance_that_stays_keeps_its_counts_while_others_come_and_go() {
    let metrics = Metrics::new();
    metrics.set_fleet(fleet(vec![instance(
        "demo",
        Status::Healthy,
        BreakerState::Closed,
    )]));
    let meter = metrics.meter(&id("demo")).unwrap();
    for step in 0..10 {
        meter.observe(Now::at(0), Duration::ZERO, Outcome::Answered);
        let other = instance(&format!("other-{step}"), Status::Idle, BreakerState::Closed);
        metrics.set_fleet(fleet(vec![
            instance("demo", Status::Healthy, BreakerState::Closed),
            other,
        ]));
    }
    assert_eq!(metrics.figures(Some(&id("demo")), Now::at(0)).requests, 10);
    assert_eq!(metrics.figures(None, Now::at(0)).requests, 10);
}

#[test]
fn one_instance_more_or_less_costs_no_view() {
    let metrics = busy();
    let late = id("late");
    metrics.add_instance(&late);
    metrics.observe(
        "late",
        Now::at(1_000),
        Duration::from_millis(1),
        Outcome::Answered,
    );
    assert_eq!(metrics.figures(Some(&late), Now::at(1_000)).requests, 1);
    // Again changes nothing.
    metrics.add_instance(&late);
    assert_eq!(metrics.figures(Some(&late), Now::at(1_000)).requests, 1);
    metrics.remove_instance(&late);
    assert!(metrics.meter(&late).is_none());
    assert!(metrics.meter(&id("demo")).is_some());
}

#[test]
fn refused_plans_are_counted_by_policy_and_vanish_with_it() {
    let metrics = Metrics::new();
    let breaker = PluginFigures {
        name: "mine".to_owned(),
        kind: "breaker-policy".to_owned(),
        ..PluginFigures::default()
    };
    metrics.set_plugins(vec![breaker]);
    let counted = || {
        let exposition = Exposition::parse(&metrics.encode(Now::at(0)));
        let labels = [("plugin", "mine"), ("kind", "breaker-policy")];
        exposition.value("mcp_plugin_plans_refused_total", &labels)
    };
    assert_eq!(counted(), Some(0.0), "there from the start");
    for _ in 0..2 {
        metrics.count_refused_plan("mine", "breaker-policy");
    }
    // As many names as there may be, over time.
    for n in 0..1_000 {
        metrics.count_refused_plan(&format!("other-{n}"), "breaker-policy");
    }
    assert_eq!(counted(), Some(2.0));
    assert!(metrics.refused_plans.lock().len() <= 256);
    assert!(!metrics.encode(Now::at(0)).contains("other-1"));
    metrics.set_plugins(Vec::new());
    assert_eq!(counted(), None);
}

#[test]
fn calls_are_counted_by_tool_for_the_instance_and_the_fleet() {
    let metrics = busy();
    let demo = id("demo");
    let before = metrics.figures(Some(&demo), Now::at(1_000)).requests;
    let call = |tool: &str| {
        let elapsed = Duration::from_millis(1);
        metrics.observe_call(("demo", tool), Now::at(1_000), elapsed, Outcome::Answered);
    };
    let shown = || metrics.tool_figures(&demo, Now::at(1_000), 256);
    call("render");
    assert_eq!(shown(), ToolFigures::default(), "nobody named it");
    metrics.set_tools(&demo, &["render".into()]);
    call("render");
    call("invented");
    let found = shown();
    assert_eq!(found.busiest[0].1.requests, 1);
    assert_eq!((found.busiest.len(), found.rest.requests), (1, 1));
    assert_eq!(
        metrics.figures(Some(&demo), Now::at(1_000)).requests,
        before + 3
    );
    // An instance that is not there counts for the fleet only.
    metrics.observe_call(
        ("gone", "render"),
        Now::at(1_000),
        Duration::ZERO,
        Outcome::Answered,
    );
    metrics.set_tools(&demo, &[]);
    assert_eq!(shown(), ToolFigures::default());
}

#[test]
fn a_scan_of_unknown_names_makes_no_series() {
    let metrics = busy();
    let before = metrics.encode(Now::at(1_000)).lines().count();
    for at in 0..1_000 {
        metrics.observe(
            &format!("scan-{at}"),
            Now::at(1_000),
            Duration::ZERO,
            Outcome::ClientFault(ErrorKind::Validation),
        );
    }
    assert_eq!(metrics.encode(Now::at(1_000)).lines().count(), before);
}

#[test]
fn scrapes_during_traffic_stay_valid() {
    let metrics = busy();
    let count = |exposition: &Exposition| {
        let count = exposition.value("mcp_request_duration_seconds_count", &[]);
        count.expect("the histogram is always there")
    };
    let before = count(&Exposition::parse(&metrics.encode(Now::at(0))));
    thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            for at in 0..50_000_u64 {
                metrics.observe(
                    "demo",
                    Now::at(at / 5),
                    Duration::from_micros(at),
                    Outcome::Answered,
                );
            }
        });
        let views = scope.spawn(|| {
            for at in 0..200 {
                metrics.set_fleet(if at % 2 == 0 {
                    fleet(Vec::new())
                } else {
                    three()
                });
            }
        });
        let mut requests = before;
        while !traffic.is_finished() || !views.is_finished() {
            let exposition = Exposition::parse(&metrics.encode(Now::at(10_000)));
            let seen = count(&exposition);
            assert!(seen >= requests, "{seen} after {requests}");
            requests = seen;
            // The fleet is the one view or the other, never a part of both.
            let by_status = exposition.of("mcp_instances").map(|sample| sample.value);
            let total = exposition.value("mcp_instances_total", &[]);
            assert_eq!(total, Some(by_status.sum()));
            assert!(matches!(total, Some(0.0 | 3.0)), "{total:?}");
        }
    });
    let exposition = Exposition::parse(&metrics.encode(Now::at(10_000)));
    assert_eq!(count(&exposition), before + 50_000.0);
}

#[test]
fn the_process_tells_about_itself() {
    let exposition = Exposition::parse(&Metrics::new().encode(Now::at(0)));
    for name in [
        "process_resident_memory_bytes",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
        "mcp_router_uptime_seconds",
    ] {
        assert!(
            exposition.value(name, &[]).is_some_and(|value| value > 0.0),
            "{name}"
        );
    }
    let start_s = exposition.value("process_start_time_seconds", &[]).unwrap();
    let now_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    assert!(
        start_s <= now_s + 1.0 && start_s > now_s - 86_400.0,
        "{start_s} at {now_s}"
    );
}

#[test]
fn capacity_is_exposed_as_the_plan_says_and_names_of_a_policys_own_are_not() {
    let metrics = Metrics::new();
    let limit = |of, most| Limit {
        of,
        most,
        refusal: String::new(),
        attributes: Vec::new(),
    };
    let forecast = |of, at_ms| Forecast {
        of,
        at_ms,
        summary: String::new(),
        attributes: Vec::new(),
    };
    let plan = CapacityPlan {
        required: 360,
        limits: vec![
            limit(Measure::Running, 400),
            limit(Measure::RunningOfTemplate("godot".into()), 9),
            limit(Measure::Other("any thing".into()), 1),
        ],
        forecasts: vec![
            forecast(Measure::Running, 1_800_000_000_000),
            forecast(Measure::Running, 1_900_000_000_000),
            forecast(Measure::Other("any thing".into()), 5),
        ],
        ..CapacityPlan::default()
    };
    let mut view = FleetView::clone(&fleet(Vec::new()));
    view.capacity = CapacityView {
        usage: Usage {
            running: 100,
            in_flight: 3,
            memory_bytes: 5_000,
        },
        templates: vec![TemplateLoad {
            name: "godot".into(),
            instances: 8,
            running: 4,
        }],
        in_force: Some(Arc::new(PlanInForce {
            plan,
            load: CapacityLoad::default(),
            policy: Some("default-capacity".into()),
        })),
        admission: AdmissionView {
            waiting: 2,
            refused_total: 7,
            ..AdmissionView::default()
        },
        ..CapacityView::default()
    };
    metrics.set_fleet(Arc::new(view));
    let text = metrics.encode(Now::at(0));
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("mcp_capacity_"))
        .collect();
    assert_eq!(
        lines,
        [
            "mcp_capacity_required 360",
            "mcp_capacity_used{of=\"running\"} 100",
            "mcp_capacity_used{of=\"memory_bytes\"} 5000",
            "mcp_capacity_used{of=\"in_flight\"} 3",
            "mcp_capacity_used{of=\"running_of_template\",template=\"godot\"} 4",
            "mcp_capacity_limit{of=\"running\"} 400",
            "mcp_capacity_limit{of=\"running_of_template\",template=\"godot\"} 9",
            "mcp_capacity_reached_timestamp_seconds{of=\"running\"} 1800000000",
            "mcp_capacity_plan_by_policy 1",
            "mcp_capacity_waiting 2",
            "mcp_capacity_refusals_total 7",
        ]
    );
}
