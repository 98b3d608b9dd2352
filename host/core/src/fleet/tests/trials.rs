//! A policy cannot take the fleet down: trials of new generations, and what is held.

use super::{Bench, autostart, key, spawned_run, survivor};
use crate::{
    Now,
    action::Action,
    breaker::plan::{BreakerPlan, PlanMode, builtin},
    capacity::{CapacityPlan, Limit, Measure},
    event::{FleetEvent, PolicyEvent, SlotEvent, TrafficEvent},
    health::{Health, HealthVerdict},
    permit::{BreakerTotals, Class, Report},
    policy::{
        Answer, Ask, CandidateGeneration, GenerationInForce, Holding, NoAnswer, PolicyAction,
        PolicyAnswer, PolicyGenerations, PolicyKind, Question,
    },
    settings::{BreakerThresholds, Settings},
    spec::{InstanceSpec, Source},
    view::Readiness,
};

/// What the engine says of the policy `p`: which generation is in force, whether it is confirmed, and the candidate.
fn generations(
    kind: PolicyKind,
    in_force: Option<(u64, bool)>,
    candidate: Option<u64>,
) -> PolicyEvent {
    PolicyEvent::Generations(vec![PolicyGenerations {
        policy: "p".into(),
        kind,
        in_force: in_force.map(|(generation, is_confirmed)| GenerationInForce {
            generation,
            is_confirmed,
        }),
        candidate: candidate.map(|generation| CandidateGeneration {
            generation,
            held: None,
        }),
    }])
}

/// The questions of a trial.
fn tried(actions: &[Action]) -> Vec<Ask> {
    let tried = actions.iter().filter_map(|action| match action {
        Action::Ask(ask) if ask.candidate == Some(2) => Some(ask.clone()),
        _ => None,
    });
    tried.collect()
}

fn decided(actions: &[Action]) -> Option<&PolicyAction> {
    actions.iter().find_map(|action| match action {
        Action::Policy(action) => Some(action),
        _ => None,
    })
}

/// Why the generation of that number is held.
fn held(actions: &[Action], number: u64) -> &Holding {
    match decided(actions) {
        Some(PolicyAction::Hold {
            generation,
            holding,
            ..
        }) if *generation == number => holding,
        other => panic!("{other:?}"),
    }
}

fn is_applied(actions: &[Action]) -> bool {
    matches!(
        decided(actions),
        Some(PolicyAction::Apply { generation: 2, .. })
    )
}

fn answer(ask: &Ask, answer: Result<Answer, NoAnswer>) -> PolicyEvent {
    let answers = vec![PolicyAnswer {
        policy: "p".into(),
        answer,
    }];
    PolicyEvent::Answered {
        question: ask.id,
        answers,
    }
}

fn condemned() -> Answer {
    Answer::Health(HealthVerdict {
        health: Health::Healthy,
        reason: "worn".to_owned(),
        recycle: true,
        ..HealthVerdict::healthy()
    })
}

impl Bench {
    /// A fleet of so many ready instances, and the actions of the last of them.
    fn ready_fleet(settings: Settings, count: usize) -> Self {
        let mut bench = Bench::adopting(settings, Vec::new());
        bench.feed(FleetEvent::AdoptionFinished);
        for n in 0..count {
            let id = format!("i{n}");
            let actions = bench.feed(FleetEvent::SpecAdded(Box::new(autostart(&id))));
            let run = spawned_run(&actions).unwrap();
            let tools = Vec::new();
            bench.feed(SlotEvent::Ready { tools }.on(key(&id), run));
        }
        bench
    }

    /// Answers each question of a trial, also those that are asked then; what the last answer leads to.
    fn answer_all(
        &mut self,
        actions: Vec<Action>,
        answered: impl Fn(&Ask) -> Answer,
    ) -> Vec<Action> {
        let mut open = tried(&actions);
        let mut last = actions;
        while let Some(ask) = open.pop() {
            last = self.feed(answer(&ask, Ok(answered(&ask))));
            open.extend(tried(&last));
        }
        last
    }
}

