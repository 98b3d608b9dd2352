//! Limits of the capacity plan: who waits, who is refused, and who passes.

use super::{Bench, answered_plan, autostart, exited, key, spawned_run, spec};
use crate::{
    Run, SlotKey,
    action::{Action, OperatorAction, RoutingAction},
    capacity::{CapacityPlan, Limit, Measure},
    event::{Command, FleetEvent, Sample, SlotEvent, TrafficEvent, Verb},
    policy::PolicyKind,
    route::{Route, UnavailableKind},
    settings::Settings,
    spec::InstanceSpec,
};

fn limit(of: Measure, most: u64) -> Limit {
    Limit {
        of,
        most,
        refusal: "Stop something.".to_owned(),
        attributes: Vec::new(),
    }
}

/// A fleet of these whose plan has these limits. What is to start at once runs already, since it came before the plan.
fn limited(specs: Vec<InstanceSpec>, limits: Vec<Limit>) -> (Bench, Vec<Run>) {
    let settings = Settings {
        capacity_policy: Some("p".into()),
        templates: ["godot".into(), "node".into()].into(),
        ..Settings::default()
    };
    let (mut bench, actions) = Bench::new(settings, specs);
    let spawned = actions.iter().filter_map(|action| match action {
        Action::Slot {
            key,
            run,
            action: super::SlotAction::Spawn { .. },
        } => Some((key.clone(), *run)),
        _ => None,
    });
    let spawned: Vec<(SlotKey, Run)> = spawned.collect();
    for (key, run) in &spawned {
        let tools = vec!["ping".to_owned()];
        bench.feed(SlotEvent::Ready { tools }.on(key.clone(), *run));
    }
    plan(&mut bench, limits);
    (bench, spawned.into_iter().map(|(_, run)| run).collect())
}

/// Has the policy answer with these limits.
fn plan(bench: &mut Bench, limits: Vec<Limit>) -> Vec<Action> {
    bench.feed(FleetEvent::LoadMeasured(Box::default()));
    let asked = bench.feed(super::PolicyEvent::Changed(PolicyKind::Capacity));
    let plan = CapacityPlan {
        limits,
        ..CapacityPlan::default()
    };
    bench.feed(answered_plan(super::asked(&asked)[0], plan))
}

fn demand(bench: &mut Bench, id: &str) -> Vec<Action> {
    bench.feed(TrafficEvent::Demand(key(id)))
}

fn route(actions: &[Action], id: &str) -> Option<Route> {
    let mut routes = actions.iter().rev().filter_map(|action| match action {
        Action::Routing(RoutingAction::SetRoute { key: at, route }) if *at == key(id) => {
            route.clone()
        }
        _ => None,
    });
    routes.next()
}

fn refused(actions: &[Action]) -> Vec<String> {
    let refused = actions.iter().filter_map(|action| match action {
        Action::Operator(OperatorAction::StartRefused { instance, reason }) => {
            Some(format!("{instance}: {reason}"))
        }
        _ => None,
    });
    refused.collect()
}

const REASON: &str =
    "2 of 2 running instances are in use, the limit of the capacity policy p. Stop something";

#[test]
fn the_third_start_waits_and_is_admitted_when_one_ends() {
    let two = vec![autostart("a"), autostart("b"), spec("c"), spec("d")];
    let (mut bench, runs) = limited(two, vec![limit(Measure::Running, 2)]);
    let actions = demand(&mut bench, "c");
    assert_eq!(spawned_run(&actions), None, "{actions:?}");
    let Some(Route::Waiting { wait_ms, refusal }) = route(&actions, "c") else {
        panic!("{actions:?}")
    };
    assert_eq!((wait_ms, refusal.kind), (10_000, UnavailableKind::Capacity));
    assert_eq!(&*refusal.reason, REASON);
    bench.pass(1_000);
    assert_eq!(spawned_run(&demand(&mut bench, "d")), None);
    // One is stopped; its place is free when nothing of it lives, and goes to the one that came first.
    bench.order(Verb::Stop);
    assert_eq!(spawned_run(&bench.pass(3_000)), None);
    let actions = bench.feed(exited("a", runs[0], 0));
    assert!(spawned_run(&actions).is_some(), "{actions:?}");
    assert!(
        matches!(route(&actions, "c"), Some(Route::Starting { .. })),
        "{actions:?}"
    );
    assert_eq!(route(&actions, "d"), None);
}

