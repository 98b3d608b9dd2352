//! Alert rules: the world `alert-rule`.
//!
//! A rule is asked anew each time and remembers nothing by itself. What it must remember it keeps with [`crate::host`], which natively
//! is a fake one:
//!
//! ```
//! use router_plugin_sdk::{
//!     Settings,
//!     alert_rule::{AlertRule, Condition, Fleet, Severity, Totals},
//!     host::{self, FakeHost, LogLevel},
//! };
//!
//! /// Instances that disappeared: less than half of the most that there were.
//! struct Shrunk;
//!
//! impl AlertRule for Shrunk {
//!     const NAME: &'static str = "shrunk";
//!     const SUMMARY: &'static str = "less than half of the instances that there were";
//!
//!     fn evaluate(fleet: &Fleet, _settings: &Settings) -> Vec<Condition> {
//!         let now = fleet.totals.instances;
//!         let most = host::get("most").and_then(|kept| String::from_utf8(kept).ok()?.parse().ok());
//!         let most = most.unwrap_or(0).max(now);
//!         if let Err(error) = host::set("most", most.to_string().as_bytes()) {
//!             host::log(LogLevel::Warn, &format!("most: {error}"));
//!         }
//!         if now * 2 >= most {
//!             return Vec::new();
//!         }
//!         let summary = format!("{now} of {most} instances are left");
//!         vec![
//!             Condition::new("shrunk", "Shrunk", Severity::P2, summary)
//!                 .with_remedy("Compare `GET /api/instances` with what should be there.")
//!                 .after_ms(60_000),
//!         ]
//!     }
//! }
//!
//! let host = FakeHost::new();
//! let evaluate = |instances: u32| {
//!     let totals = Totals { instances, ..Totals::default() };
//!     let fleet = Fleet { totals, ..Fleet::default() };
//!     host.call(|| Shrunk::evaluate(&fleet, &Settings::default()))
//! };
//! assert_eq!(evaluate(10), []);
//! assert_eq!(evaluate(5), []);
//! assert_eq!(evaluate(4)[0].summary, "4 of 10 instances are left");
//! assert_eq!(host.value("most").as_deref(), Some(&b"10"[..]));
//! ```

use crate::{
    Settings,
    kind::{kind_bindings, kind_trait},
};

kind_bindings!(
    "export_rule",
    "package router:sdk-rule; world rule { export router:alerts/rule@0.2.0; }"
);

pub use bindings::{
    exports::router::alerts::rule::{
        CapacityLimit, Disk, Fleet, InstanceState, Page, PluginState, Refusal, SinkState, Totals,
    },
    router::alerts::types::{Condition, Severity},
};

/// Most conditions that one answer may name: one with more counts as no answer.
pub const CONDITIONS_MAX: usize = 1_000;

/// Longest key of a condition, in bytes: an answer with a longer one counts as none.
pub const KEY_BYTES_MAX: usize = 255;

kind_trait! {
    /// An alert rule. Implement it, then [`crate::export_alert_rule!`] it.
    pub trait AlertRule {
        /// Names every condition that holds now. What it named before and names no more is resolved.
        #[must_use]
        fn evaluate(fleet: &Fleet, settings: &Settings) -> Vec<Condition>;
    }
}

impl Condition {
    /// This is wrong. The key is the same for the same condition each time, and no other condition of this rule has it; the name is
    /// that of the alert, and many conditions may share it.
    pub fn new(
        key: impl Into<String>,
        name: impl Into<String>,
        severity: Severity,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            key: key.into(),
            name: name.into(),
            severity,
            summary: summary.into(),
            remedy: String::new(),
            runbook_anchor: None,
            instance: None,
            for_ms: 0,
            attributes: Vec::new(),
        }
    }

    /// The same condition, with what to do.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: remedy.into(),
            ..self
        }
    }

    /// The same condition, with the heading of the runbook that speaks of it, as in an address after `#`.
    #[must_use]
    pub fn with_anchor(self, anchor: impl Into<String>) -> Self {
        Self {
            runbook_anchor: Some(anchor.into()),
            ..self
        }
    }

    /// The same condition, of one instance.
    #[must_use]
    pub fn of_instance(self, instance: impl Into<String>) -> Self {
        Self {
            instance: Some(instance.into()),
            ..self
        }
    }

    /// The same condition, which is an alert once it has held for so long.
    #[must_use]
    pub fn after_ms(self, for_ms: u64) -> Self {
        Self { for_ms, ..self }
    }
}

/// An instance that is as well as can be, to start a test from.
impl Default for InstanceState {
    fn default() -> Self {
        Self {
            instance: "demo".to_owned(),
            template: None,
            status: "healthy".to_owned(),
            lifecycle: "ready".to_owned(),
            reason: String::new(),
            breaker: "CLOSED".to_owned(),
            openings: 0,
            error_share: None,
            p95_ms: None,
            restarts_recent: 0,
            memory_bytes: None,
            memory_limit_bytes: None,
            heartbeat_age_ms: Some(0),
            attributes: Vec::new(),
        }
    }
}

/// A bundled policy that serves.
impl Default for PluginState {
    fn default() -> Self {
        Self {
            name: "default-health".to_owned(),
            world: "health-policy".to_owned(),
            state: "serving".to_owned(),
            reason: None,
            in_use: true,
            refusal: None,
            held: None,
            quarantined_since_ms: None,
            default_answers: 0,
            attributes: Vec::new(),
        }
    }
}

/// A sink that delivers.
impl Default for SinkState {
    fn default() -> Self {
        Self {
            name: "slack".to_owned(),
            failing_since_ms: None,
            reason: None,
            gone: None,
            waiting: 0,
            dead_letters: 0,
            attributes: Vec::new(),
        }
    }
}

/// No instances.
impl Default for Totals {
    fn default() -> Self {
        Self {
            instances: 0,
            wanted: 0,
            able: 0,
            breakers: 0,
            breakers_open: 0,
            breakers_opened_together: 0,
            error_share: None,
            p95_ms: None,
        }
    }
}

/// A router with nothing to complain of and no instances, an hour after its start.
impl Default for Fleet {
    fn default() -> Self {
        Self {
            now_ms: 1_800_000_000_000,
            page: Page {
                number: 0,
                count: 1,
            },
            instances: Vec::new(),
            totals: Totals::default(),
            plugins: Vec::new(),
            sinks: Vec::new(),
            database: "connected".to_owned(),
            pool_share: 0.0,
            database_connections: None,
            disks: Vec::new(),
            capacity_required: None,
            capacity_limits: Vec::new(),
            capacity_forecast: None,
            capacity_forecast_ms: None,
            uptime_ms: 3_600_000,
            attributes: Vec::new(),
        }
    }
}

/// Makes an [`AlertRule`] the plugin that this crate is built to. For wasm only: natively it does nothing, so that tests run.
#[macro_export]
macro_rules! export_alert_rule {
    ($rule:ident) => {
        $crate::export_plugin! {
            $rule, alert_rule::AlertRule, alerts::rule by export_rule,
            evaluate(fleet: Fleet) -> Vec<Condition> = evaluate
        }
    };
}
