//! What of alerts is an event and stands in the history: that one fires, is acknowledged, or is over; and what became of deliveries.

use router_alerts::{
    Alert,
    delivery::{DeliveryProgress, DeliveryReport},
    history::{Happening, HistoryEntry, ResolveCause},
    record::{Record, RecordChange},
};
use router_values::HistoryRow;

const ALERT: &str = "alert";
const DELIVERY: &str = "delivery";

/// Whether an event is about an alert or a delivery: rules are not asked anew because of those.
pub(crate) fn is_of_alerts(row: &HistoryRow) -> bool {
    row.axis == ALERT || row.axis == DELIVERY
}

/// The events of a step.
pub(crate) fn rows(record: &Record) -> Vec<HistoryRow> {
    let changes = record.changes.iter();
    let alerts = changes.filter_map(|change| match change {
        RecordChange::Alert { alert, history } => Some((alert, history)),
        _ => None,
    });
    alerts
        .flat_map(|(alert, history)| history.iter().filter_map(|entry| row(alert, entry)))
        .collect()
}

fn row(alert: &Alert, entry: &HistoryEntry) -> Option<HistoryRow> {
    let (to, detail) = match &entry.what {
        Happening::Fired { severity, .. } => ("firing", severity.to_string()),
        Happening::Acknowledged { by, .. } => ("acknowledged", format!("by {by}")),
        Happening::Unacknowledged { by } => {
            ("firing", format!("acknowledgement taken back by {by}"))
        }
        Happening::AckExpired { by } => ("firing", format!("the acknowledgement of {by} expired")),
        Happening::Resolved { cause } => ("resolved", because(cause)),
        _ => return None,
    };
    let condition = &alert.condition;
    let instance = condition.instance.as_ref();
    Some(HistoryRow {
        axis: ALERT.to_owned(),
        instance: instance.map_or_else(String::new, ToString::to_string),
        subject: condition.name.clone(),
        to: to.to_owned(),
        reason: condition.summary.clone(),
        detail,
        ..HistoryRow::default()
    })
}

/// Why an alert is over, for people.
pub(crate) fn because(cause: &ResolveCause) -> String {
    match cause {
        ResolveCause::Gone => "the condition is gone".to_owned(),
        ResolveCause::RuleRemoved => "its rule was taken out of alerts.rules".to_owned(),
        ResolveCause::ByHand(by) => format!("closed by {by}"),
    }
}

/// The event of what became of a delivery: that it arrived, was given up, or is sent again by an operator. Attempts that fail are in the
/// alert's story and in the table of deliveries: a receiver that is down for a day makes hundreds.
pub(crate) fn of_report(report: &DeliveryReport) -> Option<HistoryRow> {
    let (to, detail) = match &report.progress {
        DeliveryProgress::Delivered { attempt } => ("delivered", format!("attempt {attempt}")),
        DeliveryProgress::DeadLetter { reason, .. } => ("dead_letter", reason.clone()),
        DeliveryProgress::Requeued { by } => ("requeued", format!("by {by}")),
        DeliveryProgress::FellBack { to, .. } => ("fell_back", format!("to {to}")),
        _ => return None,
    };
    let delivery = &report.content;
    let first = delivery.listed.first().map(|alert| &alert.condition);
    let instance = first.and_then(|condition| condition.instance.as_ref());
    let name = first.map_or("", |condition| condition.name.as_str());
    Some(HistoryRow {
        axis: DELIVERY.to_owned(),
        instance: instance.map_or_else(String::new, ToString::to_string),
        subject: delivery.sink.to_string(),
        to: to.to_owned(),
        reason: format!(
            "{} {name} ({})",
            delivery.severity,
            delivery.occasion.as_str()
        ),
        detail: format!("{}: {detail}", delivery.id),
        ..HistoryRow::default()
    })
}
