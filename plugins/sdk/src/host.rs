//! What the router does for a plugin: a log, and a store of values that survives calls, generations and the router.
//!
//! Natively [`FakeHost`] stands in for the router, so that a policy that logs or keeps values is tested as the plain function
//! that it is:
//!
//! ```
//! use router_plugin_sdk::{Settings, health_policy::{Facts, HealthPolicy, Verdict}, host::{self, FakeHost, LogLevel}};
//!
//! /// Degraded when slow twice in a row.
//! struct Patient;
//!
//! impl HealthPolicy for Patient {
//!     const NAME: &'static str = "patient";
//!     const SUMMARY: &'static str = "degraded when slow twice in a row";
//!
//!     fn judge(facts: &Facts, _settings: &Settings) -> Verdict {
//!         let key = format!("slow/{}/{}", facts.instance, facts.slot);
//!         if facts.window_p95_ms.is_none_or(|p95| p95 <= 200.0) {
//!             host::delete(&key);
//!             return Verdict::healthy();
//!         }
//!         if host::get(&key).is_some() {
//!             return Verdict::degraded("slow twice in a row");
//!         }
//!         if let Err(error) = host::set(&key, b"1") {
//!             host::log(LogLevel::Warn, &format!("{key}: {error}"));
//!         }
//!         Verdict::healthy()
//!     }
//! }
//!
//! let host = FakeHost::new();
//! let slow = Facts { window_p95_ms: Some(300.0), ..Facts::default() };
//! let judge = || host.call(|| Patient::judge(&slow, &Settings::default()));
//! assert_eq!(judge(), Verdict::healthy());
//! assert_eq!(host.value("slow/demo/0").as_deref(), Some(&b"1"[..]));
//! assert_eq!(judge().reason, "slow twice in a row");
//! assert!(host.lines().is_empty());
//! ```

#[cfg(not(target_family = "wasm"))]
mod fake;

#[cfg(target_family = "wasm")]
use crate::bindings::router::common::host as router;
#[cfg(not(target_family = "wasm"))]
use fake::functions as router;

pub use crate::bindings::router::common::host::{LogLevel, StoreError};
#[cfg(not(target_family = "wasm"))]
pub use fake::{Bounds, FakeHost, Line};

/// Writes a line to the router's log, under the plugin's name. Cut to 4 KiB; control characters are escaped.
pub fn log(level: LogLevel, message: &str) {
    router::log(level, message);
}

/// Reads a value that this plugin kept, also in an earlier generation or an earlier life of the router.
#[must_use]
pub fn get(key: &str) -> Option<Vec<u8>> {
    router::get(key)
}

/// Keeps a value under a key, in place of the one before.
///
/// # Errors
/// The key or the value is none that is kept, or the plugin keeps as much as it may.
pub fn set(key: &str, value: &[u8]) -> Result<(), StoreError> {
    router::set(key, value)
}

/// Forgets a value.
pub fn delete(key: &str) {
    router::delete(key);
}
