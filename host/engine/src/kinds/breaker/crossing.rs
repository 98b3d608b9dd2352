//! How a profile and a plan cross between the router and a guest.

use router_core::{
    breaker::plan::{
        BreakerPlan, BreakerProfile, PlanMode, ROWS_MAX, TOOL_NAME_BYTES_MAX, TOOL_ROWS_MAX,
        ToolProfile, ToolRow,
    },
    classify::{ClassTable, KindPattern},
    permit::Class,
    settings::BreakerThresholds,
};

use super::wit;
use crate::texts::{REASON_BYTES_MAX, truncate};

pub(super) fn to_wit(profile: &BreakerProfile) -> wit::Profile {
    let figures = &profile.figures;
    wit::Profile {
        instance: profile.instance.clone(),
        template: profile.template.clone(),
        transport: profile.transport.clone(),
        configured: thresholds_to_wit(&profile.configured),
        calls_per_minute: figures.calls_per_minute,
        p50_ms: figures.p50_ms,
        p99_ms: figures.p99_ms,
        error_share: figures.error_share,
        tools: profile.tools.iter().map(tool_to_wit).collect(),
        attributes: profile.attributes.clone(),
    }
}

fn tool_to_wit(tool: &ToolProfile) -> wit::ToolProfile {
    wit::ToolProfile {
        name: tool.name.clone(),
        calls: tool.calls,
        p50_ms: tool.p50_ms,
        p99_ms: tool.p99_ms,
        error_share: tool.error_share,
        attributes: tool.attributes.clone(),
    }
}

fn thresholds_to_wit(thresholds: &BreakerThresholds) -> wit::Thresholds {
    wit::Thresholds {
        consecutive_failures: thresholds.consecutive_failures,
        window_ms: thresholds.window_ms,
        min_samples: thresholds.min_samples,
        failure_share: thresholds.failure_share,
        slow_share: thresholds.slow_share,
        slow_ms: thresholds.slow_ms,
        open_first_ms: thresholds.open_first_ms,
        open_max_ms: thresholds.open_max_ms,
        successes: thresholds.successes,
        permits: thresholds.permits,
        probe_timeout_ms: thresholds.probe_ms,
        reset_after_ms: thresholds.forget_after_ms,
        attributes: Vec::new(),
    }
}

/// Everything that is out of bounds stays recognisably so, but nothing is kept longer than it takes to say so.
pub(super) fn from_wit(plan: wit::Plan) -> BreakerPlan {
    let mut reason = plan.reason;
    truncate(&mut reason, REASON_BYTES_MAX);
    let thresholds = thresholds_from_wit(&plan.thresholds);
    BreakerPlan {
        table: table(&plan.table, thresholds.slow_ms),
        thresholds,
        tools: (plan.tools.into_iter().take(TOOL_ROWS_MAX + 1))
            .map(tool_from_wit)
            .collect(),
        mode: match plan.mode {
            wit::Mode::Enforce => PlanMode::Enforce,
            wit::Mode::Observe | wit::Mode::Other(_) => PlanMode::Observe,
        },
        reason,
    }
}

fn thresholds_from_wit(thresholds: &wit::Thresholds) -> BreakerThresholds {
    BreakerThresholds {
        consecutive_failures: thresholds.consecutive_failures,
        window_ms: thresholds.window_ms,
        min_samples: thresholds.min_samples,
        failure_share: thresholds.failure_share,
        slow_share: thresholds.slow_share,
        slow_ms: thresholds.slow_ms,
        open_first_ms: thresholds.open_first_ms,
        open_max_ms: thresholds.open_max_ms,
        successes: thresholds.successes,
        permits: thresholds.permits,
        probe_ms: thresholds.probe_timeout_ms,
        forget_after_ms: thresholds.reset_after_ms,
    }
}

fn tool_from_wit(rows: wit::ToolRows) -> ToolRow {
    let mut tool = rows.tool;
    // A name that is cut in the middle of a character must still be too long.
    truncate(&mut tool, TOOL_NAME_BYTES_MAX + char::MAX.len_utf8());
    ToolRow {
        tool,
        table: table(&rows.table, rows.slow_ms),
    }
}

fn table(rows: &[wit::Classification], slow_ms: Option<u64>) -> ClassTable {
    let rows = rows.iter().take(ROWS_MAX + 1);
    ClassTable::new(rows.filter_map(row).collect(), slow_ms)
}

/// `None`: a row that fits nothing that this router knows.
fn row(row: &wit::Classification) -> Option<(KindPattern, Class)> {
    if !row.attributes.is_empty() {
        return None;
    }
    let outcome = match row.outcome {
        wit::Outcome::Answered => KindPattern::Answered,
        wit::Outcome::ToolError => KindPattern::ToolError,
        wit::Outcome::ErrorCode(code) => KindPattern::RpcError(code),
        wit::Outcome::TimedOut => KindPattern::Timeout,
        wit::Outcome::Disconnected => KindPattern::Socket,
        wit::Outcome::Died => KindPattern::UpstreamDied,
        wit::Outcome::BadAnswer => KindPattern::BadAnswer,
        wit::Outcome::Cancelled => KindPattern::Cancelled,
        wit::Outcome::Other(_) => return None,
    };
    let meaning = match row.meaning {
        wit::Meaning::Failure => Class::Failure,
        wit::Meaning::Success => Class::Success,
        wit::Meaning::Ignore => Class::Ignore,
    };
    Some((outcome, meaning))
}

#[cfg(test)]
mod tests;
