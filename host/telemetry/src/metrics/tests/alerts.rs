//! Alerts: every closed label is there from the start, what is reported is shown, and series go with what they are of.

use std::time::Duration;

use router_alerts::{
    Severity,
    alert::AlertState,
    delivery::SinkHold,
    event::{Finding, Irregularity},
    history::MutedBy,
};
use router_core::Now;

use super::exposition::Exposition;
use crate::{AlertFigures, AttemptResult, DeliveryOutcome, JournalFigures, Metrics, SinkFigures};

fn scrape(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.encode(Now::at(1_000)))
}

fn named(metrics: &Metrics, rules: &[&str], sinks: &[&str]) {
    let (rules, sinks) = (rules.iter().copied(), sinks.iter().copied());
    metrics.alerts().set_names(rules, sinks);
}

#[test]
fn every_closed_label_is_there_before_anything_happened() {
    let metrics = Metrics::new();
    named(&metrics, &["default-alerts"], &["console", "oncall"]);
    let shown = scrape(&metrics);
    let (severities, sinks) = (Severity::ALL.len(), 2);
    for (family, count) in [
        ("mcp_alerts", severities * AlertState::NAMES.len()),
        ("mcp_alerts_fired_total", severities),
        ("mcp_alerts_overdue", 2),
        ("mcp_alerts_muted", MutedBy::NAMES.len()),
        ("mcp_alerts_stale", 1),
        ("mcp_alerts_flapping", 1),
        ("mcp_alert_silences", 1),
        ("mcp_alert_deliveries_waiting", sinks),
        ("mcp_alert_delivery_oldest_seconds", sinks),
        ("mcp_alert_dead_letters", sinks),
        ("mcp_alert_sink_held", sinks * SinkHold::ALL.len()),
        (
            "mcp_alert_deliveries_total",
            sinks * DeliveryOutcome::ALL.len(),
        ),
        (
            "mcp_alert_delivery_attempts_total",
            sinks * AttemptResult::ALL.len(),
        ),
        ("mcp_alert_first_delivery_seconds_count", severities),
        ("mcp_alert_rule_evaluation_seconds_count", 1),
        ("mcp_alert_audit_findings", Irregularity::ALL.len()),
        ("mcp_alert_loop_answering", 1),
        ("mcp_alert_journal_refusing", 1),
    ] {
        assert_eq!(shown.count(family), count, "{family}");
        assert!(
            shown.of(family).all(|sample| sample.value == 0.0),
            "{family}"
        );
    }
    // Not in 1970: a rule on its age would fire at each start.
    let audited = shown.value("mcp_alert_audit_timestamp_seconds", &[]);
    assert!(audited.unwrap() > 1_700_000_000.0, "{audited:?}");
}

fn reported() -> AlertFigures {
    let sink = SinkFigures {
        waiting: 3,
        oldest_ms: Some(router_values::unix_ms_now() - 90_000),
        dead_letters: 2,
        held: Some(SinkHold::Breaker),
    };
    AlertFigures {
        by_state: [
            ((Severity::P1, "firing"), 2),
            ((Severity::P3, "pending"), 7),
        ]
        .into(),
        overdue: [(Severity::P4, 5)].into(),
        stale: 1,
        flapping: 4,
        muted: [("silence", 6)].into(),
        silences: 8,
        rules_answered_ms: [
            ("default-alerts".to_owned(), 1_800_000_000_500),
            ("removed".to_owned(), 1),
        ]
        .into(),
        sinks: [("oncall".to_owned(), sink), ("removed".to_owned(), sink)].into(),
    }
}

