//! A breaker policy that misbehaves as its configuration demands: what the engine and the core must survive.

use hostile_guests::{endless, memory, trap};
use router_plugin_sdk::{
    Settings,
    breaker_policy::{
        BreakerPolicy, Classification, Meaning, Outcome, Plan, Profile, Thresholds, ToolRows,
    },
};

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Hostile;

router_plugin_sdk::export_breaker_policy!(Hostile);

impl BreakerPolicy for Hostile {
    const NAME: &'static str = "hostile-breaker";
    const SUMMARY: &'static str = "misbehaves as it is configured";

    fn plan(profile: &Profile, settings: &Settings) -> Plan {
        let plan = Plan::configured(profile);
        let most = u64::MAX;
        match settings.text("mode").unwrap_or("nothing") {
            "loop" => endless(),
            "memory" => memory(),
            "trap" => trap(),
            "guard" => plan.for_tools(["hang"], 0),
            "tools" => plan.because(seen(profile)),
            "nan" => plan.with(|of| of.failure_share = f64::NAN),
            "infinite" => plan.with(|of| of.slow_share = f64::INFINITY),
            "negative" => plan.with(|of| of.failure_share = -0.5),
            "zero" => plan.with(|of| of.consecutive_failures = 0),
            "no-permits" => plan.with(|of| of.permits = 0),
            "huge" => plan.with(|of| of.window_ms = most),
            "huge-open" => plan.with(|of| of.open_max_ms = most),
            "short-open" => plan.with(|of| of.open_max_ms = of.open_first_ms - 1),
            "huge-slow" => plan.with(|of| of.slow_ms = Some(most)),
            "many-rows" => Plan {
                table: rows(10_000),
                ..plan
            },
            "many-tools" => plan.for_tools((0..10_000).map(|n| format!("tool-{n}")), 0),
            "flood" => plan.for_tools((0..10_000).map(|n| format!("tool-{n}")), 64),
            "rows-of-tools" => plan.for_tools(["render"], 10_000),
            "no-name" => plan.for_tools([""], 0),
            "long-name" => plan.for_tools(["x".repeat(512 << 10)], 0),
            "forged-name" => plan.for_tools(["one\nERROR forged: AUDIT"], 0),
            "inner-star" => plan.for_tools(["re*der"], 0),
            "long-reason" => plan.because("x".repeat(512 << 10)),
            "longer-reason" => plan.because("x".repeat(8 << 20)),
            _ => plan.with(|of| of.successes = 7),
        }
    }
}

trait Misshaped {
    fn with(self, change: impl FnOnce(&mut Thresholds)) -> Self;
    fn for_tools(self, tools: impl IntoIterator<Item: Into<String>>, rows_each: usize) -> Self;
}

impl Misshaped for Plan {
    fn with(mut self, change: impl FnOnce(&mut Thresholds)) -> Self {
        change(&mut self.thresholds);
        self
    }

    fn for_tools(self, tools: impl IntoIterator<Item: Into<String>>, rows_each: usize) -> Self {
        let tools = tools.into_iter().map(|tool| ToolRows {
            tool: tool.into(),
            slow_ms: None,
            table: rows(rows_each),
            attributes: Vec::new(),
        });
        Self {
            tools: tools.collect(),
            ..self
        }
    }
}

fn rows(count: usize) -> Vec<Classification> {
    let row = |code: usize| Classification {
        outcome: Outcome::ErrorCode(Some(code as i64)),
        meaning: Meaning::Failure,
        attributes: Vec::new(),
    };
    (0..count).map(row).collect()
}

/// What it knows of tools.
fn seen(profile: &Profile) -> String {
    let tools = profile.tools.iter();
    let tools = tools.map(|tool| format!("{} {}", tool.name, tool.calls));
    tools.collect::<Vec<_>>().join(", ")
}
