//! Which families there are, and in which order.
//!
//! The order is for the person who reads it with `grep '^mcp_' | head`: the fleet in ten lines first, then errors, durations and the
//! router, then what grows with instances and plugins. No other name may hold `mcp_request_duration_seconds` or
//! `mcp_errors_total`: scripts grep for those.

mod alerts;
mod capacity;

use std::sync::atomic::Ordering::Relaxed;

use prometheus::{core::Collector, proto::MetricFamily};
use router_core::{
    ErrorKind, Now,
    permit::BreakerState,
    view::{FleetView, InstanceView, Readiness, Status, Summary},
};

use crate::{
    count::Count,
    exposition::{self, Family},
    figures::PluginFigures,
    meter::InstanceMeter,
    metrics::{Metrics, Reported},
    process,
    window::Figures,
};

impl Metrics {
    /// All metrics as Prometheus text. Reads a few files of `/proc/self`; takes a millisecond with a hundred busy instances.
    #[must_use]
    pub fn encode(&self, now: Now) -> String {
        exposition::encode(&all(self, now))
    }
}

/// Every family that has a series.
fn all(metrics: &Metrics, now: Now) -> Vec<MetricFamily> {
    // A copy, so that a report never waits for a scrape.
    let reported = metrics.reported.lock().clone();
    let mut families = Vec::with_capacity(100);
    families.extend(fleet(reported.fleet.as_deref()));
    families.extend(capacity::families(reported.fleet.as_deref()));
    families.extend(errors(metrics, &reported));
    families.extend(metrics.fleet.duration.collect());
    families.extend(requests(metrics, now));
    families.extend(router(metrics, &reported));
    families.extend(metrics.loop_lag.collect());
    families.extend(alerts::families(&metrics.alerts));
    families.extend(counts(metrics));
    families.extend(process::families());
    families.extend(instances(metrics, reported.fleet.as_deref(), now));
    families.extend(plugins(&reported.plugins));
    families.extend(refused_plans(metrics, &reported.plugins));
    families
}

fn finished<const N: usize>(families: [Family; N]) -> impl Iterator<Item = MetricFamily> {
    families.into_iter().filter_map(Family::finish)
}

fn fleet(view: Option<&FleetView>) -> impl Iterator<Item = MetricFamily> {
    let summary = view.map_or_else(Summary::default, |view| view.summary);
    let mut by_status = Family::gauge(
        "mcp_instances",
        "Instances by status; they add up to mcp_instances_total.",
    );
    for (status, count) in [
        (Status::Healthy, summary.healthy),
        (Status::Degraded, summary.degraded),
        (Status::Unhealthy, summary.unhealthy),
        (Status::Starting, summary.starting),
        (Status::Idle, summary.idle),
        (Status::Stopped, summary.stopped),
        (Status::Draining, summary.draining),
    ] {
        by_status.add(&[("status", status.as_str())], f64::from(count));
    }
    let readiness = view.map_or(Readiness::Healthy, |view| view.readiness.status);
    let readiness = match readiness {
        Readiness::Healthy => 0.0,
        Readiness::Degraded => 1.0,
        Readiness::Down => 2.0,
    };
    finished([
        Family::gauge("mcp_instances_total", "Instances that the router knows.")
            .single(f64::from(summary.total)),
        by_status,
        Family::gauge(
            "mcp_instances_crash_loop",
            "Unhealthy instances that are in crash loop.",
        )
        .single(f64::from(summary.crash_loop)),
        Family::gauge("mcp_router_readiness", "0 healthy, 1 degraded, 2 down.").single(readiness),
    ])
}

fn errors(metrics: &Metrics, reported: &Reported) -> impl Iterator<Item = MetricFamily> {
    let counts = ErrorKind::ALL.map(|kind| {
        let counted = metrics.fleet.errors[kind as usize].load(Relaxed);
        (kind, (counted + reported.errors[kind as usize]) as f64)
    });
    let mut by_kind = Family::counter("mcp_errors_total", "Errors by kind.");
    for (kind, count) in counts {
        by_kind.add(&[("kind", kind.as_str())], count);
    }
    let each = counts.map(|(kind, count)| {
        let name = format!("mcp_errors_{kind}_total");
        Family::counter(&name, &format!("Errors of the kind {kind}.")).single(count)
    });
    finished([by_kind]).chain(finished(each))
}

