//! When a failed delivery is tried again, when it is given up, and when its fallback gets it.

use router_core::jitter::Jitter;

use crate::Severity;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// Waits of a P1 or P2 after its first failures; the last one repeats.
const URGENT_WAITS_MS: [u64; 6] = [
    5 * SECOND_MS,
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
];
/// Waits of a P3 or P4: the schedule of Standard Webhooks 1.0.0, ten attempts in 75.6 hours.
const ORDINARY_WAITS_MS: [u64; 9] = [
    5 * SECOND_MS,
    5 * MINUTE_MS,
    30 * MINUTE_MS,
    2 * HOUR_MS,
    5 * HOUR_MS,
    10 * HOUR_MS,
    14 * HOUR_MS,
    20 * HOUR_MS,
    24 * HOUR_MS,
];
/// Waits are spread by so much to either side, so that what failed together does not come back together.
const SPREAD: f64 = 0.2;
/// Longer than any wait.
pub(super) const WAIT_MS_MAX: u64 = 29 * HOUR_MS;

/// A receiver that asks for more is asked again after so long all the same.
pub(super) const RETRY_AFTER_MS_MAX: u64 = 15 * MINUTE_MS;
/// One that asks for less gets so much: a receiver that says 0 must not be asked in a loop.
pub(super) const RETRY_AFTER_MS_MIN: u64 = SECOND_MS;
/// So often is a wait that the receiver names shorter than the schedule's. One that says "in a second" all day would be asked
/// 86,400 times.
const SHORTENED_MAX: u32 = 6;

/// How long an attempt may take, in milliseconds: what a sink is given.
pub const ATTEMPT_MS_MAX: u64 = 30 * SECOND_MS;
/// An attempt whose end nobody reported by then has failed.
pub(super) const ATTEMPT_LOST_MS: u64 = ATTEMPT_MS_MAX + 5 * SECOND_MS;

/// How long to wait after `tries` attempts have failed; `None`: no further one is made.
pub(super) fn wait_ms(severity: Severity, tries: u32, jitter: &mut Jitter) -> Option<u64> {
    let at = tries.saturating_sub(1) as usize;
    let nominal_ms = if severity.is_urgent() {
        URGENT_WAITS_MS[at.min(URGENT_WAITS_MS.len() - 1)]
    } else {
        *ORDINARY_WAITS_MS.get(at)?
    };
    let share = 1.0 - SPREAD + 2.0 * SPREAD * jitter.unit();
    Some((nominal_ms as f64 * share) as u64)
}

/// The wait where the receiver named one.
pub(super) fn honoured_ms(scheduled_ms: u64, asked_ms: u64, tries: u32) -> u64 {
    let asked_ms = asked_ms.clamp(RETRY_AFTER_MS_MIN, RETRY_AFTER_MS_MAX);
    if asked_ms < scheduled_ms && tries > SHORTENED_MAX {
        scheduled_ms
    } else {
        asked_ms
    }
}

/// How long a delivery is kept that nobody takes, in milliseconds. An ordinary one usually ends earlier, with its tenth attempt.
pub(super) const fn age_ms_max(severity: Severity) -> u64 {
    if severity.is_urgent() {
        24 * HOUR_MS
    } else {
        96 * HOUR_MS
    }
}

/// After how long without success the fallback gets a delivery too, in milliseconds. A P1 does not wait for an attempt that hangs.
pub(super) const fn patience_ms(severity: Severity) -> u64 {
    match severity {
        Severity::P1 => 10 * SECOND_MS,
        Severity::P2 | Severity::P3 | Severity::P4 => MINUTE_MS,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use router_core::jitter::Jitter;

    use super::{WAIT_MS_MAX, honoured_ms, wait_ms};
    use crate::Severity;

    #[test]
    fn waits_are_those_of_the_contract_within_a_fifth() {
        let urgent_s = [5, 15, 30, 60, 120, 300, 300, 300];
        let ordinary_s = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
        for seed in 0..50 {
            let mut jitter = Jitter::new(seed);
            let mut check = |severity, waits_s: &[u64]| {
                for (tries, wait_s) in (1..).zip(waits_s) {
                    let wait_ms = wait_ms(severity, tries, &mut jitter).unwrap();
                    let within = wait_s * 800..=wait_s * 1_200;
                    assert!(
                        within.contains(&wait_ms),
                        "{severity} {tries}: {wait_ms} ms"
                    );
                    assert!(wait_ms <= WAIT_MS_MAX);
                }
            };
            check(Severity::P1, &urgent_s);
            check(Severity::P2, &urgent_s);
            check(Severity::P3, &ordinary_s);
            check(Severity::P4, &ordinary_s);
            assert_eq!(wait_ms(Severity::P3, 10, &mut jitter), None);
        }
    }

    #[test]
    fn what_the_receiver_asks_for_counts_within_bounds() {
        assert_eq!(honoured_ms(5_000, 60_000, 1), 60_000);
        assert_eq!(honoured_ms(5_000, 3_600_000, 1), 900_000);
        assert_eq!(honoured_ms(5_000, 0, 1), 1_000);
        assert_eq!(honoured_ms(300_000, 2_000, 6), 2_000);
        assert_eq!(honoured_ms(300_000, 2_000, 7), 300_000);
    }

    proptest! {
        #[test]
        fn waits_are_spread_over_the_whole_fifth(seed: u64) {
            let mut jitter = Jitter::new(seed);
            let waits: Vec<u64> = (0..200).filter_map(|_| wait_ms(Severity::P1, 6, &mut jitter)).collect();
            prop_assert!(waits.iter().any(|wait| *wait < 270_000) && waits.iter().any(|wait| *wait > 330_000));
        }
    }
}
