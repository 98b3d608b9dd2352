//! The connection itself: what it holds, and how it is watched, drained and closed. How it is opened stands in `open`, what
//! moves over it in the files about requests, answers and questions.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use router_core::{InstanceId, Run};
use router_values::whole_ms;
use tokio::{sync::Notify, time::Instant};

use crate::{
    cache::ListKind,
    config::UpstreamConfig,
    handshake::Handshake,
    ids::QuestionIds,
    reply::{Closed, NotSent},
    state::{ConnectionState, InFlight},
};

/// Longest wait that is kept: as good as none, and it can be added to any time without running over.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a connection reports to its owner. Called from the connection's task; must not block.
pub trait UpstreamEvents: Send + Sync {
    /// The instance said that one of its lists has changed.
    fn list_changed(&self, kind: ListKind) {
        let _ = kind;
    }

    /// The instance answered a request that does not wait (any more).
    fn unknown_reply(&self) {}
}

/// An owner that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct IgnoreEvents;

impl UpstreamEvents for IgnoreEvents {}

/// What has happened on a connection since it was opened.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    /// Answers to requests that do not wait: late, of an earlier router, or made up.
    pub unknown_replies: AtomicU64,
    /// Lines that are no messages (a banner, a stray print).
    pub refused_lines: AtomicU64,
    /// Lines past the bound.
    pub overlong_lines: AtomicU64,
    /// Messages that no client could be given.
    pub undelivered: AtomicU64,
    /// Questions of the instance that were refused because several sessions, or none, could be meant.
    pub refused_questions: AtomicU64,
}

/// A multiplexed MCP connection to one slot.
pub struct Upstream {
    pub(crate) config: UpstreamConfig,
    /// Ids of the instance's questions, as clients see them.
    pub(crate) question_ids: QuestionIds,
    pub(crate) state: Mutex<ConnectionState>,
    pub(crate) events: Arc<dyn UpstreamEvents>,
    pub(crate) described: OnceLock<Handshake>,
    pub(crate) counters: UpstreamCounters,
    pub(crate) opened: Instant,
    /// Milliseconds after `opened` at which the instance last sent anything.
    pub(crate) received_ms: AtomicU64,
    request_timeout_ms: AtomicU64,
    cache_ttl_ms: AtomicU64,
    /// The first line after an adoption may be the end of one that the earlier router began to read.
    pub(crate) tolerates_broken_line: AtomicBool,
    /// Its owner knows that the process has ended.
    has_died: AtomicBool,
    pub(crate) has_work: Notify,
    pub(crate) has_deadlines: Notify,
    pub(crate) close_requested: Notify,
    pub(crate) became_idle: Notify,
}

impl Upstream {
    /// A connection over which nothing moves yet.
    pub(crate) fn new(config: UpstreamConfig, events: Arc<dyn UpstreamEvents>) -> Self {
        Self {
            // With the run, because a client may still answer what an earlier one asked.
            question_ids: QuestionIds::new(&format!(
                "{}-{}-ask",
                config.question_prefix, config.run.0
            )),
            state: Mutex::default(),
            events,
            described: OnceLock::new(),
            counters: UpstreamCounters::default(),
            opened: Instant::now(),
            received_ms: AtomicU64::new(0),
            request_timeout_ms: AtomicU64::new(whole_ms(config.request_timeout.min(WAIT_MAX))),
            cache_ttl_ms: AtomicU64::new(whole_ms(config.cache_ttl.min(WAIT_MAX))),
            tolerates_broken_line: AtomicBool::new(false),
            has_died: AtomicBool::new(false),
            has_work: Notify::new(),
            has_deadlines: Notify::new(),
            close_requested: Notify::new(),
            became_idle: Notify::new(),
            config,
        }
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
        state.waiting()
    }

    /// How long the instance has said nothing at all.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.since(&self.received_ms)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &UpstreamCounters {
        &self.counters
    }

    /// How the connection ended, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<Arc<Closed>> {
        self.state.lock().closed.clone()
    }

    /// Changes how long requests from now on may take.
    pub fn set_request_timeout(&self, timeout: Duration) {
        self.request_timeout_ms
            .store(whole_ms(timeout.min(WAIT_MAX)), Ordering::Relaxed);
    }

    /// Changes how long lists may be served from memory; zero for never.
    pub fn set_cache_ttl(&self, ttl: Duration) {
        self.cache_ttl_ms
            .store(whole_ms(ttl.min(WAIT_MAX)), Ordering::Relaxed);
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

    /// Ends the connection: its future resolves to [`Closed::Requested`], and waiting requests fail.
    pub fn close(&self) {
        self.close_requested.notify_one();
    }

    /// Ends the connection to a process that has ended, also where the end of its output does not come because a descendant holds
    /// it open. No more requests are taken, what it wrote last is read, and requests that still wait fail; the future resolves to
    /// [`Closed::Died`].
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

    /// A queue that is empty takes any message that the proxy's bound on bodies let through.
    pub(crate) fn check_room(&self, state: &ConnectionState, bytes: usize) -> Result<(), NotSent> {
        let is_full =
            !state.out.is_empty() && state.out.len() + bytes > self.config.limits.queue_bytes_max;
        if is_full { Err(NotSent::Busy) } else { Ok(()) }
    }

    pub(crate) fn stamp(&self, place: &AtomicU64) {
        place.store(whole_ms(self.opened.elapsed()), Ordering::Relaxed);
    }

    pub(crate) fn wake_writer(&self) {
        self.has_work.notify_one();
    }

    pub(crate) fn notify_if_idle(&self) {
        if self.state.lock().client_calls == 0 {
            self.became_idle.notify_waiters();
        }
    }

    fn since(&self, place: &AtomicU64) -> Duration {
        let at = Duration::from_millis(place.load(Ordering::Relaxed));
        self.opened.elapsed().saturating_sub(at)
    }
}
