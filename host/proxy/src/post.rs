//! POST: one message of a client.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header, request};
use router_core::InstanceId;
use router_upstream::{
    Envelope, MessageShape, NotSent,
    envelope::{member, string_of},
};

use crate::{
    batch::is_batch,
    body::Received,
    exchange::Exchange,
    fault::{FaultKind, RequestFault},
    forward::Incoming,
    headers::{self, instance_of},
    observe::RequestClass,
    proxy::Proxy,
};

/// Where requests of the modern era name their protocol version.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// The version that first had no `initialize`.
const FIRST_MODERN: &str = "2026-07-28";

/// What became of one message.
enum Taken {
    /// A request that is under way.
    Sent(Arc<Exchange>),
    Answered(Response),
}

impl Proxy {
    pub(crate) async fn post(self: &Arc<Self>, request: Request, begun: Instant) -> Response {
        let (parts, body) = request.into_parts();
        let received = match self.receive_checked(&parts, body).await {
            Ok(received) => received,
            Err(fault) => {
                let fault = self.on_known(fault, &parts);
                return self.refuse(&fault, "", RequestClass::Other, Some(begun));
            }
        };
        if is_batch(&received.bytes) {
            return self.post_batch(&parts, &received.bytes, begun).await;
        }
        let taken = self.take_message(&parts, &received.bytes, begun).await;
        // Nobody needs it any more, however long the answer takes.
        drop(received);
        match taken {
            Taken::Sent(exchange) => self.respond(exchange).await,
            Taken::Answered(response) => response,
        }
    }

    /// Sends one message on, or answers it.
    async fn take_message(
        self: &Arc<Self>,
        parts: &request::Parts,
        received: &Bytes,
        begun: Instant,
    ) -> Taken {
        let refuse = |fault: RequestFault, id: &str, class| {
            Taken::Answered(self.refuse(&fault, id, class, Some(begun)))
        };
        let (text, envelope) = match Envelope::parse(received) {
            Ok(parsed) => parsed,
            Err(error) => {
                let fault = self.on_known(RequestFault::new(FaultKind::Envelope(error)), parts);
                return refuse(fault, "", RequestClass::Other);
            }
        };
        let id = envelope.id.unwrap_or("");
        let method = envelope.method.as_deref().unwrap_or_default();
        let class = RequestClass::of(method);
        let shape = envelope.shape();
        // An answer carries an id of the router's own; the error about it is not an answer to that id.
        let id = if shape == MessageShape::Request {
            id
        } else {
            ""
        };
        let instance = match self.check_message(parts, &envelope) {
            Ok(instance) => instance,
            Err(fault) => return refuse(self.on_known(fault, parts), id, class),
        };
        let incoming = Incoming {
            source: received,
            envelope: &envelope,
            id,
            class,
            begun,
            batch: None,
        };
        if shape == MessageShape::Request && method == "initialize" {
            return Taken::Answered(self.initialize(&instance, &incoming).await);
        }
        let session = match self.session(&instance, &parts.headers) {
            Ok(session) => session,
            Err(fault) => return refuse(fault, id, class),
        };
        session.touch();
        if shape == MessageShape::Request {
            return match self.send(&session, &incoming).await {
                Ok(exchange) => Taken::Sent(exchange),
                Err(fault) => refuse(fault, id, class),
            };
        }
        match self.pass_on(&session, text, &envelope, shape) {
            Ok(()) => Taken::Answered(accepted()),
            Err(fault) => refuse(fault, "", class),
        }
    }

    async fn receive_checked(
        &self,
        parts: &request::Parts,
        body: Body,
    ) -> Result<Received<'_>, RequestFault> {
        headers::check_is_json(&parts.headers)?;
        headers::check_accepts_both(&parts.headers)?;
        self.receive(body).await
    }

    /// Everything that can be said about a message before its session is looked at.
    fn check_message(
        &self,
        parts: &request::Parts,
        envelope: &Envelope<'_>,
    ) -> Result<InstanceId, RequestFault> {
        if let Some(requested) = modern_version(&parts.headers, envelope) {
            return Err(RequestFault::new(FaultKind::Version { requested }));
        }
        headers::check_version(&parts.headers)?;
        if envelope.shape() == MessageShape::Nothing || !envelope.is_version_two {
            return Err(RequestFault::new(FaultKind::NotAMessage));
        }
        let instance = instance_of(parts.uri.path())?;
        self.entry(&instance)?;
        Ok(instance)
    }

    /// A notification or an answer: taken, and nothing to say about it.
    pub(crate) fn pass_on(
        self: &Arc<Self>,
        session: &Arc<crate::session::Session>,
        text: &str,
        envelope: &Envelope<'_>,
        shape: MessageShape,
    ) -> Result<(), RequestFault> {
        let entry = self.entry(&session.instance)?;
        // The connection that is attached now, also one that is draining: an answer belongs to where the question came from.
        let attached = match (session.attached(), &entry.upstream) {
            (Some((upstream, key)), _) if upstream.closed().is_none() => Some((upstream, key)),
            (_, Some(upstream)) => session
                .attach(upstream)
                .ok()
                .map(|key| (upstream.clone(), key)),
            _ => None,
        };
        let taken = match (attached, shape) {
            (Some((upstream, key)), MessageShape::Notification) => {
                upstream.notify(key, text, envelope)
            }
            // With no process there is nobody whom it could concern.
            (None, MessageShape::Notification) => Ok(()),
            (Some((upstream, key)), _) => upstream.respond(key, text, envelope),
            (None, _) => Err(NotSent::NoSuchQuestion),
        };
        taken.map_err(|error| RequestFault::new(FaultKind::NotSent(error)).on(&session.instance))
    }

    /// Names the instance in a fault that was found before the path was looked at.
    pub(crate) fn on_known(&self, fault: RequestFault, parts: &request::Parts) -> RequestFault {
        match instance_of(parts.uri.path()) {
            Ok(instance) if self.parts.table.get(instance.as_str()).is_some() => {
                fault.on(&instance)
            }
            _ => fault,
        }
    }
}

/// The answer to messages that have none.
pub(crate) fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    // Some proxies hold back an answer that neither has a length nor ends the connection.
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, 0.into());
    response
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
    match version.and_then(string_of) {
        Some(version) => Some(version.chars().take(40).collect()),
        None if method == "server/discover" => Some(
            headers::text(headers, &headers::PROTOCOL_VERSION)
                .unwrap_or(FIRST_MODERN)
                .chars()
                .take(40)
                .collect(),
        ),
        None => None,
    }
}
