//! The bundled capacity policy: the router's built-in rule, with its numbers in the configuration, and limits where those are set.
//!
//! With an empty configuration it answers as the built-in default does, word for word; the tests compare the two.

mod trend;

use router_plugin_sdk::{
    ConfigFault, Settings,
    capacity_policy::{
        CapacityPlan, CapacityPolicy, Day, Forecast, History, Limit, Load, Measure, Minute, Usage,
    },
};

use trend::Trend;

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct DefaultCapacity;

router_plugin_sdk::export_capacity_policy!(DefaultCapacity);

/// The keys of `[plugins.config.default-capacity]`: name, least, most. Beside them `template_max.NAME` for each template.
const KEYS: [(&str, f64, f64); 12] = [
    ("peak_multiplier", 1.0, 100.0),
    ("buffer", 0.0, 10.0),
    ("per_server", 1.0, 1e6),
    ("servers", 1.0, 1e4),
    ("average_days", 1.0, 400.0),
    ("trend_days", 2.0, 400.0),
    ("trend_days_min", 2.0, 400.0),
    ("forecast_share", 0.01, 1.0),
    ("running_max", 1.0, INSTANCES_MAX),
    ("in_flight_max", 1.0, 1e9),
    ("memory_max_mb", 1.0, 1e9),
    ("memory_max_share", 0.01, 1.0),
];

/// More instances than this the router takes for a slip.
const INSTANCES_MAX: f64 = 1e6;

/// What the limits of single templates are called: `template_max.godot = 20`.
const TEMPLATE_MAX: &str = "template_max.";

const MIB: f64 = 1024.0 * 1024.0;
const DAY_MS: u64 = 86_400_000;
const MINUTE_MS: u64 = 60_000;

/// What may be used.
struct Limits {
    running: Option<f64>,
    memory_bytes: Option<f64>,
    in_flight: Option<f64>,
}

/// The numbers, each where the configuration sets it or at its default.
struct Numbers {
    /// The peak is so many times the average.
    peak_multiplier: f64,
    /// Headroom above the peak.
    buffer: f64,
    /// Running instances that one server carries.
    per_server: f64,
    /// Servers that there are.
    servers: f64,
    /// The average is taken over so many days.
    average_days: usize,
    /// So is the trend, …
    trend_days: usize,
    /// … and there is none over fewer than these.
    trend_days_min: usize,
    /// Share of what there is that forecasts are about.
    forecast_share: f64,
    limits: Limits,
}

impl Numbers {
    fn of(load: &Load, settings: &Settings) -> Self {
        let or = |key: &str, default: f64| settings.number(key).unwrap_or(default);
        let memory = [
            settings.number("memory_max_mb").map(|mb| mb * MIB),
            settings
                .number("memory_max_share")
                .map(|share| share * load.memory_total_bytes as f64),
        ];
        Self {
            peak_multiplier: or("peak_multiplier", 3.0),
            buffer: or("buffer", 0.2),
            per_server: or("per_server", 100.0),
            servers: or("servers", 1.0),
            average_days: or("average_days", 7.0) as usize,
            trend_days: or("trend_days", 30.0) as usize,
            trend_days_min: or("trend_days_min", 7.0) as usize,
            forecast_share: or("forecast_share", 0.8),
            limits: Limits {
                running: settings.number("running_max"),
                memory_bytes: memory.into_iter().flatten().reduce(f64::min),
                in_flight: settings.number("in_flight_max"),
            },
        }
    }
}

impl CapacityPolicy for DefaultCapacity {
    const NAME: &'static str = "default-capacity";
    const SUMMARY: &'static str = "average x peak multiplier x (1 + buffer); limits and forecasts";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let of_templates = settings.keys().filter(|key| key.starts_with(TEMPLATE_MAX));
        let of_templates = of_templates.map(|key| (key, 1.0, INSTANCES_MAX));
        let known: Vec<(&str, f64, f64)> = KEYS.into_iter().chain(of_templates).collect();
        settings.check_numbers(&known)
    }

    fn plan(load: &Load, history: &History, settings: &Settings) -> CapacityPlan {
        let numbers = Numbers::of(load, settings);
        let mut plan = required(load, history, &numbers);
        plan.limits = limits(&numbers.limits, load, settings);
        plan.forecasts = forecasts(load, history, &numbers);
        plan
    }
}

