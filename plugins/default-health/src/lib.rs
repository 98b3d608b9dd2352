//! The bundled health policy: the router's built-in rule, with its limits in the configuration.
//!
//! With an empty configuration it answers as the built-in default does, word for word; the tests compare the two.

use router_plugin_sdk::{
    ConfigFault, Settings,
    health_policy::{Facts, HealthPolicy, Status, Verdict},
};

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct DefaultHealth;

router_plugin_sdk::export_health_policy!(DefaultHealth);

/// The keys of `[plugins.config.default-health]`: name, least, most.
const KEYS: [(&str, f64, f64); 11] = [
    ("memory_degraded_mb", 1.0, 1e9),
    ("memory_degraded_share", 0.0, 1.0),
    ("silent_unhealthy_ms", 1_000.0, 1e9),
    ("silent_recycle_ms", 1_000.0, 1e9),
    ("busy_recycle_ms", 1_000.0, 1e9),
    ("pings_unhealthy", 1.0, 1e6),
    ("requests_min", 1.0, 1e9),
    ("errors_degraded", 0.0, 1.0),
    ("errors_unhealthy", 0.0, 1.0),
    ("p95_degraded_ms", 1.0, 1e9),
    ("restarts_degraded", 1.0, 1e6),
];

/// Missing tools that are named in a reason.
const TOOLS_NAMED_MAX: usize = 5;

const MIB: f64 = 1024.0 * 1024.0;

/// The limits, each where the configuration sets it or at its default.
struct Limits {
    /// Memory that is degraded, where no limit is set.
    memory_degraded_bytes: f64,
    /// Share of `max_memory_mb` that is degraded.
    memory_degraded_share: f64,
    /// Silence past which an instance is unhealthy.
    silent_unhealthy_ms: f64,
    /// Silence past which one without work is started anew.
    silent_recycle_ms: f64,
    /// The same with work in flight. A single-threaded server answers no ping during a long tool call: until then it is busy,
    /// which is degraded and no worse.
    busy_recycle_ms: f64,
    /// Unanswered pings in a row that make an instance unhealthy.
    pings_unhealthy: f64,
    /// Requests under which shares say nothing.
    requests_min: f64,
    errors_degraded: f64,
    errors_unhealthy: f64,
    /// 95th percentile that is degraded; without one, none is.
    p95_degraded_ms: Option<f64>,
    restarts_degraded: f64,
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        let or = |key: &str, default: f64| settings.number(key).unwrap_or(default);
        Self {
            memory_degraded_bytes: or("memory_degraded_mb", 500.0) * MIB,
            memory_degraded_share: or("memory_degraded_share", 0.8),
            silent_unhealthy_ms: or("silent_unhealthy_ms", 30_000.0),
            silent_recycle_ms: or("silent_recycle_ms", 60_000.0),
            busy_recycle_ms: or("busy_recycle_ms", 330_000.0),
            pings_unhealthy: or("pings_unhealthy", 3.0),
            requests_min: or("requests_min", 20.0),
            errors_degraded: or("errors_degraded", 0.05),
            errors_unhealthy: or("errors_unhealthy", 0.5),
            p95_degraded_ms: settings.number("p95_degraded_ms"),
            restarts_degraded: or("restarts_degraded", 3.0),
        }
    }
}

/// What is wrong, worst first.
#[derive(Default)]
struct Findings {
    unhealthy: Vec<String>,
    degraded: Vec<String>,
}

