//! What holds however threads come to a cell: exactly the permitted probes, none stuck, and no straggler decides. Each model is a
//! function over a copy of the cell: the real one keeps it, and one with a planted bug breaks it.

/// Tries all orders.
fn check(model: impl Fn() + Sync + Send + 'static) {
    loom::model(model);
}

macro_rules! models {
    ($name:ident, $cell:path) => {
        // Each planted bug needs one of them.
        #[allow(dead_code, unused_imports)]
        mod $name {
            use std::sync::Arc;

            use loom::thread;
            use $cell::{BreakerCell, BreakerSetting, BreakerState, Class, Permit};

            /// How long a probe keeps its lease.
            const PROBE_MS: u64 = 10;

            fn setting(state: BreakerState, generation: u32, permits: u32) -> BreakerSetting {
                BreakerSetting {
                    state,
                    generation,
                    permits,
                    probe_ms: PROBE_MS,
                    retry_at_ms: Some(99),
                    ..BreakerSetting::default()
                }
            }

            fn half_open(generation: u32, permits: u32) -> BreakerSetting {
                setting(BreakerState::HalfOpen, generation, permits)
            }

            fn open(generation: u32) -> BreakerSetting {
                setting(BreakerState::Open, generation, 0)
            }

            fn cell(setting: &BreakerSetting) -> Arc<BreakerCell> {
                Arc::new(BreakerCell::new(setting))
            }

            fn count(permits: &[Option<Permit>]) -> usize {
                permits.iter().flatten().count()
            }

            /// So many callers at once, and so many permits: no more and no fewer get one, and all come back.
            pub(super) fn exactly_the_permitted(callers: usize, permits: u32) {
                let cell = cell(&half_open(1, permits));
                let others: Vec<_> = (1..callers)
                    .map(|_| {
                        let cell = cell.clone();
                        thread::spawn(move || cell.try_acquire(0).ok())
                    })
                    .collect();
                let mut held = vec![cell.try_acquire(0).ok()];
                held.extend(others.into_iter().map(|other| other.join().unwrap()));
                let permitted = callers.min(permits as usize);
                assert_eq!(count(&held), permitted, "callers got a permit");
                drop(held);
                let again: Vec<_> = (0..=permits).map(|_| cell.try_acquire(0).ok()).collect();
                assert_eq!(count(&again), permits as usize, "after all were given back");
            }

            /// The probe is overdue, and gives its lease back while another caller takes it over: that one has it, alone.
            pub(super) fn an_overdue_probe_gives_nothing_away() {
                let cell = cell(&half_open(1, 1));
                let slow = cell.try_acquire(0).unwrap();
                let gone = thread::spawn(move || drop(slow));
                let next = cell.try_acquire(PROBE_MS).expect("it is free, or overdue");
                gone.join().unwrap();
                assert!(cell.try_acquire(PROBE_MS).is_err(), "two probes at once");
                drop(next);
                assert!(cell.try_acquire(PROBE_MS).is_ok(), "a lost permit");
            }

            /// A caller that read the word two generations ago takes no lease of the present one, gives none back, and says which
            /// generation it belongs to.
            pub(super) fn a_straggler_neither_holds_up_nor_decides() {
                let cell = cell(&half_open(1, 1));
                let late = cell.clone();
                let straggler = thread::spawn(move || {
                    let report = late.try_acquire(0).ok()?.finish(Class::Success)?;
                    Some(report.generation)
                });
                cell.apply(&open(2));
                cell.apply(&half_open(3, 1));
                let held = cell.try_acquire(0);
                let generation = straggler.join().unwrap();
                assert!(generation.is_none_or(|generation| generation == 1 || generation == 3));
                match held {
                    Ok(held) => {
                        assert!(cell.try_acquire(0).is_err(), "two probes at once");
                        let report = held.finish(Class::Success).unwrap();
                        assert_eq!(report.generation, 3);
                    }
                    Err(_) => assert_eq!(generation, Some(3), "held up by another generation"),
                }
                assert!(cell.try_acquire(0).is_ok(), "a lost permit");
            }

            /// A failure of the generation before marks its row of failures while the breaker opens: it stays OPEN.
            pub(super) fn a_late_failure_changes_no_state() {
                let cell = cell(&setting(BreakerState::Closed, 1, 0));
                let permit = cell.try_acquire(0).unwrap();
                let late = thread::spawn(move || permit.finish(Class::Failure));
                cell.apply(&open(2));
                assert_eq!(late.join().unwrap().unwrap().generation, 1);
                assert_eq!(cell.state(), BreakerState::Open, "the breaker closed again");
                assert!(cell.try_acquire(0).is_err());
                cell.apply(&half_open(3, 0));
                assert!(cell.try_acquire(0).is_err(), "it waits for an answer");
            }

            /// A call takes the permit of the instance, then that of its tool: a refused second gives the first back, also when another
            /// call comes meanwhile.
            pub(super) fn a_refused_second_gives_the_first_back() {
                let (instance, tool) = (cell(&half_open(1, 1)), cell(&half_open(1, 1)));
                let call = |instance: &Arc<BreakerCell>, tool: &Arc<BreakerCell>| {
                    let first = instance.try_acquire(0).ok()?;
                    Some((first, tool.try_acquire(0).ok()?))
                };
                let busy = tool.try_acquire(0).unwrap();
                let other = {
                    let (instance, tool) = (instance.clone(), tool.clone());
                    thread::spawn(move || call(&instance, &tool))
                };
                drop(busy);
                let mine = call(&instance, &tool);
                let theirs = other.join().unwrap();
                assert!(mine.is_none() || theirs.is_none(), "two probes at once");
                drop((mine, theirs));
                assert!(call(&instance, &tool).is_some(), "a lost permit");
            }

            /// Who sees the new generation finds its leases.
            pub(super) fn a_new_generation_is_whole() {
                let cell = cell(&open(1));
                let caller = cell.clone();
                let probe = thread::spawn(move || {
                    let is_probing = caller.state() == BreakerState::HalfOpen;
                    (is_probing, caller.try_acquire(0).is_ok())
                });
                cell.apply(&half_open(2, 1));
                let (is_probing, is_admitted) = probe.join().unwrap();
                assert!(
                    is_admitted || !is_probing,
                    "rejected with every permit free"
                );
            }
        }
    };
}

