//! Forwarding: the route, the breaker's permit, the session's part in the connection, and what becomes of the request.

mod answer_stream;
mod completion;
mod exchange;
mod loss;
mod permits;
mod start;

use std::sync::Arc;

use axum::response::Response;
use router_core::{event::TrafficEvent, loss::NEXT_ROUTE_WAIT, route::Route};
use router_upstream::{CallError, Envelope, MessageShape, NotSent, Upstream};
use tokio::time::Instant;

use crate::{
    client_of::ClientOf,
    driver_link::DriverLink,
    fault::{BreakerRejection, FaultKind, Rejecting, RequestFault, answer::json},
    report::RequestReporter,
    sessions::{Session, SessionRegistry, sse},
    table::{RoutingEntry, RoutingTable, SharedBreaker},
};

use completion::Completion;
use exchange::ClientOutcome;
use loss::Losses;
use permits::Permits;
use start::StartQueue;

pub(crate) use {
    answer_stream::AnswerBatch,
    exchange::{Exchange, IncomingRequest},
};

/// Sends what clients say to their instances.
pub(crate) struct Forwarder {
    table: Arc<RoutingTable>,
    sessions: Arc<SessionRegistry>,
    driver: Arc<DriverLink>,
    completion: Arc<Completion>,
    starts: StartQueue,
}

impl Forwarder {
    pub(crate) fn new(
        table: Arc<RoutingTable>,
        sessions: Arc<SessionRegistry>,
        driver: Arc<DriverLink>,
        reporter: RequestReporter,
        waiting_max: usize,
    ) -> Self {
        let completion = Completion {
            reporter,
            driver: driver.clone(),
            losses: Losses::new(table.clone(), driver.clone()),
        };
        Self {
            starts: StartQueue::new(table.clone(), driver.clone(), waiting_max),
            table,
            sessions,
            driver,
            completion: Arc::new(completion),
        }
    }

    pub(crate) fn reporter(&self) -> &RequestReporter {
        &self.completion.reporter
    }

    /// How many requests wait for an instance to start.
    pub(crate) fn waiting_count(&self) -> usize {
        self.starts.count()
    }

    /// Ends the streams of lost instances once it is known what happens next. Runs until dropped.
    pub(crate) async fn report_losses(&self) {
        self.completion.losses.run().await;
    }

    /// Sends a request to the instance's present run, and again to its next one where the connection turned out to have
    /// ended before anything was sent.
    pub(crate) async fn send(
        &self,
        session: &Arc<Session>,
        entry: &Arc<RoutingEntry>,
        incoming: &IncomingRequest<'_>,
    ) -> Result<Arc<Exchange>, RequestFault> {
        let instance = &session.instance;
        let mut spent: Option<Arc<Upstream>> = None;
        loop {
            let (entry, upstream) = self.ready(entry, spent.as_ref()).await?;
            self.follow_run(&entry);
            let now_ms = self.driver.now_ms();
            let permits = self.admit(&entry, incoming, now_ms)?;
            if entry.is_use_to_be_reported(now_ms) {
                self.driver.send(TrafficEvent::Used(entry.key.clone()));
            }
            let run = upstream.run();
            let exchange = Exchange::new(&self.completion, session, &entry, run, incoming, permits);
            let sent = session.attach(&upstream).and_then(|key| {
                let sink = exchange.clone();
                let called = upstream.call(key, incoming.source, incoming.envelope, sink);
                called.map_err(|error| match error {
                    CallError::Busy { what } => FaultKind::Busy { what }.on(instance),
                    error => RequestFault::call(instance, error),
                })
            });
            let Err(fault) = sent else {
                return Ok(exchange);
            };
            exchange.was_not_sent();
            if !fault.is_unsent() {
                return Err(fault);
            }
            spent = Some(upstream);
        }
    }

