//! A batch: several messages in one POST. 2025-03-26 made servers take it and 2025-06-18 took it out again, so the version
//! that a session agreed on decides.
//!
//! The answers come as a stream of single messages, in the order in which the instance gives them: that version lets a
//! server choose, and no answer waits for a slower one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use axum::response::Response;
use bytes::Bytes;
use http::request;
use router_upstream::{
    CallError, Envelope, EnvelopeError, MessageShape, ProtocolVersion, envelope::split_batch,
};

use crate::{
    events::StreamId,
    fault::{FaultKind, RequestFault, json},
    forward::Incoming,
    headers::{self, instance_of},
    observe::RequestClass,
    post::accepted,
    proxy::Proxy,
    session::Session,
    sse,
};

/// The requests of one batch that wait for their answers.
pub(crate) struct Batch {
    /// Where the answers go.
    pub(crate) stream: StreamId,
    waiting: AtomicUsize,
}

impl Batch {
    /// Adds the answer to one of its requests. The stream ends after the last one.
    pub(crate) fn answer(&self, session: &Session, message: &str) {
        session.push(self.stream, message);
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            session.finish_answer(self.stream);
        }
    }
}

/// Whether a body is an array.
pub(crate) fn is_batch(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'[')
}

impl Proxy {
    pub(crate) async fn post_batch(
        self: &Arc<Self>,
        parts: &request::Parts,
        body: &Bytes,
        begun: Instant,
    ) -> Response {
        match self.take_batch(parts, body, begun).await {
            Ok(response) => response,
            Err(fault) => {
                let fault = self.on_known(fault, parts);
                self.refuse(&fault, "", RequestClass::Other, Some(begun))
            }
        }
    }

    async fn take_batch(
        self: &Arc<Self>,
        parts: &request::Parts,
        body: &Bytes,
        begun: Instant,
    ) -> Result<Response, RequestFault> {
        headers::check_version(&parts.headers)?;
        let instance = instance_of(parts.uri.path())?;
        self.entry(&instance)?;
        // `initialize` cannot be part of a batch, so there is a session.
        let session = self.session(&instance, &parts.headers)?;
        if session.version != ProtocolVersion::V2025_03_26 {
            return Err(refused(EnvelopeError::Batch));
        }
        let messages = self.read_batch(body)?;
        session.touch();
        let requests: Vec<_> = messages
            .iter()
            .filter(|(_, envelope)| envelope.shape() == MessageShape::Request)
            .collect();
        let others = messages
            .iter()
            .filter(|(_, envelope)| envelope.shape() != MessageShape::Request);
        let mut passed = Ok(());
        for (text, envelope) in others {
            passed = passed.and(self.pass_on(&session, text, envelope, envelope.shape()));
        }
        if requests.is_empty() {
            return passed.map(|()| accepted());
        }
        // Waits for a start once, and not once for each of them.
        if let Err(fault) = self.ready(&instance, None).await {
            return Ok(self.refuse_all(&fault, &requests, begun));
        }
        let batch = Arc::new(Batch {
            stream: session.begin_answer(),
            waiting: AtomicUsize::new(requests.len()),
        });
        // The reader is there before the first answer, so that a stream that is over is not gone.
        let reader = session.read_answer(batch.stream);
        for (text, envelope) in requests {
            let incoming = Incoming {
                source: &body.slice_ref(text.as_bytes()),
                envelope,
                id: envelope.id.unwrap_or("null"),
                class: RequestClass::of(envelope.method.as_deref().unwrap_or_default()),
                begun,
                batch: Some(&batch),
            };
            if let Err(fault) = self.send(&session, &incoming).await {
                self.note(&fault, incoming.class, begun.elapsed());
                batch.answer(&session, &fault.message(incoming.id));
            }
        }
        let reader =
            reader.ok_or_else(|| RequestFault::call(&instance, CallError::SessionEnded))?;
        Ok(sse::response(reader))
    }

    /// One error for each request, as an array.
    fn refuse_all(
        &self,
        fault: &RequestFault,
        requests: &[&(&str, Envelope<'_>)],
        begun: Instant,
    ) -> Response {
        let errors: Vec<String> = requests
            .iter()
            .map(|(_, envelope)| {
                let class = RequestClass::of(envelope.method.as_deref().unwrap_or_default());
                self.note(fault, class, begun.elapsed());
                fault.message(envelope.id.unwrap_or("null"))
            })
            .collect();
        json(format!("[{}]", errors.join(",")).into())
    }

    /// The messages of a batch, none of which is sent before all are known to be messages.
    fn read_batch<'a>(&self, body: &'a [u8]) -> Result<Vec<(&'a str, Envelope<'a>)>, RequestFault> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            refused(EnvelopeError::NotUtf8 { at })
        })?;
        let messages = split_batch(text, self.parts.limits.batch_messages_max).map_err(refused)?;
        let read = |message| {
            let envelope = Envelope::parse_text(message).map_err(refused)?;
            let is_message = envelope.shape() != MessageShape::Nothing && envelope.is_version_two;
            // What begins a session cannot be one of several things (2025-03-26, lifecycle, "Initialization").
            if !is_message || envelope.method.as_deref() == Some("initialize") {
                return Err(RequestFault::new(FaultKind::NotAMessage));
            }
            Ok((message, envelope))
        };
        messages.into_iter().map(read).collect()
    }
}

fn refused(error: EnvelopeError) -> RequestFault {
    RequestFault::new(FaultKind::Envelope(error))
}
