//! What the store counts, written from every thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{StoreCounters, spool::Progress};

/// The counters behind [`StoreCounters`].
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) drained: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) left_out: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) torn: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    pub(crate) exhausted: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
}

impl Counted {
    /// Adds to a counter.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// All of them, with how far the spool is.
    pub(crate) fn snapshot(&self, progress: Progress) -> StoreCounters {
        StoreCounters {
            spooled: progress.spooled,
            drained: self.drained.load(Relaxed),
            waiting: progress.waiting,
            lost: self.lost.load(Relaxed),
            left_out: self.left_out.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            torn: self.torn.load(Relaxed),
            errors: self.errors.load(Relaxed),
            timeouts: self.timeouts.load(Relaxed),
            exhausted: self.exhausted.load(Relaxed),
            retries: self.retries.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
        }
    }
}