    /// The permit of the instance, then that of the tool where it has one: a refused second gives the first back.
    fn admit(
        &self,
        entry: &RoutingEntry,
        incoming: &IncomingRequest<'_>,
        now_ms: u64,
    ) -> Result<Permits, RequestFault> {
        let instance = &entry.key.instance;
        let permit = entry.breaker.cell().try_acquire(now_ms);
        let reject = |rejected, breaker: &SharedBreaker, rejecting| {
            let rejection = BreakerRejection {
                rejected,
                cause: breaker.cause(),
                now_ms,
                rejecting,
            };
            FaultKind::Breaker(Box::new(rejection)).on(instance)
        };
        let permit = permit.map_err(|rejected| {
            let mut answering = self.table.answering(instance, now_ms);
            let known = incoming.client_of;
            answering.retain(|other| known.is_none_or(|ClientOf(known)| known.contains(other)));
            reject(rejected, &entry.breaker, Rejecting::Instance { answering })
        })?;
        let guarded = entry.tools.as_ref();
        let guarded = guarded.and_then(|tools| tools.get(&incoming.envelope.tool()?));
        let tool = match guarded {
            Some(tool) => {
                let second = tool.breaker.cell().try_acquire(now_ms);
                let second = second.map_err(|rejected| {
                    let name = Arc::clone(&tool.name);
                    reject(rejected, &tool.breaker, Rejecting::Tool(name))
                })?;
                Some((Arc::clone(tool), second))
            }
            None => None,
        };
        let called = match (&entry.metered, guarded) {
            // What has a breaker of its own is in the list.
            (Some(_), Some(tool)) => Some(Arc::clone(&tool.name)),
            (Some(metered), None) => {
                let tool = incoming.envelope.leading_tool();
                tool.map(|tool| metered.counted_as(&tool))
            }
            (None, _) => None,
        };
        Ok(Permits {
            instance: permit,
            tool,
            called,
        })
    }

    /// The connection to the instance's run, once it is ready. Waits for a start, bounded by the start's own deadline, and
    /// for nothing else. `spent` is a connection that has ended, whatever the table still says.
    pub(crate) async fn ready(
        &self,
        entry: &Arc<RoutingEntry>,
        spent: Option<&Arc<Upstream>>,
    ) -> Result<(Arc<RoutingEntry>, Arc<Upstream>), RequestFault> {
        if let (Route::Ready { .. }, Some(upstream)) = (&entry.route, &entry.upstream)
            && spent.is_none()
        {
            return Ok((entry.clone(), upstream.clone()));
        }
        let instance = &entry.key.instance;
        let Some(wait) = self.starts.enter(&self.completion.losses) else {
            let what = "too many requests wait for it to start";
            return Err(FaultKind::Busy { what }.on(instance));
        };
        wait.next_run(instance, spent).await
    }

    /// Waits for what the client of a request gets that was sent on.
    pub(crate) async fn respond(&self, exchange: Arc<Exchange>) -> Response {
        match exchange.outcome().await {
            ClientOutcome::Answer(message) => json(message),
            // It was recorded when it happened.
            ClientOutcome::Fault(fault) => {
                let until = Instant::now() + NEXT_ROUTE_WAIT;
                let fault = self.completion.losses.with_next_route(fault, until).await;
                fault.response(&exchange.id)
            }
            ClientOutcome::Stream(stream) => match exchange.session.read_answer(stream) {
                Some(reader) => sse::response(exchange.session.clone(), reader),
                None => {
                    let instance = &exchange.session.instance;
                    RequestFault::call(instance, CallError::SessionEnded).response(&exchange.id)
                }
            },
        }
    }

    /// Sends a notification, or an answer to a question of the instance: nothing comes back.
    pub(crate) fn pass_on(
        &self,
        session: &Arc<Session>,
        entry: &RoutingEntry,
        text: &str,
        envelope: &Envelope<'_>,
    ) -> Result<(), RequestFault> {
        // The connection that is attached now, also one that is draining: an answer belongs to where the question came from.
        let attached = match (session.attached(), &entry.upstream) {
            (Some((upstream, key)), _) if upstream.closed().is_none() => Some((upstream, key)),
            (_, Some(upstream)) => session
                .attach(upstream)
                .ok()
                .map(|key| (upstream.clone(), key)),
            _ => None,
        };
        let sent = match (attached, envelope.shape()) {
            (Some((upstream, key)), MessageShape::Notification) => {
                upstream.notify(key, text, envelope)
            }
            // Without a process a notification has no receiver.
            (None, MessageShape::Notification) => Ok(()),
            (Some((upstream, key)), _) => upstream.respond(key, text, envelope),
            (None, _) => Err(NotSent::NoSuchQuestion),
        };
        sent.map_err(|error| FaultKind::NotSent(error).on(&session.instance))
    }

    /// Attaches sessions that have something to hear to a run that has just become ready. The housekeeping or a request does
    /// it, whichever sees the entry first: before the run does anything, it knows who wants to hear of it.
    pub(crate) fn follow_run(&self, entry: &RoutingEntry) {
        let upstream = entry.upstream.as_ref();
        let Some(upstream) = upstream.filter(|_| entry.is_to_be_followed()) else {
            return;
        };
        for session in self.sessions.of_instance(&entry.key.instance) {
            if session.expects_messages() {
                // A session that cannot be attached now is attached, or refused, by its next request.
                let _ = session.attach(upstream);
            }
        }
    }
}
