//! One client session: who its client is, how it is attached to its instance, and its event streams.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use router_core::InstanceId;
use router_upstream::{
    AttachError, ClientCapabilities, ProtocolVersion, SessionMemory, SessionSink, SessionSpec,
    Upstream, UpstreamSessionId,
};
use router_values::whole_ms;

use super::{
    claims::SessionClaims,
    events::{EventLog, Pushed, ReaderId, StreamId},
    revocation::RevokedSession,
};
use crate::{
    fault::{FaultKind, RequestFault},
    observe::{ProxyCount, ProxyObserver},
    session_owner::SessionOwner,
};

/// One client session.
pub(crate) struct Session {
    pub(crate) token: Box<str>,
    pub(crate) instance: InstanceId,
    pub(crate) owner: SessionOwner,
    pub(crate) version: ProtocolVersion,
    pub(crate) expires_unix_s: u64,
    /// What must be remembered of it once its client has ended it.
    pub(crate) revocation: RevokedSession,
    capabilities: ClientCapabilities,
    is_inherited: bool,
    memory: Arc<SessionMemory>,
    observer: Arc<dyn ProxyObserver>,
    /// A stream that is silent for so long sends a comment.
    pub(crate) keep_alive: Duration,
    begun: Instant,
    used_ms: AtomicU64,
    pub(crate) in_flight: AtomicUsize,
    state: Mutex<SessionState>,
}

/// Locked before the connection's own state, never after it; never held while either is called back from.
struct SessionState {
    attached: Option<(Arc<Upstream>, UpstreamSessionId)>,
    has_ended: bool,
    log: EventLog,
}

impl Session {
    /// A session that begins, or one of an earlier router that comes back.
    pub(crate) fn new(
        token: &str,
        claims: SessionClaims,
        owner: SessionOwner,
        is_inherited: bool,
        log: EventLog,
        keep_alive: Duration,
        observer: Arc<dyn ProxyObserver>,
    ) -> Arc<Self> {
        Arc::new(Self {
            token: token.into(),
            revocation: claims.revocation(),
            instance: claims.instance,
            owner,
            version: claims.version,
            expires_unix_s: claims.expires_unix_s,
            capabilities: claims.capabilities,
            is_inherited,
            memory: Arc::default(),
            observer,
            keep_alive,
            begun: Instant::now(),
            used_ms: AtomicU64::new(0),
            in_flight: AtomicUsize::new(0),
            state: Mutex::new(SessionState {
                attached: None,
                has_ended: false,
                log,
            }),
        })
    }

    /// Its part in a connection, which it gets now where it has none yet.
    pub(crate) fn attach(
        self: &Arc<Self>,
        upstream: &Arc<Upstream>,
    ) -> Result<UpstreamSessionId, RequestFault> {
        let mut state = self.state.lock();
        if state.has_ended {
            return Err(FaultKind::UnknownSession.on(&self.instance));
        }
        if let Some((attached, key)) = &state.attached
            && Arc::ptr_eq(attached, upstream)
        {
            return Ok(*key);
        }
        let spec = SessionSpec {
            capabilities: self.capabilities,
            is_inherited: self.is_inherited,
            memory: self.memory.clone(),
            sink: self.clone(),
        };
        let key = upstream.attach(spec).map_err(|error| match error {
            AttachError::TooMany { max } => FaultKind::TooManySessions { max }.on(&self.instance),
            AttachError::Lost(closed) => {
                RequestFault::call(&self.instance, router_upstream::CallError::Lost(closed))
            }
        })?;
        // The connection before is left alone: it has ended, or still answers requests while it drains.
        state.attached = Some((upstream.clone(), key));
        Ok(key)
    }

    /// The connection it is attached to.
    pub(crate) fn attached(&self) -> Option<(Arc<Upstream>, UpstreamSessionId)> {
        self.state.lock().attached.clone()
    }

    /// Notes that the client did something.
    pub(crate) fn touch(&self) {
        let elapsed_ms = whole_ms(self.begun.elapsed());
        self.used_ms.store(elapsed_ms, Ordering::Relaxed);
    }

