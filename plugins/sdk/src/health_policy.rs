//! Health policies: the world `health-policy`.

use crate::{
    Settings,
    kind::{kind_bindings, kind_trait},
};

kind_bindings!(
    "export_health",
    "package router:sdk-health; world health { export router:health/health@0.2.0; }"
);

pub use bindings::exports::router::health::health::{Facts, Status, Verdict};

kind_trait! {
    /// A health policy. Implement it, then [`crate::export_health_policy!`] it.
    pub trait HealthPolicy {
        /// Judges one slot.
        #[must_use]
        fn judge(facts: &Facts, settings: &Settings) -> Verdict;
    }
}

impl Verdict {
    /// Nothing to say.
    #[must_use]
    pub fn healthy() -> Self {
        Self::new(Status::Healthy, "")
    }

    /// It serves, but somebody should look, because of this.
    pub fn degraded(reason: impl Into<String>) -> Self {
        Self::new(Status::Degraded, reason)
    }

    /// It does not serve as it should, because of this.
    pub fn unhealthy(reason: impl Into<String>) -> Self {
        Self::new(Status::Unhealthy, reason)
    }

    /// The same verdict, with the wish that the slot be started anew.
    #[must_use]
    pub fn and_recycle(self) -> Self {
        Self {
            recycle: true,
            ..self
        }
    }

    fn new(status: Status, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            recycle: false,
            attributes: Vec::new(),
        }
    }
}

/// A slot that is as well as can be, to start a test from.
impl Default for Facts {
    fn default() -> Self {
        Self {
            instance: "demo".to_owned(),
            slot: 0,
            uptime_ms: 60_000,
            memory_bytes: None,
            memory_limit_bytes: None,
            heartbeat_age_ms: 0,
            pings_failed: 0,
            ping_ms: None,
            window_requests: 0,
            window_errors: 0,
            window_p95_ms: None,
            restarts_recent: 0,
            in_flight: 0,
            tools_missing: Vec::new(),
            tools_count: 0,
            attributes: Vec::new(),
        }
    }
}

/// Makes a [`HealthPolicy`] the plugin that this crate is built to. For wasm only: natively it does nothing, so that tests run.
#[macro_export]
macro_rules! export_health_policy {
    ($policy:ident) => {
        $crate::export_plugin! {
            $policy, health_policy::HealthPolicy, health::health by export_health,
            judge(facts: Facts) -> Verdict = judge
        }
    };
}
