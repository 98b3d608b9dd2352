//! Plans of breakers: who is asked how much at once, and what becomes of what they answer.

use std::sync::Arc;

use super::{Bench, key, spec};
use crate::{
    Run,
    action::{Action, OperatorAction, RoutingAction},
    breaker::plan::{BreakerPlan, PlanMode, builtin},
    classify::{ClassTable, KindPattern},
    event::{FleetEvent, PolicyEvent, TrafficEvent},
    permit::{BreakerState, BreakerTotals, Class, Report},
    policy::{Answer, Ask, NoAnswer, PolicyAnswer, PolicyKind, Question, QuestionId},
    settings::{BreakerThresholds, Settings},
    spec::{InstanceSpec, Source},
};

pub(super) fn settings() -> Settings {
    Settings {
        breaker_policy: ["p".into()].into(),
        ..Settings::default()
    }
}

fn asked(actions: &[Action]) -> Vec<&Ask> {
    let asked = actions.iter().filter_map(|action| match action {
        Action::Ask(ask) => Some(ask),
        _ => None,
    });
    asked.collect()
}

fn answer(question: QuestionId, answer: Result<Answer, NoAnswer>) -> PolicyEvent {
    let answers = vec![PolicyAnswer {
        policy: "p".into(),
        answer,
    }];
    PolicyEvent::Answered { question, answers }
}

/// A plan that trips after so many failures in a row.
fn tripping_at(consecutive_failures: u32) -> BreakerPlan {
    builtin(&BreakerThresholds {
        consecutive_failures,
        ..BreakerThresholds::default()
    })
}

impl Bench {
    /// The policy answers the only question that was asked just now.
    pub(super) fn plan(&mut self, actions: &[Action], plan: BreakerPlan) -> Vec<Action> {
        let [ask] = asked(actions)[..] else {
            panic!("one question was to be asked: {actions:?}");
        };
        let plan = Answer::Breaker(Box::new(plan));
        self.feed(answer(ask.id, Ok(plan)))
    }

    pub(super) fn plan_again(&mut self) -> Vec<Action> {
        self.feed(PolicyEvent::Changed(PolicyKind::Breaker))
    }

    /// Requests that fail, one after the other, until the breaker opens.
    fn failures_to_open(&mut self) -> usize {
        for n in 1.. {
            let view = self.view().breaker;
            assert_eq!(view.state, BreakerState::Closed);
            self.feed(TrafficEvent::Outcome {
                instance: key("a").instance,
                run: Run(1),
                report: Report {
                    generation: 1,
                    class: Class::Failure,
                },
                upstream_died: false,
            });
            if self.view().breaker.state == BreakerState::Open {
                return n;
            }
        }
        unreachable!()
    }
}

#[test]
fn thousands_of_instances_are_asked_about_a_few_at_a_time() {
    const SIZE: usize = 2_000;
    let settings = settings();
    let most = settings.plan_questions_max;
    let specs = (0..SIZE).map(|n| spec(&format!("i{n}"))).collect();
    let mut bench = Bench::adopting(settings, Vec::new());
    let source = Source::Config;
    let actions = bench.feed(FleetEvent::SpecsApplied { source, specs });
    let mut open: Vec<QuestionId> = asked(&actions).iter().map(|ask| ask.id).collect();
    assert_eq!(open.len(), most);
    let mut ended = 0;
    while let Some(question) = open.pop() {
        let before = bench.fleet.settled;
        let actions = bench.feed(answer(question, Err(NoAnswer::Absent)));
        ended += 1;
        let next = asked(&actions);
        assert_eq!(next.len(), usize::from(ended + open.len() < SIZE));
        open.extend(next.iter().map(|ask| ask.id));
        // The answer costs what it touches, however many wait.
        assert!(bench.fleet.settled - before <= 1);
    }
    assert_eq!(ended, SIZE);
    // Who waits longest comes first: nobody is asked twice before everybody was asked once.
    let mut named = std::collections::BTreeSet::new();
    let mut actions = bench.plan_again();
    for _ in 0..SIZE {
        let ask = asked(&actions)[0];
        assert!(named.insert(format!("{:?}", ask.question)), "asked twice");
        let question = ask.id;
        let mut rest = actions.split_off(1);
        rest.extend(bench.feed(answer(question, Err(NoAnswer::TimedOut))));
        actions = rest;
    }
    assert!(asked(&actions).is_empty());
}

#[test]
fn a_plan_changes_numbers_and_no_state() {
    let (mut bench, actions) = Bench::new(settings(), vec![spec("a")]);
    assert!(asked(&actions).is_empty(), "it was asked when it appeared");
    let actions = bench.plan_again();
    let Question::Breaker { profile, .. } = &asked(&actions)[0].question else {
        panic!("{actions:?}");
    };
    assert_eq!(profile.configured, BreakerThresholds::default());
    bench.plan(&actions, tripping_at(5));
    assert_eq!(bench.failures_to_open(), 5);
    // The same numbers, or others: what is OPEN stays so, and until when it was to.
    let open = bench.view().breaker;
    let actions = bench.plan_again();
    bench.plan(&actions, tripping_at(9));
    assert_eq!(bench.view().breaker, open);
    // Without a policy the configuration holds again.
    bench.feed(FleetEvent::SettingsApplied(Box::default()));
    let view = bench.plan_view();
    assert_eq!((view.policy, view.plan), (None, Arc::new(tripping_at(3))));
    assert_eq!(bench.view().breaker, open);
}

