//! One connection, many sessions: over in-memory pipes with a scripted instance, and over real ones.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking, also in its helpers, which take what `json!` makes"
)]

mod adoption;
mod hostile;
mod lifecycle;
mod multiplex;
mod peer;
mod questions;
mod sharing;
