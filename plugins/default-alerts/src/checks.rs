//! From when on something is a condition: facts against limits.

use router_plugin_sdk::alert_rule::{Disk, Fleet, InstanceState, PluginState, SinkState};

use crate::{
    Raised,
    catalogue::{
        ALERTING_PLUGIN_DOWN, ALL_INSTANCES_FAILING, Alert, BREAKERS_OPENED_TOGETHER,
        CAPACITY_FORECAST, CAPACITY_NEARLY_USED, DATABASE_LOST, DEAD_LETTERS, DELIVERY_FAILING,
        DISK_NEARLY_FULL, HIGH_ERROR_RATE, INSTANCE_BREAKER, INSTANCE_CRASH_LOOP, INSTANCE_ERRORS,
        INSTANCE_MEMORY, INSTANCE_RESTARTS, INSTANCE_SILENT, INSTANCE_SLOW, INSTANCE_UNHEALTHY,
        MANY_CONNECTIONS, PLUGIN_DOWN, PLUGIN_HELD, PLUGIN_REFUSES_SETTINGS, POOL_NEARLY_FULL,
        SINK_GONE, SLOW_REQUESTS,
    },
    limits::Limits,
};

const MIB: f64 = 1024.0 * 1024.0;
const DAY_MS: f64 = 8.64e7;

/// Everything that may be wrong. What concerns the whole fleet comes in each page.
pub(crate) fn all(fleet: &Fleet, limits: &Limits, raised: &mut Raised) {
    totals(fleet, limits, raised);
    database(fleet, limits, raised);
    capacity(fleet, limits, raised);
    for one in &fleet.disks {
        disk(one, limits, raised);
    }
    for one in &fleet.plugins {
        plugin(one, raised);
    }
    for one in &fleet.sinks {
        sink(one, fleet.now_ms, limits, raised);
    }
    for one in &fleet.instances {
        instance(one, limits, raised);
    }
}

fn percent(share: f64) -> f64 {
    share * 100.0
}

/// All instances together.
fn totals(fleet: &Fleet, limits: &Limits, raised: &mut Raised) {
    let totals = &fleet.totals;
    let unable = totals.wanted.saturating_sub(totals.able);
    if unable > 0 && f64::from(unable) >= limits.failing_share * f64::from(totals.wanted) {
        let alert = &ALL_INSTANCES_FAILING;
        let summary = format!(
            "{unable} of {} instances that are to run cannot serve",
            totals.wanted
        );
        raised.raise(alert, summary);
    }
    let together = f64::from(totals.breakers_opened_together);
    let is_most = together > limits.together_share * f64::from(totals.breakers);
    if is_most && together >= limits.together_min {
        let alert = &BREAKERS_OPENED_TOGETHER;
        let summary = format!(
            "{together} of {} circuit breakers opened within 10 s; {} are OPEN or HALF_OPEN",
            totals.breakers, totals.breakers_open
        );
        raised.raise(alert, summary);
    }
    if let Some(share) = above(totals.error_share, limits.errors_share) {
        let alert = &HIGH_ERROR_RATE;
        raised.raise(alert, errors(share, limits));
    }
    if let Some(p95) = above(totals.p95_ms, limits.p95_ms) {
        let alert = &SLOW_REQUESTS;
        raised.raise(alert, slow(p95, limits));
    }
}

fn above(value: Option<f64>, limit: f64) -> Option<f64> {
    value.filter(|value| *value > limit)
}

fn errors(share: f64, limits: &Limits) -> String {
    format!(
        "{:.1} % of requests failed over 5 min; {:.1} % are allowed",
        percent(share),
        percent(limits.errors_share)
    )
}

fn slow(p95: f64, limits: &Limits) -> String {
    format!(
        "the 95th percentile of requests is {p95:.0} ms over 5 min; {:.0} ms are allowed",
        limits.p95_ms
    )
}

fn database(fleet: &Fleet, limits: &Limits, raised: &mut Raised) {
    if fleet.database != "connected" {
        let alert = &DATABASE_LOST;
        let reason = fleet
            .attributes
            .iter()
            .find(|(name, _)| name == "database-reason");
        let reason = reason.map(|(_, reason)| format!(": {reason}"));
        let summary = format!("the database is lost{}", reason.unwrap_or_default());
        raised.raise(alert, summary);
    }
    if fleet.pool_share > limits.pool_share {
        let alert = &POOL_NEARLY_FULL;
        let summary = format!(
            "{:.0} % of the router's database connections are in use; {:.0} % are allowed",
            percent(fleet.pool_share),
            percent(limits.pool_share)
        );
        raised.raise(alert, summary);
    }
    if let Some(count) = above(
        fleet.database_connections.map(f64::from),
        limits.connections,
    ) {
        let alert = &MANY_CONNECTIONS;
        let limit = limits.connections;
        let summary = format!("the database has {count} connections; {limit} are allowed");
        raised.raise(alert, summary);
    }
}

fn disk(disk: &Disk, limits: &Limits, raised: &mut Raised) {
    if disk.used_share > limits.disk_share {
        let alert = &DISK_NEARLY_FULL;
        let summary = format!(
            "the disk of {} is {:.0} % full; {:.0} % are allowed",
            disk.path,
            percent(disk.used_share),
            percent(limits.disk_share)
        );
        raised.raise_of_part(alert, &disk.path, summary);
    }
}

