//! Pure decisions of the router: no tokio, no clock, no randomness of its own, no I/O, no wasmtime.
//!
//! Everything here takes `now` and facts, and returns decisions. The rooms that do I/O depend on this
//! crate for their words; this crate depends on none of them.

pub mod action;
pub mod classify;
pub mod event;
pub mod fleet;
pub mod health;
pub mod id;
pub mod permit;
pub mod route;
pub mod settings;
pub mod spec;
pub mod time;
pub mod view;

pub use fleet::Fleet;
pub use id::{InstanceId, Run, SlotKey};
pub use time::Now;
