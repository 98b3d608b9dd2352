//! The proxy: MCP over streamable HTTP at `/mcp/{versionId}`, for many clients in front of one instance each.
//!
//! It owns client sessions, their event streams and their resumption. It decides nothing about instances: where a
//! request goes stands in the [`RoutingTable`], whether it may go is asked of the breaker's cell, and its outcome is sent to
//! the driver. A request to a ready instance waits for nothing else.
//!
//! # Its rooms
//! `ingress` parses and checks what HTTP brings; `sessions` keeps clients, their streams and their ids; `forwarder` sends
//! requests to instances and accounts for how they end. `table` is read by the first and the last of them. They depend on each
//! other in that order, and none on [`Proxy`], which is made of them.
//!
//! # How it is wired (`examples/front.rs` is the smallest complete wiring)
//! 1. **The table.** One [`RoutingTable`] behind an `Arc`, written by the driver alone: [`RoutingTable::set`] a
//!    [`RoutingEntry`] (slot key, route, the upstream where the route is `Ready`, the breaker's cell, optionally the
//!    classification by [`RoutingEntry::with_classes`]) whenever a route, a connection or a classification changes, and
//!    [`RoutingTable::remove`] it with its instance, which also ends that instance's sessions. Keep one [`SharedBreaker`]
//!    per instance over all its entries. The change wakes the requests that wait for that instance.
//! 2. **The driver's queue.** A bounded channel of [`router_core::event::Event`], of which the proxy sends `Demand` (a request
//!    waits for an idle slot; repeated while it finds no room), `Used` (at most once a second and slot) and `Outcome` (where it
//!    counts for the breaker). What finds no room is dropped and counted.
//! 3. **The seal.** [`SessionSeal`] makes session ids out of [`SessionClaims`] and reads them back; implement it over the
//!    keyed seal of `access`. Expiry and instance are checked here. The id of a session that its client ended is revoked until
//!    it expires; [`RevocationStore`] takes that over to the next router.
//! 4. **The observer.** [`ProxyObserver::finished`] once per request, [`ProxyObserver::count`] for the rest; both on the hot
//!    path.
//! 5. **Serving.** [`Proxy::new`] with [`ProxyParts`]; then for each request [`McpPath::parse`] its path once, and
//!    where that gives one, [`Proxy::answer`]. [`Proxy::run`] is polled beside it for as long as it serves.
//!    At shutdown [`Proxy::close_streams`] lets a graceful end complete; the sessions stay valid.
//!
//! **Not its job**, and that of `host`: accepting connections and bounding them (their number, the time to send a head,
//! the time between two requests, the length of a head), because the same connections carry `/api`; and `Host`, `Origin`, roles
//! and tokens, checked in front of every route.
//!
//! # What holds
//! - What is wrong with the HTTP request has a status (400, 404, 405, 406, 408, 409, 413, 415, 503), and a JSON-RPC error as body; a
//!   request that was well put and could not be served gets 200 with its error, because clients drop the body of anything else.
//!   `Retry-After` stands beside an error whose end is known.
//! - 2024-11-05 to 2025-11-25 are spoken; batches in 2025-03-26 only. The era without `initialize` is refused with 400 and
//!   -32022, whose `data.supported` its clients fall back by.
//! - An answer is plain JSON until something else comes first (a message that belongs to it, or
//!   [`router_upstream::UpstreamLimits::waiting_after`]); then it is a stream, which may be resumed with `Last-Event-ID`.
//! - A client that hangs up cancels nothing; what it left is bounded by the request's own timeout.
//! - Every bound stands in [`ProxyLimits`].

mod client_of;
mod config;
mod driver_link;
mod fault;
mod forwarder;
mod ingress;
mod observe;
mod path;
mod proxy;
mod report;
mod session_owner;
mod sessions;
mod table;

pub use client_of::ClientOf;
pub use config::ProxyLimits;
pub use driver_link::Clock;
pub use observe::{FinishedRequest, ProxyCount, ProxyObserver, RequestClass};
pub use path::McpPath;
pub use proxy::{OpenCounts, Proxy, ProxyParts};
pub use session_owner::{OwnerMark, SessionOwner};
pub use sessions::{RevocationStore, RevokedSession, SessionClaims, SessionSeal};
pub use table::{
    GuardedTools, MeteredTools, RoutingEntry, RoutingTable, SharedBreaker, ToolBreaker,
};
