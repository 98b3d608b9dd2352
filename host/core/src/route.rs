//! Where requests for a slot go: the entries of the routing table that the proxy reads without asking anybody.

use std::sync::Arc;

use crate::id::{Run, SlotKey};

/// Where requests for one slot go now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Forward to this run.
    Ready {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },
    /// Send one `Demand` and wait for the next route, at most `wait_ms`.
    Startable {
        /// How long a request may wait for the start.
        wait_ms: u64,
    },
    /// Wait for the next route, at most `wait_ms`, and then answer with the refusal: a limit holds the start up.
    Waiting {
        /// How long a request may wait for a place.
        wait_ms: u64,
        /// What it is then answered.
        refusal: Unavailable,
    },
    /// Wait for the next route, at most until `deadline_ms` (same clock as [`crate::time::Now`]).
    Starting {
        /// When waiting is over.
        deadline_ms: u64,
    },
    /// Answer with an error at once.
    Unavailable(Unavailable),
}

/// Why a slot serves nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// The cause.
    pub kind: UnavailableKind,
    /// What happened, for people.
    pub reason: Arc<str>,
    /// When the router tries again by itself (same clock as [`crate::time::Now`]); `None`: it does not.
    pub retry_at_ms: Option<u64>,
}

/// The causes, closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnavailableKind {
    /// An operator stopped it.
    Stopped,
    /// It failed and waits for its next start.
    Backoff,
    /// It failed too often.
    CrashLoop,
    /// It is being stopped.
    Draining,
    /// It is being stopped for good.
    Removing,
    /// The router is ending.
    ShuttingDown,
    /// A limit of the capacity plan is reached.
    Capacity,
}

impl UnavailableKind {
    /// The name shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash_loop",
            Self::Draining | Self::Removing => "draining",
            Self::ShuttingDown => "shutting_down",
            Self::Capacity => "capacity",
        }
    }
}

impl Unavailable {
    /// Milliseconds until the router tries again by itself.
    #[must_use]
    pub fn retry_after_ms(&self, now_ms: u64) -> Option<u64> {
        self.retry_at_ms.map(|at| at.saturating_sub(now_ms))
    }

    /// What happened and what happens next, in one or two sentences for the person at the client.
    #[must_use]
    pub fn message(&self, instance: &str, now_ms: u64) -> String {
        let next = match (self.kind, self.retry_after_ms(now_ms)) {
            (UnavailableKind::Stopped, _) => {
                format!(
                    "It stays so until it is started with POST /api/instances/{instance}/start."
                )
            }
            (UnavailableKind::Backoff, Some(ms)) => {
                format!("It is started again in {ms} ms; try again then.")
            }
            (UnavailableKind::CrashLoop, Some(ms)) => format!(
                "It is tried again in {ms} ms, or at once with POST /api/instances/{instance}/restart; its crashes are at /api/instances/{instance}/crashes."
            ),
            (UnavailableKind::CrashLoop | UnavailableKind::Backoff, None) => format!(
                "It stays so until POST /api/instances/{instance}/restart; its crashes are at /api/instances/{instance}/crashes."
            ),
            (UnavailableKind::Draining, _) => "Try again in a few seconds.".to_owned(),
            (UnavailableKind::Removing, _) => {
                "It serves no more requests unless it is defined anew.".to_owned()
            }
            (UnavailableKind::ShuttingDown, _) => "Try again once the router is back.".to_owned(),
            (UnavailableKind::Capacity, Some(ms)) => {
                format!("It waited for a place and got none; try again in {ms} ms.")
            }
            (UnavailableKind::Capacity, None) => {
                "It waited for a place and got none; try again later.".to_owned()
            }
        };
        format!("Instance {instance}: {}. {next}", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::{Unavailable, UnavailableKind};

    #[test]
    fn a_refusal_says_what_happened_and_what_happens_next() {
        let message = |kind, retry_at_ms| {
            let reason = "it failed".into();
            let unavailable = Unavailable {
                kind,
                reason,
                retry_at_ms,
            };
            unavailable.message("demo", 1_000)
        };
        let cases = [
            (
                UnavailableKind::Stopped,
                None,
                "POST /api/instances/demo/start",
            ),
            (UnavailableKind::Backoff, Some(3_500), "in 2500 ms"),
            (UnavailableKind::CrashLoop, Some(61_000), "in 60000 ms"),
            (
                UnavailableKind::CrashLoop,
                None,
                "until POST /api/instances/demo/restart",
            ),
            (UnavailableKind::Draining, None, "in a few seconds"),
            (UnavailableKind::Removing, None, "no more requests"),
            (
                UnavailableKind::ShuttingDown,
                None,
                "once the router is back",
            ),
            (
                UnavailableKind::Capacity,
                Some(4_000),
                "try again in 3000 ms",
            ),
            (UnavailableKind::Capacity, None, "try again later"),
        ];
        for (kind, retry_at_ms, next) in cases {
            let text = message(kind, retry_at_ms);
            assert!(text.starts_with("Instance demo: it failed. "), "{text}");
            assert!(text.contains(next), "{text} lacks {next}");
        }
    }
}
