//! The fleet, one rule at a time: each test here is a story that once went wrong, or that an operator relies on by name.

mod admission;
mod breakers;
mod cost;
mod plans;
mod tool_breakers;
mod tool_metering;
mod tools;
mod trials;
mod way_down;

use super::Fleet;
use crate::{
    InstanceId, Now, Run, SlotKey,
    action::{Action, Change, CommandError, Done, OperatorAction, RoutingAction, SlotAction},
    capacity::CapacityPlan,
    event::{
        Adopted, Command, Event, Evidence, Exit, FleetEvent, PolicyEvent, Sample, SlotEvent,
        TrafficEvent, Verb,
    },
    health::{Health, HealthVerdict},
    policy::{Answer, NoAnswer, PolicyAnswer, PolicyKind, PolicyNames, QuestionId},
    route::{Route, UnavailableKind},
    settings::Settings,
    spec::{InstanceSpec, Source},
    view::{InstanceView, Lifecycle, Readiness, Status},
};

struct Bench {
    fleet: Fleet,
    now_ms: u64,
    commands: u64,
}

fn key(id: &str) -> SlotKey {
    SlotKey::first(InstanceId::parse(id).unwrap())
}

fn spec(id: &str) -> InstanceSpec {
    InstanceSpec::new(key(id).instance, Source::Config, 1)
}

fn autostart(id: &str) -> InstanceSpec {
    InstanceSpec {
        autostart: true,
        ..spec(id)
    }
}

fn survivor(id: &str, run: u64) -> Adopted {
    Adopted {
        key: key(id),
        run: Run(run),
        pid: 7,
        digest: 1,
        tools: Some(vec!["ping".into()]),
        baseline: None,
        age_ms: 3_600_000,
        wanted: true,
    }
}

fn exited(id: &str, run: Run, code: i32) -> Event {
    SlotEvent::Exited {
        exit: Exit::Code(code),
        evidence: Evidence::default(),
    }
    .on(key(id), run)
}

fn spawned_run(actions: &[Action]) -> Option<Run> {
    actions.iter().find_map(|action| match action {
        Action::Slot {
            run,
            action: SlotAction::Spawn { .. },
            ..
        } => Some(*run),
        _ => None,
    })
}

fn asked(actions: &[Action]) -> Vec<QuestionId> {
    let questions = actions.iter().filter_map(|action| match action {
        Action::Ask(ask) => Some(ask.id),
        _ => None,
    });
    questions.collect()
}

/// The policy `p` answers.
fn answered(question: QuestionId, verdict: HealthVerdict) -> PolicyEvent {
    let (policy, answer) = ("p".into(), Ok(Answer::Health(verdict)));
    let answers = vec![PolicyAnswer { policy, answer }];
    PolicyEvent::Answered { question, answers }
}

/// The policy `p` answers about capacity.
fn answered_plan(question: QuestionId, plan: CapacityPlan) -> PolicyEvent {
    let (policy, answer) = ("p".into(), Ok(Answer::Capacity(Box::new(plan))));
    let answers = vec![PolicyAnswer { policy, answer }];
    PolicyEvent::Answered { question, answers }
}

/// The policy `p` does not answer.
fn unanswered(question: QuestionId, why: NoAnswer) -> PolicyEvent {
    let (policy, answer) = ("p".into(), Err(why));
    let answers = vec![PolicyAnswer { policy, answer }];
    PolicyEvent::Answered { question, answers }
}

impl Bench {
    fn adopting(settings: Settings, specs: Vec<InstanceSpec>) -> Self {
        let mut bench = Self {
            fleet: Fleet::new(settings),
            now_ms: 0,
            commands: 0,
        };
        let source = Source::Config;
        bench.feed(FleetEvent::SpecsApplied { source, specs });
        bench
    }

    fn new(settings: Settings, specs: Vec<InstanceSpec>) -> (Self, Vec<Action>) {
        let mut bench = Self::adopting(settings, specs);
        let actions = bench.feed(FleetEvent::AdoptionFinished);
        (bench, actions)
    }

    /// One ready instance `a`, and its run.
    fn ready(settings: Settings, spec: InstanceSpec) -> (Self, Run, Vec<Action>) {
        let (mut bench, actions) = Self::new(settings, vec![spec]);
        let run = spawned_run(&actions).unwrap();
        let actions = bench.become_ready(run);
        (bench, run, actions)
    }

