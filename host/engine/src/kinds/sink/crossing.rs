//! How a notice and what came of it cross between the router and a guest.

use router_alerts::{
    Condition, Severity,
    notice::{DeliveryError, LinkTarget, Notice, NoticeAlert, Occasion, Receipt},
};

use super::{Delivered, wit};
use crate::{
    kinds::rule::types,
    texts::{REASON_BYTES_MAX, truncate},
};

pub(super) fn to_wit(notice: &Notice) -> wit::Delivery {
    let receipt = notice.receipt.as_ref();
    wit::Delivery {
        now_ms: notice.now_ms,
        id: notice.id.clone(),
        occasion: occasion(&notice.occasion),
        group_key: notice.group_key.clone(),
        alerts: notice.alerts.iter().map(alert).collect(),
        more: notice.more,
        changes: notice.changes.clone(),
        links: notice
            .links
            .iter()
            .map(|link| wit::Link {
                target: target(&link.target),
                url: link.url.clone(),
            })
            .collect(),
        attempt: notice.attempt,
        deadline_ms: notice.deadline_ms,
        receipt: receipt.map(|receipt| receipt.as_str().to_owned()),
        attributes: notice.attributes.clone(),
    }
}

fn occasion(occasion: &Occasion) -> wit::Occasion {
    match occasion {
        Occasion::Firing => wit::Occasion::Firing,
        Occasion::MoreFiring => wit::Occasion::MoreFiring,
        Occasion::Escalated => wit::Occasion::Escalated,
        Occasion::Reminder => wit::Occasion::Reminder,
        Occasion::SeverityChanged(before) => wit::Occasion::SeverityChanged(severity(*before)),
        Occasion::Acknowledged(by) => wit::Occasion::Acknowledged(by.clone()),
        Occasion::Resolved => wit::Occasion::Resolved,
        Occasion::Test => wit::Occasion::Test,
        Occasion::Other(name) => wit::Occasion::Other(name.clone()),
    }
}

fn severity(severity: Severity) -> types::Severity {
    match severity {
        Severity::P1 => types::Severity::P1,
        Severity::P2 => types::Severity::P2,
        Severity::P3 => types::Severity::P3,
        Severity::P4 => types::Severity::P4,
    }
}

fn alert(alert: &NoticeAlert) -> wit::Alert {
    wit::Alert {
        condition: condition(&alert.condition),
        since_ms: alert.since_ms,
        resolved_ms: alert.resolved_ms,
        acknowledged_by: alert.acknowledged_by.clone(),
        attributes: alert.attributes.clone(),
    }
}

fn condition(condition: &Condition) -> types::Condition {
    types::Condition {
        key: condition.key.clone(),
        name: condition.name.clone(),
        severity: severity(condition.severity),
        summary: condition.summary.clone(),
        remedy: condition.remedy.clone(),
        runbook_anchor: condition.runbook_anchor.clone(),
        instance: condition.instance.as_ref().map(ToString::to_string),
        for_ms: condition.for_ms,
        attributes: condition.attributes.clone(),
    }
}

fn target(target: &LinkTarget) -> wit::LinkTarget {
    match target {
        LinkTarget::Acknowledge => wit::LinkTarget::Acknowledge,
        LinkTarget::Runbook => wit::LinkTarget::Runbook,
        LinkTarget::Alert => wit::LinkTarget::Alert,
        LinkTarget::Other(name) => wit::LinkTarget::Other(name.clone()),
    }
}

/// What a sink answers. A receipt that is none is left out: the notice was delivered all the same, and must not be sent again.
pub(super) fn from_wit(delivered: Result<Option<String>, wit::DeliveryError>) -> Delivered {
    let reason = |mut reason: String, otherwise: &str| {
        if reason.contains(char::is_control) {
            // It may hold what a stranger answered, and is one line wherever it is shown.
            reason = reason.replace(char::is_control, " ");
        }
        truncate(&mut reason, REASON_BYTES_MAX);
        if reason.is_empty() {
            otherwise.clone_into(&mut reason);
        }
        reason
    };
    let no_reason = "the sink gave no reason";
    match delivered {
        Ok(receipt) => Ok(receipt.and_then(|receipt| Receipt::new(receipt).ok())),
        Err(wit::DeliveryError::Retry(later)) => Err(DeliveryError::Retry {
            reason: reason(later.reason, no_reason),
            after_ms: later.after_ms,
        }),
        Err(wit::DeliveryError::Refused(why)) => {
            Err(DeliveryError::Refused(reason(why, no_reason)))
        }
        Err(wit::DeliveryError::Gone(why)) => Err(DeliveryError::Gone(reason(why, no_reason))),
        Err(wit::DeliveryError::Other(why)) => Err(DeliveryError::Other(reason(why, no_reason))),
    }
}

#[cfg(test)]
mod tests {
    use router_alerts::notice::{DeliveryError, RECEIPT_BYTES_MAX};

    use super::{from_wit, wit};

    #[test]
    fn what_is_too_long_or_missing_is_cut_or_replaced_and_delivers_all_the_same() {
        let receipt = "r".repeat(RECEIPT_BYTES_MAX);
        let kept = from_wit(Ok(Some(receipt.clone()))).unwrap();
        assert_eq!(kept.unwrap().as_str(), receipt);
        assert_eq!(from_wit(Ok(Some(receipt + "r"))), Ok(None));
        let long = "\u{e9}".repeat(10_000);
        let Err(DeliveryError::Refused(reason)) = from_wit(Err(wit::DeliveryError::Refused(long)))
        else {
            panic!("refused");
        };
        assert_eq!(reason.len(), 1_024);
        let two_lines = from_wit(Err(wit::DeliveryError::Other(
            "it answered 500: a\r\nb\u{1b}[2J".to_owned(),
        )));
        let one_line = "it answered 500: a  b [2J".to_owned();
        assert_eq!(two_lines, Err(DeliveryError::Other(one_line)));
        let gone = from_wit(Err(wit::DeliveryError::Gone(String::new())));
        assert_eq!(
            gone,
            Err(DeliveryError::Gone("the sink gave no reason".to_owned()))
        );
    }
}
