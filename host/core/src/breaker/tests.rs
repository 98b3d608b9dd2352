//! The breaker against its rules, one at a time, and against any sequence of events.

use proptest::prelude::*;

use super::{Breaker, Verdict};
use crate::{
    id::Run,
    jitter::Jitter,
    permit::{BreakerState, BreakerTotals, Class, Report},
    planted::Bugs,
    settings::BreakerThresholds,
};

struct Bench {
    breaker: Breaker,
    thresholds: BreakerThresholds,
    jitter: Jitter,
    totals: BreakerTotals,
    now_ms: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            breaker: Breaker::new(0),
            thresholds: BreakerThresholds::default(),
            jitter: Jitter::new(7),
            totals: BreakerTotals::default(),
            now_ms: 0,
        }
    }

    fn say(&mut self, class: Class, generation: u32, run: u64, upstream_died: bool) {
        let report = Report { generation, class };
        let verdict = Verdict {
            report,
            run: Run(run),
            upstream_died,
        };
        self.breaker.verdict(
            self.now_ms,
            verdict,
            &self.thresholds,
            &mut self.jitter,
            Bugs::default(),
        );
    }

    fn now(&mut self, class: Class) -> BreakerState {
        self.say(class, self.breaker.generation, 1, false);
        self.breaker.state()
    }

    fn died(&mut self, run: u64) -> BreakerState {
        self.say(Class::Failure, self.breaker.generation, run, true);
        self.breaker.state()
    }

    fn traffic(&mut self, calls: u64, failures: u64, slow: u64) -> BreakerState {
        self.totals.calls += calls;
        self.totals.failures += failures;
        self.totals.slow += slow;
        self.breaker.traffic(
            self.now_ms,
            self.totals,
            &self.thresholds,
            &mut self.jitter,
            Bugs::default(),
        );
        self.breaker.state()
    }

    fn pass(&mut self, ms: u64) -> BreakerState {
        self.now_ms += ms;
        self.breaker.tick(self.now_ms, Bugs::default());
        self.breaker.state()
    }

    /// OPEN ends, and the instance answers.
    fn probe(&mut self) {
        self.pass(34_000);
        self.breaker.answered();
        assert_eq!(self.permits(), 2);
    }

    fn permits(&self) -> u32 {
        let setting = self.breaker.setting(&self.thresholds, Bugs::default());
        setting.permits
    }

    fn steps(&self) -> u32 {
        self.breaker.view(self.now_ms, &self.thresholds).openings
    }

    fn open(&mut self) {
        for _ in 0..3 {
            self.now(Class::Failure);
        }
        assert_eq!(self.breaker.state(), BreakerState::Open);
    }
}

#[test]
fn three_failures_in_a_row_open_it_and_a_success_between_does_not() {
    let mut bench = Bench::new();
    for class in [
        Class::Failure,
        Class::Failure,
        Class::Success,
        Class::Failure,
        Class::Failure,
        Class::Ignore,
    ] {
        assert_eq!(bench.now(class), BreakerState::Closed);
    }
    assert_eq!(bench.now(Class::Failure), BreakerState::Open);
    assert_eq!(bench.breaker.reason(), "3 requests in a row failed");
}

#[test]
fn many_requests_that_die_with_one_process_are_one_failure() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        assert_eq!(bench.died(1), BreakerState::Closed);
    }
    assert_eq!(bench.traffic(60, 50, 0), BreakerState::Closed);
    assert_eq!(bench.died(2), BreakerState::Closed);
    assert_eq!(bench.died(3), BreakerState::Open);
}

