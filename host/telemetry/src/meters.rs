//! The counters of all instances, by name: read without a lock by each request, and changed at a cost that grows little with
//! the number of instances.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::Arc,
};

use arc_swap::ArcSwap;
use router_core::InstanceId;

use crate::meter::InstanceMeter;

/// A change copies one of so many parts: a few instances where there are some hundreds, 400 where there are 100,000.
const SHARDS: usize = 256;

type Shard = HashMap<Box<str>, InstanceMeter>;

/// See the module. Writers must exclude each other by a lock of their own.
pub(crate) struct Meters {
    shards: [ArcSwap<Shard>; SHARDS],
    hasher: RandomState,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| ArcSwap::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Meters {
    /// Uses the counters of an instance, where there is one.
    pub(crate) fn with<T>(
        &self,
        instance: &str,
        read: impl FnOnce(&InstanceMeter) -> T,
    ) -> Option<T> {
        self.shard(instance).load().get(instance).map(read)
    }

    /// Adds an instance that is not there yet.
    pub(crate) fn add(&self, instance: &InstanceId, make: impl FnOnce() -> InstanceMeter) {
        let shard = self.shard(instance.as_str());
        let present = shard.load();
        if !present.contains_key(instance.as_str()) {
            let mut next = Shard::clone(&present);
            next.insert(instance.as_str().into(), make());
            shard.store(Arc::new(next));
        }
    }

    /// Removes an instance.
    pub(crate) fn remove(&self, instance: &str) {
        let shard = self.shard(instance);
        let present = shard.load();
        if present.contains_key(instance) {
            let mut next = Shard::clone(&present);
            next.remove(instance);
            shard.store(Arc::new(next));
        }
    }

    /// Removes all instances but these.
    pub(crate) fn retain(&self, is_kept: impl Fn(&InstanceId) -> bool) {
        for shard in &self.shards {
            let present = shard.load();
            if !present.values().all(|meter| is_kept(&meter.instance)) {
                let mut next = Shard::clone(&present);
                next.retain(|_, meter| is_kept(&meter.instance));
                shard.store(Arc::new(next));
            }
        }
    }

    fn shard(&self, instance: &str) -> &ArcSwap<Shard> {
        // The remainder is below the number of shards, which fits any integer.
        #[allow(clippy::cast_possible_truncation)]
        let at = (self.hasher.hash_one(instance) % SHARDS as u64) as usize;
        &self.shards[at]
    }
}
