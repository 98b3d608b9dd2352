//! What one event costs in fleets of 10, 1,000 and 10,000 running instances: it must not grow with their number. And what it costs an
//! instance that 256 tools with breakers of their own are settled with it.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program for people, which measures time"
)]

use std::{hint::black_box, time::Instant};

use router_core::{
    Fleet, InstanceId, Now, Run, SlotKey,
    action::{Action, SlotAction},
    breaker::plan::{ToolRow, builtin},
    classify::ClassTable,
    event::{Event, FleetEvent, PolicyEvent, Sample, SlotEvent, TrafficEvent},
    permit::{BreakerTotals, Class, Report},
    policy::{Answer, PolicyAnswer, PolicyKind, Question},
    settings::Settings,
    spec::{InstanceSpec, Source},
};

const SIZES: [u32; 3] = [10, 1_000, 10_000];

/// Steps that each figure is the median of.
const STEPS: u32 = 20_000;

/// Running instances, and the moment at which everything happens to them.
struct Bench {
    fleet: Fleet,
    slots: Vec<(SlotKey, Run)>,
    now: Now,
    out: Vec<Action>,
}

fn spec(id: &str) -> InstanceSpec {
    let id = InstanceId::parse(id).expect("letters and digits are an id");
    InstanceSpec {
        autostart: true,
        idle_stop_ms: None,
        ..InstanceSpec::new(id, Source::Api, 1)
    }
}

impl Bench {
    fn new(size: u32) -> Self {
        Self::listing(size, 1, Settings::default())
    }

    /// Instances of which each lists so many tools, the first of them `ping`.
    fn listing(size: u32, tools: u32, settings: Settings) -> Self {
        let listed = (1..tools).map(|n| format!("tool-{n}"));
        let listed: Vec<_> = std::iter::once("ping".to_owned()).chain(listed).collect();
        let mut bench = Self {
            fleet: Fleet::new(settings),
            slots: Vec::new(),
            now: Now::at(1),
            out: Vec::new(),
        };
        let specs = (0..size).map(|n| spec(&format!("i{n}"))).collect();
        let source = Source::Api;
        bench.step(FleetEvent::SpecsApplied { source, specs });
        bench.step(FleetEvent::AdoptionFinished);
        for action in std::mem::take(&mut bench.out) {
            if let Action::Slot {
                key,
                run,
                action: SlotAction::Spawn { .. },
            } = action
            {
                let tools = listed.clone();
                // Within the time that a start may take, so that not all are pinged at one moment.
                bench.now = Now::at(1 + 9_000 * bench.slots.len() as u64 / u64::from(size));
                bench.step(SlotEvent::Ready { tools }.on(key.clone(), run));
                bench.slots.push((key, run));
            }
        }
        assert_eq!(bench.slots.len(), size as usize);
        bench
    }

    /// One instance, of whose tools each has a breaker of its own.
    fn guarded(tools: u32) -> Self {
        let policy: std::sync::Arc<str> = "policy".into();
        let settings = Settings {
            breaker_policy: [policy.clone()].into(),
            ..Settings::default()
        };
        let mut bench = Self::listing(1, tools, settings);
        bench.step(PolicyEvent::Changed(PolicyKind::Breaker));
        let asked = std::mem::take(&mut bench.out).into_iter();
        let asked = asked.filter_map(|action| match action {
            Action::Ask(ask) => Some(ask),
            _ => None,
        });
        for ask in asked.collect::<Vec<_>>() {
            let Question::Breaker { profile, .. } = ask.question else {
                continue;
            };
            let mut plan = builtin(&profile.configured);
            plan.tools = vec![ToolRow {
                tool: "*".to_owned(),
                table: ClassTable::default(),
            }];
            let answer = PolicyAnswer {
                policy: policy.clone(),
                answer: Ok(Answer::Breaker(Box::new(plan))),
            };
            let (question, answers) = (ask.id, vec![answer]);
            bench.step(PolicyEvent::Answered { question, answers });
        }
        let view = bench.fleet.view(bench.now);
        assert_eq!(view.instances[0].tools_guarded, tools);
        bench
    }

    fn step(&mut self, event: impl Into<Event>) {
        self.fleet.step(self.now, event.into(), &mut self.out);
    }

    /// Nanoseconds of a step with such an event, one instance after the other.
    fn cost(&mut self, event: impl Fn(&SlotKey, Run, u32) -> Event) -> f64 {
        let mut spent = Vec::new();
        for n in 0..STEPS {
            let (key, run) = &self.slots[n as usize % self.slots.len()];
            let event = event(key, *run, n);
            self.out.clear();
            let began = Instant::now();
            self.fleet.step(self.now, event, black_box(&mut self.out));
            spent.push(began.elapsed().as_nanos() as f64);
        }
        median(spent)
    }

