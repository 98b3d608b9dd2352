//! The cell against real threads: how many probes get through is a promise, not a likelihood.
#![expect(clippy::disallowed_methods, reason = "only real threads can race")]

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use super::{BreakerCell, BreakerSetting, BreakerState, Class, PERMITS_MAX, Rejected};

fn half_open(generation: u32, permits: u32) -> BreakerSetting {
    BreakerSetting {
        state: BreakerState::HalfOpen,
        generation,
        permits,
        probe_ms: 1_000,
        ..BreakerSetting::default()
    }
}

fn open(generation: u32, retry_at_ms: Option<u64>) -> BreakerSetting {
    BreakerSetting {
        state: BreakerState::Open,
        generation,
        retry_at_ms,
        ..BreakerSetting::default()
    }
}

#[test]
fn an_open_breaker_says_when_to_come_back() {
    let cell = Arc::new(BreakerCell::new(&open(2, Some(30_000))));
    let rejected = cell.try_acquire(5_000).unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "Circuit breaker is OPEN. Retry in 25000ms"
    );
    assert_eq!(
        cell.try_acquire(31_000).unwrap_err().retry_after_ms,
        Some(0)
    );
    cell.apply(&open(3, None));
    assert_eq!(cell.try_acquire(0).unwrap_err().retry_after_ms, None);
    assert_eq!(cell.totals().rejected, 3);
}

#[test]
fn a_closed_breaker_reports_failures_and_the_success_that_ends_a_row() {
    let cell = Arc::new(BreakerCell::default());
    let end = |class| {
        cell.try_acquire(0)
            .unwrap()
            .finish(class)
            .map(|report| report.class)
    };
    assert_eq!(end(Class::Success), None);
    assert_eq!(end(Class::Ignore), None);
    assert_eq!(end(Class::Failure), Some(Class::Failure));
    assert_eq!(end(Class::Success), Some(Class::Success));
    cell.apply(&BreakerSetting::default());
    assert_eq!(end(Class::Slow), None);
    let totals = cell.totals();
    assert_eq!((totals.calls, totals.failures, totals.slow), (4, 1, 1));
}

#[test]
fn a_probe_gives_its_permit_back_unless_it_went_badly() {
    let cell = Arc::new(BreakerCell::new(&half_open(5, 1)));
    drop(cell.try_acquire(0).unwrap());
    assert!(cell.try_acquire(0).unwrap().finish(Class::Ignore).is_none());
    // Two successes may be asked for, with one permit only.
    for class in [Class::Success, Class::Success, Class::Failure] {
        let report = cell.try_acquire(0).unwrap().finish(class).unwrap();
        assert_eq!((report.generation, report.class), (5, class));
    }
    let state = BreakerState::HalfOpen;
    assert_eq!(
        cell.try_acquire(999).unwrap_err(),
        Rejected {
            state,
            retry_after_ms: Some(1_000)
        }
    );
    assert!(cell.try_acquire(1_000).unwrap().is_probe());
}

#[test]
fn a_probe_may_take_as_long_as_anybody_can_say() {
    let setting = BreakerSetting {
        probe_ms: u64::MAX,
        ..half_open(1, 1)
    };
    let cell = Arc::new(BreakerCell::new(&setting));
    let held = cell.try_acquire(u64::MAX / 2).unwrap();
    assert!(cell.try_acquire(7).is_err());
    drop(held);
    assert!(cell.try_acquire(7).is_ok());
}

#[test]
fn an_overdue_probe_loses_its_permit_and_cannot_give_it_back_twice() {
    let cell = Arc::new(BreakerCell::new(&half_open(1, 1)));
    let slow = cell.try_acquire(0).unwrap();
    assert!(cell.try_acquire(999).is_err());
    let next = cell.try_acquire(1_000).unwrap();
    drop(slow);
    assert!(
        cell.try_acquire(1_000).is_err(),
        "the overdue probe gave away its successor's permit"
    );
    drop(next);
    assert!(cell.try_acquire(1_000).is_ok());
}

#[test]
fn a_permit_of_an_earlier_generation_gives_nothing_back() {
    let cell = Arc::new(BreakerCell::new(&half_open(1, 1)));
    let old = cell.try_acquire(0).unwrap();
    cell.apply(&open(2, Some(10)));
    cell.apply(&half_open(3, 1));
    let held = cell.try_acquire(0).unwrap();
    drop(old);
    assert!(cell.try_acquire(0).is_err());
    assert_eq!(held.finish(Class::Success).unwrap().generation, 3);
}

#[test]
fn exactly_the_permitted_probes_get_through_however_many_threads_race() {
    const THREADS: usize = 8;
    for round in 0..300_u32 {
        let permits = round % PERMITS_MAX + 1;
        let cell = Arc::new(BreakerCell::new(&half_open(round, permits)));
        let barrier = Barrier::new(THREADS);
        let won = AtomicUsize::new(0);
        let held: Vec<_> = thread::scope(|scope| {
            let racers: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        let mine: Vec<_> =
                            (0..3).filter_map(|_| cell.try_acquire(7).ok()).collect();
                        won.fetch_add(mine.len(), Ordering::Relaxed);
                        mine
                    })
                })
                .collect();
            racers
                .into_iter()
                .flat_map(|racer| racer.join().unwrap())
                .collect()
        });
        assert_eq!(
            won.load(Ordering::Relaxed),
            permits as usize,
            "round {round}"
        );
        drop(held);
        let again = (0..20)
            .filter_map(|_| cell.try_acquire(7).ok())
            .collect::<Vec<_>>();
        assert_eq!(
            again.len(),
            permits as usize,
            "round {round}, after all were given back"
        );
    }
}

#[test]
fn no_generation_ever_has_more_probes_out_than_permitted() {
    const THREADS: u64 = 4;
    const GENERATIONS: u32 = 400;
    const PERMITS: u32 = 3;
    let cell = Arc::new(BreakerCell::new(&half_open(0, PERMITS)));
    let out: Vec<AtomicUsize> = (0..=GENERATIONS).map(|_| AtomicUsize::new(0)).collect();
    let probes = AtomicU64::new(0);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while done.load(Ordering::Acquire) == 0 {
                    let Ok(permit) = cell.try_acquire(0) else {
                        continue;
                    };
                    if !permit.is_probe() {
                        continue;
                    }
                    let count = &out[permit.generation as usize];
                    let before = count.fetch_add(1, Ordering::AcqRel);
                    assert!(
                        before < PERMITS as usize,
                        "{} probes of one generation",
                        before + 1
                    );
                    probes.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                    // Counted down before it is given back: the count never exceeds what is really out.
                    count.fetch_sub(1, Ordering::AcqRel);
                    drop(permit);
                }
            });
        }
        for generation in 1..=GENERATIONS {
            let target = probes.load(Ordering::Relaxed) + 5;
            if generation % 2 == 0 {
                cell.apply(&half_open(generation, PERMITS));
                while probes.load(Ordering::Relaxed) < target {
                    thread::yield_now();
                }
            } else {
                cell.apply(&open(generation, Some(9)));
            }
        }
        done.store(1, Ordering::Release);
    });
}
