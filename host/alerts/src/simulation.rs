//! A seeded simulation: conditions that come and go, rules that answer late, in part or not at all, people who acknowledge, silence and
//! close, receivers that refuse, reloads and restarts at any moment, on fake time. After every step every property is checked
//! (`simulation/property.rs` lists them), against an oracle that shares no code with the engine.
//!
//! - `SIM_SEED=n cargo test -p router-alerts every_world` replays one seed with its last steps;
//! - `SIM_SEEDS=n …` runs that many;
//! - `SIM_YEARS=n cargo test -p router-alerts a_year` runs so many years;
//! - `SIM_STEPS=n …` prints so many last steps of a world that broke a property.
//!
//! For each property a bug can be planted that breaks it, and a test shows that the simulation notices and names that property:
//! what nothing can violate proves nothing.

mod check;
mod dice;
mod level;
mod property;
mod world;
mod zones;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::planted::Planted;
use property::{BROKEN, Property, broken_by};
use world::World;

/// Worlds of one, two or ten days in an ordinary test run.
const SEEDS: u64 = 120;
/// Worlds of a year, each with a maintenance window by the clocks of another place.
const YEARS: u64 = 3;
/// Worlds within which every planted bug must be noticed.
const PLANTED_SEEDS: u64 = 300;
/// As often must each situation come up in a whole run.
const SEEN_MIN: u64 = 20;
/// What a whole run must have come to.
const SITUATIONS: [&str; 19] = [
    "heard",
    "ends heard",
    "called again",
    "acknowledged",
    "links followed",
    "links outdated",
    "closed by hand",
    "cancelled",
    "fallbacks",
    "refused",
    "restarts",
    "rules removed",
    "silences",
    "silenced",
    "settling",
    "in a window",
    "muted by the fleet",
    "stalls",
    "counted",
];

/// How one simulated world went.
struct Outcome {
    /// What was violated, and when and how.
    broken: Option<(Property, String)>,
    /// The last steps, where they were recorded.
    log: Vec<String>,
    /// How often each situation came up.
    seen: BTreeMap<&'static str, u64>,
    /// Digest of what happened, where it was recorded.
    trace: u64,
    steps: u64,
}

fn simulate(seed: u64, planted: Option<Planted>, recorded: usize) -> Outcome {
    World::new(seed, planted, recorded, None).run()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a person names the seed to replay"
)]
fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

fn replay(seed: u64, planted: Option<Planted>) -> String {
    let steps = from_environment("SIM_STEPS").unwrap_or(80);
    let outcome = simulate(seed, planted, steps as usize);
    let Some((property, how)) = outcome.broken else {
        return format!(
            "seed {seed} kept every property this time: the simulation is not repeatable"
        );
    };
    let log = outcome.log.join("\n");
    format!("last steps:\n{log}\nseed {seed} broke {property:?} {how}\nreplay with SIM_SEED={seed}")
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the worlds are independent of each other, and the machine has more than one core"
)]
fn every_world_keeps_every_property() {
    let seeds = match from_environment("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicU64::new(u64::MAX));
    let work = || {
        let (mut seen, mut steps) = (BTreeMap::<&str, u64>::new(), 0);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.load(Ordering::Relaxed) < seed {
                return (seen, steps);
            }
            let outcome = simulate(seed, None, 0);
            if outcome.broken.is_some() {
                failed.fetch_min(seed, Ordering::Relaxed);
            }
            steps += outcome.steps;
            for (what, times) in outcome.seen {
                *seen.entry(what).or_insert(0) += times;
            }
        }
    };
    // One processor is left to the tests beside it.
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() - 1);
    let (mut seen, mut steps) = (BTreeMap::<&str, u64>::new(), 0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.clamp(1, 4))
            .map(|_| scope.spawn(work))
            .collect();
        for worker in workers {
            let part = worker.join();
            let (part, count) = part.expect("a worker reports violations, it does not panic");
            steps += count;
            for (what, times) in part {
                *seen.entry(what).or_insert(0) += times;
            }
        }
    });
    let failed = failed.into_inner();
    if failed != u64::MAX {
        panic!("{}", replay(failed, None));
    }
    println!("{steps} steps: {seen:?}");
    if is_whole_run {
        for what in SITUATIONS {
            let times = seen.get(what).copied().unwrap_or(0);
            assert!(
                times >= SEEN_MIN,
                "{what} came up only {times} times: {seen:?}"
            );
        }
    }
}

#[test]
fn a_year_keeps_every_property() {
    for seed in 0..from_environment("SIM_YEARS").unwrap_or(YEARS) {
        let outcome = World::new(seed, None, 60, Some(366)).run();
        let log = outcome.log.join("\n");
        if let Some((property, how)) = outcome.broken {
            panic!("{log}\nyear {seed} broke {property:?} {how}");
        }
        println!("year {seed}: {} steps: {:?}", outcome.steps, outcome.seen);
    }
}

/// The test of one planted bug.
fn must_notice(planted: Planted) {
    let wanted = broken_by(planted);
    for seed in 0..PLANTED_SEEDS {
        if let Some((property, how)) = simulate(seed, Some(planted), 0).broken {
            assert_eq!(
                property,
                wanted,
                "{planted:?} broke another property than it should {how}\n{}",
                replay(seed, Some(planted))
            );
            println!("{planted:?}: seed {seed} broke {property:?} {how}");
            return;
        }
    }
    panic!("{planted:?} went unnoticed in {PLANTED_SEEDS} worlds");
}

#[test]
fn every_property_has_a_bug_that_breaks_it() {
    for property in Property::ALL {
        assert!(
            BROKEN.contains(&property),
            "{property:?} has no planted bug"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..10 {
        let trace = || simulate(seed, None, 1).trace;
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}