fn requests(metrics: &Metrics, now: Now) -> impl Iterator<Item = MetricFamily> {
    let tally = &metrics.fleet.tally;
    let counter = |name, help, count: f64| Family::counter(name, help).single(count);
    let mut ratio = Family::gauge(
        "mcp_error_ratio",
        "Share of failed requests over the last 5 minutes, 0 to 1; absent under 20 requests.",
    );
    let mut p95 = Family::gauge(
        "mcp_latency_p95_seconds",
        "95th percentile of the time to answer over the last 5 minutes; absent under 20 requests.",
    );
    add_figures(&mut ratio, &mut p95, &[], tally.figures(now));
    finished([
        counter(
            "mcp_requests_total",
            "MCP requests that ended, rejections by a breaker apart.",
            tally.requests.load(Relaxed) as f64,
        ),
        counter(
            "mcp_rejections_total",
            "MCP requests that a breaker rejected.",
            tally.rejections.load(Relaxed) as f64,
        ),
        ratio,
        p95,
    ])
}

fn add_figures(ratio: &mut Family, p95: &mut Family, labels: &[(&str, &str)], figures: Figures) {
    if let Some(share) = figures.error_rate {
        ratio.add(labels, share);
    }
    if let Some(ms) = figures.p95_ms {
        p95.add(labels, ms / 1000.0);
    }
}

fn router(metrics: &Metrics, reported: &Reported) -> impl Iterator<Item = MetricFamily> {
    let gauge = |name, help, value: f64| Family::gauge(name, help).single(value);
    let mut connected = Family::gauge(
        "mcp_database_connected",
        "1 while the database is reached, else 0.",
    );
    let mut connections = Family::gauge(
        "mcp_database_connections",
        "Open connections to the database by state.",
    );
    let mut max = Family::gauge(
        "mcp_database_connections_max",
        "The most connections that are opened to the database.",
    );
    if let Some(database) = reported.database {
        connected.add(&[], f64::from(u8::from(database.connected)));
        connections.add(&[("state", "active")], f64::from(database.active));
        connections.add(&[("state", "idle")], f64::from(database.idle));
        max.add(&[], f64::from(database.max));
    }
    let dropped = metrics.log_lines_dropped.load(Relaxed) as f64;
    finished([
        gauge(
            "mcp_router_uptime_seconds",
            "Time since the router started.",
            metrics.started.elapsed().as_secs_f64(),
        ),
        connected,
        connections,
        max,
        gauge(
            "mcp_spool_rows",
            "Rows that wait on disk for the database.",
            reported.spool.rows as f64,
        ),
        Family::counter(
            "mcp_spool_lost_rows_total",
            "Rows that could be kept nowhere but in the log, where each stands at ERROR.",
        )
        .single(reported.spool.lost as f64),
        Family::counter(
            "mcp_spool_rejected_rows_total",
            "Rows that the database will never take, put aside in rejected.jsonl of the spool.",
        )
        .single(reported.spool.rejected as f64),
        Family::counter(
            "mcp_history_left_out_rows_total",
            "Rows of the history and of alerts that were left out because there was no more room for them while the database was away, or because it refuses them.",
        )
        .single(reported.spool.left_out as f64),
        gauge(
            "mcp_sessions_open",
            "Open client sessions.",
            reported.sessions_open as f64,
        ),
        gauge(
            "mcp_streams_open",
            "Open event streams to clients.",
            reported.streams_open as f64,
        ),
        Family::counter(
            "mcp_log_lines_dropped_total",
            "Log lines that could not be written.",
        )
        .single(dropped),
    ])
}

