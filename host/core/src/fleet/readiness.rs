//! Whether the router as a whole can serve, and since when it cannot.

use super::Fleet;
use crate::{
    action::{Action, Change, OperatorAction, Transition},
    instance::Instance,
    planted::{Bugs, Planted},
    settings::Settings,
    step::FleetPhase,
    view::{Readiness, ReadinessView, Status},
};

/// Instances named in a reason.
const NAMED_MAX: usize = 5;

/// What readiness is judged by besides the instances.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) database: bool,
    pub(super) disk_share: f64,
    pub(super) plugins_quarantined: u32,
    /// Since when instances are wanted and none of them can serve.
    unable_since_ms: Option<u64>,
    announced: Readiness,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            // Until somebody says otherwise: nothing has been lost yet.
            database: true,
            disk_share: 0.0,
            plugins_quarantined: 0,
            unable_since_ms: None,
            announced: Readiness::Healthy,
        }
    }
}

impl Watch {
    /// When `down` is due.
    pub(super) fn next_wake(&self, settings: &Settings, bugs: Bugs) -> Option<u64> {
        let due_ms = self.unable_since_ms?.saturating_add(settings.unable_ms);
        let is_told = self.announced == Readiness::Down && !bugs.has(Planted::WakeInThePast);
        (!is_told).then_some(due_ms)
    }
}

impl Fleet {
    /// The word alone.
    fn standing(&self, now_ms: u64) -> Readiness {
        let troubled = |instance: &Instance| instance.is_wanted() && self.is_troubled(instance);
        if self.phase == FleetPhase::ShuttingDown || self.unable_ms(now_ms).is_some() {
            Readiness::Down
        } else if (!self.watch.database && !self.bugs.has(Planted::DatabaseIgnored))
            || self.watch.plugins_quarantined > 0
            || self.watch.disk_share > self.settings.disk_degraded_share
            || self.instances.values().any(troubled)
        {
            Readiness::Degraded
        } else {
            Readiness::Healthy
        }
    }

    fn is_troubled(&self, instance: &Instance) -> bool {
        let status = instance.status(self.phase);
        matches!(status, Status::Unhealthy | Status::Degraded)
            || instance.is_overdue(self.bugs)
            || instance.is_retrying(self.bugs)
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
        let wanted: Vec<&Instance> = self
            .instances
            .values()
            .filter(|instance| instance.is_wanted())
            .collect();
        let mut reasons = Vec::new();
        if self.phase == FleetPhase::ShuttingDown {
            reasons.push("the router is shutting down".to_owned());
        } else if let Some(ms) = self.unable_ms(now_ms) {
            let count = wanted.len();
            reasons.push(format!(
                "none of {count} wanted instances has been able to serve for {} s",
                ms / 1_000
            ));
        }
        if !self.watch.database {
            reasons.push("the database is lost".to_owned());
        }
        let troubled: Vec<&Instance> = wanted
            .iter()
            .copied()
            .filter(|instance| self.is_troubled(instance))
            .collect();
        if !troubled.is_empty() {
            reasons.push(format!("not healthy: {}", names(&troubled)));
        }
        if self.watch.plugins_quarantined > 0 {
            reasons.push(format!(
                "{} plugins are in quarantine",
                self.watch.plugins_quarantined
            ));
        }
        if self.watch.disk_share > self.settings.disk_degraded_share {
            reasons.push(format!(
                "a disk is {:.0} % full",
                self.watch.disk_share * 100.0
            ));
        }
        let able = wanted
            .iter()
            .filter(|instance| instance.can_serve())
            .count();
        ReadinessView {
            status: self.standing(now_ms),
            reasons,
            database: self.watch.database,
            wanted: u32::try_from(wanted.len()).unwrap_or(u32::MAX),
            able: u32::try_from(able).unwrap_or(u32::MAX),
            plugins_quarantined: self.watch.plugins_quarantined,
            disk_share: self.watch.disk_share,
        }
    }

    /// Notes since when nothing can serve, and tells when the word changed.
    pub(super) fn watch_readiness(&mut self, out: &mut Vec<Action>) {
        let mut wanted = self
            .instances
            .values()
            .filter(|instance| instance.is_wanted())
            .peekable();
        let unable = wanted.peek().is_some() && !wanted.any(Instance::can_serve);
        self.watch.unable_since_ms = match (unable, self.watch.unable_since_ms) {
            (true, since_ms) => since_ms.or(Some(self.now_ms)),
            (false, _) => None,
        };
        let standing = self.standing(self.now_ms);
        if standing != self.watch.announced {
            let reason = self.readiness(self.now_ms).reasons.join("; ");
            let from = std::mem::replace(&mut self.watch.announced, standing);
            out.push(Action::Operator(OperatorAction::Announce(Transition {
                key: None,
                run: None,
                change: Change::Readiness { from, to: standing },
                reason,
                detail: None,
            })));
        }
    }
}

fn names(instances: &[&Instance]) -> String {
    let named: Vec<&str> = instances
        .iter()
        .take(NAMED_MAX)
        .map(|instance| instance.id().as_str())
        .collect();
    let more = instances.len() - named.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", named.join(", "))
}
