//! The proxy as a whole: what it is made of, and its housekeeping.

use std::{sync::Arc, time::Duration};

use axum::{extract::Request, response::Response};
use router_core::{InstanceId, event::Event};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::interval,
};

use crate::{
    config::ProxyLimits,
    driver_link::{Clock, DriverLink},
    forwarder::Forwarder,
    ingress::Ingress,
    observe::{ProxyCount, ProxyObserver},
    path::McpPath,
    report::RequestReporter,
    sessions::{RevocationStore, SessionRegistry, SessionSeal},
    table::RoutingTable,
};

/// How often idle sessions are searched for.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// More often would be a busy loop, also where sessions are to be forgotten at once.
const HOUSEKEEPING_MIN: Duration = Duration::from_millis(10);

/// What a proxy is made of.
pub struct ProxyParts {
    /// Where requests go.
    pub table: Arc<RoutingTable>,
    /// Makes session ids.
    pub seal: Arc<dyn SessionSeal>,
    /// Keeps revoked session ids for the next router.
    pub revocations: Arc<dyn RevocationStore>,
    /// Receives how requests ended.
    pub observer: Arc<dyn ProxyObserver>,
    /// To the driver, whose events of traffic are sent. Bounded; what does not fit is dropped and counted, except that a demand is repeated while its request waits.
    pub events: mpsc::Sender<Event>,
    /// The driver's clock.
    pub clock: Clock,
    /// What the ids of events start with. It must differ between two lives of the router, like its epoch.
    pub epoch: String,
    /// The bounds.
    pub limits: ProxyLimits,
}

/// The proxy. Give it requests by [`Proxy::answer`], and poll [`Proxy::run`] beside it.
pub struct Proxy {
    table: Arc<RoutingTable>,
    sessions: Arc<SessionRegistry>,
    forwarder: Arc<Forwarder>,
    ingress: Ingress,
    observer: Arc<dyn ProxyObserver>,
    session_idle: Duration,
}

/// What clients have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenCounts {
    /// Sessions that are kept in memory.
    pub sessions: u64,
    /// Streams from an instance to a client (`GET`) that are being read.
    pub streams: u64,
}

impl Proxy {
    /// A proxy without sessions. Loads what was revoked under earlier ones, which may block.
    #[must_use]
    pub fn new(parts: ProxyParts) -> Arc<Self> {
        let ProxyParts {
            table,
            seal,
            observer,
            events,
            clock,
            epoch,
            limits,
            revocations,
        } = parts;
        let sessions = Arc::new(SessionRegistry::new(
            seal,
            observer.clone(),
            epoch,
            limits.clone(),
            revocations,
        ));
        let forwarder = Arc::new(Forwarder::new(
            table.clone(),
            sessions.clone(),
            Arc::new(DriverLink::new(events, clock, observer.clone())),
            RequestReporter::new(observer.clone()),
            limits.waiting_max,
        ));
        let session_idle = limits.session_idle;
        Arc::new(Self {
            ingress: Ingress::new(table.clone(), sessions.clone(), forwarder.clone(), limits),
            table,
            sessions,
            forwarder,
            observer,
            session_idle,
        })
    }

    /// Answers one request, whose path was parsed where it was accepted. Whether its caller may send it is decided before.
    pub async fn answer(&self, path: &McpPath, request: Request) -> Response {
        self.ingress.answer(path, request).await
    }

    /// Housekeeping: lets sessions follow their instance to its next run, forgets idle ones, and ends streams of lost
    /// instances once it is known what comes next. Runs until dropped.
    pub async fn run(self: Arc<Self>) {
        tokio::select! {
            () = self.keep_sessions() => {}
            () = self.forwarder.report_losses() => {}
        }
    }

    async fn keep_sessions(&self) {
        let mut changes = self.table.changes();
        let every = HOUSEKEEPING.min(self.session_idle);
        let mut rounds = interval(every.max(HOUSEKEEPING_MIN));
        self.follow_all();
        loop {
            tokio::select! {
                changed = changes.recv() => match changed {
                    Ok(instance) => self.follow(&instance),
                    Err(RecvError::Lagged(_)) => self.follow_all(),
                    Err(RecvError::Closed) => return,
                },
                _ = rounds.tick() => {
                    for session in self.sessions.take_idle(self.session_idle) {
                        session.end();
                        self.observer.count(ProxyCount::SessionForgotten);
                    }
                }
            }
        }
    }

    /// Lets the sessions of an instance follow it to its next run, or end with it.
    fn follow(&self, instance: &InstanceId) {
        match self.table.get(instance.as_str()) {
            Some(entry) => self.forwarder.follow_run(&entry),
            None => {
                for session in self.sessions.take_instance(instance) {
                    session.end();
                }
            }
        }
    }

    fn follow_all(&self) {
        for instance in self.sessions.instances() {
            self.follow(&instance);
        }
    }

    /// What clients have open now.
    #[must_use]
    pub fn open(&self) -> OpenCounts {
        let sessions = self.sessions.all();
        let streams = sessions.iter().map(|session| session.streams_read());
        OpenCounts {
            sessions: sessions.len() as u64,
            streams: streams.sum::<usize>() as u64,
        }
    }

    /// How many sessions of an instance are kept in memory.
    #[must_use]
    pub fn session_count(&self, instance: &InstanceId) -> usize {
        self.sessions.count(instance)
    }

    /// The bytes of events that are held for all sessions, to be read or resumed.
    #[must_use]
    pub fn event_bytes(&self) -> usize {
        self.sessions.event_bytes()
    }

    /// How many requests wait for an instance to start.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.forwarder.waiting_count()
    }

    /// Ends every open stream, so that a graceful shutdown of the HTTP server can complete. Sessions stay valid: their
    /// ids work with the next router, and clients resume their streams there.
    pub fn close_streams(&self) {
        for session in self.sessions.all() {
            session.close_streams();
        }
    }
}