fn counts(metrics: &Metrics) -> Vec<MetricFamily> {
    let mut families: Vec<(&str, Family)> = Vec::new();
    for what in Count::ALL {
        let series = what.series();
        if families
            .last()
            .is_none_or(|(name, _)| *name != series.family)
        {
            families.push((series.family, Family::counter(series.family, series.help)));
        }
        let value = metrics.counts[what as usize].load(Relaxed) as f64;
        if let Some((_, family)) = families.last_mut() {
            family.add(&[series.label], value);
        }
    }
    families
        .into_iter()
        .filter_map(|(_, family)| family.finish())
        .collect()
}

/// One family per row: its name, its help, and its value for an instance, where it has one.
type InstanceGauge = (&'static str, &'static str, fn(&InstanceView) -> Option<f64>);

const INSTANCE_GAUGES: [InstanceGauge; 6] = [
    (
        "mcp_circuit_breaker_state",
        "The circuit breaker of an instance: 0 CLOSED, 1 HALF_OPEN, 2 OPEN.",
        |view| Some(breaker_value(view.breaker.state)),
    ),
    (
        "mcp_instance_crash_loop",
        "1 while an instance is in crash loop, else 0.",
        |view| Some(f64::from(u8::from(view.crash_loop))),
    ),
    (
        "mcp_instance_in_flight",
        "Requests to an instance that wait for an answer.",
        |view| Some(f64::from(view.in_flight)),
    ),
    (
        "mcp_instance_memory_bytes",
        "Resident memory of an instance's processes.",
        |view| view.memory_bytes.map(|bytes| bytes as f64),
    ),
    (
        "mcp_instance_uptime_seconds",
        "Time since an instance became ready.",
        |view| view.uptime_ms.map(|ms| ms as f64 / 1000.0),
    ),
    (
        "mcp_instance_wanted",
        "1 while the router means an instance to run, else 0.",
        |view| Some(f64::from(u8::from(view.wanted))),
    ),
];

/// As [`InstanceGauge`], of what was counted.
type InstanceCounter = (&'static str, &'static str, fn(&InstanceMeter) -> u64);

const INSTANCE_COUNTERS: [InstanceCounter; 3] = [
    (
        "mcp_instance_requests_total",
        "Requests to an instance that ended, rejections apart.",
        |meter| meter.tally.requests.load(Relaxed),
    ),
    (
        "mcp_instance_errors_total",
        "Requests to an instance that failed through no fault of the client.",
        |meter| meter.tally.errors.load(Relaxed),
    ),
    (
        "mcp_instance_rejections_total",
        "Requests to an instance that its breaker rejected.",
        |meter| meter.tally.rejections.load(Relaxed),
    ),
];

