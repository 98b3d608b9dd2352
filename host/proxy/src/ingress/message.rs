//! One message of a client: what it is decides where it goes.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderMap;
use router_upstream::{
    Envelope, MessageShape,
    envelope::{member, string_of},
};

use super::{
    body::Received,
    headers::{self, VERSION_CHARS_MAX},
    initialize,
    post::{Post, accepted},
};
use crate::{
    fault::{FaultKind, RequestFault},
    forwarder::{Exchange, IncomingRequest},
    observe::RequestClass,
};

/// Where requests of the modern era name their protocol version.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The version that first had no `initialize`.
const FIRST_MODERN: &str = "2026-07-28";

/// What became of a message.
enum Taken {
    /// A request that is under way.
    Sent(Arc<Exchange>),
    Answered(Response),
}

/// Answers one message.
pub(super) async fn answer(post: &Post<'_>, received: Received<'_>) -> Response {
    let taken = take(post, &received).await;
    // The body is not needed any more, however long the answer takes.
    drop(received);
    match taken {
        Taken::Sent(exchange) => post.forwarder.respond(exchange).await,
        Taken::Answered(response) => response,
    }
}

/// Sends one message on, or answers it.
async fn take(post: &Post<'_>, received: &Received<'_>) -> Taken {
    let (text, envelope) = match Envelope::parse(&received.bytes) {
        Ok(parsed) => parsed,
        Err(error) => {
            let fault = FaultKind::Envelope(error).into();
            return Taken::Answered(post.refuse(fault, "", RequestClass::Other));
        }
    };
    let is_request = envelope.shape() == MessageShape::Request;
    // An answer carries an id of the router's own; the error about it is not an answer to that id.
    let id = envelope.id.filter(|_| is_request).unwrap_or_default();
    let incoming = IncomingRequest {
        source: &received.bytes,
        envelope: &envelope,
        id,
        class: RequestClass::of(envelope.method.as_deref().unwrap_or_default()),
        client_of: post.client_of,
        begun: post.begun,
        batch: None,
    };
    let taken = if is_request {
        request(post, &incoming).await
    } else {
        notice(post, text, &envelope).map(|()| Taken::Answered(accepted()))
    };
    taken.unwrap_or_else(|fault| Taken::Answered(post.refuse(fault, id, incoming.class)))
}

async fn request(post: &Post<'_>, incoming: &IncomingRequest<'_>) -> Result<Taken, RequestFault> {
    check(post.headers, incoming.envelope)?;
    let entry = post.target.entry()?;
    if incoming.envelope.method.as_deref() == Some("initialize") {
        let response = initialize::answer(post, entry, incoming).await?;
        return Ok(Taken::Answered(response));
    }
    let session = post.session()?;
    session.touch();
    let exchange = post.forwarder.send(&session, entry, incoming).await?;
    Ok(Taken::Sent(exchange))
}

/// A notification, or an answer to a question of the instance.
fn notice(post: &Post<'_>, text: &str, envelope: &Envelope<'_>) -> Result<(), RequestFault> {
    check(post.headers, envelope)?;
    let entry = post.target.entry()?;
    let session = post.session()?;
    session.touch();
    post.forwarder.pass_on(&session, entry, text, envelope)
}

/// Everything that can be said about a message before its instance and session are needed.
fn check(headers: &HeaderMap, envelope: &Envelope<'_>) -> Result<(), RequestFault> {
    if let Some(requested) = modern_version(headers, envelope) {
        return Err(FaultKind::Version { requested }.into());
    }
    headers::check_version(headers)?;
    if envelope.shape() == MessageShape::Nothing || !envelope.is_version_two {
        return Err(FaultKind::NotAMessage.into());
    }
    Ok(())
}

/// The version of a request of the era without `initialize`.
fn modern_version(headers: &HeaderMap, envelope: &Envelope<'_>) -> Option<String> {
    let method = envelope.method.as_deref()?;
    if headers.contains_key(headers::SESSION_ID) || method == "initialize" {
        return None;
    }
    let meta = envelope
        .params
        .and_then(|params| member(params, "_meta").ok().flatten());
    let version = meta.and_then(|meta| member(meta, META_VERSION).ok().flatten());
    let version = match version.and_then(string_of) {
        Some(version) => version.into_owned(),
        None if method == "server/discover" => {
            let header = headers::text(headers, &headers::PROTOCOL_VERSION);
            header.unwrap_or(FIRST_MODERN).to_owned()
        }
        None => return None,
    };
    Some(version.chars().take(VERSION_CHARS_MAX).collect())
}
