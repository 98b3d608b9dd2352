//! How a message of the instance reaches a client: through the request that it belongs to, else through the session.

use std::sync::{Arc, atomic::Ordering};

use crate::{
    envelope::{range_in, splice},
    reply::ReplySink,
    session::{SessionSink, UpstreamSessionId},
    state::ConnectionState,
    upstream::Upstream,
};

/// One way to reach a client: through the request that a message belongs to, else through its session.
pub(crate) struct DeliveryPath {
    pub(crate) call: Option<Arc<dyn ReplySink>>,
    session: Arc<dyn SessionSink>,
}

impl DeliveryPath {
    pub(crate) fn send(&self, message: &str) -> bool {
        let through_call = self
            .call
            .as_ref()
            .is_some_and(|call| call.interleave(message));
        through_call || self.session.deliver(message)
    }
}

/// How a session is reached now: through its newest waiting request, else directly.
pub(crate) fn delivery_path(
    state: &ConnectionState,
    key: UpstreamSessionId,
) -> Option<DeliveryPath> {
    let entry = state.sessions.get(&key)?;
    let newest = entry.in_flight.last().and_then(|n| state.pending.get(n));
    Some(DeliveryPath {
        call: newest.map(|pending| pending.reply.clone()),
        session: entry.sink.clone(),
    })
}

impl Upstream {
    pub(crate) fn deliver(&self, path: &DeliveryPath, message: &str) {
        if !path.send(message) {
            self.counters.undelivered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn rewritten(text: &str, part: &str, with: &[u8]) -> String {
    let mut message = Vec::with_capacity(text.len() + with.len());
    splice(&mut message, text, &[(range_in(text, part), with)]);
    into_text(message)
}

/// A carriage return between tokens would end a line of server-sent events.
pub(crate) fn one_line(text: &str) -> String {
    let mut message = Vec::with_capacity(text.len());
    splice(&mut message, text, &[]);
    into_text(message)
}

fn into_text(message: Vec<u8>) -> String {
    // Text with raw JSON put in place of raw JSON is text; the lossy way only spares a panic.
    String::from_utf8(message)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