fn breaker_value(state: BreakerState) -> f64 {
    match state {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}

/// Those that are CLOSED have no series: the others are few, and at most 256 of an instance.
fn tool_breakers(views: &[InstanceView]) -> Family {
    let mut family = Family::gauge(
        "mcp_tool_circuit_breaker_state",
        "The circuit breaker of a tool, while it is not CLOSED: 1 HALF_OPEN, 2 OPEN.",
    );
    for view in views {
        for tool in &view.tool_breakers {
            let is_odd = |c: char| c.is_whitespace() || c.is_control();
            let name = tool.tool.replace(is_odd, "_");
            let labels = [("instance", view.id.as_str()), ("tool", &name)];
            family.add(&labels, breaker_value(tool.breaker.state));
        }
    }
    family
}

fn instances(metrics: &Metrics, view: Option<&FleetView>, now: Now) -> Vec<MetricFamily> {
    let views = view.map_or(&[][..], |view| &view.instances);
    let meters = &metrics.meters;
    let mut families = Vec::new();
    for (name, help, value) in INSTANCE_GAUGES {
        let mut family = Family::gauge(name, help);
        for view in views {
            if let Some(value) = value(view) {
                family.add(&[("instance", view.id.as_str())], value);
            }
        }
        families.push(family);
    }
    let mut status = Family::gauge(
        "mcp_instance_status",
        "1 for the present status of an instance.",
    );
    let mut restarts = Family::counter(
        "mcp_instance_restarts_total",
        "Starts of an instance that followed a failed run.",
    );
    for view in views {
        let id = view.id.as_str();
        status.add(&[("instance", id), ("status", view.status.as_str())], 1.0);
        restarts.add(&[("instance", id)], view.restarts as f64);
    }
    families.extend([status, restarts, tool_breakers(views)]);
    for (name, help, value) in INSTANCE_COUNTERS {
        let mut family = Family::counter(name, help);
        for view in views {
            let id = view.id.as_str();
            meters.with(id, |meter| {
                family.add(&[("instance", id)], value(meter) as f64);
            });
        }
        families.push(family);
    }
    let mut ratio = Family::gauge(
        "mcp_instance_error_ratio",
        "As mcp_error_ratio, of one instance.",
    );
    let mut p95 = Family::gauge(
        "mcp_instance_latency_p95_seconds",
        "As mcp_latency_p95_seconds, of one instance.",
    );
    for view in views {
        let id = view.id.as_str();
        meters.with(id, |meter| {
            let figures = meter.figures(now);
            add_figures(&mut ratio, &mut p95, &[("instance", id)], figures);
        });
    }
    families.extend([ratio, p95]);
    families.into_iter().filter_map(Family::finish).collect()
}

fn plugins(plugins: &[PluginFigures]) -> impl Iterator<Item = MetricFamily> {
    let mut generation = Family::gauge(
        "mcp_plugin_generation",
        "The generation of a plugin that serves; 0 where none does.",
    );
    let mut quarantined = Family::gauge(
        "mcp_plugin_quarantined",
        "1 while a plugin is quarantined, else 0.",
    );
    let mut held = Family::gauge(
        "mcp_plugin_held",
        "1 while a generation of a plugin is held until an operator decides, else 0.",
    );
    let mut calls = Family::counter("mcp_plugin_calls_total", "Calls of a plugin.");
    let mut time = Family::counter(
        "mcp_plugin_call_seconds_total",
        "Time that the calls of a plugin took together.",
    );
    let mut failures = Family::counter(
        "mcp_plugin_failures_total",
        "Calls of a plugin that failed, by cause.",
    );
    let mut reloads = Family::counter(
        "mcp_plugin_reloads_total",
        "Candidates of a plugin that were taken into service.",
    );
    let mut refusals = Family::counter(
        "mcp_plugin_refusals_total",
        "Candidates of a plugin that were refused, by reason.",
    );
    for plugin in plugins {
        let name = ("plugin", plugin.name.as_str());
        generation.add(&[name, ("kind", &plugin.kind)], plugin.generation as f64);
        quarantined.add(&[name], f64::from(u8::from(plugin.quarantined)));
        held.add(&[name], f64::from(u8::from(plugin.held)));
        calls.add(&[name], plugin.calls as f64);
        time.add(&[name], plugin.call_time.as_secs_f64());
        reloads.add(&[name], plugin.reloads as f64);
        for (cause, count) in &plugin.failures {
            failures.add(&[name, ("cause", cause)], *count as f64);
        }
        for (reason, count) in &plugin.refusals {
            refusals.add(&[name, ("reason", reason)], *count as f64);
        }
    }
    finished([
        generation,
        quarantined,
        held,
        calls,
        time,
        failures,
        reloads,
        refusals,
    ])
}

/// Kinds of plugin that answer with plans.
const PLANNING: [&str; 2] = ["breaker-policy", "capacity-policy"];

/// Those that plan are there from the start, so that the first refusal is an increase.
fn refused_plans(
    metrics: &Metrics,
    plugins: &[PluginFigures],
) -> impl Iterator<Item = MetricFamily> {
    let mut family = Family::counter(
        "mcp_plugin_plans_refused_total",
        "Plans of a policy that were out of bounds, so that the one before stayed in force.",
    );
    let counts = metrics.refused_plans.lock();
    for kind in PLANNING {
        for plugin in plugins.iter().filter(|plugin| plugin.kind == kind) {
            let count = counts.get(&(plugin.name.clone(), kind));
            let labels = [("plugin", plugin.name.as_str()), ("kind", kind)];
            family.add(&labels, count.copied().unwrap_or(0) as f64);
        }
    }
    finished([family])
}
