//! Requests of the last five minutes: how many, how many failed, how long they took.
//!
//! A ring of slots of counters. Recording only adds to atomics; the first to record in a new slot empties it under a
//! lock that nobody else wants but others who come in that same microsecond. Figures cover the present slot and those of the 300
//! seconds before it. Time is passed in.

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

/// The window of an instance, or of the fleet: figures over 300 to 310 seconds, percentiles within 3.2 %. Its 32 slots take 53 kB once
/// something was recorded.
pub(crate) type FineWindow = RequestWindow<10_000, 0>;

/// The window of one of many tools: figures over 300 to 360 seconds, percentiles within 12.5 %. Its 7 slots take 3.4 kB once something
/// was recorded.
pub(crate) type CoarseWindow = RequestWindow<60_000, 2>;

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

/// The ring, of slots of `SLOT_MS`, in which 2 to the power of `MERGED` neighbouring buckets are one. Takes no memory until something
/// is recorded.
#[derive(Debug, Default)]
pub(crate) struct RequestWindow<const SLOT_MS: u64, const MERGED: u32> {
    slots: OnceLock<Box<[Slot]>>,
    turning: Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    /// Which 10 seconds it holds, counted from the clock's origin.
    number: AtomicU64,
    errors: AtomicU32,
    rejected: AtomicU32,
    buckets: Box<[AtomicU32]>,
}

impl<const SLOT_MS: u64, const MERGED: u32> RequestWindow<SLOT_MS, MERGED> {
    /// Slots that a figure covers: the present one, incomplete, and as many as make five minutes.
    const COVERED: u64 = WINDOW_MS / SLOT_MS + 1;

    /// One more than is covered, so that a slow reader is not overtaken at once.
    const SLOTS: usize = Self::COVERED as usize + 1;

    pub(crate) fn record(&self, now: Now, mark: Mark) {
        let number = now.mono_ms / SLOT_MS;
        let slots = self.slots.get_or_init(|| {
            let slots = (0..Self::SLOTS).map(|_| Slot::new(BUCKETS >> MERGED));
            slots.collect()
        });
        let slot = &slots[(number % Self::SLOTS as u64) as usize];
        if slot.number.load(Ordering::Acquire) != number && !self.renew(slot, number) {
            return;
        }
        match mark {
            Mark::Rejected => add(&slot.rejected),
            Mark::Ended { elapsed, is_error } => {
                add(&slot.buckets[bucket_of(elapsed) >> MERGED]);
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

    /// Whether anything was ever recorded.
    pub(crate) fn is_used(&self) -> bool {
        self.slots.get().is_some()
    }

    pub(crate) fn figures(&self, now: Now) -> Figures {
        let mut sum = WindowSum::default();
        self.add_to(&mut sum, now);
        sum.figures()
    }

    /// Adds what it has recorded over the last five minutes.
    pub(crate) fn add_to(&self, sum: &mut WindowSum<MERGED>, now: Now) {
        let Some(slots) = self.slots.get() else {
            return;
        };
        let last = now.mono_ms / SLOT_MS;
        let first = last.saturating_sub(Self::COVERED - 1);
        for slot in slots {
            if !(first..=last).contains(&slot.number.load(Ordering::Acquire)) {
                continue;
            }
            sum.errors += u64::from(slot.errors.load(Ordering::Relaxed));
            sum.rejected += u64::from(slot.rejected.load(Ordering::Relaxed));
            for (total, count) in sum.buckets.iter_mut().zip(slot.buckets.iter()) {
                *total += u64::from(count.load(Ordering::Relaxed));
            }
        }
    }
}

/// What one window, or several, recorded over the last five minutes.
#[derive(Debug, Clone)]
pub(crate) struct WindowSum<const MERGED: u32> {
    errors: u64,
    rejected: u64,
    /// Only the first of them where buckets are merged.
    buckets: [u64; BUCKETS],
}

impl<const MERGED: u32> Default for WindowSum<MERGED> {
    fn default() -> Self {
        Self {
            errors: 0,
            rejected: 0,
            buckets: [0; BUCKETS],
        }
    }
}

impl<const MERGED: u32> WindowSum<MERGED> {
    pub(crate) fn add(&mut self, other: &Self) {
        self.errors += other.errors;
        self.rejected += other.rejected;
        for (total, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += count;
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let requests = self.buckets.iter().sum();
        // An error is added after its request: a reader in between must not see more errors than requests.
        let errors = self.errors.min(requests);
        let mut figures = Figures {
            requests,
            errors,
            rejected: self.rejected,
            ..Figures::default()
        };
        if requests >= REQUESTS_MIN {
            figures.error_rate = Some(errors as f64 / requests as f64);
            figures.p50_ms = percentile_ms(&self.buckets, 50, MERGED);
            figures.p95_ms = percentile_ms(&self.buckets, 95, MERGED);
            figures.p99_ms = percentile_ms(&self.buckets, 99, MERGED);
        }
        figures
    }
}

impl Slot {
    fn new(buckets: usize) -> Self {
        Self {
            number: AtomicU64::new(NEVER),
            errors: AtomicU32::new(0),
            rejected: AtomicU32::new(0),
            buckets: (0..buckets).map(|_| AtomicU32::new(0)).collect(),
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
