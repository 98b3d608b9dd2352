//! One request on its way: it waits for one answer, and becomes a stream of events when something else comes first.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use parking_lot::Mutex;
use router_core::{Run, classify::OutcomeKind};
use router_upstream::{CallError, Envelope, Reply, ReplySink};

use super::{
    answer_stream::{AnswerBatch, StreamEnd},
    completion::{Completion, EndedRequest},
    permits::Permits,
};
use crate::{
    client_of::ClientOf,
    fault::RequestFault,
    observe::RequestClass,
    sessions::{Session, StreamId},
    table::RoutingEntry,
};

/// A request as it arrived.
pub(crate) struct IncomingRequest<'a> {
    /// The whole message.
    pub(crate) source: &'a Bytes,
    pub(crate) envelope: &'a Envelope<'a>,
    /// The client's id, raw JSON.
    pub(crate) id: &'a str,
    pub(crate) class: RequestClass,
    /// The only instances that its caller may know of.
    pub(crate) client_of: Option<&'a ClientOf>,
    pub(crate) begun: Instant,
    /// The batch that it came in.
    pub(crate) batch: Option<&'a Arc<AnswerBatch>>,
}

/// A request that was sent to an instance.
pub(crate) struct Exchange {
    completion: Arc<Completion>,
    pub(crate) session: Arc<Session>,
    entry: Arc<RoutingEntry>,
    run: Run,
    /// The client's id, raw JSON.
    pub(crate) id: Box<str>,
    class: RequestClass,
    begun: Instant,
    /// The batch that it came in.
    batch: Option<Arc<AnswerBatch>>,
    permits: Mutex<Option<Permits>>,
    phase: Mutex<ExchangePhase>,
}

enum ExchangePhase {
    /// Nothing has come yet.
    Waiting(Option<Waker>),
    /// The answer came first, and has not been picked up.
    Ended(Result<Bytes, RequestFault>),
    /// Something else came first; the client reads a stream.
    Streaming(StreamId),
    /// Its client has its answer, or is gone.
    Over,
}

/// What the client gets.
pub(crate) enum ClientOutcome {
    /// The answer, as JSON.
    Answer(Bytes),
    /// The reason why there is none.
    Fault(RequestFault),
    /// A stream, in which the answer will come.
    Stream(StreamId),
}

impl Exchange {
    pub(crate) fn new(
        completion: &Arc<Completion>,
        session: &Arc<Session>,
        entry: &Arc<RoutingEntry>,
        run: Run,
        incoming: &IncomingRequest<'_>,
        permits: Permits,
    ) -> Arc<Self> {
        session.in_flight.fetch_add(1, Ordering::Relaxed);
        let phase = match incoming.batch {
            Some(batch) => ExchangePhase::Streaming(batch.stream),
            None => ExchangePhase::Waiting(None),
        };
        Arc::new(Self {
            completion: completion.clone(),
            session: session.clone(),
            entry: entry.clone(),
            run,
            id: incoming.id.into(),
            class: incoming.class,
            begun: incoming.begun,
            batch: incoming.batch.cloned(),
            permits: Mutex::new(Some(permits)),
            phase: Mutex::new(phase),
        })
    }

    /// Waits until it is known what the client gets. Dropped before that, the client is gone: what comes is dropped too,
    /// though the request goes on (a closed connection cancels nothing).
    pub(crate) fn outcome(self: &Arc<Self>) -> PendingOutcome {
        PendingOutcome(self.clone())
    }

    /// The request never left: its permits go back without an outcome.
    pub(crate) fn was_not_sent(&self) {
        self.session.in_flight.fetch_sub(1, Ordering::Relaxed);
        drop(self.permits.lock().take());
    }

    /// See [`Completion::account`].
    fn account(&self, kind: Option<OutcomeKind>, fault: Option<&RequestFault>) {
        let ended = EndedRequest {
            entry: &self.entry,
            run: self.run,
            class: self.class,
            begun: self.begun,
            permits: self.permits.lock().take(),
        };
        self.completion.account(ended, kind, fault);
    }

