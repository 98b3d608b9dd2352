//! The routing snapshot: where requests go, swapped as a whole and read without a lock.
//!
//! One writer, the driver's hands in the app; any number of readers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use router_core::{InstanceId, SlotKey, classify::ClassTable, permit::BreakerCell, route::Route};
use router_upstream::Upstream;
use tokio::sync::watch;

/// The driver hears of use at most this often per slot.
const USED_EVERY_MS: u64 = 1_000;

/// All that the proxy knows of one slot.
pub struct Entry {
    /// Which slot.
    pub key: SlotKey,
    /// Where its requests go.
    pub route: Route,
    /// The connection to the run that `route` names; present where it is `Ready`.
    pub upstream: Option<Arc<Upstream>>,
    /// Its breaker.
    pub breaker: Arc<BreakerCell>,
    /// What the end of a request means for the breaker.
    pub classes: Arc<ClassTable>,
    used_told_ms: AtomicU64,
    is_followed: AtomicBool,
}

impl Entry {
    /// An entry with the built-in classification.
    #[must_use]
    pub fn new(
        key: SlotKey,
        route: Route,
        upstream: Option<Arc<Upstream>>,
        breaker: Arc<BreakerCell>,
    ) -> Self {
        Self {
            key,
            route,
            upstream,
            breaker,
            classes: Arc::default(),
            used_told_ms: AtomicU64::new(0),
            is_followed: AtomicBool::new(false),
        }
    }

    /// The entry with another classification.
    #[must_use]
    pub fn with_classes(mut self, classes: Arc<ClassTable>) -> Self {
        self.classes = classes;
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

    /// Whether the driver is to hear of this use, or has heard of one within the last second.
    pub(crate) fn is_use_news(&self, now_ms: u64) -> bool {
        let told = self.used_told_ms.load(Ordering::Relaxed);
        if told != 0 && now_ms.saturating_sub(told) < USED_EVERY_MS {
            return false;
        }
        self.used_told_ms.store(now_ms.max(1), Ordering::Relaxed);
        true
    }
}

/// The entries of all slots, by instance. Slot 0 only: every instance is shared until slots per session exist.
pub struct RoutingTable {
    entries: ArcSwap<HashMap<Arc<str>, Arc<Entry>>>,
    changes: watch::Sender<u64>,
}

impl Default for RoutingTable {
    fn default() -> Self {
        Self {
            entries: ArcSwap::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl RoutingTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts all entries in place of those before, and wakes whoever waits for a change.
    pub fn publish(&self, entries: impl IntoIterator<Item = Entry>) {
        let entries = entries.into_iter().map(|entry| {
            let id: Arc<str> = entry.key.instance.as_str().into();
            (id, Arc::new(entry))
        });
        self.entries.store(Arc::new(entries.collect()));
        self.announce();
    }

    /// Puts one entry in place of the one before.
    pub fn set(&self, entry: Entry) {
        let id: Arc<str> = entry.key.instance.as_str().into();
        let entry = Arc::new(entry);
        self.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            entries.insert(id.clone(), entry.clone());
            entries
        });
        self.announce();
    }

    /// Takes an instance out.
    pub fn remove(&self, instance: &InstanceId) {
        self.entries.rcu(|entries| {
            let mut entries = HashMap::clone(entries);
            entries.remove(instance.as_str());
            entries
        });
        self.announce();
    }

    /// The entry of an instance.
    #[must_use]
    pub fn get(&self, instance: &str) -> Option<Arc<Entry>> {
        self.entries.load().get(instance).cloned()
    }

    /// All entries.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.load().values().cloned().collect()
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn announce(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}
