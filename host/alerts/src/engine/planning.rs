//! From what an alert is now follows who is to hear what of it, and when it must be planned again.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    AlertEngine,
    escalating::{Calls, overdue_at},
    groups::{GroupId, JoinKey, Pending},
};
use crate::{
    alert::{Alert, AlertState, Closing, Need, News},
    condition::Severity,
    history::{GroupDelay, Happening, Omission},
    identity::{AlertId, AlertRef, DeliveryId, dedup_key},
    planted::Planted,
    record::{RecordChange, Tombstone},
    settings::FLAP_WINDOW_MS,
};

/// What a sink is to hear, and by which route.
type Wanted = BTreeMap<Arc<str>, (News, Option<Arc<str>>)>;

impl AlertEngine {
    pub(super) fn plan(&mut self, id: AlertId) {
        #[cfg(test)]
        {
            self.planned += 1;
        }
        let Some(mut alert) = self.alerts.remove(&id) else {
            return;
        };
        self.expire_ack(&mut alert);
        self.update_mute(&mut alert);
        let mut wanted = Wanted::new();
        if alert.is_open() {
            self.route(&mut alert);
            self.count_overdue(&mut alert);
            if alert.mute.is_none() {
                let calls = self.escalate(&mut alert);
                wanted = self.wanted(&alert, calls);
            }
        }
        for group in std::mem::take(&mut alert.left) {
            self.groups.remove_member(&group, id);
        }
        self.exchange_needs(&mut alert, wanted);
        self.queue_closings(&mut alert);
        let is_over = self.set_wake(&mut alert);
        self.changed.insert(id);
        self.alerts.insert(id, alert);
        if is_over {
            self.forget(id);
        }
    }

    fn route(&self, alert: &mut Alert) {
        let is_known = |(sink, _): &(Arc<str>, Arc<str>)| self.settings.sinks.contains_key(sink);
        // Where it goes is decided when it fires, and again only if nothing of that is left.
        if alert.targets.iter().any(is_known) || (alert.targets.is_empty() && alert.is_routed) {
            return;
        }
        let routing = self.settings.routing(alert.severity, &alert.condition);
        alert.is_routed = true;
        alert.targets.clone_from(&routing.targets);
        if self.bugs.has(Planted::SinkForgotten) {
            alert.targets.truncate(1);
        }
        let escalation = routing.escalation.map(|(_, chain)| chain);
        let targets = routing.targets;
        alert.note(
            self.now_ms,
            Happening::Routed {
                targets,
                escalation,
            },
        );
    }

    /// What each sink is to hear so that it has heard what is so.
    fn wanted(&self, alert: &Alert, calls: Calls) -> Wanted {
        let mut wanted = Wanted::new();
        for (sink, heard) in &alert.heard {
            let news = if heard.refused {
                continue;
            } else if heard.severity != alert.severity {
                News::Severity {
                    from: heard.severity,
                }
            } else if let Some(by) = alert.acknowledged_by()
                && !heard.acknowledged
            {
                News::Acknowledged { by: by.to_owned() }
            } else {
                continue;
            };
            wanted.insert(sink.clone(), (news, heard.route.clone()));
        }
        for (sink, route) in &alert.targets {
            // Where somebody is on it already, nobody else is called.
            if alert.state == AlertState::Firing && !alert.heard.contains_key(sink) {
                wanted.insert(sink.clone(), (News::First, Some(route.clone())));
            }
        }
        for (sink, (news, route)) in calls {
            let known = wanted.get(&sink);
            if known.is_none_or(|(known, _)| news < *known) {
                wanted.insert(sink, (news, route));
            }
        }
        wanted.retain(|sink, _| self.settings.sinks.contains_key(sink));
        wanted
    }

