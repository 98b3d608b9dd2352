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
use router_core::{
    ErrorKind, Run,
    classify::{CALLER_FAULT_CODES, OutcomeKind},
    event::TrafficEvent,
    permit::{Class, Permit},
};
use router_upstream::{CallError, Reply, ReplySink};

use crate::{
    batch::Batch,
    events::StreamId,
    fault::RequestFault,
    forward::Incoming,
    loss::StreamEnd,
    observe::{FinishedRequest, RequestClass},
    proxy::Proxy,
    session::Session,
    table::RoutingEntry,
};

/// A request that was sent to an instance.
pub(crate) struct Exchange {
    proxy: Arc<Proxy>,
    pub(crate) session: Arc<Session>,
    entry: Arc<RoutingEntry>,
    run: Run,
    /// The client's id, raw JSON.
    pub(crate) id: Box<str>,
    class: RequestClass,
    begun: Instant,
    /// The batch that it came in.
    batch: Option<Arc<Batch>>,
    permit: Mutex<Option<Permit>>,
    phase: Mutex<Phase>,
}

enum Phase {
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
pub(crate) enum Outcome {
    /// The answer, as JSON.
    Answer(Bytes),
    /// The reason why there is none.
    RequestFault(RequestFault),
    /// A stream, in which the answer will come.
    Stream(StreamId),
}

impl Exchange {
    pub(crate) fn new(
        proxy: &Arc<Proxy>,
        session: &Arc<Session>,
        entry: &Arc<RoutingEntry>,
        run: Run,
        incoming: &Incoming<'_>,
        permit: Permit,
    ) -> Arc<Self> {
        session.in_flight.fetch_add(1, Ordering::Relaxed);
        let phase = match incoming.batch {
            Some(batch) => Phase::Streaming(batch.stream),
            None => Phase::Waiting(None),
        };
        Arc::new(Self {
            proxy: proxy.clone(),
            session: session.clone(),
            entry: entry.clone(),
            run,
            id: incoming.id.into(),
            class: incoming.class,
            begun: incoming.begun,
            batch: incoming.batch.cloned(),
            permit: Mutex::new(Some(permit)),
            phase: Mutex::new(phase),
        })
    }

    /// Waits until it is known what the client gets. Dropped before that, the client is gone: what comes is dropped too,
    /// though the request goes on (a closed connection cancels nothing).
    pub(crate) fn outcome(self: &Arc<Self>) -> Pending {
        Pending(self.clone())
    }

    /// The request never left: its permit goes back without a verdict.
    pub(crate) fn was_not_sent(&self) {
        self.session.in_flight.fetch_sub(1, Ordering::Relaxed);
        drop(self.permit.lock().take());
    }

    /// Tells the breaker, the driver and the metrics how it ended. `kind` is `None` where that says nothing about the
    /// instance; its permit then goes back without a verdict.
    fn account(&self, kind: Option<OutcomeKind>, fault: Option<&RequestFault>) {
        let elapsed = self.begun.elapsed();
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let class = kind.map_or(Class::Ignore, |kind| {
            self.entry.classes.classify(kind, elapsed_ms)
        });
        let report = self
            .permit
            .lock()
            .take()
            .and_then(|permit| permit.finish(class));
        if let Some(report) = report {
            self.proxy.tell_driver(TrafficEvent::Outcome {
                instance: self.entry.key.instance.clone(),
                run: self.run,
                report,
                upstream_died: matches!(
                    kind,
                    Some(OutcomeKind::UpstreamDied | OutcomeKind::Socket)
                ),
            });
        }
        if let Some(fault) = fault.filter(|fault| fault.is_error()) {
            self.proxy.note(fault, self.class, elapsed);
            return;
        }
        let (error, is_instance_fault) = match kind {
            Some(OutcomeKind::RpcError(code)) if CALLER_FAULT_CODES.contains(&code) => {
                (Some(ErrorKind::Validation), false)
            }
            Some(OutcomeKind::RpcError(_)) => (Some(ErrorKind::Upstream), true),
            _ => (None, false),
        };
        self.proxy.parts.observer.finished(&FinishedRequest {
            instance: self.entry.key.instance.as_str(),
            class: self.class,
            elapsed,
            error,
            is_instance_fault,
        });
    }

    /// The stream that the client reads, which begins now where there was none. `None` where nobody reads.
    fn stream(&self) -> Option<StreamId> {
        let mut phase = self.phase.lock();
        match &mut *phase {
            Phase::Streaming(stream) => Some(*stream),
            Phase::Waiting(waker) => {
                let waker = waker.take();
                let stream = self.session.begin_answer();
                *phase = Phase::Streaming(stream);
                drop(phase);
                if let Some(waker) = waker {
                    waker.wake();
                }
                Some(stream)
            }
            Phase::Ended(_) | Phase::Over => None,
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
        match std::mem::replace(&mut *phase, Phase::Over) {
            Phase::Waiting(waker) => {
                *phase = Phase::Ended(ended);
                drop(phase);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Phase::Streaming(stream) => {
                // Whoever has yet to pick the stream up finds it.
                *phase = Phase::Streaming(stream);
                drop(phase);
                let end = StreamEnd {
                    session: self.session.clone(),
                    stream,
                    batch: self.batch.clone(),
                    id: self.id.clone(),
                };
                match ended {
                    Ok(message) => end.send(&String::from_utf8_lossy(&message)),
                    Err(fault) => self.proxy.fail_stream(end, fault),
                }
            }
            Phase::Ended(_) | Phase::Over => {}
        }
    }
}

/// Waits for an [`Outcome`].
pub(crate) struct Pending(Arc<Exchange>);

impl Future for Pending {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut phase = self.0.phase.lock();
        match &mut *phase {
            Phase::Waiting(waker) => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            Phase::Streaming(stream) => Poll::Ready(Outcome::Stream(*stream)),
            Phase::Ended(_) => match std::mem::replace(&mut *phase, Phase::Over) {
                Phase::Ended(Ok(message)) => Poll::Ready(Outcome::Answer(message)),
                Phase::Ended(Err(fault)) => Poll::Ready(Outcome::RequestFault(fault)),
                _ => Poll::Pending,
            },
            Phase::Over => {
                let error = CallError::SessionEnded;
                Poll::Ready(Outcome::RequestFault(RequestFault::call(
                    &self.0.entry.key.instance,
                    error,
                )))
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut phase = self.0.phase.lock();
        if matches!(*phase, Phase::Waiting(_) | Phase::Ended(_)) {
            *phase = Phase::Over;
        }
    }
}
