//! The tool list, compared with the one before it over restarts of the instance and of the router.

use super::{Bench, autostart, exited, key, spawned_run, survivor};
use crate::{
    Run,
    action::{Action, SlotAction},
    event::{Adopted, Event, FleetEvent, SlotEvent, Verb},
    health::Health,
    settings::Settings,
    spec::{InstanceSpec, Source},
    view::Lifecycle,
};

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn ready(run: Run, names: &[&str]) -> Event {
    let (key, tools) = (key("a"), list(names));
    SlotEvent::Ready { tools }.on(key, run)
}

/// What is to be kept with the run.
fn kept(actions: &[Action]) -> Option<Vec<String>> {
    let mut kept = actions.iter().filter_map(|action| match action {
        Action::Slot {
            action: SlotAction::KeepBaseline { tools, .. },
            ..
        } => Some(tools.clone()),
        _ => None,
    });
    let first = kept.next();
    assert_eq!(kept.next(), None, "kept twice in one step");
    first
}

#[track_caller]
fn is_degraded_for(bench: &Bench, names: &str) {
    let view = bench.view();
    let reason = format!("tools are missing since its last start: {names}");
    assert_eq!((view.health, view.reason), (Some(Health::Degraded), reason));
}

/// A slot that lists less after its restart, with the run that does.
fn shrunken() -> (Bench, Run, Vec<Action>) {
    let (mut bench, actions) = Bench::new(Settings::default(), vec![autostart("a")]);
    let run = spawned_run(&actions).unwrap();
    assert_eq!(kept(&actions), None);
    let actions = bench.feed(ready(run, &["c", "a", "b"]));
    assert_eq!(kept(&actions), Some(list(&["a", "b", "c"])));
    assert_eq!(bench.view().health, Some(Health::Healthy));
    bench.order(Verb::Restart);
    let actions = bench.feed(exited("a", run, 0));
    let run = spawned_run(&actions).unwrap();
    assert_eq!(bench.feed(ready(run, &["b"])).iter().find(is_kept), None);
    (bench, run, actions)
}

fn is_kept(action: &&Action) -> bool {
    matches!(
        action,
        Action::Slot {
            action: SlotAction::KeepBaseline { .. },
            ..
        }
    )
}

#[test]
fn a_shrunken_list_is_degraded_over_restarts_of_the_router_until_the_tools_are_back() {
    let (bench, run, actions) = shrunken();
    is_degraded_for(&bench, "a, c");
    // The next router finds what this one compares with.
    let baseline = kept(&actions);
    assert_eq!(baseline, Some(list(&["a", "b", "c"])));
    let adopted = Adopted {
        tools: Some(list(&["b"])),
        baseline: baseline.clone(),
        ..survivor("a", run.0)
    };
    let mut bench = Bench::adopting(Settings::default(), vec![autostart("a")]);
    let actions = bench.feed(FleetEvent::Adopted(Box::new(adopted)));
    assert_eq!(kept(&actions), None, "it is kept already");
    bench.feed(FleetEvent::AdoptionFinished);
    is_degraded_for(&bench, "a, c");
    // Another start that lists too little, and then one that lists all.
    bench.order(Verb::Restart);
    let actions = bench.feed(exited("a", run, 0));
    assert_eq!(kept(&actions), baseline);
    let run = spawned_run(&actions).unwrap();
    bench.feed(ready(run, &["b", "c"]));
    is_degraded_for(&bench, "a");
    bench.order(Verb::Restart);
    let run = spawned_run(&bench.feed(exited("a", run, 0))).unwrap();
    let actions = bench.feed(ready(run, &["a", "b", "c", "d"]));
    assert_eq!(bench.view().health, Some(Health::Healthy));
    assert_eq!(kept(&actions), Some(list(&["a", "b", "c", "d"])));
}

#[test]
fn a_list_that_the_instance_announces_is_right_by_definition() {
    let (mut bench, run, _) = shrunken();
    let (key, tools) = (key("a"), list(&["b", "a"]));
    let actions = bench.feed(SlotEvent::ToolsListed { tools }.on(key, run));
    assert_eq!(kept(&actions), Some(list(&["a", "b"])));
    assert_eq!(bench.view().health, Some(Health::Healthy));
}

#[test]
fn a_survivor_that_was_not_ready_is_compared_when_it_is() {
    let adopted = Adopted {
        tools: None,
        baseline: Some(list(&["a", "b"])),
        age_ms: 500,
        ..survivor("a", 5)
    };
    let mut bench = Bench::adopting(Settings::default(), vec![autostart("a")]);
    let actions = bench.feed(FleetEvent::Adopted(Box::new(adopted)));
    assert_eq!(kept(&actions), None);
    bench.feed(ready(Run(5), &["b"]));
    is_degraded_for(&bench, "a");
}

#[test]
fn a_survivor_without_a_baseline_gets_the_one_that_is_held() {
    for tools in [None, Some(list(&["b"]))] {
        let mut bench = Bench::adopting(Settings::default(), vec![autostart("a")]);
        let first = Adopted {
            baseline: Some(list(&["a", "b"])),
            tools: None,
            ..survivor("a", 5)
        };
        bench.feed(FleetEvent::Adopted(Box::new(first)));
        bench.feed(exited("a", Run(5), 1));
        let second = Adopted {
            tools: tools.clone(),
            ..survivor("a", 6)
        };
        let actions = bench.feed(FleetEvent::Adopted(Box::new(second)));
        assert_eq!(kept(&actions), Some(list(&["a", "b"])), "{tools:?}");
        bench.feed(ready(Run(6), &["b"]));
        is_degraded_for(&bench, "a");
    }
}

#[test]
fn what_a_survivor_of_another_definition_listed_says_nothing_about_this_one() {
    let changed = InstanceSpec {
        digest: 2,
        ..autostart("a")
    };
    let mut bench = Bench::adopting(Settings::default(), vec![changed]);
    let adopted = Adopted {
        tools: Some(list(&["a", "b"])),
        baseline: Some(list(&["a", "b", "c"])),
        ..survivor("a", 5)
    };
    bench.feed(FleetEvent::Adopted(Box::new(adopted)));
    bench.feed(FleetEvent::AdoptionFinished);
    assert_eq!(bench.view().lifecycle, Lifecycle::Draining);
    let run = spawned_run(&bench.feed(exited("a", Run(5), 0))).unwrap();
    bench.feed(ready(run, &["d"]));
    assert_eq!(bench.view().health, Some(Health::Healthy));
}

#[test]
fn cleared_state_and_a_changed_definition_begin_anew() {
    let (mut bench, run, _) = shrunken();
    bench.order(Verb::ClearState);
    assert_eq!(bench.view().health, Some(Health::Healthy));
    bench.order(Verb::Restart);
    let actions = bench.feed(exited("a", run, 0));
    assert_eq!(kept(&actions), None);

    let (mut bench, run, _) = shrunken();
    let specs = vec![InstanceSpec {
        digest: 2,
        ..autostart("a")
    }];
    let source = Source::Config;
    bench.feed(FleetEvent::SpecsApplied { source, specs });
    let actions = bench.feed(exited("a", run, 0));
    assert_eq!(kept(&actions), None);
}