    fn feed(&mut self, event: impl Into<Event>) -> Vec<Action> {
        let mut out = Vec::new();
        self.fleet
            .step(Now::at(self.now_ms), event.into(), &mut out);
        out
    }

    fn become_ready(&mut self, run: Run) -> Vec<Action> {
        self.feed(
            SlotEvent::Ready {
                tools: vec!["ping".into()],
            }
            .on(key("a"), run),
        )
    }

    /// Lets time pass as the driver does: a tick at each wake. Pings are answered.
    fn pass(&mut self, ms: u64) -> Vec<Action> {
        let until_ms = self.now_ms + ms;
        let mut out = Vec::new();
        while let Some(wake_ms) = self.fleet.next_wake().filter(|at_ms| *at_ms <= until_ms) {
            self.now_ms = self.now_ms.max(wake_ms);
            let actions = self.feed(Event::Tick);
            for action in &actions {
                if let Action::Slot {
                    key,
                    run,
                    action: SlotAction::Ping { .. },
                } = action
                {
                    let (key, run, rtt_ms) = (key.clone(), *run, 0.1);
                    self.feed(SlotEvent::PingAnswered { rtt_ms }.on(key, run));
                }
            }
            out.extend(actions);
        }
        self.now_ms = until_ms;
        out
    }

    /// Waits for the start that is announced.
    fn next_start(&mut self) -> Run {
        let in_ms = self.view().retry_after_ms.unwrap();
        spawned_run(&self.pass(in_ms)).unwrap()
    }

    fn order(&mut self, verb: Verb) -> Vec<Action> {
        self.commands += 1;
        let command = Command {
            id: self.commands,
            instance: key("a").instance,
            verb,
        };
        self.feed(command)
    }

    fn view(&self) -> InstanceView {
        let view = self.fleet.view(Now::at(self.now_ms));
        view.instance(&key("a").instance).unwrap().clone()
    }

    fn readiness(&self) -> Readiness {
        self.fleet.view(Now::at(self.now_ms)).readiness.status
    }
}

#[test]
fn a_survivor_that_was_being_stopped_is_started_again_where_it_is_wanted() {
    let mut bench = Bench::adopting(Settings::default(), vec![autostart("a")]);
    let adopted = Adopted {
        wanted: false,
        ..survivor("a", 5)
    };
    bench.feed(FleetEvent::Adopted(Box::new(adopted)));
    bench.feed(FleetEvent::AdoptionFinished);
    assert_eq!(bench.view().lifecycle, Lifecycle::Draining);
    let actions = bench.feed(exited("a", Run(5), 0));
    assert!(spawned_run(&actions) > Some(Run(5)), "{actions:?}");
}

#[test]
fn an_older_survivor_is_killed_although_the_newer_one_has_ended() {
    let mut bench = Bench::adopting(Settings::default(), vec![autostart("a")]);
    bench.feed(FleetEvent::Adopted(Box::new(survivor("a", 6))));
    bench.feed(exited("a", Run(6), 1));
    let (key, run) = (key("a"), Run(5));
    let actions = bench.feed(FleetEvent::Adopted(Box::new(survivor("a", 5))));
    assert!(
        actions.contains(&SlotAction::Kill.on(key, run)),
        "{actions:?}"
    );
    bench.feed(FleetEvent::AdoptionFinished);
    assert_eq!(spawned_run(&bench.pass(60_000)), None);
    assert!(spawned_run(&bench.feed(exited("a", run, 0))).is_some());
}

#[test]
fn a_survivor_is_as_old_as_it_is() {
    let mut bench = Bench::adopting(Settings::default(), vec![spec("a")]);
    bench.feed(FleetEvent::Adopted(Box::new(survivor("a", 5))));
    assert_eq!(bench.view().uptime_ms, Some(3_600_000));
    bench.pass(500);
    assert_eq!(bench.view().uptime_ms, Some(3_600_500));
}