#[test]
fn what_the_loop_reports_is_shown_and_stays_when_it_reports_no_more() {
    let metrics = Metrics::new();
    named(&metrics, &["default-alerts"], &["console", "oncall"]);
    let journal = |writes| JournalFigures {
        is_refusing: true,
        file_bytes: 4_096,
        used_share: 0.25,
        writes,
        write_time: Duration::from_millis(1_500),
    };
    let finding = |what| Finding { alert: None, what };
    let found = [Irregularity::StepOverdue, Irregularity::StepOverdue].map(finding);
    metrics.alerts().set_audit(1_800_000_060_000, &found);
    metrics.alerts().report(journal(9), Some(reported()));
    let check = |shown: &Exposition, is_answering: f64, writes: f64| {
        for (family, labels, value) in [
            (
                "mcp_alerts",
                &[("severity", "P1"), ("state", "firing")][..],
                2.0,
            ),
            (
                "mcp_alerts",
                &[("severity", "P3"), ("state", "pending")],
                7.0,
            ),
            ("mcp_alerts_overdue", &[("severity", "P4")], 5.0),
            ("mcp_alerts_stale", &[], 1.0),
            ("mcp_alerts_flapping", &[], 4.0),
            ("mcp_alerts_muted", &[("by", "silence")], 6.0),
            ("mcp_alert_silences", &[], 8.0),
            ("mcp_alert_deliveries_waiting", &[("sink", "oncall")], 3.0),
            ("mcp_alert_deliveries_waiting", &[("sink", "console")], 0.0),
            ("mcp_alert_dead_letters", &[("sink", "oncall")], 2.0),
            (
                "mcp_alert_sink_held",
                &[("sink", "oncall"), ("by", "breaker")],
                1.0,
            ),
            (
                "mcp_alert_sink_held",
                &[("sink", "oncall"), ("by", "gone")],
                0.0,
            ),
            (
                "mcp_alert_rule_answered_timestamp_seconds",
                &[("rule", "default-alerts")],
                1_800_000_000.5,
            ),
            (
                "mcp_alert_audit_findings",
                &[("finding", "step_overdue")],
                2.0,
            ),
            ("mcp_alert_audit_timestamp_seconds", &[], 1_800_000_060.0),
            ("mcp_alert_journal_refusing", &[], 1.0),
            ("mcp_alert_journal_bytes", &[], 4_096.0),
            ("mcp_alert_journal_used_ratio", &[], 0.25),
            ("mcp_alert_journal_writes_total", &[], writes),
            ("mcp_alert_journal_write_seconds_total", &[], 1.5),
            ("mcp_alert_loop_answering", &[], is_answering),
        ] {
            assert_eq!(
                shown.value(family, labels),
                Some(value),
                "{family} {labels:?}"
            );
        }
        let oldest = shown.value("mcp_alert_delivery_oldest_seconds", &[("sink", "oncall")]);
        let oldest = oldest.unwrap();
        assert!((90.0..120.0).contains(&oldest), "{oldest}");
        // What is not configured has no series, whatever the loop says.
        let labels = shown
            .samples
            .iter()
            .flat_map(|sample| sample.labels.values());
        assert_eq!(labels.filter(|value| *value == "removed").count(), 0);
    };
    check(&scrape(&metrics), 1.0, 9.0);
    metrics.alerts().report(journal(10), None);
    check(&scrape(&metrics), 0.0, 10.0);
}

#[test]
fn what_is_counted_goes_with_its_sink_or_rule_and_begins_anew_when_that_comes_back() {
    let metrics = Metrics::new();
    let alerts = metrics.alerts();
    named(&metrics, &["mine", "yours"], &["console", "oncall"]);
    let count = || {
        alerts.count_fired(Severity::P2);
        for sink in ["oncall", "console", "nobody's"] {
            alerts.count_attempt(sink, AttemptResult::ServerError);
            alerts.count_attempt(sink, AttemptResult::Delivered);
            alerts.count_outcome(sink, DeliveryOutcome::Delivered);
        }
        for rule in ["mine", "yours", "nobody's"] {
            alerts.observe_evaluation(rule, Duration::from_millis(3));
        }
        alerts.observe_first_delivery(Severity::P1, Duration::from_millis(40));
    };
    count();
    let attempts = |shown: &Exposition, sink| {
        let labels = [("sink", sink), ("result", "server_error")];
        shown.value("mcp_alert_delivery_attempts_total", &labels)
    };
    let answered = |shown: &Exposition, rule| {
        let labels = [("rule", rule), ("le", "0.005")];
        shown.value("mcp_alert_rule_evaluation_seconds_bucket", &labels)
    };
    let shown = scrape(&metrics);
    assert_eq!(attempts(&shown, "oncall"), Some(1.0));
    assert_eq!(attempts(&shown, "nobody's"), None);
    assert_eq!(answered(&shown, "mine"), Some(1.0));
    assert_eq!(answered(&shown, "nobody's"), None);
    let labels = [("severity", "P1"), ("le", "0.05")];
    let in_time = shown.value("mcp_alert_first_delivery_seconds_bucket", &labels);
    assert_eq!(in_time, Some(1.0));

    // A reload takes one of each out; what is counted of it meanwhile is nobody's.
    named(&metrics, &["mine"], &["console"]);
    count();
    let shown = scrape(&metrics);
    assert_eq!(
        (attempts(&shown, "oncall"), answered(&shown, "yours")),
        (None, None)
    );
    assert_eq!(attempts(&shown, "console"), Some(2.0));
    assert_eq!(answered(&shown, "mine"), Some(2.0));
    let fired = shown.value("mcp_alerts_fired_total", &[("severity", "P2")]);
    assert_eq!(fired, Some(2.0));

    named(&metrics, &["mine", "yours"], &["console", "oncall"]);
    let shown = scrape(&metrics);
    assert_eq!(attempts(&shown, "oncall"), Some(0.0));
    assert_eq!(answered(&shown, "yours"), Some(0.0));
    named(&metrics, &[], &[]);
    assert_eq!(
        scrape(&metrics).count("mcp_alert_rule_evaluation_seconds_count"),
        0
    );
}