fn health_policy() -> Settings {
    Settings {
        health_policies: ["p".into()].into(),
        plan_questions_max: 2,
        ..Settings::default()
    }
}

#[test]
fn more_than_half_and_at_least_three_are_too_many() {
    for (count, condemns, is_held) in [
        (2, 2, false),
        (3, 2, false),
        (3, 3, true),
        (6, 3, false),
        (6, 4, true),
    ] {
        let mut bench = Bench::ready_fleet(health_policy(), count);
        bench.feed(generations(PolicyKind::Health, Some((1, false)), None));
        let actions = bench.feed(generations(PolicyKind::Health, Some((1, false)), Some(2)));
        assert_eq!(tried(&actions).len(), count.min(2), "so many at a time");
        let condemned_ids: Vec<String> = (0..condemns).map(|n| format!("i{n}")).collect();
        let actions = bench.answer_all(actions, |ask| match &ask.question {
            Question::Health { key, .. }
                if condemned_ids.iter().any(|id| id == key.instance.as_str()) =>
            {
                condemned()
            }
            _ => Answer::Health(HealthVerdict::healthy()),
        });
        assert_eq!(!is_applied(&actions), is_held, "{condemns} of {count}");
        if is_held {
            assert_eq!(held(&actions, 2).changes.len(), condemns);
            let readiness = bench.fleet.view(Now::at(bench.now_ms)).readiness;
            assert_eq!(readiness.status, Readiness::Degraded);
            let reason = &readiness.reasons[0];
            assert!(
                reason.contains("generation 2 is held, and generation 1 stays in force"),
                "{reason}"
            );
        }
    }
}

#[test]
fn a_trial_waits_for_what_is_adopted_and_for_no_answer_for_ever() {
    let mut bench = Bench::adopting(health_policy(), Vec::new());
    let specs: Vec<InstanceSpec> = (0..4).map(|n| autostart(&format!("i{n}"))).collect();
    let source = Source::Config;
    bench.feed(FleetEvent::SpecsApplied { source, specs });
    let actions = bench.feed(generations(PolicyKind::Health, None, Some(2)));
    assert!(tried(&actions).is_empty() && decided(&actions).is_none());
    for n in 0..4 {
        let survivor = survivor(&format!("i{n}"), n + 1);
        bench.feed(FleetEvent::Adopted(Box::new(survivor)));
    }
    let actions = bench.feed(FleetEvent::AdoptionFinished);
    assert_eq!(tried(&actions).len(), 2);
    // It answers nothing: three times in a row are enough.
    let mut open = tried(&actions);
    let mut failures = 0;
    loop {
        let ask = open.remove(0);
        let actions = bench.feed(answer(&ask, Err(NoAnswer::Trapped)));
        failures += 1;
        open.extend(tried(&actions));
        if is_applied(&actions) {
            break;
        }
    }
    assert_eq!(failures, 3);
    // It says nothing at all.
    let actions = bench.feed(generations(PolicyKind::Health, None, None));
    assert!(decided(&actions).is_none());
    bench.feed(generations(PolicyKind::Health, None, Some(2)));
    let begun_ms = bench.now_ms;
    let mut actions = Vec::new();
    while !is_applied(&actions) {
        actions = bench.pass(500);
        assert!(bench.now_ms - begun_ms <= 11_000, "the trial does not end");
    }
}

#[test]
fn a_generation_in_force_that_changes_its_mind_is_held_unless_it_is_confirmed() {
    for is_confirmed in [false, true] {
        let mut bench = Bench::ready_fleet(health_policy(), 5);
        let actions = bench.feed(generations(
            PolicyKind::Health,
            Some((1, is_confirmed)),
            None,
        ));
        let asked = actions.iter().filter_map(|action| match action {
            Action::Ask(ask) => Some(ask.clone()),
            _ => None,
        });
        let mut all = Vec::new();
        for ask in asked.collect::<Vec<_>>() {
            all.extend(bench.feed(answer(&ask, Ok(condemned()))));
        }
        assert_eq!(decided(&all).is_none(), is_confirmed);
        if !is_confirmed {
            assert_eq!(held(&all, 1).changes.len(), 3);
            let readiness = bench.fleet.view(Now::at(bench.now_ms)).readiness;
            assert!(readiness.reasons.iter().any(|reason| {
                reason.contains("generation 1 is held, and the built-in rule stays in force")
            }));
        }
    }
}