    /// Brings what waits in groups in line with what is wanted. What waited already goes on waiting from when it did.
    fn exchange_needs(&mut self, alert: &mut Alert, wanted: Wanted) {
        let about = alert.present();
        let before = std::mem::take(&mut alert.needs);
        let mut kept = BTreeMap::new();
        for (sink, need) in before {
            let is_wanted = wanted
                .get(&sink)
                .is_some_and(|(news, _)| *news == need.news);
            if is_wanted && need.about == about && need.severity == alert.severity {
                kept.insert(sink, need);
                continue;
            }
            let group = (sink.clone(), need.group_key);
            self.groups.remove(&group, need.about);
            let is_over_before = !alert.is_open() && matches!(need.news, News::First);
            if is_over_before && self.bugs.has(Planted::ResolveToAll) {
                alert
                    .closings
                    .push(unsent_closing(alert, &sink, &group.1, self.now_ms));
            }
            if is_over_before {
                let reason = Omission::OverBefore;
                alert.note(self.now_ms, Happening::LeftOut { sink, reason });
            }
        }
        for (sink, (news, route)) in wanted {
            if let Some(need) = kept.remove(&sink) {
                alert.needs.insert(sink, need);
                continue;
            }
            let group = self.group_for(alert, &sink, route.as_ref());
            let need = Need {
                news,
                about,
                severity: alert.severity,
                group_key: group.1.clone(),
            };
            let due_ms = self.due_of(alert, &need.news, &group);
            if due_ms > self.now_ms {
                self.note_wait(alert, &group, due_ms);
            }
            let news = need.news.clone();
            self.groups.put(&group, about, Pending { news, due_ms });
            alert.needs.insert(sink, need);
        }
    }

    fn note_wait(&self, alert: &mut Alert, group: &GroupId, until_ms: u64) {
        let has_heard = self
            .groups
            .get(group)
            .is_some_and(|group| group.last_ms.is_some());
        let by = if has_heard {
            GroupDelay::GroupInterval
        } else {
            GroupDelay::GroupWait
        };
        let sink = group.0.clone();
        alert.note(self.now_ms, Happening::Waits { sink, by, until_ms });
    }

    /// The group by which a sink hears of the present firing: the one that it has heard by, one that is open, or a new one.
    fn group_for(&mut self, alert: &Alert, sink: &Arc<str>, route: Option<&Arc<str>>) -> GroupId {
        if let Some(heard) = alert.heard.get(sink) {
            let id = (sink.clone(), heard.group_key.clone());
            self.groups.open(&id, None, heard.route.as_ref());
            return id;
        }
        if self.settings.is_alone(sink) {
            let key = dedup_key(&alert.condition.key, alert.firing);
            let id = (sink.clone(), key.into());
            self.groups.open(&id, None, route);
            return id;
        }
        let join = self.join_key(alert, sink, route, alert.severity);
        let key = match self.groups.joined(&join) {
            Some(key) => key.clone(),
            None => {
                // Names of 64 bytes each and a time: 230 bytes at most.
                let (name, severity) = (&alert.condition.name, alert.severity);
                let route = route.map_or("", |route| route);
                format!("{sink}/{route}/{name}/{severity}#{}", self.now_ms).into()
            }
        };
        let id = (sink.clone(), key);
        self.groups.open(&id, Some(join), route);
        id
    }

    pub(super) fn join_key(
        &self,
        alert: &Alert,
        sink: &Arc<str>,
        route: Option<&Arc<str>>,
        severity: Severity,
    ) -> JoinKey {
        JoinKey {
            sink: sink.clone(),
            route: route.cloned(),
            name: alert.condition.name.clone(),
            severity,
        }
    }

    /// When a group may be heard of for this news.
    fn due_of(&self, alert: &Alert, news: &News, group: &GroupId) -> u64 {
        let settings = &self.settings;
        let last_ms = self.groups.get(group).and_then(|group| group.last_ms);
        let is_urgent_news = match news {
            News::Escalated | News::Reminder => true,
            News::Severity { from } => alert.severity < *from,
            News::First | News::Acknowledged { .. } | News::Resolved => false,
        };
        let waits = self.bugs.has(Planted::UrgentWaits);
        let is_urgent = (alert.severity == Severity::P1 && !waits) || is_urgent_news;
        let ignores = self.bugs.has(Planted::IntervalIgnored);
        if is_urgent || settings.is_alone(&group.0) || ignores {
            return self.now_ms;
        }
        match last_ms {
            Some(last_ms) => self.now_ms.max(last_ms + settings.group_interval_ms),
            None if alert.severity.is_urgent() && !waits => self.now_ms,
            None => self.now_ms + settings.group_wait_ms,
        }
    }