#[test]
fn a_start_that_got_no_place_is_refused_and_the_next_request_tries_again() {
    let two = vec![autostart("a"), autostart("b"), spec("c")];
    let (mut bench, _) = limited(two, vec![limit(Measure::Running, 2)]);
    demand(&mut bench, "c");
    assert_eq!(refused(&bench.pass(9_999)), [""; 0]);
    let actions = bench.pass(1);
    assert_eq!(refused(&actions), [format!("c: {REASON}")]);
    assert!(
        matches!(route(&actions, "c"), Some(Route::Startable { .. })),
        "{actions:?}"
    );
    let admission = bench
        .fleet
        .view(crate::Now::at(bench.now_ms))
        .capacity
        .admission;
    assert_eq!((admission.waiting, admission.refused_last_hour), (0, 1));
    assert_eq!(admission.last_refused.unwrap().reason, REASON);
    let actions = demand(&mut bench, "c");
    assert!(
        matches!(route(&actions, "c"), Some(Route::Waiting { .. })),
        "{actions:?}"
    );
    // A plan with more room admits at once.
    let actions = plan(&mut bench, vec![limit(Measure::Running, 3)]);
    assert!(spawned_run(&actions).is_some(), "{actions:?}");
    bench.pass(3_600_000);
    let admission = bench
        .fleet
        .view(crate::Now::at(bench.now_ms))
        .capacity
        .admission;
    assert_eq!(
        (admission.refused_last_hour, admission.refused_total),
        (0, 1)
    );
}

#[test]
fn a_crash_at_the_limit_loses_no_place() {
    let two = vec![autostart("a"), autostart("b"), spec("c")];
    let (mut bench, runs) = limited(two, vec![limit(Measure::Running, 2)]);
    demand(&mut bench, "c");
    let actions = bench.feed(exited("a", runs[0], 1));
    assert_eq!(spawned_run(&actions), None, "{actions:?}");
    // It is started again, and the one that waits is not.
    let actions = bench.pass(2_000);
    assert!(
        matches!(route(&actions, "a"), Some(Route::Starting { .. })),
        "{actions:?}"
    );
    assert_eq!(route(&actions, "c"), None);
}

#[test]
fn an_operators_start_passes_and_says_so() {
    let two = vec![autostart("b"), autostart("c"), spec("a")];
    let (mut bench, _) = limited(two, vec![limit(Measure::Running, 2)]);
    let actions = bench.order(Verb::Start);
    let run = spawned_run(&actions).unwrap();
    let done = bench.feed(SlotEvent::Spawned { pid: 7 }.on(key("a"), run));
    let passed = done.iter().find_map(|action| match action {
        Action::Operator(OperatorAction::CommandDone { result, .. }) => {
            result.clone().ok()?.passed_limit
        }
        _ => None,
    });
    assert_eq!(passed.as_deref(), Some(REASON), "{done:?}");
    // What runs passes nothing.
    let command = Command {
        id: 99,
        instance: key("b").instance,
        verb: Verb::Start,
    };
    let done = bench.feed(command);
    let is_plain = done.iter().any(|action| {
        matches!(action, Action::Operator(OperatorAction::CommandDone { result: Ok(done), .. })
            if done.passed_limit.is_none())
    });
    assert!(is_plain, "{done:?}");
}

#[test]
fn a_limit_of_one_template_holds_up_no_other() {
    let of = |id: &str, template: &str| InstanceSpec {
        template: template.into(),
        ..spec(id)
    };
    let running = InstanceSpec {
        autostart: true,
        ..of("a", "godot")
    };
    let specs = vec![running, of("b", "godot"), of("c", "node")];
    let of_godot = Measure::RunningOfTemplate("godot".into());
    let (mut bench, _) = limited(specs, vec![limit(of_godot, 1)]);
    assert_eq!(spawned_run(&demand(&mut bench, "b")), None);
    assert!(spawned_run(&demand(&mut bench, "c")).is_some());
}

#[test]
fn memory_counts_what_was_admitted_and_not_measured_yet() {
    let specs = vec![autostart("a"), spec("b"), spec("c")];
    let (mut bench, runs) = limited(specs, vec![limit(Measure::MemoryBytes, 1_500)]);
    let sample = Sample {
        memory_bytes: Some(1_000),
        ..Sample::default()
    };
    bench.feed(SlotEvent::Sampled { sample }.on(key("a"), runs[0]));
    // 1,000 are in use; the second is expected to take as much.
    assert!(spawned_run(&demand(&mut bench, "b")).is_some());
    let actions = demand(&mut bench, "c");
    assert_eq!(spawned_run(&actions), None);
    let Some(Route::Waiting { refusal, .. }) = route(&actions, "c") else {
        panic!("{actions:?}")
    };
    assert!(
        refusal
            .reason
            .starts_with("1 MiB of 1 MiB memory of instances"),
        "{refusal:?}"
    );
}
