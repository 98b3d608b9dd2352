//! Pure decisions of the router: no tokio, no clock, no randomness of its own, no I/O, no wasmtime.
//!
//! Everything here takes `now` and facts, and returns decisions. The rooms that do I/O depend on this
//! crate for their words; this crate depends on none of them.

pub mod action;
mod backoff;
mod breaker;
pub mod classify;
pub mod event;
mod failure;
pub mod fleet;
pub mod health;
pub mod id;
mod instance;
mod jitter;
pub mod permit;
mod planted;
pub mod route;
pub mod settings;
#[cfg(test)]
mod simulation;
mod slot;
pub mod spec;
mod step;
mod tally;
pub mod time;
pub mod view;

pub use fleet::Fleet;
pub use id::{InstanceId, Run, SlotKey};
pub use time::Now;
