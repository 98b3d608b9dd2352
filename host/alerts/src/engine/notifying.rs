//! Handing over: what is due in a group becomes one delivery, and each alert in it was heard of.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    AlertEngine,
    groups::{GroupId, Pending},
};
use crate::{
    alert::{Alert, Heard, News},
    condition::Severity,
    delivery::{Delivery, DeliveryOrder, Precedence},
    history::Happening,
    identity::{AlertId, AlertRef, DeliveryId},
    notice::{FIRING, LISTED_MAX, NoticeAlert, Occasion},
    planted::Planted,
};

/// What waits in a group that is due.
type Due = BTreeMap<AlertRef, Pending>;

impl AlertEngine {
    pub(super) fn flush_groups(&mut self) {
        while let Some((group, due)) = self.groups.take_due(self.now_ms) {
            self.touched.extend(due.keys().map(|about| about.alert));
            if self.settings.sinks.contains_key(&group.0) {
                // Ends go apart: who gets a firing by a fallback is to hear that it is over, who gets an end is not.
                let (ends, due): (Due, Due) = due
                    .into_iter()
                    .partition(|(_, pending)| pending.news == News::Resolved);
                self.hand_over(&group, &due);
                self.hand_over(&group, &ends);
            }
            self.groups.close_if_over(&group);
        }
    }

    fn hand_over(&mut self, group: &GroupId, due: &Due) {
        let Some((lead, occasion, precedence)) = self.occasion(group, due) else {
            return;
        };
        let step = match self.alerts.get_mut(&lead.alert) {
            Some(alert) => {
                alert.step += 1;
                alert.step
            }
            None => return,
        };
        let id = DeliveryId::new(lead, step, &group.0);
        let (listed, more) = self.list(group, due);
        let severity = listed.iter().map(|(severity, _)| *severity).min();
        let mut news: Vec<AlertRef> = due.keys().copied().filter(|about| *about != lead).collect();
        news.insert(0, lead);
        let delivery = Delivery {
            id: id.clone(),
            sink: group.0.clone(),
            route: self.groups.get(group).and_then(|group| group.route.clone()),
            group_key: group.1.clone(),
            occasion: occasion.clone(),
            precedence,
            severity: severity.unwrap_or(Severity::P4),
            news,
            listed: listed.into_iter().map(|(_, alert)| alert).collect(),
            more,
            changes: self.recent_changes(),
            decided_ms: self.now_ms,
            not_before_ms: self.now_ms,
        };
        self.order(DeliveryOrder::Deliver(Arc::new(delivery)));
        for (about, pending) in due {
            self.heard(group, *about, &pending.news, &id, &occasion);
        }
    }

    /// Why it is delivered, by the most important of what is news; and whose news that is.
    fn occasion(&self, group: &GroupId, due: &Due) -> Option<(AlertRef, Occasion, Precedence)> {
        let (lead, pending) = due.iter().min_by_key(|(_, pending)| &pending.news)?;
        let members = self
            .groups
            .get(group)
            .map_or(0, |group| group.members.len());
        let (occasion, precedence) = match &pending.news {
            News::First if members == 0 => (Occasion::Firing, Precedence::FirstFiring),
            News::First => (Occasion::MoreFiring, Precedence::FirstFiring),
            News::Escalated => (Occasion::Escalated, Precedence::FirstFiring),
            News::Severity { from } => (Occasion::SeverityChanged(*from), Precedence::Update),
            News::Reminder => (Occasion::Reminder, Precedence::Reminder),
            News::Acknowledged { by } => (Occasion::Acknowledged(by.clone()), Precedence::Update),
            News::Resolved if members == 0 => (Occasion::Resolved, Precedence::Resolve),
            News::Resolved => (
                Occasion::Other("some_resolved".to_owned()),
                Precedence::Resolve,
            ),
        };
        Some((*lead, occasion, precedence))
    }