#[test]
fn a_share_of_the_window_opens_it_once_there_are_enough_samples() {
    let mut bench = Bench::new();
    assert_eq!(bench.traffic(19, 19, 0), BreakerState::Closed);
    assert_eq!(bench.traffic(1, 0, 0), BreakerState::Open);
    assert_eq!(bench.breaker.reason(), "95 % of 20 requests failed in 60 s");

    let mut bench = Bench::new();
    assert_eq!(bench.traffic(100, 49, 79), BreakerState::Closed);
    assert_eq!(bench.traffic(0, 1, 0), BreakerState::Open);
    let mut bench = Bench::new();
    assert_eq!(bench.traffic(100, 0, 80), BreakerState::Open);

    let mut bench = Bench::new();
    bench.traffic(15, 15, 0);
    bench.pass(60_000);
    assert_eq!(bench.traffic(15, 15, 0), BreakerState::Closed);
}

#[test]
fn the_window_before_an_open_does_not_trip_it_again() {
    let mut bench = Bench::new();
    bench.traffic(100, 80, 0);
    bench.probe();
    bench.now(Class::Success);
    assert_eq!(bench.now(Class::Success), BreakerState::Closed);
    assert_eq!(bench.traffic(2, 0, 0), BreakerState::Closed);
}

#[test]
fn open_ends_by_the_clock_and_half_open_by_verdicts() {
    let mut bench = Bench::new();
    bench.open();
    assert_eq!(bench.pass(29_999), BreakerState::Open);
    assert_eq!(bench.pass(4_001), BreakerState::HalfOpen);
    bench.breaker.answered();
    assert_eq!(bench.pass(86_400_000), BreakerState::HalfOpen);
    assert_eq!(bench.now(Class::Ignore), BreakerState::HalfOpen);
    assert_eq!(bench.now(Class::Success), BreakerState::HalfOpen);
    assert_eq!(bench.now(Class::Success), BreakerState::Closed);

    for class in [Class::Failure, Class::Slow] {
        let mut bench = Bench::new();
        bench.open();
        bench.probe();
        bench.now(Class::Success);
        assert_eq!(bench.now(class), BreakerState::Open);
        let second_ms = bench.breaker.next_wake().unwrap() - bench.now_ms;
        assert!((60_000..=66_000).contains(&second_ms), "{second_ms}");
    }
}

#[test]
fn half_open_admits_nobody_before_an_answer_and_grows_nothing_meanwhile() {
    let mut bench = Bench::new();
    bench.breaker.answered();
    bench.open();
    bench.breaker.answered();
    assert_eq!((bench.breaker.is_asking(), bench.permits()), (false, 0));
    bench.pass(34_000);
    for class in [Class::Success, Class::Success, Class::Failure, Class::Slow] {
        assert_eq!(bench.now(class), BreakerState::HalfOpen);
        assert_eq!((bench.breaker.is_asking(), bench.permits()), (true, 0));
    }
    let (asking, since_ms) = (bench.breaker.generation, bench.now_ms);
    bench.pass(86_400_000);
    assert_eq!((bench.steps(), bench.permits()), (1, 0));
    bench.breaker.answered();
    let probing = bench.breaker.generation;
    assert_ne!(probing, asking, "what was permitted before is void");
    bench.breaker.answered();
    assert_eq!((bench.breaker.generation, bench.permits()), (probing, 2));
    let view = bench.breaker.view(bench.now_ms, &bench.thresholds);
    assert_eq!(
        view.since_ms,
        bench.now_ms - since_ms,
        "in HALF_OPEN all the time"
    );
    assert_eq!(
        view.reason,
        "probing after OPEN (3 requests in a row failed)"
    );
    assert_eq!(
        bench.now(Class::Success),
        BreakerState::HalfOpen,
        "the answer was no success"
    );
    assert_eq!(bench.now(Class::Success), BreakerState::Closed);
}

#[test]
fn verdicts_of_another_generation_are_void() {
    let mut bench = Bench::new();
    let closed = bench.breaker.generation;
    bench.open();
    bench.probe();
    for class in [
        Class::Failure,
        Class::Success,
        Class::Success,
        Class::Success,
    ] {
        bench.say(class, closed, 1, false);
        assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    }
    let half_open = bench.breaker.generation;
    bench.now(Class::Failure);
    bench.pass(300_000);
    bench.say(Class::Failure, half_open, 1, false);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
}