/// The formula of the runbook.
fn required(load: &Load, history: &History, numbers: &Numbers) -> CapacityPlan {
    let Numbers {
        peak_multiplier,
        buffer,
        per_server,
        ..
    } = numbers;
    let (average, over) = average(load, history, numbers);
    let peak = average * peak_multiplier;
    let required = up(peak * (1.0 + buffer));
    let servers = up(required / per_server).max(1.0);
    let reason = format!(
        "{average:.1} running instances on average {over}, x {peak_multiplier} at the peak = {peak:.1}, + {:.0} % = {required}; at {per_server} for each server: {servers}",
        buffer * 100.0
    );
    let figure = |name: &str, value: f64| (name.to_owned(), format!("{value}"));
    let mut plan = CapacityPlan::new(required as u32, reason);
    plan.attributes = vec![
        figure("average", (average * 10.0).round() / 10.0),
        figure("per-server", *per_server),
        figure("servers", servers),
    ];
    plan
}

/// The next whole number, but for what the arithmetic of fractions adds.
fn up(number: f64) -> f64 {
    // Adding 0 makes one zero of two.
    (number - 1e-6).ceil().max(0.0) + 0.0
}

/// Running instances on average, and over what: the last days, where there are none yet the minutes, else now.
fn average(load: &Load, history: &History, numbers: &Numbers) -> (f64, String) {
    let days = last_days(load, history, numbers.average_days);
    let mean = |sum: f64, count: usize| sum / count as f64;
    if !days.is_empty() {
        let sum = days.iter().map(|day| f64::from(day.mean.running)).sum();
        return (mean(sum, days.len()), over(days.len(), "day"));
    }
    let is_over = |minute: &&Minute| minute.at_ms.saturating_add(MINUTE_MS) <= load.now_ms;
    let minutes = history.minutes.iter().filter(is_over);
    let peaks = minutes.map(|minute| f64::from(minute.peak.running));
    match peaks.clone().count() {
        0 => (f64::from(load.usage.running), "now".to_owned()),
        count => (mean(peaks.sum(), count), over(count, "minute")),
    }
}

fn over(count: usize, unit: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("over {count} {unit}{plural}")
}

/// The last days that are over: the peak of today may be still to come.
fn last_days<'a>(load: &Load, history: &'a History, count: usize) -> &'a [Day] {
    let is_over = |day: &Day| day.at_ms.saturating_add(DAY_MS) <= load.now_ms;
    let over = history.days.iter().rposition(is_over);
    let over = over.map_or(0, |last| last + 1);
    &history.days[over.saturating_sub(count)..over]
}

fn limits(limits: &Limits, load: &Load, settings: &Settings) -> Vec<Limit> {
    let set = [
        (Measure::Running, limits.running, "running_max"),
        (
            Measure::MemoryBytes,
            limits.memory_bytes,
            "memory_max_mb or memory_max_share",
        ),
        (Measure::InFlight, limits.in_flight, "in_flight_max"),
    ];
    let mut all: Vec<Limit> = set
        .into_iter()
        .filter_map(|(of, most, key)| Some(limit(of, most?, key)))
        .collect();
    for template in &load.templates {
        let key = format!("{TEMPLATE_MAX}{}", template.name);
        if let Some(most) = settings.number(&key) {
            let of = Measure::RunningOfTemplate(template.name.clone());
            all.push(limit(of, most, &key));
        }
    }
    all
}

fn limit(of: Measure, most: f64, key: &str) -> Limit {
    let refusal = format!(
        "An operator may stop what is not needed, or raise {key} of the policy default-capacity."
    );
    Limit::new(of, (most as u64).max(1), refusal)
}

fn forecasts(load: &Load, history: &History, numbers: &Numbers) -> Vec<Forecast> {
    let days = last_days(load, history, numbers.trend_days);
    let there_is = numbers.servers * numbers.per_server;
    let total = load.memory_total_bytes as f64;
    let limits = &numbers.limits;
    let value = |of: &Measure, usage: &Usage| match of {
        Measure::Running => f64::from(usage.running),
        Measure::MemoryBytes => usage.memory_bytes as f64,
        _ => f64::from(usage.in_flight),
    };
    let each = [
        (Measure::Running, limits.running.or(Some(there_is))),
        (Measure::MemoryBytes, limits.memory_bytes.or(Some(total))),
        (Measure::InFlight, limits.in_flight),
    ];
    let mut forecasts: Vec<_> = each
        .into_iter()
        .filter(|_| days.len() >= numbers.trend_days_min)
        .filter_map(|(of, most)| {
            let trend = Trend::of(load.now_ms, days, |usage| value(&of, usage));
            trend.forecast(load.now_ms, of, most?, numbers.forecast_share)
        })
        .collect();
    forecasts.sort_by_key(|forecast| forecast.at_ms);
    forecasts
}

#[cfg(test)]
mod tests;
