//! Requests of the last five minutes: how many, how many failed, how long they took.
//!
//! A ring of 10-second slots of counters. Recording only adds to atomics; the first to record in a new slot empties it under a
//! lock that nobody else wants but others who come in that same microsecond. Figures cover the present slot and the 30 before it,
//! so from 300 to 310 seconds. Time is passed in.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use router_core::Now;

use crate::histogram::{BUCKETS, bucket_of, percentile_ms};

/// What figures are over, in milliseconds.
pub const WINDOW_MS: u64 = 300_000;

/// Fewest requests from which a share or a percentile is given: under it, one failure would look like an outage.
pub const REQUESTS_MIN: u64 = 20;

/// Length of a slot: fine enough for figures over minutes, and 31 of them take 53 kB once something was recorded.
const SLOT_MS: u64 = 10_000;

/// Slots that a figure covers: the present one, incomplete, and as many as make five minutes.
const COVERED: u64 = WINDOW_MS / SLOT_MS + 1;

/// One more than is covered, so that a slow reader is not overtaken at once.
const SLOTS: usize = COVERED as usize + 1;

/// A slot that was never used.
const NEVER: u64 = u64::MAX;

/// Figures over the last five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Requests that ended, rejections apart.
    pub requests: u64,
    /// Those among them that failed through no fault of the client. A tool's `isError` is no failure.
    pub errors: u64,
    /// Requests that the breaker rejected.
    pub rejected: u64,
    /// `errorRate`: the share of errors, 0 to 1. `None` under [`REQUESTS_MIN`] requests.
    pub error_rate: Option<f64>,
    /// `p95Ms`: 95 % of the requests took at most this many milliseconds, give or take 3.2 %. `None` under [`REQUESTS_MIN`] requests.
    pub p95_ms: Option<f64>,
    /// The same for half of the requests.
    pub p50_ms: Option<f64>,
    /// The same for 99 %.
    pub p99_ms: Option<f64>,
}

/// How one request counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It ended, and took this long.
    Ended {
        /// From its arrival to its answer.
        elapsed: Duration,
        /// It counts as an error.
        is_error: bool,
    },
    /// The breaker rejected it.
    Rejected,
}

/// The ring. Takes no memory until something is recorded.
#[derive(Debug, Default)]
pub(crate) struct RequestWindow {
    slots: OnceLock<Box<[Slot]>>,
    turning: Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    /// Which 10 seconds it holds, counted from the clock's origin.
    number: AtomicU64,
    errors: AtomicU32,
    rejected: AtomicU32,
    buckets: Box<[AtomicU32; BUCKETS]>,
}

impl RequestWindow {
    pub(crate) fn record(&self, now: Now, mark: Mark) {
        let number = now.mono_ms / SLOT_MS;
        let slots = self
            .slots
            .get_or_init(|| (0..SLOTS).map(|_| Slot::new()).collect());
        let slot = &slots[(number % SLOTS as u64) as usize];
        if slot.number.load(Ordering::Acquire) != number && !self.renew(slot, number) {
            return;
        }
        match mark {
            Mark::Rejected => add(&slot.rejected),
            Mark::Ended { elapsed, is_error } => {
                add(&slot.buckets[bucket_of(elapsed)]);
                if is_error {
                    add(&slot.errors);
                }
            }
        }
    }

    /// Makes a slot hold `number`. Not when it holds something later: then the caller comes five minutes late.
    #[cold]
    fn renew(&self, slot: &Slot, number: u64) -> bool {
        let _turning = self.turning.lock();
        let held = slot.number.load(Ordering::Relaxed);
        if held == number {
            return true;
        }
        if held != NEVER && held > number {
            return false;
        }
        slot.clear();
        slot.number.store(number, Ordering::Release);
        true
    }

    pub(crate) fn figures(&self, now: Now) -> Figures {
        let Some(slots) = self.slots.get() else {
            return Figures::default();
        };
        let last = now.mono_ms / SLOT_MS;
        let first = last.saturating_sub(COVERED - 1);
        let mut figures = Figures::default();
        let mut buckets = [0_u64; BUCKETS];
        for slot in slots {
            if !(first..=last).contains(&slot.number.load(Ordering::Acquire)) {
                continue;
            }
            figures.errors += u64::from(slot.errors.load(Ordering::Relaxed));
            figures.rejected += u64::from(slot.rejected.load(Ordering::Relaxed));
            for (sum, count) in buckets.iter_mut().zip(slot.buckets.iter()) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        figures.requests = buckets.iter().sum();
        // An error is added after its request: a reader in between must not see more errors than requests.
        figures.errors = figures.errors.min(figures.requests);
        if figures.requests >= REQUESTS_MIN {
            figures.error_rate = Some(figures.errors as f64 / figures.requests as f64);
            figures.p50_ms = percentile_ms(&buckets, 50);
            figures.p95_ms = percentile_ms(&buckets, 95);
            figures.p99_ms = percentile_ms(&buckets, 99);
        }
        figures
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            number: AtomicU64::new(NEVER),
            errors: AtomicU32::new(0),
            rejected: AtomicU32::new(0),
            buckets: Box::new([const { AtomicU32::new(0) }; BUCKETS]),
        }
    }

    fn clear(&self) {
        self.errors.store(0, Ordering::Relaxed);
        self.rejected.store(0, Ordering::Relaxed);
        for bucket in self.buckets.iter() {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

fn add(count: &AtomicU32) {
    // Four billion requests in ten seconds do not happen.
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
