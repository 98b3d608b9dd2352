//! With a policy that misbehaves in the place of the one that judges, or with a file beside it that is no policy, clients notice
//! nothing: the 99th percentile of their requests stays within 1.5 times of what it is with the good one.
//!
//! No speed is asserted by itself: a good turn and a hostile one follow each other under the same clients, and what is compared are the
//! medians of five. The machine by itself can part them that far, so medians past the bound are looked at again with twice and three
//! times as many, all of which count.
//!
//! What misbehaves once is not asked again for ten seconds, so the guest is made to begin anew, and the file is another one, in each
//! hostile turn, which lasts until the guest has misbehaved and the file was refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper: what it cannot do ends the test"
)]

use std::{
    fs,
    time::{Duration, Instant},
};

use router_tests::{Config, Load, Router, load::Plan, peers, until};
use serde_json::Value;

const ROUNDS: u32 = 5;
const RATIO_MAX: f64 = 1.5;

/// How many times so many rounds are measured at most.
const LOOKS: u32 = 3;

/// Half a round.
const TURN: Duration = Duration::from_secs(2);

/// What the guest is told, one after the other.
const MODES: [&str; 6] = ["loop", "overflow", "memory", "trap", "host-calls", "log"];

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Done before its time begins.
    Good,
    /// Done within its time.
    Hostile,
    /// Waited for before the hostile time ends.
    Seen,
}

/// The 99th percentiles of one round, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Round {
    good_us: u32,
    hostile_us: u32,
}

impl Round {
    /// Clients call all the while.
    async fn run(router: &Router, mut deed: impl AsyncFnMut(Side)) -> Self {
        // Fewer clients than would fill the machine: a full one measures its own queue.
        let plan = Plan::clients(4).paused(Duration::from_micros(500));
        let load = Load::start(router.address(), "/mcp/echo", &plan).await;
        deed(Side::Good).await;
        let begun = Instant::now();
        tokio::time::sleep(TURN).await;
        let turned = Instant::now();
        deed(Side::Hostile).await;
        tokio::time::sleep(TURN.saturating_sub(turned.elapsed())).await;
        deed(Side::Seen).await;
        let ended = Instant::now();
        let tally = load.stop().await;
        tally.assert_clean(200);
        Self {
            good_us: tally.percentile_us(0.99, &(begun..turned)),
            hostile_us: tally.percentile_us(0.99, &(turned..ended)),
        }
    }
}

fn median(figures: impl Iterator<Item = u32>) -> u32 {
    let mut figures: Vec<u32> = figures.collect();
    figures.sort_unstable();
    figures[figures.len() / 2]
}

/// Measures rounds, each numbered.
#[allow(clippy::print_stdout, reason = "figures for people")]
async fn assert_unnoticed(router: &Router, what: &str, mut round: impl AsyncFnMut(u32) -> Round) {
    let mut rounds = Vec::new();
    for number in 0..ROUNDS * LOOKS {
        rounds.push(round(number).await);
        if (number + 1) % ROUNDS != 0 {
            continue;
        }
        let good_us = median(rounds.iter().map(|round| round.good_us));
        let hostile_us = median(rounds.iter().map(|round| round.hostile_us));
        let ratio = f64::from(hostile_us) / f64::from(good_us);
        println!("{what}: p99 {hostile_us} us beside {good_us} us without, ratio {ratio:.2}");
        if ratio <= RATIO_MAX {
            return;
        }
    }
    panic!("{what}: noticed: {rounds:?}\n{}", router.tail());
}

async fn assert_unharmed(router: &Router, pid: i32, what: &str) {
    assert_eq!(router.pid(), pid, "{what}: another router");
    let one = router.instance("echo").await;
    assert_eq!(one["restarts"], 0, "{what}: {one}");
    assert_eq!(one["lifecycle"], "ready", "{what}: {one}");
    // The log of a daemon that is flooded by a guest stays of a size that people can read.
    let log = router.path("logs/godot-mcp-router.log");
    let bytes = fs::metadata(log).unwrap().len();
    assert!(bytes < 20 * 1024 * 1024, "the log has {bytes} bytes");
}

