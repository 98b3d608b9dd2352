//! The bundled instance from a client's side: every test talks to it through a real MCP client over a pipe.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod bounds;
mod changes;
mod client;
mod confinement;
mod golden;
mod protocol;
mod scale;
