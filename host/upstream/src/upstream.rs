//! The connection itself: how it is opened, watched, drained and closed.

use std::{
    fs::Permissions,
    future::Future,
    io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use router_core::{InstanceId, Run};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    cache::ListKind,
    config::UpstreamConfig,
    connection::EndOnDrop,
    envelope::{member, string_of},
    handshake::Handshake,
    ids::IdFormat,
    reply::Closed,
    state::State,
};

/// Nobody but the owner of the instances connects to them.
const SOCKET_MODE: u32 = 0o600;

/// How often a socket that is not there yet is tried again while its instance starts.
const CONNECT_RETRY: Duration = Duration::from_millis(25);

/// Longest wait that is kept: as good as none, and it can be added to any time without running over.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What drives a connection: to be polled (spawned) by whoever opened it, until it tells how the connection ended.
pub type Connection = Pin<Box<dyn Future<Output = Arc<Closed>> + Send>>;

/// What a connection tells its owner. Called from the connection's task; must not block.
pub trait UpstreamEvents: Send + Sync {
    /// The instance said that one of its lists has changed.
    fn list_changed(&self, kind: ListKind) {
        let _ = kind;
    }

    /// The instance answered what nobody waits for. Called from the connection's task: it must not block.
    fn unknown_reply(&self) {}
}

/// An owner that wants to hear nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct IgnoreEvents;

impl UpstreamEvents for IgnoreEvents {}

/// Why a connection cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A descriptor is not a pipe's end.
    #[error("the pipes of instance {instance} cannot be used")]
    Pipes {
        /// Whose pipes.
        instance: InstanceId,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Nobody listens on the socket.
    #[error("{} did not accept within {} ms", path.display(), waited.as_millis())]
    Socket {
        /// Where.
        path: PathBuf,
        /// How long it was tried.
        waited: Duration,
        /// The last attempt's error.
        #[source]
        error: io::Error,
    },
    /// Somebody else listens on the socket.
    #[error("{} belongs to user {peer}, not to this router's", path.display())]
    Stranger {
        /// Where.
        path: PathBuf,
        /// The listener's user id.
        peer: u32,
    },
}

/// One waiting request, as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its method, with the tool's name where it calls one.
    pub what: String,
    /// How long it has been waiting.
    pub waiting: Duration,
}

/// What has happened on a connection since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamCounters {
    /// Answers to nobody: late, of an earlier router, or made up.
    pub unknown_replies: u64,
    /// Lines that are no messages (a banner, a stray print).
    pub refused_lines: u64,
    /// Lines past the bound.
    pub overlong_lines: u64,
    /// Messages that no client could be given.
    pub undelivered: u64,
    /// Questions of the instance that were refused because several sessions, or none, could be meant.
    pub refused_asks: u64,
}

#[derive(Debug, Default)]
pub(crate) struct AtomicCounters {
    pub(crate) unknown_replies: AtomicU64,
    pub(crate) refused_lines: AtomicU64,
    pub(crate) overlong_lines: AtomicU64,
    pub(crate) undelivered: AtomicU64,
    pub(crate) refused_asks: AtomicU64,
}

/// A multiplexed MCP connection to one slot.
pub struct Upstream {
    pub(crate) config: UpstreamConfig,
    pub(crate) ids: IdFormat,
    /// Ids of the instance's questions, as clients see them.
    pub(crate) ask_ids: IdFormat,
    pub(crate) state: Mutex<State>,
    pub(crate) events: Arc<dyn UpstreamEvents>,
    pub(crate) described: OnceLock<Handshake>,
    pub(crate) counters: AtomicCounters,
    pub(crate) opened: Instant,
    /// Milliseconds after `opened` at which the instance last said anything, and at which a client last asked or was answered.
    pub(crate) heard_ms: AtomicU64,
    pub(crate) used_ms: AtomicU64,
    request_timeout_ms: AtomicU64,
    cache_ttl_ms: AtomicU64,
    /// The first line after an adoption may be the end of one that the earlier router began to read.
    pub(crate) forgives_first_line: AtomicBool,
    /// Its owner knows that the process has ended.
    has_died: AtomicBool,
    pub(crate) has_work: Notify,
    pub(crate) has_deadlines: Notify,
    pub(crate) close_requested: Notify,
    pub(crate) became_idle: Notify,
}