#[test]
fn a_restart_before_adoption_is_finished_restarts_the_survivor() {
    let mut bench = Bench::adopting(Settings::default(), vec![spec("a")]);
    assert!(
        bench
            .order(Verb::Restart)
            .iter()
            .all(|action| !matches!(action, Action::Operator(OperatorAction::CommandDone { .. })))
    );
    bench.feed(FleetEvent::Adopted(Box::new(survivor("a", 5))));
    bench.feed(FleetEvent::AdoptionFinished);
    let run = spawned_run(&bench.feed(exited("a", Run(5), 0))).unwrap();
    let pid = 9;
    let done = bench.feed(SlotEvent::Spawned { pid }.on(key("a"), run));
    let result = Ok(Done {
        pid: Some(pid),
        run: Some(run),
        passed_limit: None,
    });
    assert!(
        done.contains(&Action::Operator(OperatorAction::CommandDone {
            id: 1,
            result
        })),
        "{done:?}"
    );
}

#[test]
fn survivors_that_only_a_lost_database_can_define_are_left_alone_until_it_is_back() {
    for claimed in [true, false] {
        let mut bench = Bench::adopting(Settings::default(), Vec::new());
        bench.feed(FleetEvent::Database(false));
        bench.feed(FleetEvent::Adopted(Box::new(survivor("a", 5))));
        bench.feed(FleetEvent::AdoptionFinished);
        bench.pass(1_000_000);
        assert_eq!(bench.view().lifecycle, Lifecycle::Ready);
        assert!(bench.fleet.spec(&key("a").instance).is_none());
        let refused = Action::Operator(OperatorAction::CommandDone {
            id: 1,
            result: Err(CommandError::UnknownInstance),
        });
        assert!(bench.order(Verb::Restart).contains(&refused));
        let source = Source::Api;
        let specs = if claimed { vec![spec("a")] } else { Vec::new() };
        bench.feed(FleetEvent::SpecsApplied { source, specs });
        bench.feed(FleetEvent::Database(true));
        let (lifecycle, source) = (bench.view().lifecycle, bench.view().source);
        if claimed {
            assert_eq!((lifecycle, source), (Lifecycle::Ready, Source::Api));
        } else {
            assert_eq!(lifecycle, Lifecycle::Draining);
        }
    }
}

#[test]
fn long_service_that_ended_well_wipes_the_slate_too() {
    let idle = InstanceSpec {
        idle_stop_ms: Some(700_000),
        ..autostart("a")
    };
    let (mut bench, actions) = Bench::new(Settings::default(), vec![idle]);
    let mut run = spawned_run(&actions).unwrap();
    for code in 1..=3 {
        bench.feed(exited("a", run, code));
        run = bench.next_start();
    }
    bench.become_ready(run);
    bench.pass(710_000);
    bench.feed(exited("a", run, 0));
    assert_eq!(bench.view().lifecycle, Lifecycle::Idle);
    let run = spawned_run(&bench.feed(TrafficEvent::Demand(key("a")))).unwrap();
    bench.feed(exited("a", run, 9));
    let pause_ms = bench.view().retry_after_ms.unwrap();
    assert!((750..=1_250).contains(&pause_ms), "{pause_ms}");
}

#[test]
fn what_cannot_be_killed_is_announced_and_waits_for_nobody() {
    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    bench.feed(SlotEvent::ShimLost.on(key("a"), run));
    let actions = bench.pass(60_000);
    let kills = actions.iter().filter(|action| {
        matches!(
            action,
            Action::Slot {
                action: SlotAction::Kill,
                ..
            }
        )
    });
    assert!(kills.count() >= 10, "{actions:?}");
    let is_announced = actions.iter().any(|action| {
        matches!(action, Action::Operator(OperatorAction::Announce(transition)) if matches!(transition.change, Change::Lifecycle { .. }) && transition.reason.contains("do not end"))
    });
    assert!(is_announced, "{actions:?}");
    let view = bench.view();
    assert_eq!(view.status, Status::Draining);
    assert!(view.reason.contains("do not end"), "{}", view.reason);
    assert_eq!(bench.readiness(), Readiness::Down);
    let spawned = spawned_run(&bench.feed(exited("a", run, 0)));
    assert!(spawned.is_none() && bench.view().lifecycle == Lifecycle::Backoff);
}

