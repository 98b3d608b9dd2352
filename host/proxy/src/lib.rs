//! The proxy: MCP over streamable HTTP at `/mcp/{versionId}`, for many clients in front of one instance each.
//!
//! It owns client sessions, their event streams and their resumption. It decides nothing about instances: where a
//! request goes stands in the [`RoutingTable`], whether it may go is asked of the breaker's cell, and how it ended is told to
//! the driver. A request to a ready instance waits for nobody else.

mod batch;
mod body;
mod config;
mod events;
mod exchange;
mod fault;
mod forward;
mod headers;
mod initialize;
mod observe;
mod post;
mod proxy;
mod registry;
mod seal;
mod session;
mod sse;
mod table;

pub use config::ProxyLimits;
pub use observe::{Count, ErrorKind, Finished, IgnoreObserver, ProxyObserver, RequestClass};
pub use proxy::{Clock, Proxy, ProxyParts, router};
pub use seal::{SessionClaims, SessionSeal};
pub use table::{Entry, RoutingTable};
