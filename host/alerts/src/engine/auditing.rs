//! The auditor: once a minute it goes over every alert, and says which is neither pending, nor acknowledged until some time, nor
//! muted by something, nor at the end of its chain by design, nor on its way to a next step that is not overdue. It goes by what the
//! alerts say and not by the timers, so that a timer that was lost is found. What it finds is planned again.
//!
//! Only where it finds nothing may the heartbeat be sent.

use super::{AlertEngine, escalating::overdue_at};
use crate::{
    alert::{Alert, AlertState},
    event::{AlertAction, FINDINGS_MAX, Finding, Irregularity},
    planted::Planted,
    settings::AUDIT_MS,
};

impl AlertEngine {
    pub(super) fn audit(&mut self, out: &mut Vec<AlertAction>) {
        if self.now_ms < self.next_audit_ms {
            return;
        }
        self.next_audit_ms = self.now_ms + AUDIT_MS;
        let mut findings = Vec::new();
        let mut open = 0;
        for alert in self.alerts.values() {
            open += usize::from(alert.is_open());
            if let Some(what) = self.irregularity(alert) {
                let alert = Some(alert.id);
                findings.push(Finding { alert, what });
            }
        }
        let found = findings.iter().filter_map(|finding| finding.alert);
        self.touched.extend(found);
        let mut of_engine = |what| findings.push(Finding { alert: None, what });
        if self.is_stalled() {
            of_engine(Irregularity::EvaluationStalled);
        }
        if !self.undeliverable().is_empty() {
            of_engine(Irregularity::Undeliverable);
        }
        findings.truncate(FINDINGS_MAX);
        if self.bugs.has(Planted::AuditorBlind) {
            findings.clear();
        }
        out.push(AlertAction::Audited { open, findings });
        self.settle();
    }

    fn irregularity(&self, alert: &Alert) -> Option<Irregularity> {
        let late_ms = self.now_ms.saturating_sub(AUDIT_MS);
        match &alert.state {
            AlertState::Pending | AlertState::Resolved { .. } => return None,
            AlertState::Acknowledged { until_ms, .. } => {
                return (*until_ms < late_ms).then_some(Irregularity::AckOverdue);
            }
            AlertState::Firing => {}
        }
        if self.mute_of(alert).is_some() && !self.bugs.has(Planted::AuditorStrict) {
            return None;
        }
        let Some(escalation) = &alert.escalation else {
            return Some(Irregularity::NotEscalating);
        };
        let is_step_late = escalation.due_ms.is_some_and(|due_ms| due_ms < late_ms);
        let is_uncounted = !alert.overdue && overdue_at(alert).is_some_and(|at_ms| at_ms < late_ms);
        if is_step_late || is_uncounted {
            return Some(Irregularity::StepOverdue);
        }
        let is_unheard = |sink| {
            let is_known = self.settings.sinks.contains_key(sink);
            is_known && !alert.heard.contains_key(sink) && !self.is_queued(alert, sink, late_ms)
        };
        let unheard = alert.targets.iter().any(|(sink, _)| is_unheard(sink));
        unheard.then_some(Irregularity::NotHeard)
    }

    /// Whether it waits in a group that is not overdue.
    fn is_queued(&self, alert: &Alert, sink: &std::sync::Arc<str>, late_ms: u64) -> bool {
        alert.needs.get(sink).is_some_and(|need| {
            let group = self.groups.get(&(sink.clone(), need.group_key.clone()));
            let pending = group.and_then(|group| group.pending.get(&need.about));
            pending.is_some_and(|pending| pending.due_ms >= late_ms)
        })
    }
}