impl Upstream {
    /// Opens a connection over any pair of byte streams. Nothing moves until the returned future is polled.
    pub fn open<R, W>(
        config: UpstreamConfig,
        reader: R,
        writer: W,
        events: Arc<dyn UpstreamEvents>,
    ) -> (Arc<Self>, Connection)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let upstream = Arc::new(Self {
            ids: IdFormat::new(&config.id_prefix),
            // With the run, because a client may still answer what an earlier one asked.
            ask_ids: IdFormat::new(&format!("{}-{}-ask", config.id_prefix, config.run.0)),
            state: Mutex::default(),
            events,
            described: OnceLock::new(),
            counters: AtomicCounters::default(),
            opened: Instant::now(),
            heard_ms: AtomicU64::new(0),
            used_ms: AtomicU64::new(0),
            request_timeout_ms: AtomicU64::new(millis(config.request_timeout.min(WAIT_MAX))),
            cache_ttl_ms: AtomicU64::new(millis(config.cache_ttl.min(WAIT_MAX))),
            forgives_first_line: AtomicBool::new(false),
            has_died: AtomicBool::new(false),
            has_work: Notify::new(),
            has_deadlines: Notify::new(),
            close_requested: Notify::new(),
            became_idle: Notify::new(),
            config,
        });
        let connection = upstream
            .clone()
            .drive(EndOnDrop(upstream.clone()), reader, writer);
        (upstream, Box::pin(connection))
    }

    /// Opens a connection over the two pipes of a child: `stdin` is written, `stdout` is read.
    ///
    /// # Errors
    /// One of them is not the right end of a pipe. Must be called within a runtime that does I/O.
    pub fn open_pipes(
        config: UpstreamConfig,
        stdin: OwnedFd,
        stdout: OwnedFd,
        events: Arc<dyn UpstreamEvents>,
    ) -> Result<(Arc<Self>, Connection), OpenError> {
        let fault = |error| OpenError::Pipes {
            instance: config.instance.clone(),
            error,
        };
        let writer = pipe::Sender::from_owned_fd(stdin).map_err(fault)?;
        let reader = pipe::Receiver::from_owned_fd(stdout).map_err(fault)?;
        Ok(Self::open(config, reader, writer, events))
    }

    /// Opens a connection to an instance that listens itself. It may take a moment before it does, so this tries
    /// again until `timeout`.
    ///
    /// # Errors
    /// Nobody accepted in time, or the listener runs as another user.
    pub async fn connect(
        config: UpstreamConfig,
        path: &Path,
        timeout: Duration,
        events: Arc<dyn UpstreamEvents>,
    ) -> Result<(Arc<Self>, Connection), OpenError> {
        let deadline = Instant::now() + timeout;
        let stream = loop {
            match UnixStream::connect(path).await {
                Ok(stream) => break stream,
                Err(error) if Instant::now() + CONNECT_RETRY >= deadline => {
                    return Err(OpenError::Socket {
                        path: path.to_owned(),
                        waited: timeout,
                        error,
                    });
                }
                // There is no event to wait for: the listener may appear under a directory that does not exist yet.
                Err(_) => sleep_until(Instant::now() + CONNECT_RETRY).await,
            }
        };
        let peer = stream.peer_cred().map_err(|error| OpenError::Socket {
            path: path.to_owned(),
            waited: timeout,
            error,
        })?;
        if peer.uid() != rustix::process::geteuid().as_raw() {
            return Err(OpenError::Stranger {
                path: path.to_owned(),
                peer: peer.uid(),
            });
        }
        // The instance made it with whatever its umask left to others.
        if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)) {
            tracing::warn!(instance = %config.instance, path = %path.display(), error = %error, "the instance's socket may be open to other users");
        }
        let (reader, writer) = stream.into_split();
        Ok(Self::open(config, reader, writer, events))
    }

    /// Whose slot this is.
    #[must_use]
    pub fn instance(&self) -> &InstanceId {
        &self.config.instance
    }

    /// Which start of it.
    #[must_use]
    pub fn run(&self) -> Run {
        self.config.run
    }

    /// What the instance said about itself; absent before [`Upstream::handshake`] or [`Upstream::adopt`].
    #[must_use]
    pub fn described(&self) -> Option<&Handshake> {
        self.described.get()
    }

    /// How many requests of clients wait for an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state.lock().client_calls
    }

    /// What waits for an answer, longest first; once the connection has ended, what waited then. Evidence for the case that
    /// the process dies.
    #[must_use]
    pub fn methods_in_flight(&self) -> Vec<InFlight> {
        let state = self.state.lock();
        if state.closed.is_some() {
            return state.lost.clone();
        }
        waiting(&state)
    }

    /// How long no client has used this connection; zero while a request is in flight.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        if self.in_flight() > 0 {
            return Duration::ZERO;
        }
        self.since(&self.used_ms)
    }

    /// How long the instance has said nothing at all.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.since(&self.heard_ms)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> UpstreamCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UpstreamCounters {
            unknown_replies: read(&self.counters.unknown_replies),
            refused_lines: read(&self.counters.refused_lines),
            overlong_lines: read(&self.counters.overlong_lines),
            undelivered: read(&self.counters.undelivered),
            refused_asks: read(&self.counters.refused_asks),
        }
    }

    /// How the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Arc<Closed>> {
        self.state.lock().closed.clone()
    }

    /// Changes how long requests from now on may take.
    pub fn set_request_timeout(&self, timeout: Duration) {
        self.request_timeout_ms
            .store(millis(timeout.min(WAIT_MAX)), Ordering::Relaxed);
    }

    /// Changes how long lists may be served from memory; zero for never.
    pub fn set_cache_ttl(&self, ttl: Duration) {
        self.cache_ttl_ms
            .store(millis(ttl.min(WAIT_MAX)), Ordering::Relaxed);
    }

    /// Takes no more requests, and waits until those in flight are answered. True where they were in time.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.state.lock().is_draining = true;
        let until = Instant::now() + deadline;
        loop {
            let idle = self.became_idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let state = self.state.lock();
                if state.closed.is_some() {
                    return state.client_calls == 0;
                }
                if state.client_calls == 0 {
                    return true;
                }
            }
            if tokio::time::timeout_at(until, idle).await.is_err() {
                return false;
            }
        }
    }

    /// Ends the connection: its future resolves to [`Closed::Requested`], and whoever waits is told.
    pub fn close(&self) {
        self.close_requested.notify_one();
    }

    /// Ends the connection to a process that has ended, where nobody may see the end of its output: a descendant can hold it
    /// open. No more requests are taken, its last words are heard, and whoever still waits is told that it died; the future
    /// resolves to [`Closed::Died`].
    pub fn close_died(&self) {
        self.state.lock().is_draining = true;
        self.has_died.store(true, Ordering::Relaxed);
        self.close();
    }

    /// How a connection ends that its owner ends.
    pub(crate) fn closed_by_owner(&self) -> Closed {
        if self.has_died.load(Ordering::Relaxed) {
            Closed::Died
        } else {
            Closed::Requested
        }
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn cache_ttl(&self) -> Duration {
        Duration::from_millis(self.cache_ttl_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn stamp(&self, place: &AtomicU64) {
        place.store(millis(self.opened.elapsed()), Ordering::Relaxed);
    }

    pub(crate) fn wake_writer(&self) {
        self.has_work.notify_one();
    }

    pub(crate) fn tell_if_idle(&self) {
        if self.state.lock().client_calls == 0 {
            self.became_idle.notify_waiters();
        }
    }

    fn since(&self, place: &AtomicU64) -> Duration {
        let at = Duration::from_millis(place.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(at)
    }
}

/// The requests of clients that wait for an answer, longest first.
pub(crate) fn waiting(state: &State) -> Vec<InFlight> {
    let now = Instant::now();
    let calls = state
        .pending
        .values()
        .filter(|pending| pending.session.is_some());
    let mut all: Vec<InFlight> = calls
        .map(|pending| InFlight {
            what: tool_called(&pending.method, pending.origin.request())
                .unwrap_or_else(|| pending.method.to_string()),
            waiting: now - pending.since,
        })
        .collect();
    all.sort_by_key(|call| std::cmp::Reverse(call.waiting));
    all
}

/// `tools/call` with the tool's name, where the request was kept.
fn tool_called(method: &str, request: &[u8]) -> Option<String> {
    if method != "tools/call" {
        return None;
    }
    let params = member(std::str::from_utf8(request).ok()?, "params").ok()??;
    let name = string_of(member(params, "name").ok()??)?;
    // Enough to recognise it, and a bound on what the evidence can hold.
    Some(format!(
        "tools/call {}",
        name.chars().take(100).collect::<String>()
    ))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
