//! Lines on their way to one destination: bounded, and never a reason for a caller to wait.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Condvar, Mutex};
use router_values::Day;

/// What waits for one destination at most, in bytes: some 20,000 lines, or a second of a flood.
const BYTES_MAX: usize = 4 << 20;

/// One line, its end included, and the day that it belongs to. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct QueuedLine {
    pub(super) day: Day,
    pub(super) text: Arc<str>,
}

/// The queue of one destination: any number of writers, one reader.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    came: Condvar,
    /// Dropped because the queue was full, and not yet said.
    unsaid: AtomicU64,
    /// Lost for whatever reason, since the start.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<QueuedLine>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            came: Condvar::new(),
            unsaid: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Takes a line, or drops and counts it.
    pub(super) fn push(&self, entry: QueuedLine) {
        let mut waiting = self.waiting.lock();
        if waiting.closed || waiting.bytes + entry.text.len() > BYTES_MAX {
            drop(waiting);
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            self.count_lost(1);
            return;
        }
        waiting.bytes += entry.text.len();
        waiting.entries.push(entry);
        drop(waiting);
        self.came.notify_one();
    }

    /// Waits for lines and takes all; `None` when there are none and will be none.
    pub(super) fn take(&self) -> Option<Vec<QueuedLine>> {
        let mut waiting = self.waiting.lock();
        while waiting.entries.is_empty() {
            if waiting.closed {
                return None;
            }
            self.came.wait(&mut waiting);
        }
        waiting.bytes = 0;
        Some(mem::take(&mut waiting.entries))
    }

    /// No more lines are taken; those that wait still are given out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.came.notify_one();
    }

    /// How many lines were dropped here since this was last asked.
    pub(super) fn take_unsaid(&self) -> u64 {
        self.unsaid.swap(0, Ordering::Relaxed)
    }

    /// Counts lines that the destination lost.
    pub(super) fn count_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