#[test]
fn an_adoption_that_never_ends_is_announced() {
    let mut bench = Bench::adopting(Settings::default(), vec![autostart("a")]);
    let actions = bench.pass(10_000);
    let unavailable = actions.iter().any(|action| {
        let Action::Routing(RoutingAction::SetRoute { route, .. }) = action else {
            return false;
        };
        matches!(route, Some(Route::Unavailable(why)) if why.kind == UnavailableKind::Draining && why.reason.contains("survivors"))
    });
    assert!(unavailable, "{actions:?}");
    assert_eq!(bench.readiness(), Readiness::Degraded);
    bench.pass(10_000);
    assert_eq!(bench.readiness(), Readiness::Down);
    assert!(spawned_run(&bench.feed(FleetEvent::AdoptionFinished)).is_some());
    assert_eq!(bench.readiness(), Readiness::Healthy);
}

#[test]
fn a_policy_is_asked_one_question_at_a_time() {
    let settings = Settings {
        health_policies: PolicyNames::from(["p".into()]),
        ..Settings::default()
    };
    let (mut bench, run, actions) = Bench::ready(settings, autostart("a"));
    let [first] = asked(&actions)[..] else {
        panic!("{actions:?}")
    };
    // However often the instance says that its tools changed.
    for n in 0..10 {
        let tools = vec![format!("t{n}")];
        let key = key("a");
        assert_eq!(
            asked(&bench.feed(SlotEvent::ToolsListed { tools }.on(key, run))),
            []
        );
    }
    let ill = HealthVerdict {
        health: Health::Degraded,
        reason: "so it is".into(),
        ..HealthVerdict::healthy()
    };
    let actions = bench.feed(answered(first, ill.clone()));
    assert_eq!(bench.view().reason, "so it is");
    let [second] = asked(&actions)[..] else {
        panic!("{actions:?}")
    };
    // An answer to a question that is over changes nothing; another policy is asked at once.
    bench.feed(answered(first, HealthVerdict::healthy()));
    assert_eq!(bench.view().health, Some(Health::Degraded));
    let actions = bench.feed(PolicyEvent::Changed(PolicyKind::Health));
    let [third] = asked(&actions)[..] else {
        panic!("{actions:?}")
    };
    bench.feed(answered(second, ill));
    bench.feed(unanswered(third, NoAnswer::Trapped));
    assert_eq!(bench.view().health, Some(Health::Healthy));
}

#[test]
fn shorter_intervals_hold_at_once() {
    let settings = Settings {
        health_policies: PolicyNames::from(["p".into()]),
        health_every_ms: 86_400_000,
        ..Settings::default()
    };
    let (mut bench, _, actions) = Bench::ready(settings.clone(), autostart("a"));
    bench.feed(unanswered(asked(&actions)[0], NoAnswer::TimedOut));
    bench.feed(FleetEvent::SettingsApplied(Box::new(Settings {
        health_every_ms: 10_000,
        ..settings
    })));
    assert_eq!(asked(&bench.pass(10_000)).len(), 1);
}

#[test]
fn slow_retry_can_be_switched_on_while_it_is_needed() {
    let mut settings = Settings::default();
    settings.crash_loop.slow_retry_ms = None;
    settings.crash_loop.failures = 1;
    let (mut bench, actions) = Bench::new(settings.clone(), vec![autostart("a")]);
    bench.feed(exited("a", spawned_run(&actions).unwrap(), 1));
    assert_eq!(bench.view().lifecycle, Lifecycle::CrashLoop);
    assert_eq!(spawned_run(&bench.pass(86_400_000)), None);
    settings.crash_loop.slow_retry_ms = Some(600_000);
    let actions = bench.feed(FleetEvent::SettingsApplied(Box::new(settings)));
    assert!(spawned_run(&actions).is_some());
}

#[test]
fn too_many_commands_are_refused_before_they_do_anything() {
    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    for _ in 0..64 {
        bench.order(Verb::Restart);
    }
    let busy = bench.order(Verb::Stop);
    let result = Err(CommandError::Busy);
    assert_eq!(
        busy,
        [Action::Operator(OperatorAction::CommandDone {
            id: 65,
            result
        })]
    );
    let actions = bench.feed(exited("a", run, 0));
    assert!(
        spawned_run(&actions).is_some(),
        "a refused stop has stopped it"
    );
}