fn told(mode: &str, number: u32) -> Config {
    Config::new()
        // A guest that is asked ten times a second misbehaves ten times a second.
        .set("health", "interval = \"100ms\"")
        .set("policy", "health = \"hostile-health\"")
        .set(
            "plugins.config.hostile-health",
            &format!("mode = \"{mode}\""),
        )
        // Other settings are another generation, which is asked at once whatever the one before has done.
        .set(
            "plugins.config.hostile-health",
            &format!("number = {number}"),
        )
        .server(peers::echo().autostart())
}

async fn tell(router: &Router, mode: &str, number: u32) {
    router.write_config(&told(mode, number));
    router.post("/api/config/reload").await;
}

async fn count(router: &Router, plugin: &str, what: &str) -> u64 {
    let shown = router.get(&format!("/api/plugins/{plugin}")).await;
    shown[what].as_u64().unwrap_or_else(|| panic!("{shown}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_policy_that_misbehaves() {
    let mut router = Router::prepared(&told("nothing", 0), &[]);
    fs::copy(
        peers::guest("hostile-health.wasm"),
        router.path("plugins/hostile-health.wasm"),
    )
    .unwrap();
    router.start_again().await;
    router.ready("echo").await;
    until(
        "it to be asked",
        Duration::from_secs(60),
        async || match count(&router, "hostile-health", "calls").await {
            0 => Err(router.tail()),
            _ => Ok(()),
        },
    )
    .await;
    let pid = router.pid();
    let mut number = 0;
    for mode in MODES {
        assert_unnoticed(&router, mode, async |_| {
            let before = count(&router, "hostile-health", "failures").await;
            Round::run(&router, async |side| match side {
                Side::Good => {
                    number += 1;
                    tell(&router, "nothing", number).await;
                }
                Side::Hostile => {
                    number += 1;
                    tell(&router, mode, number).await;
                }
                Side::Seen => {
                    until("it to misbehave", Duration::from_secs(60), async || {
                        let failures = count(&router, "hostile-health", "failures").await;
                        if failures > before {
                            Ok(())
                        } else {
                            Err(format!("{mode}: {}", router.tail()))
                        }
                    })
                    .await;
                }
            })
            .await
        })
        .await;
    }
    assert_unharmed(&router, pid, "misbehaving").await;
    router.end().await;
}

/// A file in the place of the bundled policy's. Each number makes another one.
type Made = fn(&[u8], u32) -> Vec<u8>;

/// Files that are no policy of this router, with the codes of their refusals.
const FILES: [(&str, Made, &str); 5] = [
    ("not wasm", not_wasm, "not_wasm"),
    ("truncated", truncated, "damaged"),
    ("core module", core_module, "core_module"),
    ("wrong world", wrong_world, "wrong_world"),
    ("wrong version", wrong_version, "wrong_version"),
];

/// A custom section (core specification, 5.5.3; components have the same): it says nothing, and makes the file another one.
fn noted(mut bytes: Vec<u8>, number: u32) -> Vec<u8> {
    bytes.extend([0, 6, 1, b'n']);
    bytes.extend(number.to_le_bytes());
    bytes
}

fn whole(bundled: &[u8], number: u32) -> Vec<u8> {
    noted(bundled.to_vec(), number)
}

fn not_wasm(_: &[u8], number: u32) -> Vec<u8> {
    format!("#!/bin/sh\nexit {number}\n").into_bytes()
}

fn truncated(bundled: &[u8], number: u32) -> Vec<u8> {
    bundled[..bundled.len() / 2 + number as usize].to_vec()
}

fn core_module(_: &[u8], number: u32) -> Vec<u8> {
    noted(b"\0asm\x01\0\0\0".to_vec(), number)
}

/// A component with nothing in it.
fn wrong_world(_: &[u8], number: u32) -> Vec<u8> {
    noted(b"\0asm\x0d\0\x01\0".to_vec(), number)
}

fn wrong_version(bundled: &[u8], number: u32) -> Vec<u8> {
    let (ours, other) = (b"router:health/health@0.2.0", b"router:health/health@0.9.0");
    let mut bytes = bundled.to_vec();
    let places: Vec<usize> = (0..bytes.len() - ours.len())
        .filter(|at| bytes[*at..].starts_with(ours))
        .collect();
    assert!(!places.is_empty(), "the interface is not in the component");
    for at in places {
        bytes[at..at + other.len()].copy_from_slice(other);
    }
    noted(bytes, number)
}

/// In one round: a thousand in all.
const REWRITES: u32 = 1_000 / ROUNDS;

/// Again and again whole, each time as another generation, then half, then garbage, then nothing; whole at last.
fn rewritten(bundled: &[u8], round: u32, number: u32) -> Vec<u8> {
    match (REWRITES - 1 - number) % 4 {
        0 => whole(bundled, REWRITES * round + number),
        1 => bundled[..bundled.len() / 2].to_vec(),
        2 => not_wasm(bundled, 0),
        _ => Vec::new(),
    }
}

const NAME: &str = "default-health";

/// A router whose bundled policy serves, and its file.
async fn with_bundled_policy() -> (Router, std::path::PathBuf, Vec<u8>) {
    let config = Config::new()
        .set("health", "interval = \"100ms\"")
        .bundled_policy()
        .server(peers::echo().autostart());
    let router = Router::start(&config).await;
    router.ready("echo").await;
    let file = router.path("plugins/default-health.wasm");
    let bundled = fs::read(&file).unwrap();
    until(
        "the bundled policy",
        Duration::from_secs(60),
        async || match count(&router, NAME, "calls").await {
            0 => Err(router.tail()),
            _ => Ok(()),
        },
    )
    .await;
    (router, file, bundled)
}

async fn look(router: &Router) -> Value {
    router.post("/api/plugins/reload").await;
    router.get(&format!("/api/plugins/{NAME}")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_file_that_is_no_policy() {
    let (router, file, bundled) = with_bundled_policy().await;
    let pid = router.pid();
    for (what, made, code) in FILES {
        assert_unnoticed(&router, what, async |number| {
            let before = look(&router).await;
            let other = made(&bundled, number);
            let round = Round::run(&router, async |side| match side {
                Side::Good | Side::Seen => {
                    look(&router).await;
                }
                Side::Hostile => fs::write(&file, &other).unwrap(),
            })
            .await;
            // The good generation serves all along.
            let shown = look(&router).await;
            let figure = |of: &Value, key: &str| of[key].as_u64().unwrap_or(0);
            let refusals = |of: &Value| figure(&of["refusals"], code);
            assert_eq!(refusals(&shown), refusals(&before) + 1, "{what}: {shown}");
            assert_eq!(shown["candidate"]["code"], code, "{what}: {shown}");
            assert_eq!(shown["generation"], before["generation"], "{what}: {shown}");
            assert_eq!(shown["state"], "serving", "{what}: {shown}");
            assert_eq!(shown["failures"], 0, "{what}: {shown}");
            assert!(
                figure(&shown, "calls") > figure(&before, "calls"),
                "{what}: nobody judged: {shown}"
            );
            round
        })
        .await;
    }
    assert_unharmed(&router, pid, "files").await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_file_that_is_rewritten_a_thousand_times() {
    let (router, file, bundled) = with_bundled_policy().await;
    let pid = router.pid();
    assert_unnoticed(&router, "rewrites", async |number| {
        let before = look(&router).await;
        let contents: Vec<Vec<u8>> = (0..REWRITES)
            .map(|rewrite| rewritten(&bundled, number, rewrite))
            .collect();
        let round = Round::run(&router, async |side| {
            if side != Side::Hostile {
                look(&router).await;
                return;
            }
            let mut pace = tokio::time::interval(TURN / REWRITES);
            for bytes in &contents {
                pace.tick().await;
                fs::write(&file, bytes).unwrap();
            }
        })
        .await;
        // Whatever came between, one that is whole served all along, and the last one does.
        let shown = look(&router).await;
        assert!(shown["candidate"].is_null(), "round {number}: {shown}");
        assert_eq!(shown["failures"], 0, "round {number}: {shown}");
        let generation = |of: &Value| of["generation"].as_u64();
        assert!(
            generation(&shown) > generation(&before),
            "round {number}: {shown}"
        );
        let one = router.instance("echo").await;
        assert_eq!(one["health"], "healthy", "round {number}: {one}");
        round
    })
    .await;
    assert_unharmed(&router, pid, "rewrites").await;
    router.end().await;
}
