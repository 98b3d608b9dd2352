//! What people ask for.

use std::sync::Arc;

use super::{AlertEngine, notifying::show};
use crate::{
    alert::{Alert, AlertState},
    condition::{Condition, Severity},
    delivery::{Delivery, DeliveryOrder, Precedence},
    event::{AlertCommand, AlertCommandError, AlertDone, AlertVerb, RelayedVerb},
    history::{Happening, ResolveCause},
    identity::{AlertId, AlertRef, DeliveryId},
    notice::Occasion,
    planted::Planted,
    record::RecordChange,
    settings::SILENCES_MAX,
    silence::{InvalidSilence, Silence, SilenceId},
};

impl AlertEngine {
    pub(super) fn command(
        &mut self,
        command: AlertCommand,
    ) -> Result<AlertDone, AlertCommandError> {
        let AlertCommand { by, verb, .. } = command;
        match verb {
            AlertVerb::Acknowledge { alert, firing } => self.acknowledge(alert, firing, by),
            AlertVerb::Unacknowledge { alert } => self.unacknowledge(alert, by),
            AlertVerb::Resolve { alert } => self.resolve_by_hand(alert, by),
            AlertVerb::Relayed { about, at_ms, verb } => self.relay(about, at_ms, verb, by),
            AlertVerb::AddSilence(silence) => self.add_silence(silence),
            AlertVerb::EndSilence(id) => self.end_silence(id),
            AlertVerb::Test { severity, sink } => self.test(severity, sink),
        }
    }

    fn open_alert(&mut self, id: AlertId) -> Result<&mut Alert, AlertCommandError> {
        let alert = self.alerts.get_mut(&id);
        let alert = alert.ok_or(AlertCommandError::UnknownAlert)?;
        if !alert.is_open() {
            return Err(AlertCommandError::NotOpen);
        }
        self.touched.insert(id);
        Ok(alert)
    }

    fn acknowledge(
        &mut self,
        id: AlertId,
        firing: Option<u32>,
        by: String,
    ) -> Result<AlertDone, AlertCommandError> {
        let (now_ms, bugs) = (self.now_ms, self.bugs);
        let until_ms = now_ms + self.settings.ack_ttl_ms;
        let alert = self.open_alert(id)?;
        if firing.is_some_and(|firing| firing != alert.firing) {
            return Err(AlertCommandError::FiringOver);
        }
        let is_same = alert.acknowledged_by() == Some(&by);
        if bugs.has(Planted::AckIgnored) {
            return Ok(AlertDone::Alert);
        }
        alert.state = AlertState::Acknowledged {
            by: by.clone(),
            until_ms,
        };
        alert.acknowledged_ms = Some(now_ms);
        alert.escalation = None;
        alert.recall = false;
        if !is_same {
            alert
                .heard
                .values_mut()
                .for_each(|heard| heard.acknowledged = false);
        }
        alert.note(now_ms, Happening::Acknowledged { by, until_ms });
        let about = alert.present();
        self.order(DeliveryOrder::CancelUnattempted(about));
        Ok(AlertDone::Alert)
    }

    fn unacknowledge(&mut self, id: AlertId, by: String) -> Result<AlertDone, AlertCommandError> {
        let now_ms = self.now_ms;
        let alert = self.open_alert(id)?;
        if !matches!(alert.state, AlertState::Acknowledged { .. }) {
            return Err(AlertCommandError::NotAcknowledged);
        }
        alert.release(now_ms, Happening::Unacknowledged { by });
        Ok(AlertDone::Alert)
    }

    fn resolve_by_hand(&mut self, id: AlertId, by: String) -> Result<AlertDone, AlertCommandError> {
        let now_ms = self.now_ms;
        let alert = self.open_alert(id)?;
        alert.resolve(now_ms, ResolveCause::ByHand(by), true);
        Ok(AlertDone::Alert)
    }