    /// The stream that the client reads, which begins now where there was none. `None` where no client reads.
    fn stream(&self) -> Option<StreamId> {
        let mut phase = self.phase.lock();
        match &mut *phase {
            ExchangePhase::Streaming(stream) => Some(*stream),
            ExchangePhase::Waiting(waker) => {
                let waker = waker.take();
                let stream = self.session.begin_answer();
                *phase = ExchangePhase::Streaming(stream);
                drop(phase);
                if let Some(waker) = waker {
                    waker.wake();
                }
                Some(stream)
            }
            ExchangePhase::Ended(_) | ExchangePhase::Over => None,
        }
    }
}

impl ReplySink for Exchange {
    fn interleave(&self, message: &str) -> bool {
        let stream = self.stream();
        if let Some(stream) = stream {
            self.session.push(stream, message);
        }
        stream.is_some()
    }

    fn waiting(&self) {
        // The client learns that the request lives, and gets an id to resume from should the connection break.
        self.stream();
    }

    fn finish(&self, reply: Reply) {
        self.session.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.session.touch();
        let ended = match reply {
            Reply::Answer {
                message,
                error_code,
                is_tool_error,
                is_own,
            } => {
                let kind = match error_code {
                    Some(code) => OutcomeKind::RpcError(code),
                    None if is_tool_error => OutcomeKind::ToolError,
                    None => OutcomeKind::Answered,
                };
                self.account((!is_own).then_some(kind), None);
                Ok(message)
            }
            Reply::Failed(error) => {
                let kind = RequestFault::outcome(&error);
                let fault = RequestFault::call(&self.entry.key.instance, error);
                self.account(Some(kind), Some(&fault));
                Err(fault)
            }
        };
        let mut phase = self.phase.lock();
        match std::mem::replace(&mut *phase, ExchangePhase::Over) {
            ExchangePhase::Waiting(waker) => {
                *phase = ExchangePhase::Ended(ended);
                drop(phase);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            ExchangePhase::Streaming(stream) => {
                // The client's task may have yet to pick the stream up.
                *phase = ExchangePhase::Streaming(stream);
                drop(phase);
                let end = StreamEnd {
                    session: self.session.clone(),
                    stream,
                    batch: self.batch.clone(),
                    id: self.id.clone(),
                };
                match ended {
                    Ok(message) => end.send(&String::from_utf8_lossy(&message)),
                    Err(fault) => self.completion.losses.fail_stream(end, fault),
                }
            }
            ExchangePhase::Ended(_) | ExchangePhase::Over => {}
        }
    }
}

/// Waits for an [`ClientOutcome`].
pub(crate) struct PendingOutcome(Arc<Exchange>);

impl Future for PendingOutcome {
    type Output = ClientOutcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ClientOutcome> {
        let mut phase = self.0.phase.lock();
        match &mut *phase {
            ExchangePhase::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            ExchangePhase::Streaming(stream) => Poll::Ready(ClientOutcome::Stream(*stream)),
            ExchangePhase::Ended(_) => match std::mem::replace(&mut *phase, ExchangePhase::Over) {
                ExchangePhase::Ended(Ok(message)) => Poll::Ready(ClientOutcome::Answer(message)),
                ExchangePhase::Ended(Err(fault)) => Poll::Ready(ClientOutcome::Fault(fault)),
                _ => Poll::Pending,
            },
            ExchangePhase::Over => {
                let error = CallError::SessionEnded;
                Poll::Ready(ClientOutcome::Fault(RequestFault::call(
                    &self.0.entry.key.instance,
                    error,
                )))
            }
        }
    }
}

impl Drop for PendingOutcome {
    fn drop(&mut self) {
        let mut phase = self.0.phase.lock();
        if matches!(*phase, ExchangePhase::Waiting(_) | ExchangePhase::Ended(_)) {
            *phase = ExchangePhase::Over;
        }
    }
}
