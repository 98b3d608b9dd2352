//! Telling people of changes of state: one log line, one event for those who listen, and an audit row where an instance
//! started or ended.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use router_admin::{AuditEntry, StateChange};
use router_core::action::{Axis, Transition};
use tokio::sync::broadcast;

use crate::guard::Audit;

/// Changes that a slow listener may be behind: a fleet of some hundred instances that all change at once.
const EVENTS_KEPT: usize = 1024;

/// Listeners at once. Each costs a connection; dashboards and scripts are few.
const LISTENERS_MAX: usize = 64;

/// See the module.
pub(crate) struct Announcer {
    /// Replaced to end the streams of all who listen.
    changes: Mutex<broadcast::Sender<Arc<StateChange>>>,
    sequence: AtomicU64,
    audit: Audit,
}

impl Announcer {
    /// An announcer whose audit rows go there.
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            changes: Mutex::new(broadcast::Sender::new(EVENTS_KEPT)),
            sequence: AtomicU64::new(0),
            audit,
        }
    }

    /// Every change from now on; `None` when too many listen already.
    pub(crate) fn subscribe(&self) -> Option<broadcast::Receiver<Arc<StateChange>>> {
        let changes = self.changes.lock();
        (changes.receiver_count() < LISTENERS_MAX).then(|| changes.subscribe())
    }

    /// Ends the streams of all who listen. Whoever still may begins a new one.
    pub(crate) fn close_streams(&self) {
        *self.changes.lock() = broadcast::Sender::new(EVENTS_KEPT);
    }

    /// Tells of one change.
    pub(crate) fn announce(&self, transition: Transition) {
        log(&transition);
        self.note(&transition);
        let change = StateChange {
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            at: router_telemetry::rfc3339(std::time::SystemTime::now()),
            transition,
        };
        // Without listeners there is nobody to tell.
        let _ = self.changes.lock().send(Arc::new(change));
    }

    /// An instance started, or ended.
    fn note(&self, transition: &Transition) {
        let Some(key) = &transition.key else { return };
        let action = match (transition.axis, transition.from, transition.to) {
            (Axis::Lifecycle, "starting", "ready") => "instance.started",
            (Axis::Lifecycle, "starting" | "ready" | "draining", to) if has_ended(to) => {
                "instance.ended"
            }
            // A restart: the next run is begun in the step in which the one before ended.
            (Axis::Lifecycle, "draining", "starting") => "instance.ended",
            _ => return,
        };
        (self.audit)(AuditEntry {
            actor: "router".into(),
            role: "router".into(),
            from: None,
            action,
            target: key.instance.as_str().to_owned(),
            result: if matches!(transition.to, "backoff" | "crash_loop") {
                "failed"
            } else {
                "ok"
            },
            detail: transition.reason.clone(),
        });
    }
}

fn has_ended(to: &str) -> bool {
    matches!(to, "idle" | "stopped" | "backoff" | "crash_loop")
}

fn log(transition: &Transition) {
    let Transition {
        key,
        from,
        to,
        reason,
        ..
    } = transition;
    let Some(key) = key else {
        if *to == "healthy" {
            tracing::info!(from, state = to, "readiness changed");
        } else {
            tracing::warn!(from, state = to, reason, "readiness changed");
        }
        return;
    };
    let instance = key.instance.as_str();
    let detail = transition.detail.as_deref().unwrap_or_default();
    match (transition.axis, *to) {
        (Axis::Breaker, "CLOSED") => {
            tracing::info!(
                instance,
                from,
                state = to,
                reason,
                "circuit breaker changed"
            );
        }
        (Axis::Breaker, _) => {
            tracing::warn!(
                instance,
                from,
                state = to,
                reason,
                "circuit breaker changed"
            );
        }
        (Axis::Lifecycle, "crash_loop") => tracing::error!(
            instance,
            from,
            state = to,
            reason,
            error = detail,
            "Instance has exceeded max restart attempts. Entering crash loop protection."
        ),
        (Axis::Lifecycle, "backoff") => {
            tracing::error!(
                instance,
                from,
                state = to,
                error = reason,
                "instance failed"
            );
        }
        (Axis::Health, "unhealthy" | "degraded") => {
            tracing::warn!(
                instance,
                from,
                state = to,
                reason,
                "instance health changed"
            );
        }
        (Axis::Health, _) => tracing::debug!(instance, from, state = to, "instance health changed"),
        _ => tracing::info!(instance, from, state = to, reason, "instance state changed"),
    }
}
