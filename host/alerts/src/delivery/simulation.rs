//! A seeded simulation of the schedule: an engine that fires, reminds, escalates, acknowledges and resolves; sinks that answer, fail,
//! hang, throttle, refuse and are gone; and a router that crashes at every step: before a record is on disk, after it, while a
//! message is on its way, and before its answer is kept. After every step every property is checked, against a model that knows
//! only what was ordered, what was sent and what was answered (`simulation/property.rs` lists them).
//!
//! - `SIM_SEED=n cargo test -p router-alerts delivery::simulation::every` replays one seed with its last steps;
//! - `SIM_SEEDS=n …` runs that many.
//!
//! For each property a bug can be planted that breaks it, and a test shows that the simulation names that property.

mod check;
mod engine;
mod property;
mod receivers;
mod world;

use std::collections::BTreeMap;

use super::planted::PlantedBug;
use property::{BROKEN, DeliveryProperty, SITUATIONS};
use world::DeliveryWorld;

/// Seeds in an ordinary test run, at some 20 ms each.
const SEEDS: u64 = 800;
/// Seeds within which every planted bug must be noticed.
const PLANTED_SEEDS: u64 = 400;
/// As often must each situation come up in a whole run.
const SEEN_MIN: u64 = 50;

struct Outcome {
    broken: Option<(DeliveryProperty, String)>,
    log: Vec<String>,
    seen: BTreeMap<&'static str, u64>,
    steps: u64,
}

fn simulate(seed: u64, planted: Option<PlantedBug>, recorded: usize) -> Outcome {
    DeliveryWorld::new(seed, planted, recorded).run()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how a person names the seed to replay"
)]
fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn replay(seed: u64, planted: Option<PlantedBug>) -> String {
    let steps = from_environment("SIM_STEPS").unwrap_or(60);
    let outcome = simulate(seed, planted, steps as usize);
    let log = outcome.log.join("\n");
    let broken = outcome.broken;
    format!("seed {seed} broke {broken:?}\nlast steps:\n{log}\nreplay with SIM_SEED={seed}")
}

#[test]
fn every_delivery_keeps_every_property() {
    let seeds = match from_environment("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let is_whole_run = seeds.end - seeds.start >= SEEDS;
    let (mut seen, mut steps) = (BTreeMap::<&str, u64>::new(), 0);
    for seed in seeds {
        let outcome = simulate(seed, None, 0);
        assert!(outcome.broken.is_none(), "{}", replay(seed, None));
        steps += outcome.steps;
        for (what, times) in outcome.seen {
            *seen.entry(what).or_insert(0) += times;
        }
    }
    println!("{steps} steps: {seen:?}");
    for what in SITUATIONS {
        let times = seen.get(what).copied().unwrap_or(0);
        let is_seen = times >= SEEN_MIN || !is_whole_run;
        assert!(is_seen, "{what} came up only {times} times: {seen:?}");
    }
}

#[test]
fn every_planted_bug_is_noticed_as_what_it_is() {
    let mut wrong = Vec::new();
    for (planted, wanted) in BROKEN {
        let noticed = (0..PLANTED_SEEDS).find_map(|seed| {
            let broken = simulate(seed, Some(planted), 0).broken;
            broken.map(|(property, how)| (seed, property, how))
        });
        match noticed {
            None => wrong.push(format!(
                "{planted:?} went unnoticed in {PLANTED_SEEDS} seeds"
            )),
            Some((seed, property, _)) if property != wanted => {
                wrong.push(format!("{planted:?}: {}", replay(seed, Some(planted))));
            }
            Some((seed, property, how)) => {
                println!("{planted:?}: seed {seed} broke {property:?} {how}");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_property_has_a_bug_that_breaks_it() {
    for property in DeliveryProperty::ALL {
        let is_broken = BROKEN.iter().any(|(_, broken)| *broken == property);
        assert!(is_broken, "{property:?} has no planted bug");
    }
}
