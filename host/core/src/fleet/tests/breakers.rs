//! What a breaker asks of its instance, as the driver sees it.

use super::{Bench, autostart, key, spawned_run, spec};
use crate::{
    Run, SlotKey,
    action::{Action, Change, OperatorAction, RoutingAction, SlotAction},
    event::{Command, Event, FleetEvent, SlotEvent, TrafficEvent, Verb},
    permit::{BreakerState, Class, Report},
    route::Route,
    settings::Settings,
    spec::InstanceSpec,
    view::Readiness,
};

/// Three failed requests, of a breaker that was never OPEN before.
fn trip_one(bench: &mut Bench, key: &SlotKey, run: Run) -> Vec<Action> {
    let report = Report {
        generation: 1,
        class: Class::Failure,
    };
    let mut out = Vec::new();
    for _ in 0..3 {
        out = bench.feed(TrafficEvent::Outcome {
            instance: key.instance.clone(),
            run,
            report,
            upstream_died: false,
        });
    }
    let opened = out.iter().any(|action| {
        matches!(action, Action::Routing(RoutingAction::SetBreaker { setting, .. })
            if setting.state == BreakerState::Open)
    });
    assert!(opened, "{out:?}");
    out
}

fn trip(bench: &mut Bench, run: Run) {
    trip_one(bench, &key("a"), run);
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
    let second = SlotKey {
        slot: 1,
        ..key("a")
    };
    let run = spawned_run(&bench.feed(TrafficEvent::Demand(second.clone()))).unwrap();
    let tools = vec!["ping".to_owned()];
    let actions = bench.feed(SlotEvent::Ready { tools }.on(second, run));
    assert_eq!(permits(&actions), Some(2));
}

/// So many instances that serve, `i0` and on.
fn serving(count: usize) -> (Bench, Vec<(SlotKey, Run)>) {
    let specs = (0..count).map(|n| autostart(&format!("i{n}"))).collect();
    let (mut bench, actions) = Bench::new(Settings::default(), specs);
    let mut runs: Vec<(SlotKey, Run)> = Vec::new();
    for action in actions {
        if let Action::Slot {
            key,
            run,
            action: SlotAction::Spawn { .. },
        } = action
        {
            runs.push((key, run));
        }
    }
    for (key, run) in &runs {
        let tools = vec!["ping".to_owned()];
        bench.feed(SlotEvent::Ready { tools }.on(key.clone(), *run));
    }
    assert_eq!(runs.len(), count);
    (bench, runs)
}

/// The readiness announced among these: from, to, and why.
fn announced(actions: &[Action]) -> Vec<(Readiness, Readiness, &str)> {
    let readiness = |action| match action {
        &Action::Operator(OperatorAction::Announce(ref transition)) => match transition.change {
            Change::Readiness { from, to } => Some((from, to, transition.reason.as_str())),
            _ => None,
        },
        _ => None,
    };
    actions.iter().filter_map(readiness).collect()
}

#[test]
fn breakers_that_open_together_are_one_condition_of_the_fleet() {
    use Readiness::{Degraded, Healthy};
    let (mut bench, runs) = serving(5);
    for (key, run) in &runs[..2] {
        assert_eq!(announced(&trip_one(&mut bench, key, *run)), []);
        bench.now_ms += 4_000;
    }
    let (key, run) = &runs[2];
    let why = "3 of 5 circuit breakers are OPEN or HALF_OPEN: more than half opened within 10 s, so they have one cause";
    let said = trip_one(&mut bench, key, *run);
    assert_eq!(announced(&said), [(Healthy, Degraded, why)]);
    // Said once: a further one changes the number only.
    let (key, run) = &runs[3];
    assert_eq!(announced(&trip_one(&mut bench, key, *run)), []);
    let reasons = bench
        .fleet
        .view(crate::Now::at(bench.now_ms))
        .readiness
        .reasons;
    assert!(
        reasons[0].starts_with("4 of 5 circuit breakers"),
        "{reasons:?}"
    );
    // That the word is no news is no reason not to say that it is over.
    bench.feed(FleetEvent::Plugins {
        quarantined: 1,
        faults: Vec::new(),
    });
    let mut reset = |id: &str| {
        let (id, instance) = (7, super::key(id).instance);
        let verb = Verb::BreakerReset;
        bench.feed(Event::Operator(Command { id, instance, verb }))
    };
    assert_eq!(announced(&reset("i0")), []);
    let over = reset("i1");
    let why = "no longer more than half of the circuit breakers are OPEN or HALF_OPEN; 1 plugins are in quarantine";
    assert_eq!(announced(&over), [(Degraded, Degraded, why)]);
    assert_eq!(announced(&reset("i2")), []);
}

#[test]
fn breakers_that_open_one_after_the_other_have_causes_of_their_own() {
    // Too slowly one after the other; and two, of however few.
    for (count, opened, pause_ms) in [(5, 5, 5_000), (3, 2, 0), (2, 2, 0)] {
        let (mut bench, runs) = serving(count);
        for (key, run) in &runs[..opened] {
            let said = trip_one(&mut bench, key, *run);
            assert_eq!(announced(&said), [], "{count} {opened} {pause_ms}");
            bench.now_ms += pause_ms;
        }
    }
}
