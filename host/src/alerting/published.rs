//! What of alerts is an event and stands in the history: that one fires, is acknowledged, or is over.

use router_alerts::{
    Alert,
    history::{Happening, HistoryEntry, ResolveCause},
    record::{Record, RecordChange},
};
use router_values::HistoryRow;

/// Events about alerts: rules are not asked anew because of them.
pub(crate) const AXIS: &str = "alert";

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
        Happening::Resolved { cause } => (
            "resolved",
            match cause {
                ResolveCause::Gone => "the condition is gone".to_owned(),
                ResolveCause::RuleRemoved => "its rule was taken out of alerts.rules".to_owned(),
                ResolveCause::ByHand(by) => format!("closed by {by}"),
            },
        ),
        _ => return None,
    };
    let condition = &alert.condition;
    let instance = condition.instance.as_ref();
    Some(HistoryRow {
        axis: AXIS.to_owned(),
        instance: instance.map_or_else(String::new, ToString::to_string),
        subject: condition.name.clone(),
        to: to.to_owned(),
        reason: condition.summary.clone(),
        detail,
        ..HistoryRow::default()
    })
}
