//! The engine with real guests: reload, refusals, hostile ones, and a second kind.
//!
//! The guests are built by `make plugins`; without them every test fails and says so.

mod breaker;
mod bundled_sinks;
mod capacity;
mod fake_host;
mod hostile;
mod refused;
mod reload;
mod rules;
mod second_kind;
mod sinks;
mod trials;
mod world;
