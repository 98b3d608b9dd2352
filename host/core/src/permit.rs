//! The breaker's cell: what the hot path reads, and all that it reads. Atomics only; no lock, no clock, no decision.
//!
//! One writer (the driver, applying [`BreakerSetting`]s that the core decided) and any number of readers. CLOSED costs a load
//! and a counter. HALF_OPEN hands out exactly `permits` leases of its generation, however many threads race: each lease is one
//! word, taken by one compare-and-swap that names the generation, so that a lease of an earlier generation can neither be taken
//! nor given back any more. A lease whose probe is overdue may be taken over by the next caller. `tests/model` tries every order in
//! which threads may come to these words.

use std::{array, fmt, sync::Arc};

pub use crate::cell_state::{BreakerSetting, BreakerState, BreakerTotals, Class, Rejected, Report};
use crate::sync::{AtomicU64, Ordering};

/// Most probes at once in HALF_OPEN. More than a handful would no longer be probing.
pub const PERMITS_MAX: u32 = 8;

/// The wait that a rejected caller of a HALF_OPEN breaker is given while its probes are out: there is no timer to quote, and a
/// probe usually ends sooner.
pub const HALF_OPEN_RETRY_MS: u64 = 1_000;

/// While HALF_OPEN waits for the instance to answer something free, it is asked this often (design, section 11), and callers are
/// to come back after as long.
pub const ASKED_EVERY_MS: u64 = 5_000;

/// See the module.
pub struct BreakerCell {
    /// generation (32) · permits (8) · streak (1) · state (2). One word, so that a reader never sees half a change.
    word: AtomicU64,
    retry_at_ms: AtomicU64,
    probe_ms: AtomicU64,
    /// generation's low bits (24) · expiry in ms (40); expiry 0 = free.
    leases: [AtomicU64; PERMITS_MAX as usize],
    calls: AtomicU64,
    failures: AtomicU64,
    slow: AtomicU64,
    rejected: AtomicU64,
}

const STATE_MASK: u64 = 0b11;
const STREAK: u64 = 0b100;
const PERMITS_SHIFT: u32 = 8;
const GENERATION_SHIFT: u32 = 32;
/// 40 bits of milliseconds are 34 years of uptime.
const EXPIRY_BITS: u32 = 40;
const EXPIRY_MASK: u64 = (1 << EXPIRY_BITS) - 1;
/// `retry_at_ms` of a breaker isolated by hand.
const ISOLATED: u64 = u64::MAX;

fn pack(setting: &BreakerSetting) -> u64 {
    let state = match setting.state {
        BreakerState::Closed => 0,
        BreakerState::Open => 1,
        BreakerState::HalfOpen => 2,
    };
    let streak = if setting.streak { STREAK } else { 0 };
    let permits = u64::from(setting.permits.min(PERMITS_MAX));
    u64::from(setting.generation) << GENERATION_SHIFT | permits << PERMITS_SHIFT | streak | state
}

fn state_of(word: u64) -> BreakerState {
    match word & STATE_MASK {
        0 => BreakerState::Closed,
        1 => BreakerState::Open,
        _ => BreakerState::HalfOpen,
    }
}

fn generation_of(word: u64) -> u32 {
    (word >> GENERATION_SHIFT) as u32
}

fn permits_of(word: u64) -> usize {
    (word >> PERMITS_SHIFT & 0xff) as usize
}

/// A lease word of `generation` that expires at `expiry_ms` (0: free).
fn lease_word(generation: u32, expiry_ms: u64) -> u64 {
    u64::from(generation) << EXPIRY_BITS | (expiry_ms & EXPIRY_MASK)
}

impl Default for BreakerCell {
    fn default() -> Self {
        Self::new(&BreakerSetting::default())
    }
}

impl BreakerCell {
    /// A cell that holds `setting`.
    #[must_use]
    pub fn new(setting: &BreakerSetting) -> Self {
        let cell = Self {
            word: AtomicU64::new(0),
            retry_at_ms: AtomicU64::new(0),
            probe_ms: AtomicU64::new(0),
            leases: array::from_fn(|_| AtomicU64::new(0)),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        };
        cell.begin_generation(setting);
        cell.word.store(pack(setting), Ordering::Release);
        cell
    }

    /// Makes the cell hold `setting`. One caller only: the driver.
    pub fn apply(&self, setting: &BreakerSetting) {
        let before = self.word.load(Ordering::Acquire);
        if generation_of(before) != setting.generation {
            self.begin_generation(setting);
        }
        self.word.store(pack(setting), Ordering::Release);
    }

    /// Comes before the word is stored: a reader of the new generation finds its leases free.
    fn begin_generation(&self, setting: &BreakerSetting) {
        let retry_at_ms = setting.retry_at_ms.unwrap_or(ISOLATED);
        self.retry_at_ms.store(retry_at_ms, Ordering::Relaxed);
        self.probe_ms
            .store(setting.probe_ms.max(1), Ordering::Relaxed);
        for lease in &self.leases {
            lease.store(lease_word(setting.generation, 0), Ordering::Relaxed);
        }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        state_of(self.word.load(Ordering::Acquire))
    }