    /// Nanoseconds of a step at a moment when something is due: pings, which are answered, and verdicts.
    fn cost_of_ticks(&mut self) -> f64 {
        let (mut spent, mut instances) = (Vec::new(), 0);
        // Instances of one moment are pinged in one step: each of them counts.
        while instances < STEPS {
            let wake_ms = self.fleet.next_wake().expect("pings are always due");
            self.now = Now::at(self.now.mono_ms.max(wake_ms));
            self.out.clear();
            let began = Instant::now();
            self.fleet
                .step(self.now, Event::Tick, black_box(&mut self.out));
            let took = began.elapsed().as_nanos() as f64;
            let mut pinged = 0;
            for action in std::mem::take(&mut self.out) {
                if let Action::Slot { key, run, .. } = action {
                    pinged += 1;
                    self.step(SlotEvent::PingAnswered { rtt_ms: 0.1 }.on(key, run));
                }
            }
            if pinged > 0 {
                spent.push(took / f64::from(pinged));
            }
            instances += pinged;
        }
        median(spent)
    }
}

fn median(mut spent: Vec<f64>) -> f64 {
    spent.sort_by(f64::total_cmp);
    spent[spent.len() / 2]
}

fn figures(size: u32) -> [(&'static str, f64); 7] {
    let mut bench = Bench::new(size);
    let sample = |n| Sample {
        memory_bytes: Some(50_000_000 + u64::from(n)),
        processes: 2,
        ..Sample::default()
    };
    let totals = |n| BreakerTotals {
        calls: u64::from(n),
        ..BreakerTotals::default()
    };
    let new = |n| spec(&format!("new{}", n / 2));
    [
        ("tick, nothing due", bench.cost(|_, _, _| Event::Tick)),
        (
            "used",
            bench.cost(|key, _, _| TrafficEvent::Used(key.clone()).into()),
        ),
        (
            "counted",
            bench.cost(|key, _, n| {
                let (instance, totals) = (key.instance.clone(), totals(n));
                TrafficEvent::Counted { instance, totals }.into()
            }),
        ),
        (
            "ping answered",
            bench.cost(|key, run, _| SlotEvent::PingAnswered { rtt_ms: 0.1 }.on(key.clone(), run)),
        ),
        (
            "sampled",
            bench.cost(|key, run, n| {
                let sample = sample(n);
                SlotEvent::Sampled { sample }.on(key.clone(), run)
            }),
        ),
        (
            "added, then removed",
            bench.cost(|_, _, n| {
                let spec = new(n);
                match n % 2 {
                    0 => FleetEvent::SpecAdded(Box::new(InstanceSpec {
                        autostart: false,
                        ..spec
                    })),
                    _ => FleetEvent::SpecRemoved(spec.id),
                }
                .into()
            }),
        ),
        ("due, per instance", bench.cost_of_ticks()),
    ]
}

/// Events of an instance of whose tools each has a breaker of its own.
fn figures_guarded(tools: u32) -> [(&'static str, f64); 3] {
    let mut bench = Bench::guarded(tools);
    let failed = |key: &SlotKey, run, n: u32| {
        // Never three in a row: another state would be another cost.
        let class = [Class::Failure, Class::Success][n as usize % 2];
        TrafficEvent::ToolOutcome {
            instance: key.instance.clone(),
            tool: "ping".into(),
            run,
            report: Some(Report {
                generation: 1,
                class,
            }),
            upstream_died: false,
            timed_out: None,
        }
    };
    [
        (
            "used",
            bench.cost(|key, _, _| TrafficEvent::Used(key.clone()).into()),
        ),
        (
            "counted",
            bench.cost(|key, _, n| {
                let (instance, calls) = (key.instance.clone(), u64::from(n));
                let totals = BreakerTotals {
                    calls,
                    ..BreakerTotals::default()
                };
                TrafficEvent::Counted { instance, totals }.into()
            }),
        ),
        (
            "a tool's call ended",
            bench.cost(|key, run, n| failed(key, run, n).into()),
        ),
    ]
}

fn main() {
    let all = SIZES.map(figures);
    println!("ns per step with        10    1,000   10,000 instances");
    for n in 0..all[0].len() {
        let costs = all.map(|figures| figures[n].1);
        println!(
            "{:<20} {:>7.0}  {:>7.0}  {:>7.0}, {:.1} x",
            all[0][n].0,
            costs[0],
            costs[1],
            costs[2],
            costs[2] / costs[0]
        );
    }
    println!("ns per step with         1      256 tools with breakers of their own");
    let [few, many] = [1, 256].map(figures_guarded);
    for ((name, few), (_, many)) in few.iter().zip(&many) {
        println!("{name:<20} {few:>7.0}  {many:>7.0}");
    }
}