#[test]
fn each_quiet_time_takes_one_step_off() {
    let mut bench = Bench::new();
    // The quiet time before it opens, and how long it is open then.
    for (quiet_ms, range) in [
        (0, 30_000..=34_000),
        (599_000, 60_000..=66_000),
        (0, 120_000..=132_000),
        // One step only, however often it has opened before.
        (600_000, 120_000..=132_000),
        (1_199_000, 120_000..=132_000),
        (1_200_000, 60_000..=66_000),
        (0, 120_000..=132_000),
        (0, 240_000..=264_000),
        (0, 270_000..=300_000),
        (6_000_000, 30_000..=34_000),
    ] {
        bench.pass(quiet_ms);
        bench.open();
        let open_ms = bench.breaker.next_wake().unwrap() - bench.now_ms;
        assert!(range.contains(&open_ms), "{quiet_ms}: {open_ms}");
        bench.pass(open_ms);
        bench.breaker.answered();
        bench.now(Class::Success);
        bench.now(Class::Success);
    }
}

#[test]
fn steps_are_taken_off_while_it_is_closed_only() {
    let mut bench = Bench::new();
    bench.open();
    bench.pass(86_400_000);
    assert_eq!(bench.steps(), 1);
    bench.breaker.answered();
    bench.now(Class::Failure);
    assert_eq!(bench.steps(), 2);
    bench.pass(300_000);
    bench.breaker.answered();
    bench.now(Class::Success);
    bench.now(Class::Success);
    for (passed_ms, steps) in [(599_999, 2), (1, 1), (599_999, 1), (1, 0), (600_000, 0)] {
        bench.pass(passed_ms);
        assert_eq!(bench.steps(), steps, "after {passed_ms} ms more");
    }
}

#[test]
fn isolation_lasts_until_it_is_reset() {
    let mut bench = Bench::new();
    bench.breaker.isolate(0);
    let generation = bench.breaker.generation;
    assert_eq!(bench.pass(86_400_000), BreakerState::Open);
    assert!(bench.breaker.isolated() && bench.breaker.next_wake().is_none());
    bench.breaker.isolate(1);
    assert_eq!(bench.breaker.generation, generation);
    bench.breaker.reset(2);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
    assert_ne!(bench.breaker.generation, generation);
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules(steps in prop::collection::vec((0_u8..8, 0_u64..50_000), 1..200)) {
        let mut bench = Bench::new();
        let (mut before, mut opened_at_ms, mut answered) = (BreakerState::Closed, 0, false);
        for (what, ms) in steps {
            let was_asking = bench.breaker.is_asking();
            match what {
                0 | 1 => { bench.now(Class::Failure); }
                2 => { bench.now(Class::Success); }
                3 => { bench.traffic(ms / 1_000, ms / 3_000, 0); }
                4 => {
                    bench.breaker.answered();
                    answered |= before == BreakerState::HalfOpen;
                }
                _ => { bench.pass(ms); }
            }
            let after = bench.breaker.state();
            prop_assert!(answered || bench.permits() == 0);
            prop_assert!(!was_asking || after == BreakerState::HalfOpen, "a verdict counted before an answer");
            answered &= after == BreakerState::HalfOpen;
            match (before, after) {
                (BreakerState::Closed, BreakerState::HalfOpen) | (BreakerState::Open, BreakerState::Closed) => {
                    prop_assert!(false, "{before:?} to {after:?}");
                }
                (BreakerState::Open, BreakerState::HalfOpen) => prop_assert!(bench.now_ms - opened_at_ms >= 30_000),
                (_, BreakerState::Open) if before != BreakerState::Open => opened_at_ms = bench.now_ms,
                _ => {}
            }
            if after == BreakerState::Open {
                let until_ms = bench.breaker.next_wake().unwrap();
                prop_assert!(until_ms > bench.now_ms && until_ms - opened_at_ms <= 300_000);
            }
            before = after;
        }
    }
}