fn breaker_policy() -> Settings {
    Settings {
        breaker_policy: ["p".into()].into(),
        ..Settings::default()
    }
}

fn tripping_at(consecutive_failures: u32, min_samples: u64) -> BreakerPlan {
    builtin(&BreakerThresholds {
        consecutive_failures,
        min_samples,
        ..BreakerThresholds::default()
    })
}

#[test]
fn a_breaker_plan_is_held_by_the_windows_that_there_are() {
    let observed = BreakerPlan {
        mode: PlanMode::Observe,
        ..tripping_at(1, 20)
    };
    for (plan, is_held) in [
        (tripping_at(1, 20), true),
        (tripping_at(2, 20), false),
        // Six of ten have failed, where it takes twenty by the plan in force.
        (tripping_at(2, 10), true),
        (observed, false),
    ] {
        let mut bench = Bench::ready_fleet(breaker_policy(), 4);
        for n in 0..4 {
            let instance = key(&format!("i{n}")).instance;
            let totals = BreakerTotals {
                calls: 10,
                failures: 6,
                ..BreakerTotals::default()
            };
            bench.feed(TrafficEvent::Counted {
                instance: instance.clone(),
                totals,
            });
            let run = bench.fleet.view(Now::at(bench.now_ms)).instances[n].slots[0].run;
            bench.feed(TrafficEvent::Outcome {
                instance,
                run: run.unwrap(),
                report: Report {
                    generation: 1,
                    class: Class::Failure,
                },
                upstream_died: false,
            });
        }
        let actions = bench.feed(generations(PolicyKind::Breaker, None, Some(2)));
        assert_eq!(tried(&actions).len(), 4);
        let actions = bench.answer_all(actions, |_| Answer::Breaker(Box::new(plan.clone())));
        assert_eq!(!is_applied(&actions), is_held, "{plan:?}");
    }
}

#[test]
fn a_capacity_plan_is_held_by_what_is_in_use() {
    let settings = Settings {
        capacity_policy: Some("p".into()),
        ..Settings::default()
    };
    for (most, is_held) in [(5, false), (3, false), (2, true)] {
        let plan = CapacityPlan {
            limits: vec![Limit {
                of: Measure::Running,
                most,
                refusal: String::new(),
                attributes: Vec::new(),
            }],
            ..CapacityPlan::default()
        };
        let answered = |_: &Ask| Answer::Capacity(Box::new(plan.clone()));
        let mut bench = Bench::ready_fleet(settings.clone(), 6);
        bench.feed(FleetEvent::LoadMeasured(Box::default()));
        let actions = bench.feed(generations(PolicyKind::Capacity, None, Some(2)));
        let actions = bench.answer_all(actions, answered);
        assert_eq!(!is_applied(&actions), is_held, "{most} of 6");
        // The same in a later round.
        let actions = bench.feed(generations(PolicyKind::Capacity, Some((1, false)), None));
        let ask = actions.iter().find_map(|action| match action {
            Action::Ask(ask) => Some(ask.clone()),
            _ => None,
        });
        let ask = ask.unwrap();
        let actions = bench.feed(answer(&ask, Ok(answered(&ask))));
        assert_eq!(decided(&actions).is_some(), is_held, "{most} of 6");
        let in_force = bench.fleet.view(Now::at(bench.now_ms)).capacity.in_force;
        let policy = in_force.and_then(|in_force| in_force.policy.clone());
        assert_eq!(policy.is_none(), is_held);
    }
}
