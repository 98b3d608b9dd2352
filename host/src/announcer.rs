//! Publishing what happens: a row of the history and an event for each listener; of a change of state also a log line, and an audit
//! row where an instance started or ended.

use std::sync::Arc;

use parking_lot::Mutex;
use router_core::{
    action::{Change, Transition},
    health::Health,
    permit::BreakerState,
    view::{Lifecycle, Readiness},
};
use router_values::{AuditRow, HistoryRow};
use tokio::sync::{broadcast, watch};

use crate::{alerting::published, evidence::EvidenceRecorder};

/// Changes that a slow listener may be behind: a fleet of some hundred instances that all change at once.
const EVENTS_KEPT: usize = 1024;

/// Listeners at once. Each costs a connection; dashboards and scripts are few.
const LISTENERS_MAX: usize = 64;

/// See the module.
pub(crate) struct Announcer {
    /// Replaced to end the streams of all listeners.
    listeners: Mutex<broadcast::Sender<Arc<HistoryRow>>>,
    changes: watch::Sender<()>,
    recorder: Arc<EvidenceRecorder>,
}

impl Announcer {
    /// An announcer whose rows go to this recorder.
    pub(crate) fn new(recorder: Arc<EvidenceRecorder>) -> Self {
        Self {
            listeners: Mutex::new(broadcast::Sender::new(EVENTS_KEPT)),
            changes: watch::Sender::new(()),
            recorder,
        }
    }

    /// Every change from now on; `None` when there are too many listeners already.
    pub(crate) fn subscribe(&self) -> Option<broadcast::Receiver<Arc<HistoryRow>>> {
        let listeners = self.listeners.lock();
        (listeners.receiver_count() < LISTENERS_MAX).then(|| listeners.subscribe())
    }

    /// Changes with everything that happens but for alerts, for those who look at the state anew then.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Ends the streams of all listeners. Those with the right to may open new ones.
    pub(crate) fn close_streams(&self) {
        *self.listeners.lock() = broadcast::Sender::new(EVENTS_KEPT);
    }

    /// Publishes a change of state.
    pub(crate) fn announce(&self, transition: Transition) {
        log(&transition);
        self.audit(&transition);
        self.publish(row(transition));
    }

    /// Publishes what is no change of the fleet's state.
    pub(crate) fn publish(&self, row: HistoryRow) {
        // Rows are numbered in the order in which listeners get them.
        let listeners = self.listeners.lock();
        let row = self.recorder.record_history(row);
        // An error means that there are no listeners.
        let is_of_alerts = published::is_of_alerts(&row);
        let _ = listeners.send(Arc::new(row));
        if !is_of_alerts {
            self.changes.send_replace(());
        }
    }

    /// Records that an instance started, or ended.
    fn audit(&self, transition: &Transition) {
        let Some(key) = &transition.key else { return };
        let Change::Lifecycle { from, to } = transition.change else {
            return;
        };
        let has_ended = matches!(
            to,
            Lifecycle::Idle | Lifecycle::Stopped | Lifecycle::Backoff | Lifecycle::CrashLoop
        );
        let action = match (from, to) {
            (Lifecycle::Starting, Lifecycle::Ready) => "instance.started",
            (Lifecycle::Starting | Lifecycle::Ready | Lifecycle::Draining, _) if has_ended => {
                "instance.ended"
            }
            // A restart: the next run is begun in the step in which the one before ended.
            (Lifecycle::Draining, Lifecycle::Starting) => "instance.ended",
            _ => return,
        };
        let result = match to {
            Lifecycle::Backoff | Lifecycle::CrashLoop => "failed",
            _ => "ok",
        };
        let (target, detail) = (key.instance.as_str(), transition.reason.as_str());
        self.recorder
            .audit(AuditRow::by_router(action, target, result, detail));
    }
}

fn row(transition: Transition) -> HistoryRow {
    let (from, to) = transition.change.as_strs();
    let key = transition.key.as_ref();
    HistoryRow {
        axis: transition.change.axis().as_str().to_owned(),
        instance: key.map_or_else(String::new, |key| key.instance.to_string()),
        slot: key.map(|key| key.slot),
        run: transition.run.map(|run| run.0),
        subject: transition.tool.as_deref().unwrap_or_default().to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        reason: transition.reason,
        detail: transition.detail.unwrap_or_default(),
        ..HistoryRow::default()
    }
}

fn log(transition: &Transition) {
    let (from, state) = transition.change.as_strs();
    let reason = transition.reason.as_str();
    let key = transition.key.as_ref();
    let instance = key.map_or("", |key| key.instance.as_str());
    let detail = transition.detail.as_deref().unwrap_or_default();
    match transition.change {
        Change::Readiness { to, .. } => match to {
            Readiness::Healthy => tracing::info!(from, state, "readiness changed"),
            Readiness::Degraded | Readiness::Down => {
                tracing::warn!(from, state, reason, "readiness changed");
            }
        },
        Change::Breaker { to, .. } => {
            // Left out where it is the breaker of the instance.
            let tool = transition.tool.as_deref();
            match to {
                BreakerState::Closed => {
                    tracing::info!(
                        instance,
                        tool,
                        from,
                        state,
                        reason,
                        "circuit breaker changed"
                    );
                }
                BreakerState::Open | BreakerState::HalfOpen => {
                    tracing::warn!(
                        instance,
                        tool,
                        from,
                        state,
                        reason,
                        "circuit breaker changed"
                    );
                }
            }
        }
        Change::Lifecycle { to, .. } => match to {
            Lifecycle::CrashLoop => tracing::error!(
                instance,
                from,
                state,
                reason,
                error = detail,
                "Instance has exceeded max restart attempts. Entering crash loop protection."
            ),
            Lifecycle::Backoff => {
                tracing::error!(instance, from, state, error = reason, "instance failed");
            }
            _ => tracing::info!(instance, from, state, reason, "instance state changed"),
        },
        Change::Health { to, .. } => match to {
            Health::Unhealthy | Health::Degraded => {
                tracing::warn!(instance, from, state, reason, "instance health changed");
            }
            Health::Healthy => tracing::debug!(instance, from, state, "instance health changed"),
        },
    }
}
