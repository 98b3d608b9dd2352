//! Breaker policies: the world `breaker-policy`.

use crate::{
    Settings,
    kind::{kind_bindings, kind_trait},
};

kind_bindings!(
    "export_breaker",
    "package router:sdk-breaker; world breaker { export router:breaker/breaker@0.2.0; }"
);

pub use bindings::exports::router::breaker::breaker::{
    Classification, Meaning, Mode, Outcome, Plan, Profile, Thresholds, ToolProfile, ToolRows,
};

kind_trait! {
    /// A breaker policy. Implement it, then [`crate::export_breaker_policy!`] it.
    pub trait BreakerPolicy {
        /// Plans for one instance. Begin with [`Plan::configured`] and change what is to be other.
        #[must_use]
        fn plan(profile: &Profile, settings: &Settings) -> Plan;
    }
}

impl Plan {
    /// The numbers of the configuration, applied as they are.
    #[must_use]
    pub fn configured(profile: &Profile) -> Self {
        Self {
            thresholds: profile.configured.clone(),
            table: Vec::new(),
            tools: Vec::new(),
            mode: Mode::Enforce,
            reason: "the thresholds of the configuration".to_owned(),
            attributes: Vec::new(),
        }
    }

    /// The same plan, with why it is so.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            ..self
        }
    }

    /// The same plan with a row more, after those that it has: what ends so means this.
    #[must_use]
    pub fn with_row(mut self, outcome: Outcome, meaning: Meaning) -> Self {
        self.table.push(Classification {
            outcome,
            meaning,
            attributes: Vec::new(),
        });
        self
    }

    /// The same plan, to be shown beside the one in force and not applied.
    #[must_use]
    pub fn and_observe(self) -> Self {
        Self {
            mode: Mode::Observe,
            ..self
        }
    }
}

/// The defaults of the router's configuration, to start a test from.
impl Default for Thresholds {
    fn default() -> Self {
        Self {
            consecutive_failures: 3,
            window_ms: 60_000,
            min_samples: 20,
            failure_share: 0.5,
            slow_share: 0.8,
            slow_ms: None,
            open_first_ms: 30_000,
            open_max_ms: 300_000,
            successes: 2,
            permits: 2,
            probe_timeout_ms: 30_000,
            reset_after_ms: 600_000,
            attributes: Vec::new(),
        }
    }
}

/// An instance that nobody has called yet, to start a test from.
impl Default for Profile {
    fn default() -> Self {
        Self {
            instance: "demo".to_owned(),
            template: Some("godot".to_owned()),
            transport: "stdio".to_owned(),
            configured: Thresholds::default(),
            calls_per_minute: 0.0,
            p50_ms: None,
            p99_ms: None,
            error_share: None,
            tools: Vec::new(),
            attributes: Vec::new(),
        }
    }
}

/// Makes a [`BreakerPolicy`] the plugin that this crate is built to. For wasm only: natively it does nothing, so that tests run.
#[macro_export]
macro_rules! export_breaker_policy {
    ($policy:ident) => {
        $crate::export_plugin! {
            $policy, breaker_policy::BreakerPolicy, breaker::breaker by export_breaker,
            plan_for(profile: Profile) -> Plan = plan
        }
    };
}
