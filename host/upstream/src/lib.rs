//! The router's multiplexed MCP connection to one slot.
//!
//! One [`Upstream`] owns both directions of a slot's byte stream (newline-delimited JSON-RPC over two pipes or a unix
//! socket) and lets many client sessions share it: request ids and progress tokens are replaced by its own, and
//! everything the instance says finds the one session it is meant for. Payloads pass through as raw text.
//!
//! It must not know HTTP, the breaker, or why a process lives: the proxy calls it, the app opens and drops it.

mod cache;
mod config;
mod connection;
pub mod envelope;
mod handshake;
mod ids;
mod inbound;
mod lines;
mod outbound;
mod own;
mod protocol;
mod reply;
mod sessions;
mod state;
mod tick;
mod upstream;

pub use cache::ListKind;
pub use config::{Limits, UpstreamConfig};
pub use envelope::{Envelope, EnvelopeError, Shape};
pub use handshake::{BlobError, Handshake};
pub use own::{HandshakeError, OwnCallError};
pub use protocol::ProtocolVersion;
pub use reply::{CallError, Closed, NotTaken, Reply, ReplySink};
pub use sessions::{
    AttachError, ClientCapabilities, LogLevel, SessionKey, SessionMemory, SessionSink, SessionSpec,
};
pub use upstream::{
    Connection, Counters, IgnoreEvents, InFlight, OpenError, Upstream, UpstreamEvents,
};