    /// The counters.
    #[must_use]
    pub fn totals(&self) -> BreakerTotals {
        BreakerTotals {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// Asks to send one request.
    ///
    /// # Errors
    /// OPEN, or HALF_OPEN with every permit out.
    pub fn try_acquire(self: &Arc<Self>, now_ms: u64) -> Result<Permit, Rejected> {
        let word = self.word.load(Ordering::Acquire);
        let generation = generation_of(word);
        let state = state_of(word);
        let lease = match state {
            BreakerState::Closed => None,
            BreakerState::Open => return Err(self.reject_open(now_ms)),
            BreakerState::HalfOpen => match self.lease(word, now_ms) {
                Some(lease) => Some(lease),
                None => {
                    self.rejected.fetch_add(1, Ordering::Relaxed);
                    let is_asking = permits_of(word) == 0;
                    let retry_ms = if is_asking {
                        ASKED_EVERY_MS
                    } else {
                        HALF_OPEN_RETRY_MS
                    };
                    return Err(Rejected {
                        state,
                        retry_after_ms: Some(retry_ms),
                    });
                }
            },
        };
        Ok(Permit {
            cell: Arc::clone(self),
            generation,
            lease,
        })
    }

    fn reject_open(&self, now_ms: u64) -> Rejected {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        let retry_at_ms = self.retry_at_ms.load(Ordering::Relaxed);
        Rejected {
            state: BreakerState::Open,
            retry_after_ms: (retry_at_ms != ISOLATED).then(|| retry_at_ms.saturating_sub(now_ms)),
        }
    }

    /// Takes a free or overdue lease of the generation in `word`.
    fn lease(&self, word: u64, now_ms: u64) -> Option<Lease> {
        let generation = generation_of(word);
        let permits = permits_of(word);
        let expiry_ms = now_ms.saturating_add(self.probe_ms.load(Ordering::Relaxed));
        let expiry_ms = expiry_ms.clamp(1, EXPIRY_MASK);
        let taken = lease_word(generation, expiry_ms);
        // One that is given back meanwhile is looked at again: it may be the only one.
        let take = |found: u64| {
            let same_generation = found >> EXPIRY_BITS == taken >> EXPIRY_BITS;
            (same_generation && found & EXPIRY_MASK <= now_ms).then_some(taken)
        };
        let mut leases = self.leases.iter().take(permits);
        let index = leases.position(|lease| {
            let taken = lease.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take);
            taken.is_ok()
        })?;
        Some(Lease { index, word: taken })
    }

    /// Notes that a failure was reported: from now on successes are reported too, without waiting for the core.
    fn mark_streak(&self, generation: u32) {
        // A failed exchange means that the writer or another failure was here; both leave a word that is right to read again.
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                (generation_of(word) == generation && word & STREAK == 0).then_some(word | STREAK)
            });
    }
}

impl fmt::Debug for BreakerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word.load(Ordering::Acquire);
        f.debug_struct("BreakerCell")
            .field("state", &state_of(word))
            .field("generation", &generation_of(word))
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Lease {
    index: usize,
    word: u64,
}

/// The right to send one request. Dropped without a verdict (the client went away, the task was cancelled), it gives its
/// lease back and says nothing.
#[derive(Debug)]
#[must_use = "a dropped permit is a request without a verdict"]
pub struct Permit {
    cell: Arc<BreakerCell>,
    generation: u32,
    lease: Option<Lease>,
}

impl Permit {
    /// Whether this request is a probe of a HALF_OPEN breaker.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.lease.is_some()
    }

    /// The generation of the breaker in which it was given.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Ends the request with a verdict. What is returned must reach the core as an `Outcome`; `None` needs not.
    #[must_use = "the report must reach the core"]
    pub fn finish(mut self, class: Class) -> Option<Report> {
        if class == Class::Ignore {
            return None;
        }
        self.cell.calls.fetch_add(1, Ordering::Relaxed);
        match class {
            Class::Failure => {
                self.cell.failures.fetch_add(1, Ordering::Relaxed);
                self.cell.mark_streak(self.generation);
            }
            Class::Slow => {
                self.cell.slow.fetch_add(1, Ordering::Relaxed);
            }
            Class::Success | Class::Ignore => {}
        }
        let probe = self.lease.is_some();
        if class != Class::Success {
            // A probe that went badly keeps its lease: the core opens the breaker when it knows, and until then no other
            // request need suffer. Should the report get lost, the expiry admits another probe. One that went well gives its
            // lease back, so that fewer permits than successes asked for do not hold the breaker up.
            self.lease.take();
        }
        let word = self.cell.word.load(Ordering::Acquire);
        let ends_streak = word & STREAK != 0 && generation_of(word) == self.generation;
        (probe || class == Class::Failure || ends_streak).then_some(Report {
            generation: self.generation,
            class,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(Lease { index, word }) = self.lease.take()
            && let Some(lease) = self.cell.leases.get(index)
        {
            // Fails when the lease was taken over or belongs to a later generation: then there is nothing to give back.
            let free = word & !EXPIRY_MASK;
            let _ = lease.compare_exchange(word, free, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
