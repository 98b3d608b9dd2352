//! The proxy as a whole: what it is made of, its router, and its housekeeping.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use http::Method;
use parking_lot::Mutex;
use router_core::{
    ErrorKind, InstanceId, Now,
    event::{Event, TrafficEvent},
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::interval,
};

use crate::{
    config::ProxyLimits,
    ended::{NoRevocationStore, RevocationStore},
    fault::{FaultKind, RequestFault},
    headers::{self, instance_of},
    loss::{self, Loss},
    observe::{FinishedRequest, ProxyCount, ProxyObserver, RequestClass},
    registry::SessionRegistry,
    seal::SessionSeal,
    session::Session,
    table::{RoutingEntry, RoutingTable},
};

/// The driver's clock: the same origin as the times in [`router_core::route::Route`].
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Refused requests and time-outs are logged this often per second at most, each.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// How often idle sessions are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// More often would be a busy loop, also where sessions are to be forgotten at once.
const HOUSEKEEPING_MIN: Duration = Duration::from_millis(10);

/// What a proxy is made of.
pub struct ProxyParts {
    /// Where requests go.
    pub table: Arc<RoutingTable>,
    /// Makes session ids.
    pub seal: Arc<dyn SessionSeal>,
    /// Hears how requests ended.
    pub observer: Arc<dyn ProxyObserver>,
    /// To the driver: [`TrafficEvent::Demand`], [`TrafficEvent::Used`] and [`TrafficEvent::Outcome`]. Bounded; what does not fit is dropped
    /// and counted, except that a demand is repeated while its request waits.
    pub events: mpsc::Sender<Event>,
    /// The driver's clock.
    pub clock: Clock,
    /// What the ids of events start with. It must differ between two lives of the router, like its epoch.
    pub epoch: String,
    /// The bounds.
    pub limits: ProxyLimits,
}

/// The proxy. Give it to [`router`], and poll [`Proxy::run`] beside it.
pub struct Proxy {
    pub(crate) parts: ProxyParts,
    pub(crate) registry: SessionRegistry,
    pub(crate) waiting: AtomicUsize,
    pub(crate) bodies_bytes: AtomicUsize,
    /// To [`Proxy::run`], while that is polled.
    pub(crate) losses: Mutex<Option<mpsc::Sender<Loss>>>,
    validation_log: Mutex<LogBudget>,
    timeout_log: Mutex<LogBudget>,
}

/// What clients have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenCounts {
    /// Sessions that are kept in memory.
    pub sessions: u64,
    /// Streams from an instance to a client (`GET`) that are being read.
    pub streams: u64,
}

/// The routes of the proxy: `POST`, `GET` and `DELETE` of `/mcp/{versionId}`. Who may call them is decided in front.
pub fn router(proxy: Arc<Proxy>) -> Router {
    Router::new()
        .route("/mcp", any(serve))
        .route("/mcp/", any(serve))
        .route("/mcp/{version_id}", any(serve))
        .with_state(proxy)
}

async fn serve(State(proxy): State<Arc<Proxy>>, request: Request) -> Response {
    proxy.answer(request).await
}

impl Proxy {
    /// A proxy without sessions. Those that its clients end are not remembered by the next one; see [`Proxy::with_revocations`].
    #[must_use]
    pub fn new(parts: ProxyParts) -> Arc<Self> {
        Self::with_revocations(parts, Arc::new(NoRevocationStore))
    }

    /// A proxy that knows which sessions were ended under earlier ones, and keeps more in `revocations`. Loads them, which may block.
    #[must_use]
    pub fn with_revocations(parts: ProxyParts, revocations: Arc<dyn RevocationStore>) -> Arc<Self> {
        Arc::new(Self {
            registry: SessionRegistry::new(&parts.limits, revocations),
            waiting: AtomicUsize::new(0),
            bodies_bytes: AtomicUsize::new(0),
            losses: Mutex::default(),
            validation_log: Mutex::default(),
            timeout_log: Mutex::default(),
            parts,
        })
    }

