//! How much of its events a session may hold, and what all sessions may hold together.
//!
//! Clients that vanish leave sessions behind without a reader, and a talkative instance fills each of them. So there is a
//! bound over all: past it every session that is added to keeps only a small part of its own allowance.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::config::ProxyLimits;

/// The part of its allowance that a session keeps while all sessions together hold too much: enough for the answers of a few
/// requests, and 10,000 such sessions stay below a gigabyte.
const TIGHT: usize = 64;

/// One session's allowance, as [`ProxyLimits`] explains it.
#[derive(Debug, Clone)]
pub(crate) struct EventBounds {
    pub(crate) kept_events: usize,
    pub(crate) kept_bytes: usize,
    pub(crate) unsent_events: usize,
    pub(crate) unsent_bytes: usize,
}

impl EventBounds {
    pub(crate) fn new(limits: &ProxyLimits) -> Self {
        Self {
            kept_events: limits.kept_events_max,
            kept_bytes: limits.kept_bytes_max,
            unsent_events: limits.unsent_events_max,
            unsent_bytes: limits.unsent_bytes_max,
        }
    }

    fn tight(&self) -> Self {
        Self {
            kept_events: self.kept_events / TIGHT,
            kept_bytes: self.kept_bytes / TIGHT,
            unsent_events: self.unsent_events / TIGHT,
            unsent_bytes: self.unsent_bytes / TIGHT,
        }
    }
}

/// The bytes of events that all sessions hold.
#[derive(Debug)]
pub(crate) struct EventBudget {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl EventBudget {
    pub(crate) fn new(limits: &ProxyLimits) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max: limits.events_bytes_max,
        })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What a session with this allowance may hold now.
    pub(super) fn allowance(&self, bounds: &EventBounds) -> EventBounds {
        if self.bytes() > self.bytes_max {
            bounds.tight()
        } else {
            bounds.clone()
        }
    }
}
