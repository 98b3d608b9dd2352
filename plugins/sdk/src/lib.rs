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

pub mod alert_rule;
pub mod alert_sink;
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
mod kind;
mod settings;

pub use settings::{ConfigFault, Settings, Value};

/// The policy that the README shows is compiled as the example above is.
#[cfg(doctest)]
#[allow(
    rustdoc::invalid_codeblock_attributes,
    reason = "its other blocks are named for the tests that run them"
)]
#[doc = include_str!("../../../README.md")]
struct Readme;
