//! The routing table: where requests go, read without a lock.
//!
//! Every instance has a cell, and a change of its entry swaps what the cell holds: that costs the same however many
//! instances there are. The map from ids to cells changes only when instances come and go. It is cut into shards, and one that
//! comes or goes costs a copy of its shard. A reader sees an entry as a whole, or none.

mod answering;
mod breaker;
mod entry;
mod tools;

use std::{
    cmp::Ordering,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;
use router_core::InstanceId;
use tokio::sync::{Notify, broadcast, futures::OwnedNotified};

use answering::Answering;
pub use breaker::SharedBreaker;
pub use entry::RoutingEntry;
pub use tools::{GuardedTools, MeteredTools, ToolBreaker};

/// Parts of the map, a power of two. With 100,000 instances, the most that `max_instances` allows, a part holds a hundred.
const SHARDS: usize = 1024;

/// Changes that the proxy's housekeeping may be behind. Past it, it goes through all entries instead of those that changed.
const CHANGES_KEPT: usize = 1024;

/// The entries of all slots, by instance. Slot 0 only: every instance is shared until slots per session exist.
pub struct RoutingTable {
    shards: Box<[ArcSwap<Shard>]>,
    hasher: RandomState,
    /// Held while something is written. Readers never take it.
    writing: Mutex<()>,
    changes: broadcast::Sender<InstanceId>,
    answering: Answering,
}

/// The cells of some ids, in the order of hash and id. Immutable; replaced as a whole.
type Shard = Vec<(u64, Arc<EntryCell>)>;

/// The place of one instance, for as long as there is one.
struct EntryCell {
    instance: InstanceId,
    /// `None` once the instance was taken out.
    entry: ArcSwapOption<RoutingEntry>,
    changed: Arc<Notify>,
}

impl Default for RoutingTable {
    fn default() -> Self {
        let empty = Arc::new(Shard::new());
        Self {
            shards: (0..SHARDS).map(|_| ArcSwap::new(empty.clone())).collect(),
            hasher: RandomState::new(),
            writing: Mutex::new(()),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            answering: Answering::default(),
        }
    }
}

impl RoutingTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry in place of the one before, and wakes the requests that wait for a change of that instance.
    pub fn set(&self, entry: RoutingEntry) {
        let instance = entry.key.instance.clone();
        let (hash, entry) = (self.hash(instance.as_str()), Arc::new(entry));
        {
            let _writing = self.writing.lock();
            let place = self.shard(hash);
            let shard = place.load();
            match find(&shard, hash, instance.as_str()) {
                Ok(at) => {
                    let cell = &shard[at].1;
                    cell.entry.store(Some(entry));
                    cell.changed.notify_waiters();
                }
                Err(at) => {
                    let cell = Arc::new(EntryCell {
                        instance: instance.clone(),
                        entry: ArcSwapOption::new(Some(entry)),
                        changed: Arc::default(),
                    });
                    let mut grown = Shard::with_capacity(shard.len() + 1);
                    grown.extend_from_slice(&shard[..at]);
                    grown.push((hash, cell));
                    grown.extend_from_slice(&shard[at..]);
                    place.store(Arc::new(grown));
                }
            }
        }
        self.announce(instance);
    }

    /// Takes an instance out.
    pub fn remove(&self, instance: &InstanceId) {
        let hash = self.hash(instance.as_str());
        {
            let _writing = self.writing.lock();
            let place = self.shard(hash);
            let mut shard = Shard::clone(&place.load());
            let Ok(at) = find(&shard, hash, instance.as_str()) else {
                return;
            };
            let (_, cell) = shard.remove(at);
            // Out of the map first: a reader that finds the cell without an entry looks the instance up again.
            place.store(Arc::new(shard));
            cell.entry.store(None);
            cell.changed.notify_waiters();
        }
        self.announce(instance.clone());
    }

    /// The entry of an instance.
    #[must_use]
    pub fn get(&self, instance: &str) -> Option<Arc<RoutingEntry>> {
        let hash = self.hash(instance);
        let shard = self.shard(hash).load();
        let at = find(&shard, hash, instance).ok()?;
        shard[at].1.entry.load_full()
    }

    /// The entry of an instance, and a future that is ready once it has been replaced or removed.
    pub(crate) fn watch(&self, instance: &str) -> Option<(Arc<RoutingEntry>, OwnedNotified)> {
        let hash = self.hash(instance);
        loop {
            let shard = self.shard(hash).load();
            let at = find(&shard, hash, instance).ok()?;
            let cell = &shard[at].1;
            // Before the entry is read, so that no change is missed in between.
            let changed = cell.changed.clone().notified_owned();
            if let Some(entry) = cell.entry.load_full() {
                return Some((entry, changed));
            }
        }
    }

    /// All entries.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<RoutingEntry>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.load();
            all.extend(shard.iter().filter_map(|(_, cell)| cell.entry.load_full()));
        }
        all
    }

    /// The instances whose entries change from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<InstanceId> {
        self.changes.subscribe()
    }

    fn hash(&self, instance: &str) -> u64 {
        self.hasher.hash_one(instance)
    }

    fn shard(&self, hash: u64) -> &ArcSwap<Shard> {
        // The remainder is below the number of shards, which fits any integer.
        #[allow(clippy::cast_possible_truncation)]
        let at = (hash % SHARDS as u64) as usize;
        &self.shards[at]
    }

    fn announce(&self, instance: InstanceId) {
        // Without a proxy that runs there is no receiver.
        let _ = self.changes.send(instance);
    }
}

/// Where an instance is in its shard, or would be.
fn find(shard: &[(u64, Arc<EntryCell>)], hash: u64, instance: &str) -> Result<usize, usize> {
    shard.binary_search_by(|(other, cell)| {
        let by_hash = other.cmp(&hash);
        if by_hash == Ordering::Equal {
            cell.instance.as_str().cmp(instance)
        } else {
            by_hash
        }
    })
}

#[cfg(test)]
mod tests;
