//! What the cell's source takes for its atomics: loom's, whose plain store is made an exchange.
//!
//! loom lets a plain store come between the load and the store of an exchange (tokio-rs/loom#254): a store that follows an exchange
//! could then be undone by it, which no memory model allows. An exchange in its place has the same effect and the same ordering,
//! and its place is kept.

use loom::sync::atomic;
pub(crate) use loom::sync::atomic::Ordering;

/// See the module.
#[derive(Debug)]
pub(crate) struct AtomicU64(atomic::AtomicU64);

#[allow(dead_code)]
impl AtomicU64 {
    pub(crate) fn new(value: u64) -> Self {
        Self(atomic::AtomicU64::new(value))
    }

    pub(crate) fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub(crate) fn store(&self, value: u64, order: Ordering) {
        self.0.swap(value, order);
    }

    pub(crate) fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    pub(crate) fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }

    pub(crate) fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        self.0.compare_exchange(current, new, success, failure)
    }

    pub(crate) fn fetch_update(
        &self,
        set: Ordering,
        fetch: Ordering,
        update: impl FnMut(u64) -> Option<u64>,
    ) -> Result<u64, u64> {
        self.0.fetch_update(set, fetch, update)
    }
}
