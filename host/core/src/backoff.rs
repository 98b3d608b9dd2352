//! How long to wait before the next start, and before a breaker lets probes through: doubling with a ceiling and jitter.

use crate::{jitter::Jitter, settings::RestartSettings};

/// `first_ms` doubled `steps` times, at most `max_ms`.
pub(crate) fn doubled(first_ms: u64, max_ms: u64, steps: u32) -> u64 {
    let factor = 1_u64.checked_shl(steps).unwrap_or(u64::MAX);
    first_ms.saturating_mul(factor).min(max_ms)
}

/// The pause before the start that follows the `failures`-th failure in a row.
pub(crate) fn restart_pause_ms(
    settings: &RestartSettings,
    failures: u32,
    jitter: &mut Jitter,
) -> u64 {
    let pause_ms = doubled(
        settings.first_ms,
        settings.max_ms,
        failures.saturating_sub(1),
    );
    let share = settings.jitter.clamp(0.0, 1.0) * (2.0 * jitter.unit() - 1.0);
    (pause_ms as f64 * (1.0 + share)) as u64
}

/// How long the `openings`-th OPEN in a row lasts. Jitter only lengthens it, by a tenth at most, so that the first stays between
/// its nominal length and what an operator's script waits for; at the ceiling it only shortens.
pub(crate) fn open_ms(first_ms: u64, max_ms: u64, openings: u32, jitter: &mut Jitter) -> u64 {
    let open_ms = doubled(first_ms, max_ms, openings.saturating_sub(1));
    let stretch_ms = (open_ms as f64 * 0.1 * jitter.unit()) as u64;
    if open_ms.saturating_add(stretch_ms) <= max_ms {
        open_ms + stretch_ms
    } else {
        max_ms - stretch_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{open_ms, restart_pause_ms};
    use crate::{jitter::Jitter, settings::RestartSettings};

    proptest! {
        #[test]
        fn a_restart_pause_doubles_within_its_jitter(failures in 1_u32..200, seed: u64) {
            let settings = RestartSettings::default();
            let pause_ms = restart_pause_ms(&settings, failures, &mut Jitter::new(seed)) as f64;
            let nominal_ms = if failures <= 6 { 1_000.0 * f64::from(1 << (failures - 1)) } else { 60_000.0 };
            prop_assert!(pause_ms >= nominal_ms * 0.75 - 1.0 && pause_ms <= nominal_ms * 1.25, "{pause_ms}");
        }

        #[test]
        fn the_first_open_lasts_30_to_34_s_and_none_past_300_s(openings in 1_u32..200, seed: u64) {
            let open_ms = open_ms(30_000, 300_000, openings, &mut Jitter::new(seed));
            if openings == 1 {
                prop_assert!((30_000..=34_000).contains(&open_ms), "{open_ms}");
            }
            prop_assert!((30_000..=300_000).contains(&open_ms), "{open_ms}");
        }

        #[test]
        fn later_opens_are_longer_until_the_ceiling(openings in 1_u32..4, seed: u64) {
            let mut jitter = Jitter::new(seed);
            let this_ms = open_ms(30_000, 300_000, openings, &mut jitter);
            let next_ms = open_ms(30_000, 300_000, openings + 1, &mut jitter);
            prop_assert!(next_ms > this_ms, "{this_ms} {next_ms}");
        }

        #[test]
        fn odd_settings_do_not_overflow(first_ms: u64, max_ms: u64, steps: u32, seed: u64) {
            let settings = RestartSettings { first_ms, max_ms, jitter: 7.0, forget_after_ms: 0 };
            restart_pause_ms(&settings, steps, &mut Jitter::new(seed));
            prop_assert!(open_ms(first_ms, max_ms, steps, &mut Jitter::new(seed)) <= max_ms);
        }
    }
}
