//! The fleet as JSON. The names are the contract with dashboards and scripts: none is renamed, none is left out.

use std::time::SystemTime;

use router_core::view::{BreakerView, FleetView, InstanceView, ReadinessView, SlotView, Summary};
use router_telemetry::Figures;
use router_values::{AuditRow, rfc3339_unix_ms};
use serde_json::{Value, json};

use crate::{Operations, RouterFacts};

/// `id` in JSON: a number where it is all digits, so that `select(.id==42)` works.
fn id(view: &InstanceView) -> Value {
    view.id
        .as_number()
        .map_or_else(|| json!(view.id.as_str()), |number| json!(number))
}

fn megabytes(bytes: Option<u64>) -> Option<f64> {
    // One decimal: a figure for people, who compare it with `max_memory_mb`.
    bytes.map(|bytes| (bytes as f64 / (1024.0 * 1024.0) * 10.0).round() / 10.0)
}

/// A time, in milliseconds since 1970, as the API shows it.
pub(crate) fn at(unix_ms: u64) -> String {
    rfc3339_unix_ms(i64::try_from(unix_ms).unwrap_or(i64::MAX))
}

/// One row of the audit.
pub(crate) fn audit_row(row: &AuditRow) -> Value {
    json!({
        "seq": row.seq,
        "id": row.id,
        "at": rfc3339_unix_ms(row.at_ms),
        "actor": row.actor,
        "role": row.role,
        "action": row.action,
        "target": row.target,
        "from": row.from_address,
        "result": row.result,
        "detail": row.detail,
        "routerId": row.router_id,
        "epoch": row.epoch,
    })
}

/// One instance, as in `/api/health/mcp` and the lists.
pub(crate) fn instance(view: &InstanceView, figures: Figures) -> Value {
    json!({
        "id": id(view),
        "versionId": view.id.as_str(),
        "status": view.status.as_str(),
        "lifecycle": view.lifecycle.as_str(),
        "health": view.health.map(|health| health.as_str()),
        "reason": view.reason,
        "pid": view.pid,
        "uptimeSeconds": view.uptime_ms.map(|ms| ms / 1000),
        "circuitBreakerState": view.breaker.state.as_str(),
        "circuitBreaker": breaker(&view.breaker),
        "retryAfterMs": view.retry_after_ms,
        "crashLoopDetected": view.crash_loop,
        "restarts": view.restarts,
        "lastError": view.last_error,
        "memoryMb": megabytes(view.memory_bytes),
        "inFlight": view.in_flight,
        "requests": figures.requests,
        "errorRate": figures.error_rate,
        "p95Ms": figures.p95_ms,
        "rejected": figures.rejected,
        "wanted": view.wanted,
        "source": view.source.as_str(),
    })
}

/// The breakers of an instance's tools that are not CLOSED, as in `/api/instances/{versionId}`.
pub(crate) fn tool_breakers(view: &InstanceView) -> Value {
    let tools = view.tool_breakers.iter().map(|tool| {
        let mut body = breaker(&tool.breaker);
        body["tool"] = json!(&*tool.tool);
        body
    });
    json!({ "guarded": view.tools_guarded, "tripped": tools.collect::<Vec<_>>() })
}

fn breaker(view: &BreakerView) -> Value {
    json!({
        "state": view.state.as_str(),
        "reason": view.reason,
        "sinceMs": view.since_ms,
        "retryAfterMs": view.retry_after_ms,
        "isolated": view.isolated,
        "openings": view.openings,
    })
}

/// One slot, as in `/api/instances/{versionId}`.
pub(crate) fn slot(view: &SlotView) -> Value {
    json!({
        "slot": view.key.slot,
        "lifecycle": view.lifecycle.as_str(),
        "health": view.health.map(|health| health.as_str()),
        "reason": view.reason,
        "run": view.run.map(|run| run.0),
        "pid": view.pid,
        "uptimeSeconds": view.uptime_ms.map(|ms| ms / 1000),
        "retryAfterMs": view.retry_after_ms,
        "restarts": view.restarts,
        "lastError": view.last_error,
        "memoryMb": megabytes(view.memory_bytes),
        "processes": view.processes,
        "inFlight": view.in_flight,
        "tools": view.tools_count,
        "toolsMissing": view.tools_missing,
        "wanted": view.wanted,
    })
}

/// The counts, which partition `totalInstances`; `crashLoopInstances` is a part of `unhealthyInstances`.
pub(crate) fn summary(summary: &Summary, figures: Figures) -> Value {
    json!({
        "totalInstances": summary.total,
        "healthyInstances": summary.healthy,
        "degradedInstances": summary.degraded,
        "unhealthyInstances": summary.unhealthy,
        "startingInstances": summary.starting,
        "idleInstances": summary.idle,
        "stoppedInstances": summary.stopped,
        "drainingInstances": summary.draining,
        "crashLoopInstances": summary.crash_loop,
        "requests": figures.requests,
        "errorRate": figures.error_rate,
        "p95Ms": figures.p95_ms,
        "rejected": figures.rejected,
    })
}

/// `/api/health/mcp`.
pub(crate) fn fleet<O: Operations>(operations: &O, view: &FleetView) -> Value {
    let instances: Vec<Value> = view
        .instances
        .iter()
        .map(|one| instance(one, operations.figures(Some(&one.id))))
        .collect();
    json!({
        "summary": summary(&view.summary, operations.figures(None)),
        "instances": instances,
    })
}

/// What readiness was judged by.
pub(crate) fn checks(view: &ReadinessView, facts: &RouterFacts) -> Value {
    let status = |good: bool| if good { "healthy" } else { "degraded" };
    let percent = (view.disk_share * 100.0).round();
    json!({
        "database": {
            "status": status(view.database),
            "state": database(view),
        },
        "instances": {
            "status": status(view.able >= view.wanted),
            "wanted": view.wanted,
            "able": view.able,
        },
        "plugins": {
            "status": status(
                view.plugins_quarantined == 0
                    && view.policies_held == 0
                    && view.policy_faults.is_empty()
            ),
            "quarantined": view.plugins_quarantined,
            "held": view.policies_held,
            "faults": view.policy_faults,
        },
        "alerts": {
            "status": status(view.alert_journal),
            "journal": if view.alert_journal { "written" } else { "refused" },
        },
        "disk": {
            "usedPercent": percent,
        },
        "processes": {
            "kill": facts.kill_method,
            "limit": facts.limit_method,
        },
    })
}

/// The state of the database.
pub(crate) fn database(view: &ReadinessView) -> &'static str {
    if view.database {
        "connected"
    } else {
        "disconnected"
    }
}

/// The present, RFC 3339 in UTC, as every timestamp of `/api` is written.
pub(crate) fn timestamp() -> String {
    router_values::rfc3339(SystemTime::now())
}
