//! Tools with breakers of their own, as the driver and people see them.

use std::sync::Arc;

use super::{Bench, autostart, key, plans::settings};
use crate::{
    Run,
    action::{Action, Change, OperatorAction, RoutingAction, SlotAction},
    breaker::plan::{ToolRow, builtin},
    classify::ClassTable,
    event::{Event, SlotEvent, TrafficEvent, Verb},
    permit::{BreakerSetting, BreakerState, Class, Report},
    settings::BreakerThresholds,
};

/// An instance whose only tool, `ping`, has a breaker of its own.
fn guarded() -> (Bench, Run) {
    let (mut bench, run, _) = Bench::ready(settings(), autostart("a"));
    let asked = bench.plan_again();
    let mut plan = builtin(&BreakerThresholds::default());
    plan.tools = vec![ToolRow {
        tool: "p*".to_owned(),
        table: ClassTable::default(),
    }];
    let actions = bench.plan(&asked, plan);
    let set = actions.iter().find_map(|action| match action {
        Action::Routing(RoutingAction::SetTools { tools, .. }) => Some(tools.as_slice()),
        _ => None,
    });
    let [tool] = set.unwrap() else {
        panic!("one tool is listed: {set:?}");
    };
    let shown = (&*tool.tool, tool.setting.state, tool.setting.generation);
    assert_eq!(shown, ("ping", BreakerState::Closed, 1));
    (bench, run)
}

impl Bench {
    fn call_fails(&mut self, run: Run, timed_out: Option<u32>) -> Vec<Action> {
        self.feed(TrafficEvent::ToolOutcome {
            instance: key("a").instance,
            tool: "ping".into(),
            run,
            report: Some(Report {
                generation: 1,
                class: Class::Failure,
            }),
            upstream_died: false,
            timed_out,
        })
    }
}

fn set(actions: &[Action]) -> Option<BreakerSetting> {
    actions.iter().find_map(|action| match action {
        Action::Routing(RoutingAction::SetTool { tool, .. }) => Some(tool.setting),
        _ => None,
    })
}

#[test]
fn a_tool_that_fails_opens_its_own_breaker() {
    let (mut bench, run) = guarded();
    for _ in 0..2 {
        bench.call_fails(run, None);
    }
    let actions = bench.call_fails(run, None);
    assert_eq!(set(&actions).unwrap().state, BreakerState::Open);
    let announced = actions.iter().find_map(|action| match action {
        Action::Operator(OperatorAction::Announce(transition)) => Some(transition),
        _ => None,
    });
    let announced = announced.unwrap();
    assert_eq!(announced.tool, Some(Arc::from("ping")));
    let (from, to) = (BreakerState::Closed, BreakerState::Open);
    assert_eq!(announced.change, Change::Breaker { from, to });
    let view = bench.view();
    assert_eq!(view.breaker.state, BreakerState::Closed);
    assert_eq!((view.tools_guarded, view.tool_breakers.len()), (1, 1));
    assert_eq!(
        view.tool_breakers[0].breaker.reason,
        "3 requests in a row failed"
    );
    // Nothing is asked of the instance on its behalf: its callers probe at once.
    let actions = bench.pass(34_000);
    let asks = |action: &Action| {
        matches!(
            action,
            Action::Slot {
                action: SlotAction::Ping {
                    for_breaker: true,
                    ..
                },
                ..
            }
        )
    };
    assert!(!actions.iter().any(asks));
    let setting = set(&actions).unwrap();
    assert_eq!(
        (setting.state, setting.permits),
        (BreakerState::HalfOpen, 2)
    );
    // An operator's reset is one of all breakers of the instance.
    let setting = set(&bench.order(Verb::BreakerReset)).unwrap();
    assert_eq!(setting.state, BreakerState::Closed);
    assert!(bench.view().tool_breakers.is_empty());
}

#[test]
fn a_time_out_counts_against_the_instance_where_pings_fail_too() {
    let (mut bench, run) = guarded();
    for _ in 0..3 {
        bench.call_fails(run, Some(1));
    }
    assert_eq!(bench.view().breaker.state, BreakerState::Closed);
    // A ping is sent, and is not answered.
    bench.now_ms = 10_000;
    bench.feed(Event::Tick);
    bench.feed(SlotEvent::PingFailed.on(key("a"), run));
    for _ in 0..3 {
        // Of another generation: a straggler.
        bench.call_fails(run, Some(7));
    }
    assert_eq!(bench.view().breaker.state, BreakerState::Closed);
    for _ in 0..3 {
        bench.call_fails(run, Some(1));
    }
    assert_eq!(bench.view().breaker.state, BreakerState::Open);
}
