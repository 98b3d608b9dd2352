//! Publishing changes of state: a log line, an event for each listener, and an audit row where an instance started or ended.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use router_admin::StateChange;
use router_core::{
    action::{Change, Transition},
    health::Health,
    permit::BreakerState,
    view::{Lifecycle, Readiness},
};
use router_values::AuditRow;
use tokio::sync::broadcast;

use crate::evidence::EvidenceRecorder;

/// Changes that a slow listener may be behind: a fleet of some hundred instances that all change at once.
const EVENTS_KEPT: usize = 1024;

/// Listeners at once. Each costs a connection; dashboards and scripts are few.
const LISTENERS_MAX: usize = 64;

/// See the module.
pub(crate) struct Announcer {
    /// Replaced to end the streams of all listeners.
    changes: Mutex<broadcast::Sender<Arc<StateChange>>>,
    sequence: AtomicU64,
    recorder: Arc<EvidenceRecorder>,
}

impl Announcer {
    /// An announcer whose audit rows go to this recorder.
    pub(crate) fn new(recorder: Arc<EvidenceRecorder>) -> Self {
        Self {
            changes: Mutex::new(broadcast::Sender::new(EVENTS_KEPT)),
            sequence: AtomicU64::new(0),
            recorder,
        }
    }

    /// Every change from now on; `None` when there are too many listeners already.
    pub(crate) fn subscribe(&self) -> Option<broadcast::Receiver<Arc<StateChange>>> {
        let changes = self.changes.lock();
        (changes.receiver_count() < LISTENERS_MAX).then(|| changes.subscribe())
    }

    /// Ends the streams of all listeners. Those with the right to may open new ones.
    pub(crate) fn close_streams(&self) {
        *self.changes.lock() = broadcast::Sender::new(EVENTS_KEPT);
    }

    /// Publishes one change.
    pub(crate) fn announce(&self, transition: Transition) {
        log(&transition);
        self.audit(&transition);
        let change = StateChange {
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            at: router_values::rfc3339(std::time::SystemTime::now()),
            transition,
        };
        // An error means that there are no listeners.
        let _ = self.changes.lock().send(Arc::new(change));
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
