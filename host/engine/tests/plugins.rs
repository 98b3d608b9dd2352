//! The engine with real guests: reload, refusals, hostile ones, and what it costs.
//!
//! The guests are built by `make plugins`; without them every test fails and says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test fails"
)]

#[path = "plugins/hostile.rs"]
mod hostile;
#[path = "plugins/reload.rs"]
mod reload;
#[path = "plugins/world.rs"]
mod world;
