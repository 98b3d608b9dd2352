//! Whether the router as a whole can serve, and since when it cannot.

use std::collections::BTreeSet;

use super::{Fleet, shared_cause::Shift};
use crate::{
    action::{Action, Change, OperatorAction, Transition},
    id::InstanceId,
    planted::{Bugs, Planted},
    settings::Settings,
    step::FleetPhase,
    view::{Readiness, ReadinessView},
};

/// Instances named in a reason.
const NAMED_MAX: usize = 5;

/// What readiness is judged by besides the instances.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watch {
    pub(super) database: bool,
    pub(super) disk_share: f64,
    pub(super) alert_journal: bool,
    pub(super) plugins_quarantined: u32,
    pub(super) policy_faults: Vec<String>,
    /// Since when instances are wanted and none of them can serve.
    unable_since_ms: Option<u64>,
    /// Most breakers opened together, and most are still not CLOSED.
    pub(super) one_cause: bool,
    announced: Readiness,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            // Until somebody says otherwise: nothing has been lost yet.
            database: true,
            disk_share: 0.0,
            alert_journal: true,
            plugins_quarantined: 0,
            policy_faults: Vec::new(),
            unable_since_ms: None,
            one_cause: false,
            announced: Readiness::Healthy,
        }
    }
}

impl Watch {
    /// When `down` is due.
    pub(super) fn next_wake(&self, settings: &Settings, bugs: Bugs) -> Option<u64> {
        let due_ms = self.unable_since_ms?.saturating_add(settings.unable_ms);
        let is_announced = self.announced == Readiness::Down && !bugs.has(Planted::WakeInThePast);
        (!is_announced).then_some(due_ms)
    }
}

impl Fleet {
    /// The word alone.
    fn status(&self, now_ms: u64) -> Readiness {
        if self.phase == FleetPhase::ShuttingDown || self.unable_ms(now_ms).is_some() {
            Readiness::Down
        } else if (!self.watch.database && !self.bugs.has(Planted::DatabaseIgnored))
            || (!self.watch.alert_journal && !self.bugs.has(Planted::JournalIgnored))
            || self.watch.plugins_quarantined > 0
            || (self.trials.is_holding() && !self.bugs.has(Planted::HeldUnsaid))
            || (!self.watch.policy_faults.is_empty() && !self.bugs.has(Planted::PolicyFaultIgnored))
            || self.watch.disk_share > self.settings.disk_degraded_share
            || !self.index.troubled().is_empty()
            || self.watch.one_cause
        {
            Readiness::Degraded
        } else {
            Readiness::Healthy
        }
    }

    /// For how long nothing can serve, once that is long enough to matter.
    fn unable_ms(&self, now_ms: u64) -> Option<u64> {
        let grace_ms = if self.bugs.has(Planted::DownAtOnce) {
            0
        } else {
            self.settings.unable_ms
        };
        let since_ms = self.watch.unable_since_ms?;
        Some(now_ms.saturating_sub(since_ms)).filter(|ms| *ms >= grace_ms)
    }

    /// The word, and what it was judged by.
    pub(super) fn readiness(&self, now_ms: u64) -> ReadinessView {
        let wanted = self.index.wanted();
        let mut reasons = Vec::new();
        if self.phase == FleetPhase::ShuttingDown {
            reasons.push("the router is shutting down".to_owned());
        } else if let Some(ms) = self.unable_ms(now_ms) {
            reasons.push(format!(
                "none of {wanted} wanted instances has been able to serve for {} s",
                ms / 1_000
            ));
        }
        reasons.extend(self.shared_cause());
        if !self.watch.database {
            reasons.push("the database is lost".to_owned());
        }
        if !self.watch.alert_journal {
            reasons.push("the alert journal cannot be written".to_owned());
        }
        if !self.index.troubled().is_empty() {
            reasons.push(format!("not healthy: {}", names(self.index.troubled())));
        }
        if self.watch.plugins_quarantined > 0 {
            reasons.push(format!(
                "{} plugins are in quarantine",
                self.watch.plugins_quarantined
            ));
        }
        let held = self.trials.held();
        if !self.bugs.has(Planted::HeldUnsaid) {
            reasons.extend(held.iter().cloned());
        }
        reasons.extend(self.watch.policy_faults.iter().cloned());
        if self.watch.disk_share > self.settings.disk_degraded_share {
            reasons.push(format!(
                "a disk is {:.0} % full",
                self.watch.disk_share * 100.0
            ));
        }
        ReadinessView {
            status: self.status(now_ms),
            reasons,
            database: self.watch.database,
            alert_journal: self.watch.alert_journal,
            wanted: count(wanted),
            able: count(self.index.able()),
            breakers: count(self.index.enforced()),
            breakers_open: count(self.index.tripped()),
            breakers_opened_together: count(self.opened_together()),
            plugins_quarantined: self.watch.plugins_quarantined,
            policies_held: u32::try_from(held.len()).unwrap_or(u32::MAX),
            policy_faults: self.watch.policy_faults.clone(),
            disk_share: self.watch.disk_share,
        }
    }

    /// Notes since when nothing can serve and whether breakers opened together, and announces a change of the word; also where
    /// the word stays and that condition begins or ends.
    pub(super) fn watch_readiness(&mut self, out: &mut Vec<Action>) {
        let unable = self.index.wanted() > 0 && self.index.able() == 0;
        let since_ms = self.watch.unable_since_ms.or(Some(self.now_ms));
        self.watch.unable_since_ms = since_ms.filter(|_| unable);
        let shift = self.watch_breakers();
        let is_news = shift.is_some() && !self.bugs.has(Planted::SharedCauseUnsaid);
        let to = self.status(self.now_ms);
        if to != self.watch.announced || is_news {
            let mut reasons = self.readiness(self.now_ms).reasons;
            if let Some(text) = shift.and_then(Shift::describe) {
                reasons.insert(0, text.to_owned());
            }
            let reason = reasons.join("; ");
            let from = std::mem::replace(&mut self.watch.announced, to);
            out.push(Action::Operator(OperatorAction::Announce(Transition {
                key: None,
                tool: None,
                run: None,
                change: Change::Readiness { from, to },
                reason,
                detail: None,
            })));
        }
    }
}

fn count(instances: usize) -> u32 {
    u32::try_from(instances).unwrap_or(u32::MAX)
}

fn names(instances: &BTreeSet<InstanceId>) -> String {
    let named: Vec<&str> = instances
        .iter()
        .take(NAMED_MAX)
        .map(InstanceId::as_str)
        .collect();
    let more = match instances.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", named.join(", "))
}