    /// How long the client has done nothing; zero while a request or a stream is open.
    pub(crate) fn idle_for(&self) -> Duration {
        if self.in_flight.load(Ordering::Relaxed) > 0 || self.state.lock().log.has_readers() {
            return Duration::ZERO;
        }
        let used = Duration::from_millis(self.used_ms.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(used)
    }

    /// Whether the instance may have something to say to it outside of its requests.
    pub(crate) fn expects_messages(&self) -> bool {
        !self.memory.is_empty() || self.streams_read() > 0
    }

    /// How many of its streams that answer no request are being read.
    pub(crate) fn streams_read(&self) -> usize {
        self.state.lock().log.get_readers()
    }

    /// Ends it: its requests are cancelled, its subscriptions given up, its streams closed.
    pub(crate) fn end(&self) {
        let attached = {
            let mut state = self.state.lock();
            state.has_ended = true;
            state.log.close();
            state.attached.take()
        };
        if let Some((upstream, key)) = attached {
            upstream.detach(key);
        }
    }

    /// Closes its streams, which its client may resume.
    pub(crate) fn close_streams(&self) {
        self.state.lock().log.drop_readers();
    }

    /// Opens a stream for GET, or goes on with the one that the client was reading.
    pub(crate) fn open_get(
        &self,
        last_event_id: Option<&str>,
        streams_max: usize,
    ) -> Result<ReaderId, RequestFault> {
        self.touch();
        let mut state = self.state.lock();
        let resumed = last_event_id.and_then(|last| state.log.rewind(last));
        if resumed.is_some() {
            self.observer.count(ProxyCount::StreamResumed);
        } else if state.log.get_readers() >= streams_max {
            let max = streams_max;
            return Err(FaultKind::TooManyStreams { max }.on(&self.instance));
        }
        let id = resumed
            .or_else(|| state.log.waiting_stream())
            .unwrap_or_else(|| {
                let id = state.log.open(false);
                if self.version >= ProtocolVersion::V2025_11_25 {
                    state.log.prime(id);
                }
                id
            });
        let reader = state.log.read(id);
        reader.ok_or_else(|| FaultKind::UnknownSession.on(&self.instance))
    }

    /// Begins a stream for the answer to a request.
    pub(crate) fn begin_answer(&self) -> StreamId {
        let mut state = self.state.lock();
        let id = state.log.open(true);
        if self.version >= ProtocolVersion::V2025_11_25 {
            state.log.prime(id);
        }
        id
    }

    /// Adds a message to the stream of a request.
    pub(crate) fn push(&self, id: StreamId, message: &str) {
        let pushed = self.state.lock().log.push(id, message);
        self.count(pushed);
    }

    /// Adds the answer to the stream of a request, which ends with it.
    pub(crate) fn push_answer(&self, id: StreamId, message: &str) {
        let pushed = {
            let mut state = self.state.lock();
            let pushed = state.log.push(id, message);
            state.log.finish(id);
            pushed
        };
        self.count(pushed);
    }

    /// The stream of a request ends with what it holds.
    pub(crate) fn finish_answer(&self, id: StreamId) {
        self.state.lock().log.finish(id);
    }

    /// Becomes the reader of a request's stream.
    pub(crate) fn read_answer(&self, id: StreamId) -> Option<ReaderId> {
        self.state.lock().log.read(id)
    }

    /// For the reader of a stream.
    pub(crate) fn with_log<T>(&self, with: impl FnOnce(&mut EventLog) -> T) -> T {
        with(&mut self.state.lock().log)
    }

    fn count(&self, pushed: Pushed) {
        if pushed.slow_closed {
            self.observer.count(ProxyCount::SlowStreamClosed);
            tracing::info!(instance = %self.instance, "closed an event stream whose client does not read");
        }
        for _ in 0..pushed.dropped {
            self.observer.count(ProxyCount::StreamEventDropped);
        }
    }
}

impl SessionSink for Session {
    fn deliver(&self, message: &str) -> bool {
        let pushed = self.state.lock().log.push_to_session(message);
        let was_taken = pushed.is_some();
        self.count(pushed.unwrap_or_default());
        was_taken
    }
}
