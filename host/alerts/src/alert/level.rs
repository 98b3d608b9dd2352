//! How the answers of its rule, and people, move an alert from one state to another.

use std::sync::Arc;

use super::{Alert, AlertState, Closing};
use crate::{
    condition::{Condition, Severity},
    history::{Happening, Omission, ResolveCause},
    planted::{Bugs, Planted},
    settings::{AlertSettings, FLAP_RESOLVES, FLAP_WINDOW_MS, LOWER_AFTER_MS},
};

impl Alert {
    /// A rule says that the condition holds.
    pub(crate) fn named(&mut self, condition: Condition, now_ms: u64, bugs: Bugs) {
        self.absent_since_ms = None;
        if *self.condition != condition {
            self.condition = Arc::new(condition);
            self.dirty = true;
        }
        let severity = self.condition.severity;
        match self.state {
            AlertState::Pending => self.severity = severity,
            AlertState::Firing | AlertState::Acknowledged { .. } => {
                self.compare_severity(severity, now_ms, bugs);
                return;
            }
            // Nobody has closed what is worse than what was closed.
            AlertState::Resolved { holds: true, .. } if severity >= self.severity => return,
            AlertState::Resolved { .. } => {
                self.state = AlertState::Pending;
                self.severity = severity;
                self.since_ms = now_ms;
                self.dirty = true;
            }
        }
        let for_ms = self.condition.for_ms;
        let has_held_ms = now_ms.saturating_sub(self.since_ms);
        if has_held_ms >= for_ms || bugs.has(Planted::ForIgnored) {
            self.fire(now_ms, bugs);
        } else if has_held_ms == 0 {
            self.note(now_ms, Happening::Pending { for_ms });
        }
    }

    fn fire(&mut self, now_ms: u64, bugs: Bugs) {
        self.state = AlertState::Firing;
        if !(bugs.has(Planted::FiringReused) && self.firing > 0) {
            self.firing += 1;
        }
        self.fired_ms = Some(now_ms);
        self.acknowledged_ms = None;
        self.recall = false;
        self.overdue = false;
        self.escalation = None;
        self.targets.clear();
        self.is_routed = false;
        self.lower_since_ms = None;
        let (firing, severity) = (self.firing, self.severity);
        self.note(now_ms, Happening::Fired { firing, severity });
    }

    fn compare_severity(&mut self, to: Severity, now_ms: u64, bugs: Bugs) {
        let from = self.severity;
        if to == from {
            self.lower_since_ms = None;
            return;
        }
        if to > from {
            let since_ms = *self.lower_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since_ms) < LOWER_AFTER_MS {
                return;
            }
        }
        self.lower_since_ms = None;
        self.severity = to;
        self.note(now_ms, Happening::SeverityChanged { from, to });
        if to < from {
            let acknowledged = matches!(self.state, AlertState::Acknowledged { .. });
            if acknowledged && !bugs.has(Planted::RaiseStaysAcknowledged) {
                // While an incident is acknowledged further triggers page nobody: this one is another.
                self.close(now_ms);
                self.fire(now_ms, bugs);
            } else {
                self.escalation = None;
                self.targets.clear();
                self.is_routed = false;
                self.overdue = false;
            }
        }
    }

    /// A complete answer does not name the condition. Returns whether nothing of it is left to keep.
    pub(crate) fn not_named(&mut self, settings: &AlertSettings, now_ms: u64, bugs: Bugs) -> bool {
        let absent_ms = now_ms.saturating_sub(*self.absent_since_ms.get_or_insert(now_ms));
        let resolve_after_ms = if bugs.has(Planted::ResolvedAtOnce) {
            0
        } else {
            settings.resolve_after_ms
        };
        match &mut self.state {
            AlertState::Pending => {
                self.note(now_ms, Happening::NeverFired);
                if self.firing == 0 || self.fired_ms.is_none() {
                    return true;
                }
                self.state = AlertState::Resolved {
                    at_ms: now_ms,
                    cause: ResolveCause::Gone,
                    holds: false,
                };
            }
            AlertState::Resolved { holds, .. } => {
                if *holds && absent_ms >= resolve_after_ms {
                    *holds = false;
                    self.note(now_ms, Happening::Reopened);
                }
            }
            AlertState::Firing | AlertState::Acknowledged { .. } => {
                if self.flapping {
                    if absent_ms >= FLAP_WINDOW_MS {
                        self.flapping = false;
                        self.resolves.clear();
                        self.resolve(now_ms, ResolveCause::Gone, false);
                    }
                } else if absent_ms >= resolve_after_ms {
                    self.resolve_or_hold(now_ms, bugs);
                }
            }
        }
        false
    }

    fn resolve_or_hold(&mut self, now_ms: u64, bugs: Bugs) {
        let since_ms = now_ms.saturating_sub(FLAP_WINDOW_MS);
        self.resolves.retain(|at_ms| *at_ms > since_ms);
        if self.resolves.len() + 1 >= FLAP_RESOLVES && !bugs.has(Planted::FlapsFreely) {
            self.flapping = true;
            self.note(now_ms, Happening::Flapping);
        } else {
            self.resolves.push(now_ms);
            self.resolve(now_ms, ResolveCause::Gone, false);
        }
    }

    /// It is over, whatever it was. `holds`: the condition may still hold, and is to be gone before it fires again.
    pub(crate) fn resolve(&mut self, now_ms: u64, cause: ResolveCause, holds: bool) {
        self.close(now_ms);
        self.state = AlertState::Resolved {
            at_ms: now_ms,
            cause: cause.clone(),
            holds,
        };
        self.flapping = false;
        self.overdue = false;
        self.escalation = None;
        self.targets.clear();
        self.is_routed = false;
        self.note(now_ms, Happening::Resolved { cause });
    }

    /// Nobody is on it any more: it escalates again, and who heard that somebody was hears of that.
    pub(crate) fn release(&mut self, now_ms: u64, what: Happening) {
        self.state = AlertState::Firing;
        self.escalation = None;
        self.recall = true;
        for heard in self.heard.values_mut() {
            heard.acknowledged = false;
        }
        self.note(now_ms, what);
    }

    /// Who may have the present firing is to hear that it is over.
    fn close(&mut self, now_ms: u64) {
        for (sink, heard) in std::mem::take(&mut self.heard) {
            if heard.refused {
                self.left.push((sink.clone(), heard.group_key));
                let reason = Omission::RefusedFiring;
                self.note(now_ms, Happening::LeftOut { sink, reason });
                continue;
            }
            self.closings.push(Closing {
                sink,
                firing: self.firing,
                route: heard.route,
                group_key: heard.group_key,
                group_severity: heard.group_severity,
                severity: heard.severity,
                delivery: heard.delivery,
                heard_ms: heard.at_ms,
                at_ms: now_ms,
            });
        }
        self.dirty = true;
    }
}
