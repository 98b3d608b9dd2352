//! One entry of the routing table: all that the proxy knows of one slot.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use router_core::{SlotKey, classify::ClassTable, route::Route};
use router_upstream::Upstream;

use super::{GuardedTools, MeteredTools, SharedBreaker};

/// The driver is sent the use of a slot at most this often.
const USE_REPORTED_EVERY_MS: u64 = 1_000;

/// All that the proxy knows of one slot.
pub struct RoutingEntry {
    /// Which slot.
    pub key: SlotKey,
    /// Where its requests go.
    pub route: Route,
    /// The connection to the run that `route` names; present where it is `Ready`.
    pub upstream: Option<Arc<Upstream>>,
    /// Its breaker.
    pub breaker: Arc<SharedBreaker>,
    /// What the end of a request means for the breaker.
    pub classes: Arc<ClassTable>,
    /// The tools that have breakers of their own.
    pub tools: Option<Arc<GuardedTools>>,
    /// The tools whose calls are counted apart. Without any of either kind a request is not looked into.
    pub metered: Option<Arc<MeteredTools>>,
    use_reported_ms: AtomicU64,
    is_followed: AtomicBool,
}

impl RoutingEntry {
    /// An entry with the built-in classification.
    #[must_use]
    pub fn new(
        key: SlotKey,
        route: Route,
        upstream: Option<Arc<Upstream>>,
        breaker: Arc<SharedBreaker>,
    ) -> Self {
        Self {
            key,
            route,
            upstream,
            breaker,
            classes: Arc::default(),
            tools: None,
            metered: None,
            use_reported_ms: AtomicU64::new(0),
            is_followed: AtomicBool::new(false),
        }
    }

    /// The entry with another classification.
    #[must_use]
    pub fn with_classes(mut self, classes: Arc<ClassTable>) -> Self {
        self.classes = classes;
        self
    }

    /// The entry with tools that have breakers of their own.
    #[must_use]
    pub fn with_tools(mut self, tools: Option<Arc<GuardedTools>>) -> Self {
        self.tools = tools;
        self
    }

    /// The entry with tools whose calls are counted apart.
    #[must_use]
    pub fn with_metered(mut self, metered: Option<Arc<MeteredTools>>) -> Self {
        self.metered = metered;
        self
    }

    /// Whether it has a connection that sessions with something to hear have yet to be attached to. True once.
    pub(crate) fn is_to_be_followed(&self) -> bool {
        // One load for each request; the exchange happens once in the life of an entry.
        self.upstream.is_some()
            && !self.is_followed.load(Ordering::Relaxed)
            && !self.is_followed.swap(true, Ordering::Relaxed)
    }

    /// Whether it has a connection that has not ended.
    pub(crate) fn is_served(&self) -> bool {
        let upstream = self.upstream.as_ref();
        upstream.is_some_and(|upstream| upstream.closed().is_none())
    }

    /// Whether the driver is to be sent this use: it was sent none within the last second.
    pub(crate) fn is_use_to_be_reported(&self, now_ms: u64) -> bool {
        let reported = self.use_reported_ms.load(Ordering::Relaxed);
        if reported != 0 && now_ms.saturating_sub(reported) < USE_REPORTED_EVERY_MS {
            return false;
        }
        self.use_reported_ms.store(now_ms.max(1), Ordering::Relaxed);
        true
    }
}