    /// Puts into their groups what sinks are yet to hear of firings that are over.
    fn queue_closings(&mut self, alert: &mut Alert) {
        if alert.closings.is_empty() || self.settling_until(alert.severity).is_some() {
            return;
        }
        let (now_ms, settings) = (self.now_ms, &self.settings);
        for closing in alert
            .closings
            .extract_if(.., |closing| !settings.sinks.contains_key(&closing.sink))
            .collect::<Vec<_>>()
        {
            self.groups
                .remove_member(&(closing.sink.clone(), closing.group_key), alert.id);
            let (sink, reason) = (closing.sink, Omission::NoSuchSink);
            alert.note(now_ms, Happening::LeftOut { sink, reason });
        }
        for closing in alert.closings.clone() {
            let group = (closing.sink.clone(), closing.group_key.clone());
            let about = AlertRef {
                alert: alert.id,
                firing: closing.firing,
            };
            self.groups.open(&group, None, closing.route.as_ref());
            if self
                .groups
                .get(&group)
                .is_some_and(|known| known.pending.contains_key(&about))
            {
                continue;
            }
            let due_ms = self.due_of(alert, &News::Resolved, &group);
            let news = News::Resolved;
            self.groups.put(&group, about, Pending { news, due_ms });
            let still_heard = alert
                .heard
                .get(&closing.sink)
                .is_some_and(|heard| heard.group_key == closing.group_key);
            if !still_heard {
                self.groups.remove_member(&group, alert.id);
            }
            if due_ms > now_ms {
                self.note_wait(alert, &group, due_ms);
            }
        }
    }

    /// When it must be planned again, if nothing happens. Returns whether it is to be forgotten now.
    fn set_wake(&mut self, alert: &mut Alert) -> bool {
        let wake_ms = match &alert.state {
            AlertState::Pending => None,
            AlertState::Acknowledged { until_ms, .. } => Some(*until_ms),
            AlertState::Firing => {
                let due_ms = alert.escalation.as_ref().and_then(|one| one.due_ms);
                // What is muted is planned again when that ends.
                let due_ms = due_ms.filter(|_| alert.mute.is_none());
                let is_counted = alert.overdue && !self.bugs.has(Planted::WakeInThePast);
                let overdue_ms = overdue_at(alert).filter(|_| !is_counted);
                [due_ms, overdue_ms].into_iter().flatten().min()
            }
            AlertState::Resolved { at_ms, holds, .. } => {
                let is_said = !holds && alert.closings.is_empty();
                is_said.then(|| at_ms + FLAP_WINDOW_MS)
            }
        };
        let is_resolved = matches!(alert.state, AlertState::Resolved { .. });
        if is_resolved && self.bugs.has(Planted::NeverForgets) {
            return false;
        }
        if is_resolved && wake_ms.is_some_and(|at_ms| at_ms <= self.now_ms) {
            return true;
        }
        let wake_ms = wake_ms.filter(|_| !self.bugs.has(Planted::WakeForgotten));
        if wake_ms != alert.wake_ms {
            if let Some(before_ms) = std::mem::replace(&mut alert.wake_ms, wake_ms) {
                self.timers.remove(&(before_ms, alert.id));
            }
            if let Some(at_ms) = wake_ms {
                self.timers.insert((at_ms, alert.id));
            }
        }
        false
    }

    /// Nothing of it is left to be said: what is kept is how often it fired.
    pub(super) fn forget(&mut self, id: AlertId) {
        let Some(alert) = self.alerts.remove(&id) else {
            return;
        };
        if self.inhibitors.contains(&id) {
            // Whom it muted is looked at again.
            self.touched.insert(id);
        }
        if let Some(at_ms) = alert.wake_ms {
            self.timers.remove(&(at_ms, id));
        }
        if let Some(watch) = self.rules.get_mut(&alert.rule) {
            watch.alerts.remove(&id);
        }
        let tombstone = Tombstone {
            alert: id,
            firing: alert.firing,
        };
        self.record.changes.push(RecordChange::Forgotten(tombstone));
        if alert.firing > 0 && self.tombstones.put(tombstone) {
            let floor = self.tombstones.floor();
            self.record.changes.push(RecordChange::FiringFloor(floor));
        }
    }
}

/// What the planted bug `ResolveToAll` says to who has heard nothing.
fn unsent_closing(alert: &Alert, sink: &Arc<str>, group_key: &Arc<str>, now_ms: u64) -> Closing {
    Closing {
        sink: sink.clone(),
        firing: alert.firing,
        route: None,
        group_key: group_key.clone(),
        group_severity: alert.severity,
        severity: alert.severity,
        delivery: DeliveryId::new(alert.present(), 0, sink),
        heard_ms: now_ms,
        at_ms: now_ms,
    }
}
