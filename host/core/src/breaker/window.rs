//! A sliding window of counts, in a few buckets: old enough to judge by, cheap enough to keep for every instance.

use std::collections::VecDeque;

/// Buckets per window: the window's end is a twelfth of it blurred, which is 5 s of a minute.
const BUCKETS: u64 = 12;

/// Calls, failures, slow calls.
pub(super) type Counts = [u64; 3];

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Window {
    /// Bucket number and counts, oldest first; never more than [`BUCKETS`] + 1.
    buckets: VecDeque<(u64, Counts)>,
}

impl Window {
    /// Adds counts at `now_ms`.
    pub(super) fn add(&mut self, now_ms: u64, window_ms: u64, counts: Counts) {
        let number = now_ms / bucket_ms(window_ms);
        match self.buckets.back_mut() {
            Some((last, sums)) if *last == number => {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum = sum.saturating_add(count);
                }
            }
            _ => self.buckets.push_back((number, counts)),
        }
        self.evict(number);
    }

    /// What the window ending at `now_ms` holds.
    pub(super) fn sums(&mut self, now_ms: u64, window_ms: u64) -> Counts {
        self.evict(now_ms / bucket_ms(window_ms));
        self.buckets.iter().fold([0; 3], |mut sums, (_, counts)| {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum = sum.saturating_add(*count);
            }
            sums
        })
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    fn evict(&mut self, number: u64) {
        // A window length changed by a reload renumbers the buckets: those that seem to be from the future go too.
        let keep = |old: u64| old <= number && old + BUCKETS > number;
        self.buckets.retain(|(old, _)| keep(*old));
    }
}

fn bucket_ms(window_ms: u64) -> u64 {
    (window_ms / BUCKETS).max(1)
}
