//! Alerts and deliveries as rows of the database: one for each firing, one for each message to a sink.

#[cfg(test)]
mod tests;

use router_alerts::{
    Alert, AlertEngine, AlertState,
    delivery::{DeliveryProgress, DeliveryReport},
    history::{Happening, HistoryEntry},
    record::{Record, RecordChange},
};
use router_values::{AlertRow, DeliveryRecord};

use super::{outbox::DatabaseRow, published};

/// The rows of a step that the engine has just made.
pub(crate) fn of_record(record: &Record, engine: &AlertEngine) -> Vec<DatabaseRow> {
    let changed = record.changes.iter().filter_map(|change| match change {
        RecordChange::Alert { alert, history } => Some((engine.alert(alert.id)?, history.len())),
        _ => None,
    });
    let rows = changed.flat_map(|(alert, fresh)| of_alert(alert, fresh, record.at_ms));
    rows.map(DatabaseRow::Alert).collect()
}

/// The present firing, and those that the last `fresh` entries of the history brought to an end without a resolve.
fn of_alert(alert: &Alert, fresh: usize, at_ms: u64) -> Vec<AlertRow> {
    let history: Vec<&HistoryEntry> = alert.history().collect();
    let is_firing = |entry: &HistoryEntry| matches!(entry.what, Happening::Fired { .. });
    let known = history.len().saturating_sub(fresh);
    // The most frequent changes of one that is open, who is notified and what becomes of that, are in its story alone. Without an entry it
    // is the condition that says something else.
    if alert.is_open() && fresh > 0 && !history[known..].iter().any(|entry| is_said(&entry.what)) {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for (place, next) in history.iter().enumerate().skip(known) {
        let before = history[..place].iter().rposition(|entry| is_firing(entry));
        if let Some(before) = before.filter(|_| is_firing(next)) {
            rows.extend(outdone(alert, &history[before..place], next.at_ms, at_ms));
        }
    }
    let began = history.iter().rposition(|entry| is_firing(entry));
    rows.extend(present(alert, &history[began.unwrap_or(0)..], at_ms));
    rows
}

/// The row of an alert as it is.
pub(crate) fn of_present(alert: &Alert, at_ms: u64) -> Option<DatabaseRow> {
    let row = of_alert(alert, 0, at_ms).pop();
    row.map(DatabaseRow::Alert)
}

/// Whether the row of an alert that is open says what happened.
fn is_said(what: &Happening) -> bool {
    matches!(
        what,
        Happening::Fired { .. }
            | Happening::SeverityChanged { .. }
            | Happening::Acknowledged { .. }
            | Happening::Unacknowledged { .. }
            | Happening::AckExpired { .. }
    )
}

/// The present firing; none where the alert does not fire (again) yet.
fn present(alert: &Alert, entries: &[&HistoryEntry], at_ms: u64) -> Option<AlertRow> {
    let fired_ms = alert.fired_ms.filter(|_| alert.firing > 0)?;
    let row = AlertRow {
        severity: alert.severity.to_string(),
        state: alert.state.as_str().to_owned(),
        ..base(alert, alert.firing, fired_ms, entries, at_ms)
    };
    Some(match &alert.state {
        AlertState::Pending => return None,
        AlertState::Firing | AlertState::Acknowledged { .. } => row,
        AlertState::Resolved { at_ms, cause, .. } => {
            // A condition that came back, and not for long enough to fire, is no second end.
            let first = entries.iter().find_map(|entry| match &entry.what {
                Happening::Resolved { cause } => Some((entry.at_ms, cause)),
                _ => None,
            });
            let (over_ms, cause) = first.unwrap_or((*at_ms, cause));
            AlertRow {
                resolved_ms: Some(signed(over_ms)),
                resolved_because: published::because(cause),
                story: story(entries),
                ..row
            }
        }
    })
}

/// A firing in whose place a more severe one came.
fn outdone(alert: &Alert, entries: &[&HistoryEntry], over_ms: u64, at_ms: u64) -> Option<AlertRow> {
    let is_over = |entry: &&HistoryEntry| matches!(entry.what, Happening::Resolved { .. });
    let (first, rest) = entries.split_first()?;
    let Happening::Fired { firing, severity } = first.what else {
        return None;
    };
    if rest.iter().any(is_over) {
        return None;
    }
    Some(AlertRow {
        severity: severity.to_string(),
        state: "resolved".to_owned(),
        resolved_ms: Some(signed(over_ms)),
        resolved_because: "it fires anew, more severe".to_owned(),
        story: story(entries),
        ..base(alert, firing, first.at_ms, entries, at_ms)
    })
}

fn base(
    alert: &Alert,
    firing: u32,
    fired_ms: u64,
    entries: &[&HistoryEntry],
    at_ms: u64,
) -> AlertRow {
    let condition = &alert.condition;
    let acknowledged = entries.iter().rev().find_map(|entry| match &entry.what {
        Happening::Acknowledged { by, .. } => Some((by.clone(), signed(entry.at_ms))),
        _ => None,
    });
    let attributes: serde_json::Map<String, serde_json::Value> = (condition.attributes.iter())
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    let (acknowledged_by, acknowledged_ms) = acknowledged.unzip();
    AlertRow {
        alert: alert.id.to_string(),
        firing: firing.into(),
        key: condition.key.clone(),
        rule: alert.rule.to_string(),
        name: condition.name.clone(),
        instance: (condition.instance.as_ref()).map_or_else(String::new, ToString::to_string),
        summary: condition.summary.clone(),
        remedy: condition.remedy.clone(),
        runbook: condition.runbook_anchor.clone().unwrap_or_default(),
        attributes: serde_json::Value::Object(attributes).to_string(),
        since_ms: signed(alert.since_ms.min(fired_ms)),
        fired_ms: signed(fired_ms),
        acknowledged_by: acknowledged_by.unwrap_or_default(),
        acknowledged_ms,
        at_ms: signed(at_ms),
        ..AlertRow::default()
    }
}

fn story(entries: &[&HistoryEntry]) -> String {
    serde_json::to_string(entries).expect("a history holds only texts and numbers")
}

/// What became of a delivery; none where that is no news for the database.
pub(crate) fn of_report(report: &DeliveryReport, at_ms: u64) -> Option<DatabaseRow> {
    let (outcome, attempts, answer) = match &report.progress {
        DeliveryProgress::Attempted { attempt } => ("sending", *attempt, String::new()),
        DeliveryProgress::Failed { attempt, error, .. } => ("failed", *attempt, error.to_string()),
        DeliveryProgress::Delivered { attempt } => ("delivered", *attempt, String::new()),
        DeliveryProgress::DeadLetter { reason, .. } => ("dead_letter", 0, reason.clone()),
        DeliveryProgress::Requeued { .. } => ("requeued", 0, String::new()),
        DeliveryProgress::Cancelled => ("cancelled", 0, String::new()),
        DeliveryProgress::Collapsed { .. } => ("collapsed", 0, String::new()),
        // It is the other sink's delivery that says more; and what waits is in the router.
        DeliveryProgress::FellBack { .. } | DeliveryProgress::Held { .. } => return None,
    };
    let delivery = &report.content;
    let about = delivery.news.first()?;
    let began = matches!(report.progress, DeliveryProgress::Attempted { .. });
    let began_ms = began.then(|| signed(at_ms));
    Some(DatabaseRow::Delivery(DeliveryRecord {
        id: delivery.id.to_string(),
        alert: about.alert.to_string(),
        firing: about.firing.into(),
        step: delivery.id.step().into(),
        sink: delivery.sink.to_string(),
        route: delivery.route.as_deref().unwrap_or_default().to_owned(),
        occasion: delivery.occasion.as_str().to_owned(),
        severity: delivery.severity.to_string(),
        decided_ms: signed(delivery.decided_ms),
        outcome: outcome.to_owned(),
        attempts: attempts.into(),
        first_attempt_ms: began_ms,
        last_attempt_ms: began_ms,
        answer,
        at_ms: signed(at_ms),
        ..DeliveryRecord::default()
    }))
}

fn signed(unix_ms: u64) -> i64 {
    i64::try_from(unix_ms).unwrap_or(i64::MAX)
}