#[test]
fn the_plan_before_stays_where_one_is_refused_observed_or_not_given() {
    let (mut bench, _) = Bench::new(settings(), vec![spec("a")]);
    let actions = bench.plan_again();
    bench.plan(&actions, tripping_at(5));
    let is_kept = |bench: &Bench| {
        let view = bench.plan_view();
        assert_eq!(view.policy.as_deref(), Some("p"));
        assert_eq!(view.plan.thresholds.consecutive_failures, 5);
        view
    };
    // News once, however often it is given.
    for is_first in [true, false] {
        let actions = bench.plan_again();
        let actions = bench.plan(&actions, tripping_at(0));
        let refused = actions.iter().filter_map(|action| match action {
            Action::Operator(OperatorAction::PlanRefused {
                reason, is_news, ..
            }) => Some((reason.as_str(), *is_news)),
            _ => None,
        });
        let reason = "thresholds.consecutive-failures is 0; expected 1 to 10000";
        assert_eq!(refused.collect::<Vec<_>>(), [(reason, is_first)]);
        assert_eq!(is_kept(&bench).refused.unwrap().reason, reason);
    }
    let actions = bench.plan_again();
    let observed = BreakerPlan {
        mode: PlanMode::Observe,
        ..tripping_at(2)
    };
    bench.plan(&actions, observed.clone());
    let view = is_kept(&bench);
    assert_eq!(view.refused, None);
    assert_eq!(*view.observed.unwrap().plan, observed);
    let actions = bench.plan_again();
    bench.feed(answer(asked(&actions)[0].id, Err(NoAnswer::Trapped)));
    is_kept(&bench);
    // It is asked again a minute later.
    let due_ms = bench.fleet.next_wake().unwrap();
    assert_eq!(due_ms, bench.now_ms + 60_000);
    bench.now_ms = due_ms;
    let actions = bench.feed(crate::event::Event::Tick);
    // An answer to a question of before the swap is of no interest.
    let late = asked(&actions)[0].id;
    bench.plan_again();
    bench.feed(answer(late, Ok(Answer::Breaker(Box::new(tripping_at(7))))));
    is_kept(&bench);
}

#[test]
fn what_an_observed_plan_would_do_is_seen_beside_what_is_done() {
    let (mut bench, _) = Bench::new(settings(), vec![spec("a")]);
    let observe = |bench: &mut Bench, failures: u32| {
        let actions = bench.plan_again();
        let plan = BreakerPlan {
            mode: PlanMode::Observe,
            ..tripping_at(failures)
        };
        bench.plan(&actions, plan);
    };
    let fail = |bench: &mut Bench| {
        bench.feed(TrafficEvent::Outcome {
            instance: key("a").instance,
            run: Run(1),
            report: Report {
                generation: 1,
                class: Class::Failure,
            },
            upstream_died: false,
        });
    };
    let count = |bench: &mut Bench, calls: u64, failures: u64| {
        let totals = BreakerTotals {
            calls,
            failures,
            ..BreakerTotals::default()
        };
        let instance = key("a").instance;
        bench.feed(TrafficEvent::Counted { instance, totals });
    };
    let would = |bench: &Bench| {
        let observed = bench.plan_view().observed.unwrap();
        (observed.would_be, observed.would_reject)
    };
    // What was before it began is not its.
    count(&mut bench, 100, 0);
    observe(&mut bench, 2);
    assert_eq!(would(&bench), (BreakerState::Closed, 0));
    fail(&mut bench);
    fail(&mut bench);
    assert_eq!(would(&bench), (BreakerState::Open, 0));
    assert_eq!(bench.view().breaker.state, BreakerState::Closed);
    count(&mut bench, 112, 2);
    assert_eq!(would(&bench), (BreakerState::Open, 12));
    // Other numbers, and no other state.
    observe(&mut bench, 9);
    assert_eq!(would(&bench), (BreakerState::Open, 12));
    // Its OPEN ends by the clock, and answers close it.
    bench.now_ms += 34_000;
    bench.feed(crate::event::Event::Tick);
    assert_eq!(would(&bench).0, BreakerState::HalfOpen);
    count(&mut bench, 114, 2);
    assert_eq!(would(&bench), (BreakerState::Closed, 12));
    assert_eq!(bench.view().breaker.state, BreakerState::Closed);
    // What is applied is no longer observed.
    let actions = bench.plan_again();
    bench.plan(&actions, tripping_at(4));
    assert!(bench.plan_view().observed.is_none());
}

#[test]
fn the_classification_is_published_when_it_changes() {
    let published = |actions: &[Action]| {
        let tables = actions.iter().filter_map(|action| match action {
            Action::Routing(RoutingAction::SetClasses { classes, .. }) => Some((**classes).clone()),
            _ => None,
        });
        tables.collect::<Vec<_>>()
    };
    let configured = BreakerThresholds {
        slow_ms: Some(700),
        ..BreakerThresholds::default()
    };
    let spec = InstanceSpec {
        breaker: Some(configured.clone()),
        ..spec("a")
    };
    let mut bench = Bench::adopting(settings(), Vec::new());
    let added = bench.feed(FleetEvent::SpecAdded(Box::new(spec)));
    let by_configuration = ClassTable::new(Vec::new(), Some(700));
    assert_eq!(published(&added), [by_configuration]);
    let table = ClassTable::new(vec![(KindPattern::ToolError, Class::Failure)], None);
    let plan = BreakerPlan {
        table: table.clone(),
        ..builtin(&configured)
    };
    assert_eq!(published(&bench.plan(&added, plan.clone())), [table]);
    let actions = bench.plan_again();
    assert_eq!(published(&bench.plan(&actions, plan)), []);
}

impl Bench {
    fn plan_view(&self) -> crate::view::PlanView {
        let view = self
            .fleet
            .instance_view(&key("a").instance, crate::Now::at(self.now_ms));
        *view.unwrap().plan.unwrap()
    }
}
