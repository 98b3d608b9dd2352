//! The router's multiplexed MCP connection to one slot.
//!
//! One [`Upstream`] owns both directions of a slot's byte stream (newline-delimited JSON-RPC over two pipes or a unix
//! socket) and lets many client sessions share it: request ids and progress tokens are replaced by its own, and
//! everything the instance says finds the one session it is meant for. Payloads pass through as raw text.
//!
//! # How it is used
//! - **Opened** from the child's two pipes ([`Upstream::open_pipes`]: its stdin is written, its stdout read), from the socket
//!   that an instance listens on ([`Upstream::connect`], which tries until its timeout and checks the owner), or from any
//!   pair of streams ([`Upstream::open`]). Each gives the upstream and a [`Connection`], a future that moves the bytes.
//!   Nothing moves unless that future is polled; it resolves to the reason ([`Closed`]) once the connection has ended, and by then
//!   every waiting request has been failed and the descriptors are closed. Dropping it ends the connection too.
//! - **Greeted**: [`Upstream::handshake`], then [`Upstream::tools`]; both answered is what ready means. `handshake.with_tools(tools)`
//!   and [`Handshake::to_blob`] make what the shim keeps.
//! - **Adopted**: [`Handshake::from_blob`], open, [`Upstream::adopt`] *before* the connection's future is first polled,
//!   then [`Upstream::resync`]: it ends a half-written line, pings, and forgives one broken first line. Ids are random, so that late
//!   answers to an earlier router are dropped and counted ([`UpstreamCounters::unknown_replies`]).
//! - **Shared**: [`Upstream::attach`] a session, [`Upstream::call`], [`Upstream::notify`] and [`Upstream::respond`] for it,
//!   [`Upstream::detach`] it. Answers come through a [`ReplySink`], everything else through the newest waiting
//!   request of the session or its [`SessionSink`]. Both are called from the connection's task and must not block.
//! - **Watched**: [`Upstream::silent_for`], [`Upstream::ping`], [`Upstream::counters`];
//!   [`Upstream::methods_in_flight`] is kept after the end, as evidence.
//! - **Ended**: [`Upstream::drain`] takes no more and waits for the rest, [`Upstream::close`] ends it, and
//!   [`Upstream::close_died`] where the process is known to have ended.
//!
//! # What holds
//! - A request that [`Upstream::call`] took is finished exactly once: answered, timed out (the instance is sent a cancellation),
//!   cancelled, or lost with the connection.
//! - Lines, the queue to the instance, requests in flight, sessions, subscriptions and questions are bounded by [`UpstreamLimits`].
//! - A question of the instance goes to the one session with a request in flight, else to the only session; where several
//!   could be meant it is answered with an error that names `sharing = "per-session"`. A request that its client cancelled
//!   makes its session no candidate. A question that is not answered within the request timeout is given up.
//! - One lock guards the tables; it is held for no `await` and for no call outside.
//!
//! It must not know HTTP, the breaker, or why a process lives: the proxy calls it, the app opens and drops it.

mod attach;
mod cache;
mod config;
mod connection;
mod deadlines;
mod delivery;
pub mod envelope;
mod handshake;
mod ids;
mod inbound;
mod lines;
mod open;
mod outbound;
mod own;
mod plan;
mod protocol;
mod questions;
mod reply;
mod session;
mod state;
mod stray;
mod upstream;

pub use cache::ListKind;
pub use config::{UpstreamConfig, UpstreamLimits};
pub use envelope::{Envelope, EnvelopeError, MessageShape};
pub use handshake::{BlobError, Handshake};
pub use open::{Connection, OpenError};
pub use own::OwnCallError;
pub use protocol::ProtocolVersion;
pub use reply::{CallError, Closed, NotSent, Reply, ReplySink};
pub use session::{
    AttachError, ClientCapabilities, LogLevel, SessionMemory, SessionSink, SessionSpec,
    UpstreamSessionId,
};
pub use state::InFlight;
pub use upstream::{IgnoreEvents, Upstream, UpstreamCounters, UpstreamEvents};