    /// Answers one request whose path begins with `/mcp/`. What [`router`] calls; whoever has looked at the path already may
    /// call it directly, which spares a tenth of a small request's instructions.
    pub async fn answer(self: &Arc<Self>, request: Request) -> Response {
        let begun = Instant::now();
        let answer = match *request.method() {
            Method::POST => return self.post(request, begun).await,
            Method::GET => self.open_stream(&request),
            Method::DELETE => self.end_session(&request),
            _ => Err(RequestFault::new(FaultKind::Method)),
        };
        answer.unwrap_or_else(|fault| self.refuse(&fault, "", RequestClass::Other, Some(begun)))
    }

    /// Housekeeping: lets sessions follow their instance to its next run, forgets idle ones, and tells streams of lost
    /// instances what comes next. Runs until dropped.
    pub async fn run(self: Arc<Self>) {
        let (sender, losses) = mpsc::channel(loss::WAITING_MAX);
        *self.losses.lock() = Some(sender);
        tokio::select! {
            () = self.keep_house() => {}
            () = self.tell_losses(losses) => {}
        }
    }

    async fn keep_house(&self) {
        let mut changes = self.parts.table.changes();
        let every = HOUSEKEEPING.min(self.parts.limits.session_idle);
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
                    for session in self.registry.take_idle(self.parts.limits.session_idle) {
                        session.end();
                        self.parts.observer.count(ProxyCount::SessionForgotten);
                    }
                }
            }
        }
    }

    /// What clients have open now.
    #[must_use]
    pub fn open(&self) -> OpenCounts {
        let sessions = self.registry.all();
        let streams = sessions.iter().map(|session| session.streams_read());
        OpenCounts {
            sessions: sessions.len() as u64,
            streams: streams.sum::<usize>() as u64,
        }
    }

    /// How many sessions of an instance are kept in memory.
    #[must_use]
    pub fn session_count(&self, instance: &InstanceId) -> usize {
        self.registry.count(instance)
    }

    /// The bytes of events that are held for all sessions, to be read or resumed.
    #[must_use]
    pub fn event_bytes(&self) -> usize {
        self.registry.event_bytes()
    }

    /// How many requests wait for an instance to start.
    #[must_use]
    pub fn waiting_count(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Ends every open stream, so that a graceful shutdown of the HTTP server can complete. Sessions stay valid: their
    /// ids work with the next router, and clients resume their streams there.
    pub fn close_streams(&self) {
        for session in self.registry.all() {
            session.close_streams();
        }
    }

    /// Attaches sessions that have something to hear to a run that has just become ready. Whoever looks at its entry first
    /// does it, the housekeeping or a request: before the run does anything, it knows who wants to hear of it.
    pub(crate) fn follow_run(&self, entry: &RoutingEntry) {
        let Some(upstream) = entry
            .upstream
            .as_ref()
            .filter(|_| entry.is_to_be_followed())
        else {
            return;
        };
        for session in self.registry.of_instance(&entry.key.instance) {
            if session.wants_to_hear() {
                // A session that cannot be attached now is attached, or refused, by its next request.
                let _ = session.attach(upstream);
            }
        }
    }

    /// Lets the sessions of an instance follow it to its next run, or end with it.
    fn follow(&self, instance: &InstanceId) {
        match self.parts.table.get(instance.as_str()) {
            Some(entry) => self.follow_run(&entry),
            None => {
                for session in self.registry.take_instance(instance) {
                    session.end();
                }
            }
        }
    }

    fn follow_all(&self) {
        for instance in self.registry.instances() {
            self.follow(&instance);
        }
    }

    /// Opens a session's stream from the instance to the client, or resumes one.
    fn open_stream(&self, request: &Request<Body>) -> Result<Response, RequestFault> {
        let instance = instance_of(request.uri().path())?;
        headers::check_version(request.headers())?;
        headers::check_accepts_events(request.headers())?;
        let entry = self.entry(&instance)?;
        let session = self.session(&instance, request.headers())?;
        if let Some(upstream) = &entry.upstream {
            // What the instance says reaches attached sessions only; where this fails, the next request tells why.
            let _ = session.attach(upstream);
        }
        let last = headers::text(request.headers(), &headers::LAST_EVENT_ID);
        let body = session.open_get(last, &self.parts.limits)?;
        Ok(crate::sse::response(body))
    }

    fn end_session(&self, request: &Request<Body>) -> Result<Response, RequestFault> {
        let instance = instance_of(request.uri().path())?;
        headers::check_version(request.headers())?;
        let session = self.session(&instance, request.headers())?;
        self.registry.end(&session);
        session.end();
        self.parts.observer.count(ProxyCount::SessionEnded);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = http::StatusCode::NO_CONTENT;
        Ok(response)
    }

    /// The entry of an instance that is asked for.
    pub(crate) fn entry(&self, instance: &InstanceId) -> Result<Arc<RoutingEntry>, RequestFault> {
        let entry = self.parts.table.get(instance.as_str());
        entry.ok_or_else(|| RequestFault::new(FaultKind::UnknownInstance).on(instance))
    }

    /// The session that a request belongs to, also one of an earlier router.
    pub(crate) fn session(
        &self,
        instance: &InstanceId,
        headers: &http::HeaderMap,
    ) -> Result<Arc<Session>, RequestFault> {
        let token = headers::text(headers, &headers::SESSION_ID);
        let token = token.ok_or_else(|| RequestFault::new(FaultKind::NoSession).on(instance))?;
        self.registry.find(self, token, instance)
    }

    /// Sends an event to the driver, or counts that there was no room.
    pub(crate) fn tell_driver(&self, event: TrafficEvent) -> bool {
        let sent = self.parts.events.try_send(event.into()).is_ok();
        if !sent {
            self.parts.observer.count(ProxyCount::DriverEventDropped);
        }
        sent
    }

    pub(crate) fn now(&self) -> Now {
        (self.parts.clock)()
    }

    /// Tells the metrics of a request that ended without reaching the instance, and renders the answer.
    pub(crate) fn refuse(
        &self,
        fault: &RequestFault,
        id: &str,
        class: RequestClass,
        begun: Option<Instant>,
    ) -> Response {
        self.note(
            fault,
            class,
            begun.map_or(Duration::ZERO, |begun| begun.elapsed()),
        );
        fault.response(id)
    }

    /// Tells the metrics and the log of a fault.
    pub(crate) fn note(&self, fault: &RequestFault, class: RequestClass, elapsed: Duration) {
        let instance = fault.instance().map_or("", InstanceId::as_str);
        let kind = fault.kind();
        match kind {
            ErrorKind::Validation => {
                if let Some(suppressed) = self.validation_log.lock().spend() {
                    tracing::warn!(instance, reason = %fault, suppressed, "VALIDATION: request refused");
                }
            }
            ErrorKind::Timeout => {
                if let Some(suppressed) = self.timeout_log.lock().spend() {
                    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        instance,
                        elapsed_ms,
                        suppressed,
                        "TIMEOUT: the instance did not answer in time"
                    );
                }
            }
            _ => tracing::debug!(instance, kind = kind.as_str(), reason = %fault, "request failed"),
        }
        self.parts.observer.finished(&FinishedRequest {
            instance,
            class,
            elapsed,
            error: Some(kind),
            is_instance_fault: fault.is_instance_fault(),
        });
    }

    pub(crate) fn start_waiting(self: &Arc<Self>) -> Option<Waiting> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(self.clone());
        (before < self.parts.limits.waiting_max).then_some(waiting)
    }
}

/// One request that waits for its instance to start.
pub(crate) struct Waiting(Arc<Proxy>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets [`LOGGED_PER_SECOND_MAX`] lines through per second and counts the rest.
struct LogBudget {
    since: Instant,
    spent: u32,
    suppressed: u64,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            spent: 0,
            suppressed: 0,
        }
    }
}

impl LogBudget {
    /// How many lines were left out since the last one, where this one may be written.
    fn spend(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.spent = 0;
        }
        if self.spent >= LOGGED_PER_SECOND_MAX {
            self.suppressed += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}
