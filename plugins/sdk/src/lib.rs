//! What a plugin author depends on: one module per kind of plugin, each with a trait to implement and a macro to export it.
//!
//! ```
//! use router_plugin_sdk::{Settings, health_policy::{Facts, HealthPolicy, Verdict}};
//!
//! struct Strict;
//!
//! impl HealthPolicy for Strict {
//!     const NAME: &'static str = "strict";
//!     const SUMMARY: &'static str = "degraded past 200 ms at the 95th percentile";
//!
//!     fn judge(facts: &Facts, _settings: &Settings) -> Verdict {
//!         match facts.window_p95_ms {
//!             Some(p95) if p95 > 200.0 => Verdict::degraded(format!("p95 is {p95:.0} ms")),
//!             _ => Verdict::healthy(),
//!         }
//!     }
//! }
//!
//! router_plugin_sdk::export_health_policy!(Strict);
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2` as a `cdylib`: the file is the plugin. The macro exports only for
//! wasm, so that `cargo test` runs a policy natively, as the plain function that it is; [`host`] says how one is tested that logs or
//! keeps values.

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
pub mod bindings;
pub mod breaker_policy;
pub mod capacity_policy;
pub mod health_policy;
pub mod host;
mod settings;

pub use settings::{ConfigFault, Settings, Value};

/// What every kind of plugin answers, from what the kind's trait says. For the macro of each kind.
#[doc(hidden)]
#[macro_export]
macro_rules! export_plugin_lifecycle {
    ($exported:ident, $policy:ident as $kind:path) => {
        impl $crate::bindings::exports::router::common::lifecycle::Guest for $exported {
            fn describe() -> $crate::bindings::router::common::types::Description {
                $crate::bindings::router::common::types::Description {
                    name: <$policy as $kind>::NAME.to_owned(),
                    version: <$policy as $kind>::VERSION.to_owned(),
                    summary: <$policy as $kind>::SUMMARY.to_owned(),
                    attributes: Vec::new(),
                }
            }

            fn validate_config(
                settings: Vec<$crate::bindings::router::common::types::Setting>,
            ) -> Vec<$crate::ConfigFault> {
                <$policy as $kind>::check(&$crate::Settings::from_guest(settings))
            }
        }
        $crate::bindings::export_lifecycle!($exported with_types_in $crate::bindings);
    };
}

/// The policy that the README shows is compiled as the example above is.
#[cfg(doctest)]
#[allow(
    rustdoc::invalid_codeblock_attributes,
    reason = "its other blocks are named for the tests that run them"
)]
#[doc = include_str!("../../../README.md")]
struct Readme;