    /// What somebody did elsewhere. It may come late and more than once, and says nothing about what was done here since.
    fn relay(
        &mut self,
        about: AlertRef,
        at_ms: u64,
        verb: RelayedVerb,
        by: String,
    ) -> Result<AlertDone, AlertCommandError> {
        let bugs = self.bugs;
        let AlertRef { alert: id, firing } = about;
        let alert = self.open_alert(id)?;
        if alert.firing != firing {
            return Err(AlertCommandError::FiringOver);
        }
        let last_ms = alert.acknowledged_ms;
        match verb {
            RelayedVerb::Acknowledge => {
                if alert.acknowledged_by().is_some() {
                    return Err(AlertCommandError::AcknowledgedAlready);
                }
                // Each link is used once, and an acknowledgement that was taken back stays so however often it is heard of.
                if last_ms.is_some_and(|last_ms| last_ms >= at_ms) && !bugs.has(Planted::LinkReused)
                {
                    return Err(AlertCommandError::Outdated);
                }
                let done = self.acknowledge(id, Some(firing), by)?;
                // The clock elsewhere may be ahead of ours: what has that time was heard of now.
                let alert = self.open_alert(id)?;
                alert.acknowledged_ms = alert.acknowledged_ms.max(Some(at_ms));
                Ok(done)
            }
            RelayedVerb::Unacknowledge if last_ms.is_some_and(|last_ms| last_ms > at_ms) => {
                Err(AlertCommandError::Outdated)
            }
            RelayedVerb::Unacknowledge => self.unacknowledge(id, by),
            RelayedVerb::Resolve => self.resolve_by_hand(id, by),
        }
    }

    fn add_silence(&mut self, silence: Silence) -> Result<AlertDone, AlertCommandError> {
        silence.check(self.now_ms)?;
        if self.silences.len() >= SILENCES_MAX {
            return Err(InvalidSilence::TooMany.into());
        }
        // Numbers of earlier lives lie before this moment, whatever is still known of them.
        self.silence_last = (self.silence_last + 1).max(self.now_ms);
        let id = SilenceId(self.silence_last);
        self.silences.insert(id, silence.clone());
        self.record
            .changes
            .push(RecordChange::Silence { id, silence });
        self.silences_changed();
        Ok(AlertDone::Silence(id))
    }

    fn end_silence(&mut self, id: SilenceId) -> Result<AlertDone, AlertCommandError> {
        self.silences
            .remove(&id)
            .ok_or(AlertCommandError::UnknownSilence)?;
        self.record.changes.push(RecordChange::SilenceEnded(id));
        self.silences_changed();
        Ok(AlertDone::Silence(id))
    }

    fn test(
        &mut self,
        severity: Severity,
        sink: Option<Arc<str>>,
    ) -> Result<AlertDone, AlertCommandError> {
        let targets = match sink {
            Some(sink) if self.settings.sinks.contains_key(&sink) => vec![(sink, None)],
            Some(_) => return Err(AlertCommandError::UnknownSink),
            None => {
                let routing = self.settings.routing_of(severity, "test", None, None);
                let targets = routing.targets.into_iter();
                targets.map(|(sink, route)| (sink, Some(route))).collect()
            }
        };
        if targets.is_empty() {
            return Err(AlertCommandError::NoRoute);
        }
        self.tests += 1;
        let condition = Condition {
            key: format!("test:{}:{}", self.now_ms, self.tests),
            name: "test".to_owned(),
            severity,
            summary: "This is a test of the alerts; nothing is wrong.".to_owned(),
            remedy: "Nothing needs to be done.".to_owned(),
            runbook_anchor: None,
            instance: None,
            for_ms: 0,
            attributes: vec![("test".to_owned(), "true".to_owned())],
        };
        let alert = Alert::new(super::OWN_RULE.into(), condition, 1, self.now_ms);
        let about = AlertRef {
            alert: alert.id,
            firing: 1,
        };
        let mut ids = Vec::new();
        for (sink, route) in targets {
            let id = DeliveryId::new(about, self.tests, &sink);
            ids.push(id.clone());
            self.order(DeliveryOrder::Deliver(Arc::new(Delivery {
                id,
                sink,
                route,
                group_key: alert.condition.key.as_str().into(),
                occasion: Occasion::Test,
                precedence: Precedence::FirstFiring,
                severity,
                news: vec![about],
                listed: vec![show(&alert, 1, None)],
                more: 0,
                changes: self.recent_changes(),
                decided_ms: self.now_ms,
                not_before_ms: self.now_ms,
            })));
        }
        Ok(AlertDone::Test(ids))
    }
}
