//! Escalation: a chain that is kept with the alert as it was when it fired, and what is repeated for one that has none.

use std::{collections::BTreeMap, sync::Arc};

use super::AlertEngine;
use crate::{
    alert::{Alert, AlertState, Escalation, News},
    condition::Severity,
    history::{Happening, Omission},
    planted::Planted,
    settings::{ESCALATION_STEPS_MAX, P2_REMINDER_MS, P3_OVERDUE_MS, P4_OVERDUE_MS},
};

/// Who is called by the steps that are due, with the route of each.
pub(super) type Calls = BTreeMap<Arc<str>, (News, Option<Arc<str>>)>;

impl AlertEngine {
    /// Begins what escalates a firing alert that is not muted, and takes the steps that are due.
    pub(super) fn escalate(&self, alert: &mut Alert) -> Calls {
        let mut calls = Calls::new();
        if alert.state != AlertState::Firing {
            return calls;
        }
        if alert.escalation.is_none() {
            self.begin_escalation(alert, &mut calls);
        }
        while let Some(escalation) = &alert.escalation
            && escalation
                .due_ms
                .is_some_and(|due_ms| due_ms <= self.now_ms)
        {
            self.take_step(alert, &mut calls);
        }
        calls
    }

    fn begin_escalation(&self, alert: &mut Alert, calls: &mut Calls) {
        if alert.recall {
            // Somebody was on it: who heard that is to hear that nobody is.
            alert.recall = false;
            for (sink, route) in alert.targets.clone() {
                calls.insert(sink, (News::Reminder, Some(route)));
            }
        }
        let chain = self
            .settings
            .routing(alert.severity, &alert.condition)
            .escalation;
        let steps = chain
            .as_ref()
            .and_then(|(_, chain)| self.settings.escalations.get(chain));
        let steps: Vec<_> = steps
            .into_iter()
            .flatten()
            .take(ESCALATION_STEPS_MAX)
            .cloned()
            .collect();
        let first_ms = match (steps.first(), alert.severity) {
            (Some(step), _) => Some(step.after_ms),
            (None, Severity::P1) => Some(self.settings.repeat_ms),
            (None, Severity::P2) => Some(P2_REMINDER_MS),
            (None, Severity::P3 | Severity::P4) => None,
        };
        let (route, chain) = chain.unzip();
        alert.escalation = Some(Escalation {
            route,
            chain,
            steps,
            taken: 0,
            began_ms: self.now_ms,
            due_ms: first_ms.map(|ms| self.now_ms + ms),
        });
        alert.dirty = true;
        if first_ms.is_none() {
            alert.note(self.now_ms, Happening::EscalationEnded);
        }
    }

    fn take_step(&self, alert: &mut Alert, calls: &mut Calls) {
        let Some(mut escalation) = alert.escalation.take() else {
            return;
        };
        let (now_ms, taken) = (self.now_ms, escalation.taken as usize);
        let chain = escalation.chain.as_ref();
        let configured = chain.and_then(|chain| self.settings.escalations.get(chain));
        let steps = match configured {
            Some(steps) if self.bugs.has(Planted::ChainUnkept) => steps,
            _ => &escalation.steps,
        };
        // Without a chain the first step is the repeat of a P1, or the one reminder of a P2.
        let is_repeat = taken >= steps.len().max(1);
        let is_over = match alert.severity {
            Severity::P1 => {
                is_repeat && taken > steps.len() && self.bugs.has(Planted::RepeatedOnce)
            }
            // It may have been more severe when the step was due.
            Severity::P2 => is_repeat,
            Severity::P3 | Severity::P4 => is_repeat || steps.is_empty(),
        };
        if is_over {
            escalation.due_ms = None;
            alert.escalation = Some(escalation);
            alert.note(now_ms, Happening::EscalationEnded);
            return;
        }
        let step = escalation.taken + 1;
        alert.note(now_ms, Happening::Escalated { step });
        match steps.get(taken).or(steps.last()) {
            Some(step) => {
                let (route, began_ms) = (escalation.route.as_ref(), escalation.began_ms);
                self.call(alert, &step.sinks, route, began_ms, is_repeat, calls);
            }
            None => {
                for (sink, route) in alert.targets.clone() {
                    let news = self.news_of_call(alert, &sink, News::First);
                    calls.insert(sink, (news, Some(route)));
                }
            }
        }
        let next_ms = match steps.get(taken + 1) {
            Some(step) => Some(step.after_ms),
            None if alert.severity == Severity::P1 => Some(self.settings.repeat_ms),
            None => None,
        };
        let next_ms = match next_ms {
            Some(_) if self.bugs.has(Planted::HeardTwice) => Some(60_000),
            next_ms => next_ms,
        };
        escalation.taken += 1;
        escalation.due_ms = next_ms.map(|ms| now_ms + ms);
        alert.escalation = Some(escalation);
        if next_ms.is_none() {
            alert.note(now_ms, Happening::EscalationEnded);
        }
    }

