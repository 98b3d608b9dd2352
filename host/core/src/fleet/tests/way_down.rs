//! The way down of a run, step by step, and what takes the short cut.

use super::{Bench, answered, autostart, exited, key, spawned_run, survivor};
use crate::{
    Run,
    action::{Action, SlotAction},
    event::{Adopted, Event, FleetEvent, Sample, SlotEvent, Verb},
    health::{Health, HealthVerdict},
    policy::PolicyNames,
    settings::Settings,
    spec::InstanceSpec,
    view::{Lifecycle, Readiness},
};

/// The signals among the actions, and the request to drain.
fn steps(actions: &[Action]) -> Vec<&'static str> {
    let steps = actions.iter().filter_map(|action| match action {
        Action::Slot {
            action: SlotAction::Drain { .. },
            ..
        } => Some("drain"),
        Action::Slot {
            action: SlotAction::Terminate,
            ..
        } => Some("SIGTERM"),
        Action::Slot {
            action: SlotAction::Kill,
            ..
        } => Some("kill"),
        _ => None,
    });
    steps.collect()
}

fn drained(run: Run) -> Event {
    SlotEvent::Drained.on(key("a"), run)
}

#[test]
fn each_step_of_a_stop_has_its_time() {
    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    assert_eq!(steps(&bench.order(Verb::Stop)), ["drain"]);
    assert_eq!(steps(&bench.pass(9_999)), [""; 0]);
    assert_eq!(steps(&bench.pass(1)), ["SIGTERM"]);
    // An answer that comes too late changes nothing.
    assert_eq!(steps(&bench.feed(drained(run))), [""; 0]);
    assert_eq!(steps(&bench.pass(4_999)), [""; 0]);
    assert_eq!(steps(&bench.pass(1)), ["kill"]);
    assert_eq!(steps(&bench.pass(5_000)), ["kill"]);
    bench.feed(exited("a", run, 0));
    assert_eq!(bench.view().lifecycle, Lifecycle::Stopped);
}

#[test]
fn sigterm_follows_at_once_where_nothing_is_in_flight() {
    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    bench.order(Verb::Stop);
    bench.pass(2_000);
    assert_eq!(steps(&bench.feed(drained(run))), ["SIGTERM"]);
    assert_eq!(steps(&bench.pass(4_999)), [""; 0]);
    assert_eq!(steps(&bench.pass(1)), ["kill"]);

    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    let error = "end of file".to_owned();
    let key = key("a");
    let lost = bench.feed(SlotEvent::UpstreamLost { error }.on(key, run));
    assert_eq!(steps(&lost), ["SIGTERM"]);
    assert_eq!(steps(&bench.pass(4_999)), [""; 0]);

    let (mut bench, _) = Bench::new(Settings::default(), vec![autostart("a")]);
    assert_eq!(steps(&bench.order(Verb::Stop)), ["SIGTERM"]);
    assert_eq!(steps(&bench.pass(4_999)), [""; 0]);
    assert_eq!(steps(&bench.pass(1)), ["kill"]);
}

#[test]
fn more_processes_than_allowed_are_killed_at_once_and_are_a_failure() {
    let limited = InstanceSpec {
        max_processes: Some(8),
        ..autostart("a")
    };
    let (mut bench, run, _) = Bench::ready(Settings::default(), limited);
    let sampled = |processes| Event::Slot {
        key: key("a"),
        run,
        event: SlotEvent::Sampled {
            sample: Sample {
                processes,
                ..Sample::default()
            },
        },
    };
    assert_eq!(bench.feed(sampled(8)), []);
    assert_eq!(steps(&bench.feed(sampled(9))), ["kill"]);
    assert_eq!(steps(&bench.feed(sampled(10))), [""; 0]);
    bench.feed(exited("a", run, 0));
    assert_eq!(bench.view().lifecycle, Lifecycle::Backoff);
    let error = bench.view().last_error.unwrap();
    assert!(error.contains("9 processes of 8 allowed"), "{error}");
}

#[test]
fn a_shutdown_waits_for_survivors_that_are_still_being_looked_for() {
    let kept = InstanceSpec {
        keep_on_exit: true,
        ..autostart("b")
    };
    let mut bench = Bench::adopting(Settings::default(), vec![autostart("a"), kept]);
    let actions = bench.feed(FleetEvent::Shutdown);
    assert!(!actions.contains(&Action::AllStopped));
    let unwanted = Adopted {
        wanted: false,
        ..survivor("a", 5)
    };
    let actions = bench.feed(FleetEvent::Adopted(Box::new(unwanted)));
    assert_eq!(steps(&actions), ["drain"]);
    bench.feed(FleetEvent::Adopted(Box::new(survivor("b", 6))));
    assert!(
        !bench
            .feed(FleetEvent::AdoptionFinished)
            .contains(&Action::AllStopped)
    );
    bench.feed(exited("a", Run(5), 0));
    // The one that stays is released once nothing is in flight.
    let actions = bench.feed(SlotEvent::Drained.on(key("b"), Run(6)));
    assert!(actions.contains(&Action::AllStopped), "{actions:?}");
}

#[test]
fn what_failed_long_ago_is_no_trouble_on_the_way_down() {
    let settings = Settings {
        health_policies: PolicyNames::from(["p".into()]),
        ..Settings::default()
    };
    let (mut bench, actions) = Bench::new(settings, vec![autostart("a")]);
    bench.feed(exited("a", spawned_run(&actions).unwrap(), 1));
    let run = bench.next_start();
    bench.become_ready(run);
    bench.pass(600_000);
    let question = super::asked(&bench.pass(10_000))[0];
    let verdict = HealthVerdict {
        health: Health::Degraded,
        reason: "it is old".into(),
        recycle: true,
        attributes: Vec::new(),
    };
    let actions = bench.feed(answered(question, verdict));
    assert_eq!(steps(&actions), ["drain"]);
    assert_eq!(bench.readiness(), Readiness::Healthy);
    bench.pass(14_000);
    assert_eq!(bench.readiness(), Readiness::Healthy);
}
