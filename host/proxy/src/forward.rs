//! Sending a request to its instance: the route, the breaker's permit, the session's part in the connection.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use router_core::{InstanceId, event::TrafficEvent, route::Route};
use router_upstream::{CallError, Envelope, Upstream};
use tokio::time::{Instant, timeout_at};

use crate::{
    batch::Batch,
    exchange::{Exchange, Outcome},
    fault::{FaultKind, RequestFault, json},
    loss::NEXT_ROUTE_WAIT,
    observe::RequestClass,
    proxy::Proxy,
    session::Session,
    sse,
    table::RoutingEntry,
};

/// A demand that found the driver's queue full is repeated this often.
const DEMAND_AGAIN: Duration = Duration::from_millis(50);

/// Longest wait for a start, whatever the route says: it can be added to any time without running over.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// A request as it arrived.
pub(crate) struct Incoming<'a> {
    pub(crate) source: &'a Bytes,
    pub(crate) envelope: &'a Envelope<'a>,
    pub(crate) id: &'a str,
    pub(crate) class: RequestClass,
    pub(crate) begun: std::time::Instant,
    /// The batch that it came in.
    pub(crate) batch: Option<&'a Arc<Batch>>,
}

impl Proxy {
    /// Waits for what the client of a request gets that was sent on.
    pub(crate) async fn respond(&self, exchange: Arc<Exchange>) -> Response {
        match exchange.outcome().await {
            Outcome::Answer(message) => json(message),
            // Told to the metrics when it happened.
            Outcome::RequestFault(fault) => {
                let until = Instant::now() + NEXT_ROUTE_WAIT;
                let fault = self.with_next_word(fault, until).await;
                fault.response(&exchange.id)
            }
            Outcome::Stream(stream) => match exchange.session.read_answer(stream) {
                Some(body) => sse::response(body),
                None => {
                    let instance = &exchange.session.instance;
                    RequestFault::call(instance, CallError::SessionEnded).response(&exchange.id)
                }
            },
        }
    }

    /// Sends a request to the instance's present run, and again to its next one where the connection turned out to have
    /// ended before anything was sent.
    pub(crate) async fn send(
        self: &Arc<Self>,
        session: &Arc<Session>,
        incoming: &Incoming<'_>,
    ) -> Result<Arc<Exchange>, RequestFault> {
        let instance = &session.instance;
        let mut spent: Option<Arc<Upstream>> = None;
        loop {
            let (entry, upstream) = self.ready(instance, spent.as_ref()).await?;
            self.follow_run(&entry);
            let now_ms = self.now().mono_ms;
            let permit = entry
                .breaker
                .try_acquire(now_ms)
                .map_err(|rejected| RequestFault::new(FaultKind::Breaker(rejected)).on(instance))?;
            if entry.is_use_to_be_reported(now_ms) {
                self.tell_driver(TrafficEvent::Used(entry.key.clone()));
            }
            let exchange = Exchange::new(self, session, &entry, upstream.run(), incoming, permit);
            let sent = session.attach(&upstream).and_then(|key| {
                let sink = exchange.clone();
                let called = upstream.call(key, incoming.source, incoming.envelope, sink);
                called.map_err(|error| match error {
                    CallError::Busy { what } => {
                        RequestFault::new(FaultKind::Busy { what }).on(instance)
                    }
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

    /// The connection to the instance's run, once it is ready. Waits for a start, bounded by the start's own deadline, and
    /// for nothing else. `spent` is a connection that has ended, whatever the table still says.
    pub(crate) async fn ready(
        self: &Arc<Self>,
        instance: &InstanceId,
        spent: Option<&Arc<Upstream>>,
    ) -> Result<(Arc<RoutingEntry>, Arc<Upstream>), RequestFault> {
        let entry = self.entry(instance)?;
        if let (Route::Ready { .. }, Some(upstream)) = (&entry.route, &entry.upstream)
            && spent.is_none()
        {
            let upstream = upstream.clone();
            return Ok((entry, upstream));
        }
        let Some(_waiting) = self.start_waiting() else {
            let what = "too many requests wait for it to start";
            return Err(RequestFault::new(FaultKind::Busy { what }).on(instance));
        };
        self.wait_for_start(instance, spent).await
    }

    async fn wait_for_start(
        self: &Arc<Self>,
        instance: &InstanceId,
        spent: Option<&Arc<Upstream>>,
    ) -> Result<(Arc<RoutingEntry>, Arc<Upstream>), RequestFault> {
        let begun = Instant::now();
        let mut has_demanded = false;
        let mut longest: Option<Instant> = None;
        let mut word_by: Option<Instant> = None;
        loop {
            let watched = self.parts.table.watch(instance.as_str());
            let (entry, changed) = watched
                .ok_or_else(|| RequestFault::new(FaultKind::UnknownInstance).on(instance))?;
            let now_ms = self.now().mono_ms;
            let wait = match &entry.route {
                Route::Ready { .. } => match &entry.upstream {
                    Some(upstream) if spent.is_none_or(|spent| !Arc::ptr_eq(spent, upstream)) => {
                        let upstream = upstream.clone();
                        return Ok((entry, upstream));
                    }
                    // The table is about to change: the connection has just ended, or is just being opened.
                    _ => NEXT_ROUTE_WAIT,
                },
                Route::Startable { wait_ms } => {
                    has_demanded =
                        has_demanded || self.tell_driver(TrafficEvent::Demand(entry.key.clone()));
                    Duration::from_millis(*wait_ms)
                }
                Route::Starting { deadline_ms } => {
                    Duration::from_millis(deadline_ms.saturating_sub(now_ms))
                }
                Route::Unavailable(unavailable) => {
                    let unavailable = unavailable.clone();
                    return Err(RequestFault::new(FaultKind::Unavailable {
                        unavailable,
                        now_ms,
                    })
                    .on(instance));
                }
            };
            // A start that was under way when the request came may be followed by another one, but a request does not
            // wait for ever longer: the first start it sees bounds it. So it is with the word on a connection that ended.
            let is_start = !matches!(entry.route, Route::Ready { .. });
            let until = Instant::now() + wait.min(WAIT_MAX);
            let until = if is_start {
                word_by = None;
                *longest.get_or_insert(until)
            } else {
                *word_by.get_or_insert(until)
            };
            let is_pending_demand = matches!(entry.route, Route::Startable { .. }) && !has_demanded;
            let look_again = if is_pending_demand {
                until.min(Instant::now() + DEMAND_AGAIN)
            } else {
                until
            };
            let has_changed = timeout_at(look_again, changed).await.is_ok();
            if !has_changed && Instant::now() >= until {
                let lost = spent.filter(|_| !is_start).and_then(|spent| spent.closed());
                return Err(match lost {
                    Some(closed) => {
                        self.with_next(RequestFault::call(instance, CallError::Lost(closed)))
                    }
                    None => {
                        let waited = begun.elapsed();
                        RequestFault::new(FaultKind::StartTooSlow { waited }).on(instance)
                    }
                });
            }
        }
    }
}
