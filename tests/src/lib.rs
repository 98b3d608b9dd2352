//! What the scenarios stand on: a router as a real process in a folder of its own, real clients, load, and a look at `/proc`.
//!
//! It decides nothing about what is right; the files in `scenarios` do. It never waits without a deadline, and a deadline that passes
//! ends the test with what the router last said.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this crate is only ever part of a test: a fault in it has to end that test, loudly"
)]

pub mod blocks;
pub mod config;
pub mod load;
pub mod mcp;
pub mod pages;
pub mod peers;
pub mod processes;
pub mod receivers;
pub mod router;
pub mod shell;
pub mod wait;
pub mod wire;
pub mod worlds;

pub use config::{Config, Server};
pub use load::{Load, Tally};
pub use mcp::Session;
pub use router::{Router, pid_of};
pub use wait::until;
