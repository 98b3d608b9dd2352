//! What a storm costs: 10,000 conditions of ten rules at once, and what a step costs beside so many alerts: it should cost what it
//! touches, whatever else fires. `cargo run --release -p router-alerts --example storm`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it measures time, and prints what it measured"
)]

use std::{hint::black_box, sync::Arc, time::Instant};

use router_alerts::{
    AlertEngine, AlertId, Condition, Severity,
    delivery::DeliveryOrder,
    event::{AlertAction, AlertCommand, AlertEvent, AlertVerb, RuleAnswer},
    facts::FleetPage,
    settings::{AlertSettings, Grouping, SinkSettings},
};

const RULES: usize = 10;
const START_MS: u64 = 1_796_083_200_000;

struct Bench {
    engine: AlertEngine,
    now_ms: u64,
    round: u64,
}

fn rule(n: usize) -> Arc<str> {
    format!("rule{n}").into()
}

fn condition(rule: usize, n: usize) -> Condition {
    Condition {
        key: format!("rule{rule}:{n}"),
        name: format!("alert{rule}"),
        severity: Severity::ALL[rule % 4],
        summary: format!(
            "condition {n} of rule {rule} does not look good: it holds at this very moment"
        ),
        remedy: "See the runbook; restart what does not answer, and look at what changed lately."
            .to_owned(),
        runbook_anchor: Some("storm".to_owned()),
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    }
}

impl Bench {
    fn new() -> Self {
        let sink = |grouping| SinkSettings {
            grouping,
            fallback: None,
        };
        let settings = AlertSettings {
            rules: (0..RULES).map(rule).collect(),
            sinks: [
                ("chat".into(), sink(Grouping::Group)),
                ("pager".into(), sink(Grouping::None)),
            ]
            .into(),
            ..AlertSettings::default()
        };
        let mut bench = Self {
            engine: AlertEngine::new(settings, START_MS),
            now_ms: START_MS,
            round: 0,
        };
        bench.step(AlertEvent::JournalRead(Vec::new()));
        (0..RULES).for_each(|rule| {
            bench.answer(rule, 0);
        });
        bench
    }

    fn step(&mut self, event: AlertEvent) -> Vec<AlertAction> {
        let mut out = Vec::new();
        self.engine.step(self.now_ms, event, &mut out);
        out
    }

    /// The rule names so many conditions.
    fn answer(&mut self, n: usize, conditions: usize) -> Vec<AlertAction> {
        self.round += 1;
        self.step(AlertEvent::Answered(RuleAnswer {
            rule: rule(n),
            round: self.round,
            page: FleetPage::ONLY,
            conditions: (0..conditions).map(|m| condition(n, m)).collect(),
        }))
    }

    /// Microseconds, as the median of many, of acknowledging one alert, and of a tick at which nothing is due.
    fn small_steps(&mut self) -> [f64; 2] {
        let mut spent = [Vec::new(), Vec::new()];
        for n in 0..200_u64 {
            let alert = AlertId::of("rule1:0");
            let firing = None;
            let verb = AlertVerb::Acknowledge { alert, firing };
            let (id, by) = (n, format!("person {n}"));
            let events = [
                AlertEvent::Command(AlertCommand { id, by, verb }),
                AlertEvent::Tick,
            ];
            for (event, spent) in events.into_iter().zip(&mut spent) {
                let began = Instant::now();
                black_box(self.step(event));
                spent.push(began.elapsed().as_secs_f64() * 1e6);
            }
        }
        spent.map(|mut spent| {
            spent.sort_by(f64::total_cmp);
            spent[spent.len() / 2]
        })
    }
}

/// Resident memory in MiB, where the system says it.
#[expect(clippy::disallowed_methods, reason = "it measures memory")]
fn memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse::<u64>().ok());
    pages.unwrap_or(0) * 4 / 1_024
}

fn main() {
    let mut small = Bench::new();
    for rule in 0..RULES {
        small.answer(rule, 1);
    }
    let of_few = small.small_steps();
    let before = memory_mib();
    let mut bench = Bench::new();
    let (mut deliveries, mut longest, mut first) = (0, 0.0_f64, None);
    let began = Instant::now();
    for rule in 0..RULES {
        let answered = Instant::now();
        let actions = bench.answer(rule, 1_000);
        longest = longest.max(answered.elapsed().as_secs_f64() * 1e3);
        for action in &actions {
            if let AlertAction::Keep(record) = action {
                let is_delivery =
                    |order: &&DeliveryOrder| matches!(order, DeliveryOrder::Deliver(_));
                deliveries += record.orders.iter().filter(is_delivery).count();
                first = first.or(Some(began.elapsed().as_secs_f64() * 1e3));
            }
        }
    }
    let alerts = bench.engine.alerts().count();
    println!(
        "{alerts} conditions of {RULES} rules: {:.0} ms, the longest answer {longest:.0} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    println!(
        "first P1 handed over after {:.0} ms; {deliveries} deliveries",
        first.unwrap_or(f64::NAN)
    );
    println!("memory: {} MiB more", memory_mib().saturating_sub(before));
    let again = Instant::now();
    for rule in 0..RULES {
        black_box(bench.answer(rule, 1_000));
    }
    println!(
        "the same again, unchanged: {:.0} ms",
        again.elapsed().as_secs_f64() * 1e3
    );
    let of_many = bench.small_steps();
    for (what, few, many) in [
        ("acknowledged", of_few[0], of_many[0]),
        ("nothing due", of_few[1], of_many[1]),
    ] {
        println!("{what}: {few:.1} us beside {RULES} alerts, {many:.1} us beside {alerts}");
    }
}
