//! The proxy over real HTTP, in front of an instance that does what a test asks of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a test fails by panicking, also in its helpers, which take what `json!` makes"
)]

mod batches;
mod bodies;
mod breaker;
mod client;
mod instance;
mod lifecycle;
mod losses;
mod refusals;
mod requests;
mod sessions;
mod streams;
mod tool_breakers;
mod versions;
mod world;