    /// What is shown: what is news first, then what else fires in the group; and how many more there are.
    fn list(&self, group: &GroupId, due: &Due) -> (Vec<(Severity, NoticeAlert)>, u32) {
        let limit = if self.bugs.has(Planted::ListsAll) {
            usize::MAX
        } else {
            LISTED_MAX
        };
        let mut news: Vec<(&Alert, AlertRef, bool)> = due
            .iter()
            .filter_map(|(about, pending)| {
                let is_over = pending.news == News::Resolved;
                Some((self.alerts.get(&about.alert)?, *about, is_over))
            })
            .collect();
        news.sort_by_key(|(alert, about, is_over)| (*is_over, alert.severity, *about));
        let is_news = |id: AlertId| {
            let from = AlertRef {
                alert: id,
                firing: 0,
            };
            due.range(from..)
                .next()
                .is_some_and(|(about, _)| about.alert == id)
        };
        let members = self.groups.get(group).map(|group| &group.members);
        let others = members.into_iter().flatten().filter(|id| !is_news(**id));
        let total = news.len() + others.clone().count();
        let mut listed: Vec<_> = news
            .into_iter()
            .take(limit)
            .map(|(alert, about, is_over)| {
                let closing = |one: &&crate::alert::Closing| {
                    one.firing == about.firing && one.sink == group.0
                };
                let resolved_ms = match alert.closings.iter().find(closing) {
                    Some(closing) if is_over => Some(closing.at_ms),
                    _ => None,
                };
                (alert.severity, show(alert, about.firing, resolved_ms))
            })
            .collect();
        let room = limit.saturating_sub(listed.len());
        let others = others.filter_map(|id| self.alerts.get(id)).take(room);
        listed.extend(others.map(|alert| (alert.severity, show(alert, alert.firing, None))));
        let more = total.saturating_sub(listed.len());
        (listed, u32::try_from(more).unwrap_or(u32::MAX))
    }

    /// A sink was sent this.
    fn heard(
        &mut self,
        group: &GroupId,
        about: AlertRef,
        news: &News,
        delivery: &DeliveryId,
        occasion: &Occasion,
    ) {
        let (sink, group_key) = group;
        let now_ms = self.now_ms;
        let Some(alert) = self.alerts.get_mut(&about.alert) else {
            return;
        };
        let route = self.groups.get(group).and_then(|group| group.route.clone());
        alert.note(
            now_ms,
            Happening::Notified {
                sink: sink.clone(),
                occasion: occasion.clone(),
                delivery: delivery.clone(),
            },
        );
        if *news == News::Resolved {
            alert
                .closings
                .retain(|one| !(one.sink == *sink && one.firing == about.firing));
            return;
        }
        alert.needs.remove(sink);
        let severity = alert.severity;
        let acknowledged = alert.acknowledged_by().is_some();
        let heard = alert.heard.entry(sink.clone()).or_insert_with(|| Heard {
            route,
            group_key: group_key.clone(),
            group_severity: severity,
            severity,
            acknowledged,
            at_ms: now_ms,
            delivery: delivery.clone(),
            refused: false,
        });
        heard.at_ms = now_ms;
        heard.severity = severity;
        heard.refused = false;
        // Whatever it is, it says who is on it.
        heard.acknowledged = acknowledged;
        self.groups.add_member(group, about.alert, now_ms);
    }
}

/// An alert as a sink is shown it.
pub(super) fn show(alert: &Alert, firing: u32, resolved_ms: Option<u64>) -> NoticeAlert {
    let mut attributes = vec![
        ("alert".to_owned(), alert.id.to_string()),
        (FIRING.to_owned(), firing.to_string()),
        ("severity".to_owned(), alert.severity.to_string()),
    ];
    if alert.stale {
        attributes.push(("stale".to_owned(), "true".to_owned()));
    }
    if alert.flapping {
        attributes.push(("flapping".to_owned(), "true".to_owned()));
    }
    let acknowledged_by = match resolved_ms {
        None => alert.acknowledged_by().map(str::to_owned),
        Some(_) => None,
    };
    NoticeAlert {
        condition: alert.condition.clone(),
        since_ms: alert.since_ms,
        resolved_ms,
        acknowledged_by,
        attributes,
    }
}
