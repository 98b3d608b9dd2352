//! Tools whose calls are counted apart: those that are listed, while a policy plans.

use super::{Bench, autostart, key, plans::settings, spawned_run};
use crate::{
    action::{Action, RoutingAction},
    event::{FleetEvent, SlotEvent},
    settings::Settings,
};

/// What is metered from now on, where that is news.
fn metered(actions: &[Action]) -> Option<Vec<String>> {
    let mut all = actions.iter().filter_map(|action| match action {
        Action::Routing(RoutingAction::MeterTools { tools, .. }) => Some(tools.to_vec()),
        _ => None,
    });
    let first = all.next();
    assert_eq!(all.next(), None, "published twice in one step");
    first
}

fn listed(names: &[&str]) -> SlotEvent {
    let tools = names.iter().map(|name| (*name).to_owned()).collect();
    SlotEvent::ToolsListed { tools }
}

#[test]
fn they_are_those_of_the_last_list_while_a_policy_plans() {
    let (mut bench, actions) = Bench::new(settings(), vec![autostart("a")]);
    assert_eq!(metered(&actions), None);
    let run = spawned_run(&actions).unwrap();
    let ready = SlotEvent::Ready {
        tools: vec!["b".to_owned(), "a".to_owned()],
    };
    let actions = bench.feed(ready.on(key("a"), run));
    assert_eq!(
        metered(&actions),
        Some(vec!["a".to_owned(), "b".to_owned()])
    );
    let same = bench.feed(listed(&["b", "a"]).on(key("a"), run));
    assert_eq!(metered(&same), None);
    let other = bench.feed(listed(&["c"]).on(key("a"), run));
    assert_eq!(metered(&other), Some(vec!["c".to_owned()]));
    // Nobody plans any more, and then somebody does again.
    let off = bench.feed(FleetEvent::SettingsApplied(Box::default()));
    assert_eq!(metered(&off), Some(Vec::new()));
    let other = bench.feed(listed(&["d"]).on(key("a"), run));
    assert_eq!(metered(&other), None);
    let on = bench.feed(FleetEvent::SettingsApplied(Box::new(settings())));
    assert_eq!(metered(&on), Some(vec!["d".to_owned()]));
}

#[test]
fn without_a_policy_none_are() {
    let (mut bench, actions) = Bench::new(Settings::default(), vec![autostart("a")]);
    let run = spawned_run(&actions).unwrap();
    let tools = vec!["a".to_owned()];
    let ready = bench.feed(SlotEvent::Ready { tools }.on(key("a"), run));
    assert_eq!(metered(&ready), None);
}
