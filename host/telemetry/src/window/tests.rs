//! The ring against an exact computation over the same requests.

use std::{collections::VecDeque, thread, time::Duration};

use proptest::prelude::*;
use router_core::Now;

use super::{
    CoarseWindow, Figures, FineWindow, Mark, REQUESTS_MIN, RequestWindow, WINDOW_MS, WindowSum,
};

/// Of the fine window.
const SLOT_MS: u64 = 10_000;

fn ended(elapsed: Duration, is_error: bool) -> Mark {
    Mark::Ended { elapsed, is_error }
}

fn record_ms(window: &FineWindow, at_ms: u64, elapsed_ms: u64, is_error: bool, times: u64) {
    for _ in 0..times {
        window.record(
            Now::at(at_ms),
            ended(Duration::from_millis(elapsed_ms), is_error),
        );
    }
}

/// When, how long it took in microseconds, and whether it failed; `None`: a rejection.
type Kept = (u64, Option<(u64, bool)>);

/// What the figures should be, from every request kept with its time: those of the present slot and of as many before as make five
/// minutes.
fn exact(requests: &VecDeque<Kept>, now_ms: u64, slot_ms: u64) -> Figures {
    let first = (now_ms / slot_ms).saturating_sub(WINDOW_MS / slot_ms);
    let recent = || {
        requests
            .iter()
            .filter(|(at_ms, _)| at_ms / slot_ms >= first)
    };
    let mut durations: Vec<u64> = recent()
        .filter_map(|(_, mark)| mark.map(|(us, _)| us))
        .collect();
    durations.sort_unstable();
    let count = durations.len() as u64;
    let errors = recent()
        .filter(|(_, mark)| mark.is_some_and(|(_, is_error)| is_error))
        .count() as u64;
    let percentile = |percent: u64| {
        let rank = (count * percent).div_ceil(100) as usize;
        (count >= REQUESTS_MIN).then(|| durations[rank - 1] as f64 / 1000.0)
    };
    Figures {
        requests: count,
        errors,
        rejected: recent().filter(|(_, mark)| mark.is_none()).count() as u64,
        error_rate: (count >= REQUESTS_MIN).then(|| errors as f64 / count as f64),
        p95_ms: percentile(95),
        p50_ms: percentile(50),
        p99_ms: percentile(99),
    }
}

proptest! {
    #[test]
    fn figures_are_those_of_an_exact_computation(
        steps in prop::collection::vec(
            (
                // Mostly close together, sometimes a pause that empties part or all of the window.
                prop_oneof![8 => 0_u64..2_000, 1 => 0_u64..120_000, 1 => 0_u64..900_000],
                // Durations over all magnitudes; none is a rejection.
                prop::option::weighted(0.9, ((0_u32..32).prop_flat_map(|bits| 0..=(1_u64 << bits)), any::<bool>())),
                1_usize..40,
            ),
            1..60,
        )
    ) {
        check::<10_000, 0>(&steps, 31.0)?;
        check::<60_000, 2>(&steps, 7.9)?;
    }
}

/// After a pause, a request as in [`Kept`], so often.
type Step = (u64, Option<(u64, bool)>, usize);

