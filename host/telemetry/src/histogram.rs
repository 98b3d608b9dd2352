//! Where durations fall: log-linear buckets, fine enough for percentiles and few enough for a ring of them.
//!
//! Below 128 µs a bucket is 8 µs wide; from there on each doubling is divided into 16, so that a bucket's middle is at most 1/32
//! (3.2 %) away from any duration in it. Beyond 71 minutes everything falls into the last bucket.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;

/// The first boundary from which buckets grow, as a power of two of microseconds: 128 µs. What is faster needs no finer figure.
const LINEAR_BITS: u32 = 7;

/// The last doubling starts at 2^31 µs.
const LAST_BITS: u32 = 31;

/// How many buckets there are.
pub(crate) const BUCKETS: usize = (SUB + (LAST_BITS - LINEAR_BITS + 1) as u64 * SUB) as usize;

/// The bucket of a duration.
pub(crate) fn bucket_of(duration: Duration) -> usize {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let us = us.min((1 << (LAST_BITS + 1)) - 1);
    let doubling = (us | 1).ilog2();
    let index = if doubling < LINEAR_BITS {
        us >> (LINEAR_BITS - SUB_BITS)
    } else {
        let within = (us >> (doubling - SUB_BITS)) - SUB;
        SUB + u64::from(doubling - LINEAR_BITS) * SUB + within
    };
    index as usize
}

/// The middle of a bucket, in milliseconds.
fn middle_ms(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    let (start, width) = if bucket < SUB {
        let width = 1 << (LINEAR_BITS - SUB_BITS);
        (bucket * width, width)
    } else {
        let doubling = (bucket - SUB) / SUB + u64::from(LINEAR_BITS);
        let width = 1 << (doubling - u64::from(SUB_BITS));
        ((SUB + (bucket - SUB) % SUB) * width, width)
    };
    (start as f64 + width as f64 / 2.0) / 1000.0
}

/// A percentile by nearest rank, in milliseconds: for 95 the middle of the bucket that holds the ⌈0.95 n⌉-th duration. `None` of none.
/// Each of the buckets is 2 to the power of `merged` neighbouring ones.
pub(crate) fn percentile_ms(buckets: &[u64; BUCKETS], percent: u64, merged: u32) -> Option<f64> {
    let total: u64 = buckets.iter().sum();
    let rank = (total * percent).div_ceil(100);
    let mut seen = 0;
    let bucket = buckets.iter().position(|count| {
        seen += count;
        seen >= rank && rank > 0
    })?;
    // Those that are merged are of one width: a doubling is divided into 16 of them.
    let (first, last) = (bucket << merged, ((bucket + 1) << merged) - 1);
    Some(f64::midpoint(middle_ms(first), middle_ms(last)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, bucket_of, middle_ms};

    #[test]
    fn buckets_follow_each_other_without_gap_and_stay_within_the_stated_error() {
        let mut last = 0;
        let mut us: u64 = 0;
        while us < (1 << 32) {
            let bucket = bucket_of(Duration::from_micros(us));
            assert!(
                bucket == last || bucket == last + 1,
                "{us} µs: {last} then {bucket}"
            );
            last = bucket;
            let error_us = (middle_ms(bucket) * 1000.0 - us as f64).abs();
            assert!(
                error_us <= (us as f64 / 32.0).max(4.0),
                "{us} µs in {bucket}: off by {error_us}"
            );
            // Every microsecond at first, then well under a bucket at a time.
            us += (us / 1000).max(1);
        }
        assert_eq!(last, BUCKETS - 1);
        for huge in [Duration::from_secs(86_400), Duration::MAX] {
            assert_eq!(bucket_of(huge), BUCKETS - 1);
        }
    }
}