#[test]
fn a_manual_restart_meets_no_limiter() {
    let (mut bench, actions) = Bench::new(Settings::default(), vec![autostart("a")]);
    let mut run = spawned_run(&actions).unwrap();
    for code in 1..=5 {
        bench.feed(exited("a", run, code));
        if code < 5 {
            run = bench.next_start();
        }
    }
    assert_eq!(bench.view().lifecycle, Lifecycle::CrashLoop);
    assert_eq!(bench.view().status, Status::Unhealthy);
    let actions = bench.order(Verb::Restart);
    let run = spawned_run(&actions).unwrap();
    // The tally is clean: the next failure is a first one.
    bench.feed(exited("a", run, 1));
    let pause_ms = bench.view().retry_after_ms.unwrap();
    assert!((750..=1_250).contains(&pause_ms), "{pause_ms}");
}

#[test]
fn memory_drains_at_90_percent_once_and_kills_at_100() {
    let limited = InstanceSpec {
        max_memory_bytes: Some(1_000),
        ..autostart("a")
    };
    let (mut bench, run, _) = Bench::ready(Settings::default(), limited);
    let sampled = |run, bytes| Event::Slot {
        key: key("a"),
        run,
        event: SlotEvent::Sampled {
            sample: Sample {
                memory_bytes: Some(bytes),
                ..Sample::default()
            },
        },
    };
    assert_eq!(bench.feed(sampled(run, 899)), []);
    bench.feed(sampled(run, 900));
    assert!(
        bench.view().reason.starts_with("recycled: "),
        "{}",
        bench.view().reason
    );
    let run = spawned_run(&bench.feed(exited("a", run, 0))).unwrap();
    bench.become_ready(run);
    bench.feed(sampled(run, 950));
    assert_eq!(
        bench.view().lifecycle,
        Lifecycle::Ready,
        "recycled twice within ten minutes"
    );
    let actions = bench.feed(sampled(run, 1_000));
    assert!(actions.iter().any(|action| matches!(
        action,
        Action::Slot {
            action: SlotAction::Kill,
            ..
        }
    )));
}

#[test]
fn readiness_says_down_after_ten_seconds_and_not_for_what_nobody_wants() {
    let (mut bench, run, _) = Bench::ready(Settings::default(), autostart("a"));
    assert_eq!(bench.readiness(), Readiness::Healthy);
    bench.feed(FleetEvent::Disk(0.8));
    assert_eq!(bench.readiness(), Readiness::Healthy);
    bench.feed(FleetEvent::Disk(0.81));
    assert_eq!(bench.readiness(), Readiness::Degraded);
    bench.feed(FleetEvent::Disk(0.1));
    bench.order(Verb::BreakerIsolate);
    bench.pass(9_999);
    assert_ne!(bench.readiness(), Readiness::Down);
    bench.pass(1);
    assert_eq!(bench.readiness(), Readiness::Down);
    bench.order(Verb::Stop);
    bench.feed(exited("a", run, 0));
    assert_eq!(bench.readiness(), Readiness::Healthy);
    bench.feed(FleetEvent::Shutdown);
    assert_eq!(bench.readiness(), Readiness::Down);
}

#[test]
fn odd_settings_neither_overflow_nor_spin() {
    for ms in [0, u64::MAX] {
        let mut settings = Settings {
            health_every_ms: ms,
            question_ms: ms,
            ping_every_ms: ms,
            ping_timeout_ms: ms,
            term_ms: ms,
            kill_retry_ms: ms,
            recycle_every_ms: ms,
            unable_ms: ms,
            health_policies: PolicyNames::from(["p".into()]),
            ..Settings::default()
        };
        settings.restart.forget_after_ms = ms;
        settings.crash_loop.window_ms = ms;
        settings.crash_loop.same_signature = 0;
        settings.breaker.open_first_ms = ms;
        settings.breaker.probe_ms = ms;
        settings.breaker.window_ms = ms;
        let odd = InstanceSpec {
            spawn_timeout_ms: 1_000,
            drain_ms: ms,
            idle_stop_ms: Some(ms),
            max_slots: 0,
            ..autostart("a")
        };
        let (mut bench, _, _) = Bench::ready(settings, odd);
        for _ in 0..200 {
            let Some(wake_ms) = bench.fleet.next_wake() else {
                break;
            };
            bench.now_ms = bench.now_ms.max(wake_ms);
            bench.feed(Event::Tick);
        }
        bench.order(Verb::BreakerIsolate);
        bench.feed(FleetEvent::Shutdown);
    }
}