/// Percentiles may be off by the `within`th part, or by half of the finest bucket.
fn check<const EACH_MS: u64, const MERGED: u32>(
    steps: &[Step],
    within: f64,
) -> Result<(), TestCaseError> {
    let window = RequestWindow::<EACH_MS, MERGED>::default();
    let mut kept = VecDeque::new();
    let mut now_ms = 0;
    for &(pause_ms, mark, times) in steps {
        now_ms += pause_ms;
        for _ in 0..times {
            let recorded = mark.map_or(Mark::Rejected, |(us, is_error)| {
                ended(Duration::from_micros(us), is_error)
            });
            window.record(Now::at(now_ms), recorded);
            kept.push_back((now_ms, mark));
        }
        let found = window.figures(Now::at(now_ms));
        let expected = exact(&kept, now_ms, EACH_MS);
        prop_assert_eq!(found.requests, expected.requests);
        prop_assert_eq!(found.errors, expected.errors);
        prop_assert_eq!(found.rejected, expected.rejected);
        prop_assert_eq!(found.error_rate, expected.error_rate);
        for pair in [
            (found.p50_ms, expected.p50_ms),
            (found.p95_ms, expected.p95_ms),
            (found.p99_ms, expected.p99_ms),
        ] {
            match pair {
                (None, None) => {}
                (Some(found), Some(expected)) => {
                    let finest_ms = 0.0041 * f64::from(1_u32 << MERGED);
                    let allowed = (expected / within).max(finest_ms);
                    prop_assert!(
                        (found - expected).abs() <= allowed,
                        "{} for {}",
                        found,
                        expected
                    );
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
    Ok(())
}

/// Figures of many tools that are summed are those of one window that all had gone into.
#[test]
fn sums_of_windows_are_windows_of_sums() {
    let windows: [CoarseWindow; 3] = Default::default();
    let all = CoarseWindow::default();
    for n in 0..300_u64 {
        let now = Now::at(n * 997);
        let mark = ended(Duration::from_micros(n * n * 17), n % 7 == 0);
        windows[n as usize % 3].record(now, mark);
        all.record(now, mark);
    }
    let now = Now::at(300 * 997);
    let mut sum = WindowSum::default();
    for window in &windows {
        let mut one = WindowSum::default();
        window.add_to(&mut one, now);
        sum.add(&one);
    }
    assert_eq!(sum.figures(), all.figures(now));
    assert_eq!(sum.figures().requests, 300);
}

#[test]
fn nothing_is_stated_under_twenty_requests_and_rejections_are_apart() {
    let window = FineWindow::default();
    assert_eq!(window.figures(Now::at(0)), Figures::default());
    for _ in 0..100 {
        window.record(Now::at(0), Mark::Rejected);
    }
    record_ms(&window, 0, 10, true, 19);
    let few = window.figures(Now::at(0));
    assert_eq!((few.requests, few.errors, few.rejected), (19, 19, 100));
    assert_eq!((few.error_rate, few.p95_ms), (None, None));
    assert_eq!((few.p50_ms, few.p99_ms), (None, None));
    record_ms(&window, 0, 10, false, 1);
    let enough = window.figures(Now::at(0));
    assert_eq!(enough.error_rate, Some(0.95));
    assert!(enough.p95_ms.is_some());
}

#[test]
fn five_minutes_later_it_is_forgotten_and_not_before() {
    let window = FineWindow::default();
    record_ms(&window, 9_999, 10, true, 20);
    for (now_ms, requests) in [
        (9_999, 20),
        (WINDOW_MS, 20),
        (WINDOW_MS + 9_999, 20),
        (WINDOW_MS + 10_000, 0),
        (u64::MAX, 0),
    ] {
        assert_eq!(
            window.figures(Now::at(now_ms)).requests,
            requests,
            "at {now_ms}"
        );
    }
}

#[test]
fn a_slot_is_used_again_without_what_it_held() {
    let window = FineWindow::default();
    for round in 0..100 {
        record_ms(&window, round * SLOT_MS, 10, true, 20);
    }
    let figures = window.figures(Now::at(99 * SLOT_MS));
    assert_eq!((figures.requests, figures.errors), (31 * 20, 31 * 20));
}

#[test]
fn who_comes_a_round_late_spoils_nothing() {
    let window = FineWindow::default();
    // Another round of the ring: the same slot, 320 seconds apart.
    let later = 32 * SLOT_MS;
    record_ms(&window, later, 10, false, 20);
    record_ms(&window, 0, 10, true, 20);
    let figures = window.figures(Now::at(later));
    assert_eq!((figures.requests, figures.errors), (20, 0));
}

#[test]
fn threads_that_record_while_slots_rotate_lose_nothing() {
    const THREADS: u64 = 4;
    const EACH: u64 = 20_000;
    let window = FineWindow::default();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for at in 0..EACH {
                    // All go through the same 30 slots at about the same time.
                    let now = Now::at(at * 30 * SLOT_MS / EACH);
                    window.record(now, ended(Duration::from_millis(at % 50), at % 10 == 0));
                }
            });
        }
        for _ in 0..200 {
            let figures = window.figures(Now::at(29 * SLOT_MS));
            assert!(figures.errors <= figures.requests);
        }
    });
    let figures = window.figures(Now::at(29 * SLOT_MS));
    assert_eq!(
        (figures.requests, figures.errors),
        (THREADS * EACH, THREADS * EACH / 10)
    );
}
