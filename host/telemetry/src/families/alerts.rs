//! The families of alerts: what is open, who was notified, what waits, and whether alerting itself works.

use prometheus::{core::Collector, proto::MetricFamily};
use router_alerts::{
    Severity, alert::AlertState, delivery::SinkHold, event::Irregularity, history::MutedBy,
};
use router_values::unix_ms_now;

use crate::{
    alerts::{AlertCounts, AlertMeters, AttemptResult, DeliveryOutcome},
    exposition::Family,
};

/// Those that are overdue when nobody acknowledged them in time; P1 and P2 are notified of again instead.
const OVERDUE: [Severity; 2] = [Severity::P3, Severity::P4];

/// Every series of a closed label is there from the start, so that a rule on it never waits for the first.
pub(super) fn families(meters: &AlertMeters) -> Vec<MetricFamily> {
    // A copy, so that a report never waits for a scrape.
    let counts = meters.state.lock().clone();
    let mut families: Vec<MetricFamily> = alerts(&counts).collect();
    families.extend(deliveries(&counts));
    families.extend(meters.first_delivery.collect());
    families.extend(works(&counts));
    families.extend(journal(&counts));
    let evaluation = meters.evaluation.collect().into_iter();
    families.extend(evaluation.filter(|family| !family.get_metric().is_empty()));
    families
}

fn alerts(counts: &AlertCounts) -> impl Iterator<Item = MetricFamily> {
    let figures = &counts.figures;
    let gauge = |name, help, value: u64| Family::gauge(name, help).single(value as f64);
    let mut by_state = Family::gauge(
        "mcp_alerts",
        "Alerts by severity and state: what is open, and is somebody on it? Resolved ones are those that ended lately.",
    );
    let mut fired = Family::counter(
        "mcp_alerts_fired_total",
        "Firings by severity: are there more than there used to be?",
    );
    for severity in Severity::ALL {
        let label = ("severity", severity.as_str());
        for state in AlertState::NAMES {
            let count = figures.by_state.get(&(severity, state));
            let count = count.copied().unwrap_or(0);
            by_state.add(&[label, ("state", state)], count as f64);
        }
        fired.add(&[label], counts.fired[severity as usize] as f64);
    }
    let mut overdue = Family::gauge(
        "mcp_alerts_overdue",
        "Alerts that nobody acknowledged within the hour (P3) or the day (P4): which tickets lie about?",
    );
    for severity in OVERDUE {
        let count = figures.overdue.get(&severity).copied().unwrap_or(0);
        overdue.add(&[("severity", severity.as_str())], count as f64);
    }
    let mut muted = Family::gauge(
        "mcp_alerts_muted",
        "Open alerts that nobody is notified of, by what mutes them: why is it so quiet?",
    );
    for by in MutedBy::NAMES {
        let count = figures.muted.get(by).copied().unwrap_or(0);
        muted.add(&[("by", by)], count as f64);
    }
    super::finished([
        by_state,
        fired,
        overdue,
        muted,
        gauge(
            "mcp_alerts_stale",
            "Open alerts whose rule does not answer: of which is it not known whether they still hold?",
            figures.stale,
        ),
        gauge(
            "mcp_alerts_flapping",
            "Open alerts that come and go: which thresholds are too tight?",
            figures.flapping,
        ),
        gauge(
            "mcp_alert_silences",
            "Silences in force: has somebody forgotten one?",
            figures.silences,
        ),
    ])
}