    /// Calls the sinks of a step. One that has heard of the alert since escalation began is left out, unless nobody would be left, or
    /// the step is repeated: the person on call must hear something.
    fn call(
        &self,
        alert: &mut Alert,
        sinks: &[Arc<str>],
        route: Option<&Arc<str>>,
        began_ms: u64,
        is_repeat: bool,
        calls: &mut Calls,
    ) {
        let has_heard = |alert: &Alert, sink: &Arc<str>| {
            let heard = alert.heard.get(sink);
            heard.is_some_and(|heard| heard.at_ms >= began_ms && !heard.refused)
        };
        let all_heard = sinks.iter().all(|sink| has_heard(alert, sink));
        for sink in sinks {
            if !self.settings.sinks.contains_key(sink) {
                let (sink, reason) = (sink.clone(), Omission::NoSuchSink);
                alert.note(self.now_ms, Happening::LeftOut { sink, reason });
            } else if has_heard(alert, sink) && !all_heard && !is_repeat {
                let (sink, reason) = (sink.clone(), Omission::HasHeard);
                alert.note(self.now_ms, Happening::LeftOut { sink, reason });
            } else {
                let news = self.news_of_call(alert, sink, News::Escalated);
                calls.insert(sink.clone(), (news, route.cloned()));
            }
        }
    }

    fn news_of_call(&self, alert: &Alert, sink: &Arc<str>, first: News) -> News {
        if alert.heard.contains_key(sink) {
            News::Reminder
        } else {
            first
        }
    }

    /// Whether an acknowledgement is over.
    pub(super) fn expire_ack(&self, alert: &mut Alert) {
        let AlertState::Acknowledged { by, until_ms } = &alert.state else {
            return;
        };
        if *until_ms > self.now_ms || self.bugs.has(Planted::ExpiryForgotten) {
            return;
        }
        let by = by.clone();
        alert.release(self.now_ms, Happening::AckExpired { by });
    }

    /// Whether nobody acknowledged it within the time of its severity.
    pub(super) fn count_overdue(&self, alert: &mut Alert) {
        if !alert.overdue && overdue_at(alert).is_some_and(|at_ms| at_ms <= self.now_ms) {
            alert.overdue = true;
            alert.note(self.now_ms, Happening::Overdue);
        }
    }
}

/// When an unacknowledged alert becomes overdue; P1 and P2 are repeated instead.
pub(super) fn overdue_at(alert: &Alert) -> Option<u64> {
    if alert.state != AlertState::Firing {
        return None;
    }
    let within_ms = match alert.severity {
        Severity::P1 | Severity::P2 => return None,
        Severity::P3 => P3_OVERDUE_MS,
        Severity::P4 => P4_OVERDUE_MS,
    };
    alert.fired_ms.map(|fired_ms| fired_ms + within_ms)
}