models!(cell, router_cell_model::permit);

#[test]
fn exactly_the_permitted_probes_get_through() {
    check(|| cell::exactly_the_permitted(2, 1));
    check(|| cell::exactly_the_permitted(3, 1));
    check(|| cell::exactly_the_permitted(3, 2));
    check(|| cell::exactly_the_permitted(2, 2));
}

#[test]
fn an_overdue_probe_gives_nothing_away() {
    check(cell::an_overdue_probe_gives_nothing_away);
}

#[test]
fn a_straggler_neither_holds_up_nor_decides() {
    check(cell::a_straggler_neither_holds_up_nor_decides);
}

#[test]
fn a_late_failure_changes_no_state() {
    check(cell::a_late_failure_changes_no_state);
}

#[test]
fn a_refused_second_gives_the_first_back() {
    check(cell::a_refused_second_gives_the_first_back);
}

#[test]
fn a_new_generation_is_whole() {
    check(cell::a_new_generation_is_whole);
}

mod planted {
    use super::check;

    macro_rules! found {
        ($($bug:ident breaks $model:ident ($($argument:expr),*) with $message:literal;)*) => {
            $(mod $bug {
                models!(cell, router_cell_model::planted::$bug);

                #[test]
                #[should_panic(expected = $message)]
                fn is_found() {
                    super::check(|| cell::$model($($argument),*));
                }
            })*
        };
    }

    found! {
        leases_never_come_back breaks a_refused_second_gives_the_first_back() with "a lost permit";
        lease_of_any_generation breaks a_straggler_neither_holds_up_nor_decides() with "held up by another generation";
        lease_without_exchange breaks exactly_the_permitted(2, 1) with "callers got a permit";
        gives_back_what_is_not_its_own breaks an_overdue_probe_gives_nothing_away() with "two probes at once";
        late_mark_undoes_a_change breaks a_late_failure_changes_no_state() with "the breaker closed again";
        word_before_leases breaks a_new_generation_is_whole() with "rejected with every permit free";
        word_not_released breaks a_new_generation_is_whole() with "rejected with every permit free";
    }
}
