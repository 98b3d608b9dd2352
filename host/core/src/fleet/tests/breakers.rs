//! What a breaker asks of its instance, as the driver sees it.

use super::{Bench, autostart, key, spawned_run, spec};
use crate::{
    Run,
    action::{Action, RoutingAction, SlotAction},
    event::{Event, SlotEvent, TrafficEvent},
    permit::{BreakerState, Class, Report},
    route::Route,
    settings::Settings,
    spec::InstanceSpec,
};

/// Three failed requests.
fn trip(bench: &mut Bench, run: Run) {
    let generation = 1;
    for _ in 0..3 {
        bench.feed(TrafficEvent::Outcome {
            instance: key("a").instance,
            run,
            report: Report {
                generation,
                class: Class::Failure,
            },
            upstream_died: false,
        });
    }
    assert_eq!(bench.view().breaker.state, BreakerState::Open);
}

/// Ticks until then; nothing is answered. What was sent on the breaker's behalf, and when.
fn asked(bench: &mut Bench, ms: u64) -> Vec<u64> {
    let until_ms = bench.now_ms + ms;
    let mut asked = Vec::new();
    while let Some(wake_ms) = bench.fleet.next_wake().filter(|at_ms| *at_ms <= until_ms) {
        bench.now_ms = bench.now_ms.max(wake_ms);
        let asks = |action: &&Action| match action {
            Action::Slot {
                action: SlotAction::Ping { for_breaker, .. },
                ..
            } => *for_breaker,
            _ => false,
        };
        let count = bench.feed(Event::Tick).iter().filter(asks).count();
        asked.extend(std::iter::repeat_n(bench.now_ms, count));
    }
    bench.now_ms = until_ms;
    asked
}

/// The permits of the last setting published among these.
fn permits(actions: &[Action]) -> Option<u32> {
    actions.iter().rev().find_map(|action| match action {
        Action::Routing(RoutingAction::SetBreaker { setting, .. }) => Some(setting.permits),
        _ => None,
    })
}

#[test]
fn an_instance_is_asked_at_once_and_every_five_seconds_until_it_answers() {
    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    trip(&mut bench, run);
    let open_ms = bench.view().breaker.retry_after_ms.unwrap();
    let half_open_ms = bench.now_ms + open_ms;
    let times = asked(&mut bench, open_ms + 20_000);
    let expected = [0, 5_000, 10_000, 15_000, 20_000].map(|ms| half_open_ms + ms);
    assert_eq!(times, expected);
    let view = bench.view().breaker;
    assert_eq!((view.state, view.openings), (BreakerState::HalfOpen, 1));
    assert_eq!(
        view.reason,
        "waiting for an answer to a ping after OPEN (3 requests in a row failed)"
    );
    let stranger = Run(run.0 + 1);
    let answer = |run| SlotEvent::PingAnswered { rtt_ms: 1.0 }.on(key("a"), run);
    assert_eq!(permits(&bench.feed(answer(stranger))), None);
    assert_eq!(permits(&bench.feed(answer(run))), Some(2));
    assert_eq!(bench.view().breaker.state, BreakerState::HalfOpen);
    assert_eq!(asked(&mut bench, 60_000), []);
}

#[test]
fn an_idle_instance_can_be_started_and_its_readiness_is_the_answer() {
    let settings = Settings::default();
    let idles = InstanceSpec {
        idle_stop_ms: Some(1_000),
        ..autostart("a")
    };
    let (mut bench, run, _) = Bench::ready(settings, idles);
    trip(&mut bench, run);
    bench.pass(2_000);
    bench.feed(super::exited("a", run, 0));
    assert_eq!(asked(&mut bench, 600_000), []);
    assert_eq!(bench.view().breaker.state, BreakerState::HalfOpen);
    let run = spawned_run(&bench.feed(TrafficEvent::Demand(key("a")))).unwrap();
    let actions = bench.become_ready(run);
    assert_eq!(permits(&actions), Some(2));
    // The request that waited for the start must find the permit.
    let at = |wanted: fn(&Action) -> bool| actions.iter().position(wanted).unwrap();
    let permitted = at(|action| {
        let Action::Routing(RoutingAction::SetBreaker { setting, .. }) = action else {
            return false;
        };
        setting.permits > 0
    });
    let routed = at(|action| {
        let Action::Routing(RoutingAction::SetRoute { route, .. }) = action else {
            return false;
        };
        matches!(route, Some(Route::Ready { .. }))
    });
    assert!(permitted < routed, "{actions:?}");
}

#[test]
fn another_slot_becoming_ready_is_an_answer_too() {
    let spec = InstanceSpec {
        max_slots: 2,
        autostart: true,
        ..spec("a")
    };
    let (mut bench, run, _) = Bench::ready(Settings::default(), spec);
    trip(&mut bench, run);
    let open_ms = bench.view().breaker.retry_after_ms.unwrap();
    assert_eq!(asked(&mut bench, open_ms).len(), 1);
    let second = crate::SlotKey {
        slot: 1,
        ..key("a")
    };
    let run = spawned_run(&bench.feed(TrafficEvent::Demand(second.clone()))).unwrap();
    let tools = vec!["ping".to_owned()];
    let actions = bench.feed(SlotEvent::Ready { tools }.on(second, run));
    assert_eq!(permits(&actions), Some(2));
}