/// By sink.
fn deliveries(counts: &AlertCounts) -> impl Iterator<Item = MetricFamily> {
    let now_ms = unix_ms_now();
    let mut waiting = Family::gauge(
        "mcp_alert_deliveries_waiting",
        "Deliveries that wait for a sink or are under way: is it fast enough?",
    );
    let mut oldest = Family::gauge(
        "mcp_alert_delivery_oldest_seconds",
        "How long the oldest delivery to a sink has waited, 0 where none does: since when does nothing arrive there?",
    );
    let mut dead = Family::gauge(
        "mcp_alert_dead_letters",
        "Deliveries to a sink that were given up and wait for an operator: what did nobody hear of?",
    );
    let mut held = Family::gauge(
        "mcp_alert_sink_held",
        "1 while this keeps a sink from attempting anything, else 0: why does nothing go there?",
    );
    let mut outcomes = Family::counter(
        "mcp_alert_deliveries_total",
        "Deliveries to a sink that came to an end, by outcome: what arrived, and what did not?",
    );
    let mut attempts = Family::counter(
        "mcp_alert_delivery_attempts_total",
        "Attempts at deliveries to a sink, by result: why do they fail?",
    );
    for (name, counted) in &counts.sinks {
        let sink = ("sink", name.as_str());
        let figures = counts.figures.sinks.get(name).copied().unwrap_or_default();
        waiting.add(&[sink], figures.waiting as f64);
        let age_ms = figures.oldest_ms.map(|ms| now_ms.saturating_sub(ms));
        oldest.add(&[sink], age_ms.unwrap_or(0) as f64 / 1000.0);
        dead.add(&[sink], figures.dead_letters as f64);
        for by in SinkHold::ALL {
            let is_held = figures.held == Some(by);
            held.add(&[sink, ("by", by.as_str())], f64::from(u8::from(is_held)));
        }
        for outcome in DeliveryOutcome::ALL {
            let count = counted.outcomes[outcome as usize];
            outcomes.add(&[sink, ("outcome", outcome.as_str())], count as f64);
        }
        for result in AttemptResult::ALL {
            let count = counted.attempts[result as usize];
            attempts.add(&[sink, ("result", result.as_str())], count as f64);
        }
    }
    super::finished([waiting, oldest, dead, held, outcomes, attempts])
}

/// Whether alerting itself works.
fn works(counts: &AlertCounts) -> impl Iterator<Item = MetricFamily> {
    let mut answered = Family::gauge(
        "mcp_alert_rule_answered_timestamp_seconds",
        "When a rule last answered about the whole fleet, in seconds since 1970; the start, where it has not yet: does evaluation go on?",
    );
    for rule in &counts.rules {
        if let Some(at_ms) = counts.figures.rules_answered_ms.get(rule) {
            answered.add(&[("rule", rule)], *at_ms as f64 / 1000.0);
        }
    }
    let mut findings = Family::gauge(
        "mcp_alert_audit_findings",
        "What the auditor found in its last round over all open alerts: is one neither notified of, nor escalated, nor muted by somebody?",
    );
    let audited = Family::gauge(
        "mcp_alert_audit_timestamp_seconds",
        "When the auditor, which comes every minute, last went over all open alerts, in seconds since 1970; the start, where it has not yet: does anybody look?",
    );
    for what in Irregularity::ALL {
        let found = counts.audit.findings[what as usize];
        findings.add(&[("finding", what.as_str())], found as f64);
    }
    let audited = audited.single(counts.audit.at_ms as f64 / 1000.0);
    let answering = Family::gauge(
        "mcp_alert_loop_answering",
        "1 where the loop that decides about alerts answered this scrape, else 0, and other figures of alerts are older: does it live?",
    );
    let is_answering = f64::from(u8::from(counts.is_answering));
    super::finished([answering.single(is_answering), answered, findings, audited])
}

fn journal(counts: &AlertCounts) -> impl Iterator<Item = MetricFamily> {
    let journal = &counts.journal;
    let counter = |name, help, value: f64| Family::counter(name, help).single(value);
    let gauge = |name, help, value: f64| Family::gauge(name, help).single(value);
    super::finished([
        gauge(
            "mcp_alert_journal_refusing",
            "1 while the alert journal cannot be written, else 0: would a restart send again what was sent?",
            f64::from(u8::from(journal.is_refusing)),
        ),
        gauge(
            "mcp_alert_journal_bytes",
            "Bytes of the alert journal's files: what does it take of the disk?",
            journal.file_bytes as f64,
        ),
        gauge(
            "mcp_alert_journal_used_ratio",
            "Share in use of what the alert journal may hold, 0 to 1: when does it take nothing more?",
            journal.used_share,
        ),
        counter(
            "mcp_alert_journal_writes_total",
            "Writes to the alert journal, each made safe on disk.",
            journal.writes as f64,
        ),
        counter(
            "mcp_alert_journal_write_seconds_total",
            "Time that the writes to the alert journal took together: does a slow disk hold up pages?",
            journal.write_time.as_secs_f64(),
        ),
    ])
}