fn capacity(fleet: &Fleet, limits: &Limits, raised: &mut Raised) {
    for limit in &fleet.capacity_limits {
        if limit.used as f64 > limits.capacity_share * limit.most as f64 {
            let alert = &CAPACITY_NEARLY_USED;
            let summary = format!("{} of {} {} are in use", limit.used, limit.most, limit.of);
            raised.raise_of_part(alert, &limit.of, summary);
        }
    }
    let within = limits.forecast_days * DAY_MS;
    let left = fleet
        .capacity_forecast_ms
        .map(|at_ms| at_ms.saturating_sub(fleet.now_ms) as f64);
    if let Some(forecast) = fleet
        .capacity_forecast
        .as_ref()
        .filter(|_| left.is_some_and(|left| left <= within))
    {
        let alert = &CAPACITY_FORECAST;
        raised.raise(alert, forecast.clone());
    }
}

fn plugin(plugin: &PluginState, raised: &mut Raised) {
    if !plugin.in_use {
        return;
    }
    let name = &plugin.name;
    // One whose new generation is held and which nothing else serves is said to be held, once.
    let is_down = !matches!(plugin.state.as_str(), "serving" | "loading" | "held");
    let refuses_settings = plugin
        .refusal
        .as_ref()
        .filter(|refusal| refusal.code == "refused_config");
    if let Some(refusal) = refuses_settings {
        let alert = &PLUGIN_REFUSES_SETTINGS;
        let summary = format!("plugin {name}: {}", refusal.reason);
        raised.raise_of_part(alert, name, summary);
    }
    if is_down {
        let alert = if plugin.world.starts_with("alert-") {
            &ALERTING_PLUGIN_DOWN
        } else {
            &PLUGIN_DOWN
        };
        let reason = plugin.reason.as_deref().unwrap_or("no reason is known");
        let mut summary = format!("plugin {name} is {}: {reason}", plugin.state);
        if plugin.default_answers > 0 {
            summary += &format!(
                "; the built-in rule answered {} times",
                plugin.default_answers
            );
        }
        raised.raise_of_part(alert, name, summary);
    }
    let is_held = plugin.held.is_some() || plugin.state == "held";
    if let Some(reason) = (plugin.held.as_ref().or(plugin.reason.as_ref())).filter(|_| is_held) {
        let alert = &PLUGIN_HELD;
        let summary = format!("the new generation of plugin {name} is held: {reason}");
        raised.raise_of_part(alert, name, summary);
    }
}

fn sink(sink: &SinkState, now_ms: u64, limits: &Limits, raised: &mut Raised) {
    let name = &sink.name;
    let reason = sink.reason.as_deref().unwrap_or("no reason is known");
    if let Some(reason) = &sink.gone {
        let alert = &SINK_GONE;
        let summary = format!("nothing is delivered to sink {name} any more: {reason}");
        raised.raise_of_part(alert, name, summary);
    }
    let failing_ms = sink
        .failing_since_ms
        .map(|since_ms| now_ms.saturating_sub(since_ms) as f64);
    if let Some(ms) = above(failing_ms, limits.delivery_ms) {
        let alert = &DELIVERY_FAILING;
        let summary = format!(
            "no delivery to sink {name} has succeeded for {:.0} s, and {} wait: {reason}",
            ms / 1_000.0,
            sink.waiting
        );
        raised.raise_of_part(alert, name, summary);
    }
    if f64::from(sink.dead_letters) > limits.dead_letters {
        let alert = &DEAD_LETTERS;
        let summary = format!(
            "sink {name} has {} dead letters: {reason}",
            sink.dead_letters
        );
        raised.raise_of_part(alert, name, summary);
    }
}

fn instance(instance: &InstanceState, limits: &Limits, raised: &mut Raised) {
    let id = &instance.instance;
    let mut raise = |alert: &Alert, summary: String| {
        raised.raise_of(alert, id, format!("instance {id}: {summary}"));
    };
    let heartbeat_ms = instance.heartbeat_age_ms.map(|ms| ms as f64);
    if instance.lifecycle == "crash_loop" {
        raise(
            &INSTANCE_CRASH_LOOP,
            format!("crash loop: {}", instance.reason),
        );
    } else if let Some(ms) = above(heartbeat_ms, limits.heartbeat_ms) {
        raise(
            &INSTANCE_SILENT,
            format!("no answer for {:.0} s", ms / 1_000.0),
        );
    } else if instance.status == "unhealthy" {
        raise(
            &INSTANCE_UNHEALTHY,
            format!("unhealthy: {}", instance.reason),
        );
    }
    if let Some(share) = above(instance.error_share, limits.errors_share) {
        raise(&INSTANCE_ERRORS, errors(share, limits));
    }
    if let Some(p95) = above(instance.p95_ms, limits.p95_ms) {
        raise(&INSTANCE_SLOW, slow(p95, limits));
    }
    if f64::from(instance.restarts_recent) > limits.restarts {
        raise(
            &INSTANCE_RESTARTS,
            format!("restarted {} times in 5 min", instance.restarts_recent),
        );
    }
    if f64::from(instance.openings) > limits.breaker_openings {
        let summary = format!(
            "its circuit breaker opened {} times in a row and is {}",
            instance.openings, instance.breaker
        );
        raise(&INSTANCE_BREAKER, summary);
    }
    let budget = instance
        .memory_limit_bytes
        .map_or(limits.memory_mb * MIB, |bytes| {
            bytes as f64 * limits.memory_share
        });
    if let Some(bytes) = above(instance.memory_bytes.map(|bytes| bytes as f64), budget) {
        let summary = format!(
            "{:.0} MiB of memory; {:.0} MiB are allowed",
            bytes / MIB,
            budget / MIB
        );
        raise(&INSTANCE_MEMORY, summary);
    }
}