impl HealthPolicy for DefaultHealth {
    const NAME: &'static str = "default-health";
    const SUMMARY: &'static str = "heartbeat, pings, errors, latency, memory, tools, restarts";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        settings.check_numbers(&KEYS)
    }

    fn judge(facts: &Facts, settings: &Settings) -> Verdict {
        let limits = Limits::of(settings);
        let mut findings = Findings::default();
        answers(facts, &limits, &mut findings);
        requests(facts, &limits, &mut findings);
        memory(facts, &limits, &mut findings);
        tools(facts, &mut findings);
        if f64::from(facts.restarts_recent) >= limits.restarts_degraded {
            findings.degraded.push(format!(
                "it failed and was started again {} times in 5 minutes",
                facts.restarts_recent
            ));
        }
        let patience_ms = if facts.in_flight > 0 {
            limits.busy_recycle_ms
        } else {
            limits.silent_recycle_ms
        };
        let recycle = facts.heartbeat_age_ms as f64 > patience_ms
            && f64::from(facts.pings_failed) >= limits.pings_unhealthy;
        findings.verdict(recycle)
    }
}

impl Findings {
    fn verdict(mut self, recycle: bool) -> Verdict {
        let status = match (self.unhealthy.is_empty(), self.degraded.is_empty()) {
            (false, _) => Status::Unhealthy,
            (true, false) => Status::Degraded,
            (true, true) => Status::Healthy,
        };
        self.unhealthy.append(&mut self.degraded);
        Verdict {
            status,
            reason: self.unhealthy.join("; "),
            recycle,
            attributes: Vec::new(),
        }
    }
}

fn answers(facts: &Facts, limits: &Limits, findings: &mut Findings) {
    let silent_ms = facts.heartbeat_age_ms as f64;
    let text = if silent_ms > limits.silent_unhealthy_ms {
        let silent_s = facts.heartbeat_age_ms / 1_000;
        format!("nothing answered for {silent_s} s")
    } else if f64::from(facts.pings_failed) >= limits.pings_unhealthy {
        let failed = facts.pings_failed;
        format!("{failed} pings in a row were not answered")
    } else {
        return;
    };
    if facts.in_flight > 0 && silent_ms <= limits.busy_recycle_ms {
        let busy = format!("{text}; {} requests are in flight", facts.in_flight);
        findings.degraded.push(busy);
    } else {
        findings.unhealthy.push(text);
    }
}

fn requests(facts: &Facts, limits: &Limits, findings: &mut Findings) {
    if let (Some(limit), Some(p95)) = (limits.p95_degraded_ms, facts.window_p95_ms)
        && p95 > limit
    {
        let text = format!("p95 is {p95:.0} ms, more than {limit:.0} ms");
        findings.degraded.push(text);
    }
    let requests = facts.window_requests as f64;
    if requests < limits.requests_min {
        return;
    }
    let share = facts.window_errors as f64 / requests;
    let percent = share * 100.0;
    let text = format!("{percent:.0} % of {requests:.0} requests failed in 5 minutes");
    if share >= limits.errors_unhealthy {
        findings.unhealthy.push(text);
    } else if share > limits.errors_degraded {
        findings.degraded.push(text);
    }
}

fn memory(facts: &Facts, limits: &Limits, findings: &mut Findings) {
    let Some(bytes) = facts.memory_bytes else {
        return;
    };
    let mib = bytes / (1024 * 1024);
    match facts.memory_limit_bytes {
        Some(limit) if bytes as f64 >= limit as f64 * limits.memory_degraded_share => {
            let limit = limit / (1024 * 1024);
            let text = format!("{mib} MiB of {limit} MiB memory are in use");
            findings.degraded.push(text);
        }
        None if bytes as f64 > limits.memory_degraded_bytes => {
            findings
                .degraded
                .push(format!("{mib} MiB of memory are in use"));
        }
        _ => {}
    }
}

fn tools(facts: &Facts, findings: &mut Findings) {
    if facts.tools_missing.is_empty() {
        return;
    }
    let named = facts.tools_missing.iter().take(TOOLS_NAMED_MAX);
    let named: Vec<&str> = named.map(String::as_str).collect();
    let more = match facts.tools_missing.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = named.join(", ");
    findings.degraded.push(format!(
        "tools are missing since its last start: {named}{more}"
    ));
}

#[cfg(test)]
mod tests;
