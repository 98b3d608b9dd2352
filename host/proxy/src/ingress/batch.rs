//! A batch: several messages in one POST. 2025-03-26 made servers take it and 2025-06-18 took it out again, so the version
//! that a session agreed on decides.
//!
//! The answers come as a stream of single messages, in the order in which the instance gives them: that version lets a
//! server choose, and no answer waits for a slower one.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use router_upstream::{
    CallError, Envelope, EnvelopeError, MessageShape, ProtocolVersion, envelope::split_batch,
};

use super::{
    headers,
    post::{Post, accepted},
};
use crate::{
    fault::{FaultKind, RequestFault, answer::json},
    forwarder::{AnswerBatch, IncomingRequest},
    observe::RequestClass,
    sessions::{Session, sse},
    table::RoutingEntry,
};

/// One message of a batch, and the text that it was parsed from.
type Message<'a> = (&'a str, Envelope<'a>);

/// Whether a body is an array.
pub(super) fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

/// Answers a batch.
pub(super) async fn answer(post: &Post<'_>, body: &Bytes, messages_max: usize) -> Response {
    let answer = take(post, body, messages_max).await;
    answer.unwrap_or_else(|fault| post.refuse(fault, "", RequestClass::Other))
}

async fn take(
    post: &Post<'_>,
    body: &Bytes,
    messages_max: usize,
) -> Result<Response, RequestFault> {
    headers::check_version(post.headers)?;
    let entry = post.target.entry()?;
    // `initialize` cannot be part of a batch, so there is a session.
    let session = post.session()?;
    if session.version != ProtocolVersion::V2025_03_26 {
        return Err(refused(EnvelopeError::Batch));
    }
    let messages = read(body, messages_max)?;
    session.touch();
    let (requests, others): (Vec<_>, Vec<_>) = messages
        .into_iter()
        .partition(|(_, envelope)| envelope.shape() == MessageShape::Request);
    let mut passed = Ok(());
    for (text, envelope) in &others {
        let sent = post.forwarder.pass_on(&session, entry, text, envelope);
        passed = passed.and(sent);
    }
    if requests.is_empty() {
        return passed.map(|()| accepted());
    }
    // Waits for a start once, and not once for each of them.
    let entry = match post.forwarder.ready(entry, None).await {
        Ok((entry, _)) => entry,
        Err(fault) => return Ok(refuse_all(post, &fault, &requests)),
    };
    send_all(post, &session, &entry, body, &requests).await
}

/// Sends all requests of a batch. The stream is being read before the first answer comes, so that it is not gone when it is
/// over.
async fn send_all(
    post: &Post<'_>,
    session: &Arc<Session>,
    entry: &Arc<RoutingEntry>,
    body: &Bytes,
    requests: &[Message<'_>],
) -> Result<Response, RequestFault> {
    let batch = Arc::new(AnswerBatch::new(session.begin_answer(), requests.len()));
    let reader = session.read_answer(batch.stream);
    let answer = reader.map(|reader| sse::response(session.clone(), reader));
    for (text, envelope) in requests {
        let incoming = IncomingRequest {
            source: &body.slice_ref(text.as_bytes()),
            envelope,
            id: envelope.id.unwrap_or("null"),
            class: class_of(envelope),
            client_of: post.client_of,
            begun: post.begun,
            batch: Some(&batch),
        };
        if let Err(fault) = post.forwarder.send(session, entry, &incoming).await {
            let reporter = post.forwarder.reporter();
            reporter.record(&fault, incoming.class, None, post.begun.elapsed());
            batch.answer(session, &fault.message(incoming.id));
        }
    }
    answer.ok_or_else(|| RequestFault::call(&session.instance, CallError::SessionEnded))
}

/// One error for each request, as an array.
fn refuse_all(post: &Post<'_>, fault: &RequestFault, requests: &[Message<'_>]) -> Response {
    let reporter = post.forwarder.reporter();
    let errors: Vec<String> = requests
        .iter()
        .map(|(_, envelope)| {
            reporter.record(fault, class_of(envelope), None, post.begun.elapsed());
            fault.message(envelope.id.unwrap_or("null"))
        })
        .collect();
    json(format!("[{}]", errors.join(",")).into())
}

fn class_of(envelope: &Envelope<'_>) -> RequestClass {
    RequestClass::of(envelope.method.as_deref().unwrap_or_default())
}

/// The messages of a batch, none of which is sent before all are known to be messages.
fn read(body: &[u8], messages_max: usize) -> Result<Vec<Message<'_>>, RequestFault> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        refused(EnvelopeError::NotUtf8 { at })
    })?;
    let messages = split_batch(text, messages_max).map_err(refused)?;
    let read = |message| {
        let envelope = Envelope::parse_text(message).map_err(refused)?;
        let is_message = envelope.shape() != MessageShape::Nothing && envelope.is_version_two;
        // What begins a session cannot be one of several things (2025-03-26, lifecycle, "Initialization").
        if !is_message || envelope.method.as_deref() == Some("initialize") {
            return Err(FaultKind::NotAMessage.into());
        }
        Ok((message, envelope))
    };
    messages.into_iter().map(read).collect()
}

fn refused(error: EnvelopeError) -> RequestFault {
    FaultKind::Envelope(error).into()
}
