//! Health policies: the world `health-policy`.

#[allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated from wit/"
)]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package router:sdk-health;
            world health {
                export router:health/health@0.2.0;
            }
        ",
        generate_all,
        with: { "router:common/types@0.2.0": crate::bindings::router::common::types },
        pub_export_macro: true,
        export_macro_name: "export_health",
        default_bindings_module: "router_plugin_sdk::health_policy::bindings",
        additional_derives: [PartialEq],
    });
}

use crate::{ConfigFault, Settings};

pub use bindings::exports::router::health::health::{Facts, Status, Verdict};

/// A health policy. Implement it, then [`crate::export_health_policy!`] it.
pub trait HealthPolicy {
    /// Its name, for people.
    const NAME: &'static str;
    /// What it does, in one line.
    const SUMMARY: &'static str;
    /// Its version; give `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str = "0.0.0";

    /// Names everything that is wrong with the configuration. By default anything is accepted.
    #[must_use]
    fn check(settings: &Settings) -> Vec<ConfigFault> {
        let _ = settings;
        Vec::new()
    }

    /// Judges one slot.
    #[must_use]
    fn judge(facts: &Facts, settings: &Settings) -> Verdict;
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
        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::health_policy::{Facts, HealthPolicy, Verdict, bindings};

            struct Exported;

            impl bindings::exports::router::health::health::Guest for Exported {
                fn judge(
                    facts: Facts,
                    settings: Vec<$crate::bindings::router::common::types::Setting>,
                ) -> Verdict {
                    let settings = $crate::Settings::from_guest(settings);
                    <$policy as HealthPolicy>::judge(&facts, &settings)
                }
            }

            $crate::export_plugin_lifecycle!(Exported, $policy as HealthPolicy);
            $crate::health_policy::bindings::export_health!(
                Exported with_types_in $crate::health_policy::bindings
            );
        };
    };
}
