//! HTTP for alert sinks: requests that a stranger's program composes, sent only where the operator allowed, within bounds of size and
//! time, and with secrets that the program never sees.
//!
//! It knows neither WebAssembly nor alerts: the engine's kind `alert-sink` adapts `egress` of `wit/deps/alerts/sink.wit` to it. It
//! holds every rule of that interface: which origins and addresses may be reached ([`address`], [`allow`]), where secrets may stand
//! and how each place encodes them ([`fill`]), what is cut out of answers ([`redact`]), and what an exchange may take ([`exchange`]).
//! There are no redirects, no cookies, no pool of connections and no compression: each request is one connection, and an answer is
//! what the other side sent, without the sink's secrets.

mod address;
mod allow;
mod dial;
mod egress;
mod encode;
mod exchange;
mod fill;
mod message;
mod metered;
mod options;
mod redact;
mod secrets;
mod sign;
mod target;
#[cfg(test)]
mod tests;
mod tls;

pub use egress::{Egress, EgressCall};
pub use message::{
    BODY_BYTES_MAX, EgressError, EgressRequest, EgressResponse, HEADERS_MAX, SENDS_MAX,
    URL_BYTES_MAX,
};
pub use options::{EgressOptions, InvalidEgress};
pub use sign::{Algorithm, SecretError};
