//! Going on where an earlier engine was: from its records the same alerts come again, and from the alerts the same groups.

use std::collections::BTreeMap;

use super::{AlertEngine, OWN_RULE, groups::GroupId};
use crate::{
    alert::{Alert, AlertState},
    delivery::DeliveryOrder,
    identity::AlertId,
    planted::Planted,
    record::{Record, RecordChange},
    settings::HISTORY_MAX,
};

impl AlertEngine {
    /// Takes in what the journal has, the oldest first. An alert that was raised since the start (the journal took longer than it is
    /// waited for) goes on under the numbers of the one before.
    pub(super) fn restore(&mut self, records: Vec<Record>) {
        let mut restored: BTreeMap<AlertId, Alert> = BTreeMap::new();
        let mut groups: BTreeMap<GroupId, u64> = BTreeMap::new();
        for order in records.iter().flat_map(|record| &record.orders) {
            if let DeliveryOrder::Deliver(delivery) = order {
                let group = (delivery.sink.clone(), delivery.group_key.clone());
                groups.insert(group, delivery.decided_ms);
            }
        }
        for change in records.into_iter().flat_map(|record| record.changes) {
            match change {
                RecordChange::Alert { alert, history } => {
                    let mut alert = *alert;
                    if let Some(before) = restored.remove(&alert.id) {
                        alert.history = before.history;
                    }
                    alert.history.extend(history);
                    let excess = alert.history.len().saturating_sub(HISTORY_MAX);
                    alert.history.drain(..excess);
                    restored.insert(alert.id, alert);
                }
                RecordChange::Forgotten(tombstone) => {
                    restored.remove(&tombstone.alert);
                    if tombstone.firing > 0 {
                        self.tombstones.put(tombstone);
                    }
                }
                RecordChange::GroupHeard {
                    sink,
                    group_key,
                    at_ms,
                } => {
                    let known_ms = groups.entry((sink, group_key)).or_default();
                    *known_ms = at_ms.max(*known_ms);
                }
                RecordChange::FiringFloor(firing) => self.tombstones.raise_floor(firing),
                RecordChange::Silence { id, silence } => {
                    self.silence_last = self.silence_last.max(id.0);
                    if silence.ends_ms > self.now_ms {
                        self.silences.insert(id, silence);
                    }
                }
                RecordChange::SilenceEnded(id) => {
                    self.silences.remove(&id);
                }
            }
        }
        for (id, mut alert) in restored {
            self.tombstones.take(id);
            if self.bugs.has(Planted::RestartForgets) {
                alert.escalation = None;
                alert.recall = alert.state == AlertState::Firing;
            }
            if let Some(newer) = self.alerts.remove(&id) {
                self.merge(&mut alert, newer);
            }
            self.take_over(alert);
        }
        for (group, at_ms) in groups {
            self.groups.note_heard(&group, at_ms);
        }
        self.journal_read = true;
        self.silences_changed();
        self.touch_all();
    }

    /// The alert fired again before the journal was read.
    fn merge(&mut self, alert: &mut Alert, newer: Alert) {
        if let Some(at_ms) = newer.wake_ms {
            self.timers.remove(&(at_ms, newer.id));
        }
        for (sink, need) in &newer.needs {
            let group = (sink.clone(), need.group_key.clone());
            self.groups.remove(&group, need.about);
        }
        alert.condition = newer.condition;
        alert.severity = alert.severity.min(newer.severity);
        alert.rule = newer.rule;
        alert.step = alert.step.max(newer.step);
        if newer.fired_ms.is_some() && !alert.is_open() {
            alert.state = newer.state;
            alert.fired_ms = newer.fired_ms;
            alert.firing = alert.firing.max(newer.firing) + 1;
        }
        for (sink, heard) in newer.heard {
            alert.heard.entry(sink).or_insert(heard);
        }
        alert.closings.extend(newer.closings);
        alert.history.extend(newer.history);
        alert.dirty = true;
    }

    fn take_over(&mut self, alert: Alert) {
        let id = alert.id;
        let rule = alert.rule.clone();
        for (sink, heard) in &alert.heard {
            let group = (sink.clone(), heard.group_key.clone());
            let join = if self.settings.is_alone(sink) {
                None
            } else {
                Some(self.join_key(&alert, sink, heard.route.as_ref(), heard.group_severity))
            };
            self.groups.open(&group, join, heard.route.as_ref());
            self.groups.add_member(&group, id, heard.at_ms);
        }
        for closing in &alert.closings {
            let group = (closing.sink.clone(), closing.group_key.clone());
            self.groups.open(&group, None, closing.route.as_ref());
            self.groups.note_heard(&group, closing.heard_ms);
        }
        let is_asked = match self.rules.get_mut(&rule) {
            Some(watch) => {
                watch.alerts.insert(id);
                true
            }
            None => false,
        };
        let is_pending = alert.state == AlertState::Pending;
        self.alerts.insert(id, alert);
        if !is_asked {
            self.end_alert_of_removed_rule(id);
        } else if rule.as_ref() == OWN_RULE && !is_pending {
            // What the engine itself had raised is looked into at once.
            self.own_due_ms = Some(self.now_ms);
        }
    }
}
