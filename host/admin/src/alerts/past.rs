//! Alerts that the router itself has forgotten, and deliveries that are over, as the database has them.

use std::{collections::BTreeSet, time::Duration};

use router_alerts::{
    Alert, AlertEngine, AlertId, AlertState,
    delivery::DeliveryProgress,
    history::{Happening, HistoryEntry},
};
use router_values::{AlertQuery, AlertRow, DeliveryRecord, unix_ms_now};
use serde_json::{Value, json};

use super::{AlertFilter, shown, story};
use crate::{OperationError, Operations, Problem, render::at};

/// What is over for longer stands in the database, where that is there: rows are there within milliseconds.
const IN_DATABASE_MS: u64 = 10_000;

/// How long an alert that is there is kept waiting for what only the database knows of it: the caller may be in a hurry.
const DATABASE_WAIT: Duration = Duration::from_secs(1);

/// A firing of an alert as it is shown.
pub(super) struct Shown {
    pub(super) value: Value,
    pub(super) firing: u32,
    /// The deliveries that its story speaks of.
    pub(super) deliveries: Vec<String>,
}

/// What is over, the latest first; none where the database is away.
pub(super) async fn list<O: Operations>(
    operations: &O,
    filter: AlertFilter,
    limit: usize,
) -> Result<Option<Value>, Problem> {
    let query = AlertQuery {
        before: filter.before,
        rows_max: u32::try_from(limit).unwrap_or(u32::MAX),
        severity: filter.severity.clone(),
        instance: filter.instance.clone(),
    };
    let page = match operations.alerts_page(query).await {
        Ok(page) => page,
        Err(OperationError::Unavailable { .. }) if filter.before.is_none() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let known: BTreeSet<(String, i64)> = (page.rows.iter())
        .map(|row| (row.alert.clone(), row.firing))
        .collect();
    // What is on its way into the database comes first.
    let recent_ms = unix_ms_now().saturating_sub(IN_DATABASE_MS);
    let is_first = filter.before.is_none();
    let read = move |engine: &AlertEngine, _: &_| {
        let is_recent = |alert: &&Alert| {
            let is_over_since =
                matches!(alert.state, AlertState::Resolved { at_ms, .. } if at_ms >= recent_ms);
            is_first && is_over_since && filter.takes(alert)
        };
        let recent = engine.alerts().filter(is_recent);
        let unknown = recent
            .filter(|alert| !known.contains(&(alert.id.to_string(), i64::from(alert.firing))));
        unknown.map(shown::alert).collect::<Vec<Value>>()
    };
    let recent = operations.read_alerts(read).await?;
    let total = usize::try_from(page.total).unwrap_or(0) + recent.len();
    let rows = page.rows.iter().map(|row| (Some(row.seq), alert(row)));
    let recent = recent.into_iter().map(|alert| (None, alert));
    let (seqs, alerts): (Vec<_>, Vec<_>) = recent.chain(rows).take(limit).unzip();
    let is_full = alerts.len() >= limit;
    let next = seqs.into_iter().flatten().next_back().filter(|_| is_full);
    Ok(Some(
        json!({ "alerts": alerts, "total": total, "next": next }),
    ))
}

/// One firing of an alert, or its last one, with its story.
pub(super) async fn one<O: Operations>(
    operations: &O,
    id: AlertId,
    firing: Option<u32>,
) -> Result<Shown, Problem> {
    let row = operations.alert_row(id, firing).await?;
    let row = row.ok_or_else(|| {
        Problem::not_found(format!(
            "there is no alert {id}; GET /api/alerts lists those there are"
        ))
    })?;
    let mut value = alert(&row);
    let entries: Vec<Value> = serde_json::from_str(&row.story).unwrap_or_default();
    // Entries of another version are left out, and cost no others their place.
    let entries = entries.into_iter();
    let entries: Vec<HistoryEntry> = entries
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect();
    value["story"] = entries.iter().map(story::entry).collect();
    Ok(Shown {
        value,
        firing: u32::try_from(row.firing).unwrap_or(0),
        deliveries: delivery_ids(entries.iter()),
    })
}

/// The deliveries that a story speaks of, from the last time that it fired on.
pub(super) fn delivery_ids<'a>(story: impl Iterator<Item = &'a HistoryEntry>) -> Vec<String> {
    let story: Vec<&HistoryEntry> = story.collect();
    let is_fired = |entry: &&HistoryEntry| matches!(entry.what, Happening::Fired { .. });
    let began = story.iter().rposition(is_fired).unwrap_or(0);
    let ids = story
        .iter()
        .skip(began)
        .flat_map(|entry| match &entry.what {
            Happening::Notified { delivery, .. } => vec![delivery.to_string()],
            Happening::Delivery {
                delivery, progress, ..
            } => {
                let other = match progress {
                    DeliveryProgress::FellBack { delivery, .. } => Some(delivery.to_string()),
                    _ => None,
                };
                other.into_iter().chain([delivery.to_string()]).collect()
            }
            _ => Vec::new(),
        });
    let ids: BTreeSet<String> = ids.collect();
    ids.into_iter().collect()
}

/// How deliveries ended; null where the database does not say it in time.
pub(super) async fn ended<O: Operations>(
    operations: &O,
    about: (AlertId, u32),
    ids: Vec<String>,
) -> Value {
    let read = operations.delivery_records(about, ids);
    let read = tokio::time::timeout(DATABASE_WAIT, read).await;
    let Ok(Ok(records)) = read else {
        return Value::Null;
    };
    let is_over =
        |one: &&DeliveryRecord| matches!(&*one.outcome, "delivered" | "cancelled" | "collapsed");
    records.iter().filter(is_over).map(delivery).collect()
}

fn delivery(record: &DeliveryRecord) -> Value {
    json!({
        "id": record.id,
        "sink": record.sink,
        "route": text(&record.route),
        "occasion": record.occasion,
        "severity": record.severity,
        "decidedAt": moment(record.decided_ms),
        "outcome": record.outcome,
        "attempts": record.attempts,
        "firstAttempt": record.first_attempt_ms.map(moment),
        "lastAttempt": record.last_attempt_ms.map(moment),
        "lastFailure": text(&record.answer),
    })
}

/// As [`shown::alert`], of what is not under way any more.
fn alert(row: &AlertRow) -> Value {
    let attributes: Value = serde_json::from_str(&row.attributes).unwrap_or_else(|_| json!({}));
    json!({
        "id": row.alert,
        "key": row.key,
        "name": row.name,
        "severity": row.severity,
        "state": row.state,
        "summary": row.summary,
        "remedy": row.remedy,
        "runbook": text(&row.runbook),
        "versionId": text(&row.instance),
        "rule": row.rule,
        "since": moment(row.since_ms),
        "firedAt": moment(row.fired_ms),
        "firing": row.firing,
        "acknowledged": Value::Null,
        "resolvedAt": row.resolved_ms.map(moment),
        "stale": false,
        "flapping": false,
        "overdue": false,
        "muted": Value::Null,
        "notified": [],
        "nextEscalation": Value::Null,
        "attributes": attributes,
    })
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn moment(unix_ms: i64) -> String {
    at(u64::try_from(unix_ms).unwrap_or(0))
}
