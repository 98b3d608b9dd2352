//! With a policy that misbehaves in the place of the one that judges, or with a file that is written anew without end, clients notice
//! nothing: the 99th percentile of their requests stays within 1.5 times of what it is with the good one. Same run, same machine,
//! medians of five; no speed is asserted by itself.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test's helper: what it cannot do ends the test"
)]

use std::{fs, time::Duration};

use router_tests::{Config, Load, Router, Tally, load::Plan, peers, until};
use serde_json::Value;

const ROUNDS: usize = 5;
const RATIO_MAX: f64 = 1.5;

/// One measurement. Five of each mode and as many of none in turn: two minutes for all.
const MEASURE_FOR: Duration = Duration::from_secs(2);

/// What the guest is told, one after the other.
const MODES: [&str; 6] = ["loop", "overflow", "memory", "trap", "host-calls", "log"];

fn config(mode: &str) -> Config {
    Config::new()
        // A guest that is asked ten times a second misbehaves ten times a second.
        .set("health", "interval = \"100ms\"")
        .set("policy", "health = \"hostile-health\"")
        .set(
            "plugins.config.hostile-health",
            &format!("mode = \"{mode}\""),
        )
        .server(peers::echo().autostart())
}

async fn measure(router: &Router) -> Tally {
    // Fewer clients than would fill the machine: a full one measures its own queue.
    let plan = Plan::clients(4).paused(Duration::from_micros(500));
    let tally = Load::run(router.address(), "/mcp/echo", &plan, MEASURE_FOR).await;
    tally.assert_clean(200);
    tally
}

fn median(mut figures: Vec<u32>) -> u32 {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

/// Compares what was measured in turn, in microseconds.
#[allow(clippy::print_stdout, reason = "figures for people")]
fn assert_unnoticed(router: &Router, what: &str, good: &[u32], hostile: &[u32]) {
    let (good_us, hostile_us) = (median(good.to_vec()), median(hostile.to_vec()));
    let ratio = f64::from(hostile_us) / f64::from(good_us);
    println!("{what}: p99 {hostile_us} us beside {good_us} us without, ratio {ratio:.2}");
    assert!(
        ratio <= RATIO_MAX,
        "{what}: p99 {hostile:?} us, without {good:?} us\n{}",
        router.tail()
    );
}

async fn tell(router: &Router, mode: &str) {
    router.write_config(&config(mode));
    router.post("/api/config/reload").await;
}

/// Waits until the guest was asked since: by its own count of calls or failures.
async fn misbehaved(router: &Router, mode: &str) {
    let count = |shown: &Value| {
        shown["calls"].as_u64().unwrap_or(0) + shown["failures"].as_u64().unwrap_or(0)
    };
    let before = count(&router.get("/api/plugins/hostile-health").await);
    until(
        &format!("{mode}: to be asked"),
        Duration::from_secs(60),
        async || {
            let shown = router.get("/api/plugins/hostile-health").await;
            if count(&shown) > before {
                Ok(())
            } else {
                Err(format!("{shown}\n{}", router.tail()))
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_policy_that_misbehaves() {
    let router = Router::prepared(&config("nothing"), &[]);
    fs::copy(
        peers::guest("hostile-health.wasm"),
        router.path("plugins/hostile-health.wasm"),
    )
    .unwrap();
    let mut router = router;
    router.start_again().await;
    router.ready("echo").await;
    misbehaved(&router, "nothing").await;
    measure(&router).await;
    let pid = router.pid();
    for mode in MODES {
        let (mut good, mut hostile) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            tell(&router, "nothing").await;
            good.push(measure(&router).await.percentile_us(0.99));
            tell(&router, mode).await;
            hostile.push(measure(&router).await.percentile_us(0.99));
        }
        assert_unnoticed(&router, mode, &good, &hostile);
        let one = router.instance("echo").await;
        assert_eq!(one["restarts"], 0, "{mode}: {one}");
        assert_eq!(one["lifecycle"], "ready", "{mode}: {one}");
    }
    assert_eq!(router.pid(), pid);
    // The log of a daemon that is flooded by a guest stays of a size that people can read.
    let bytes = fs::metadata(router.path("logs/godot-mcp-router.log"))
        .unwrap()
        .len();
    assert!(bytes < 20 * 1024 * 1024, "the log has {bytes} bytes");
    router.end().await;
}

/// A thousand in all.
const REWRITES: usize = 1_000 / ROUNDS;

/// Writes the bundled policy's file again and again: whole, each time as another generation, then half, then garbage, then nothing;
/// whole at last.
async fn rewrite(router: &Router, bundled: &[u8], round: usize) {
    let file = router.path("plugins/default-health.wasm");
    let mut pace = tokio::time::interval(MEASURE_FOR / u32::try_from(REWRITES).unwrap());
    for number in (0..REWRITES).rev() {
        let mut whole = bundled.to_vec();
        // A custom section (core specification, 5.5.3): it says nothing, and makes the file another one.
        let note = u32::try_from(round * REWRITES + number).unwrap();
        whole.extend([0, 6, 1, b'n']);
        whole.extend(note.to_le_bytes());
        let bytes = match number % 4 {
            0 => &whole[..],
            1 => &bundled[..bundled.len() / 2],
            2 => b"#!/bin/sh\nexit 0\n",
            _ => &[],
        };
        pace.tick().await;
        fs::write(&file, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_file_that_is_rewritten_a_thousand_times() {
    let config = Config::new()
        .set("health", "interval = \"100ms\"")
        .bundled_policy()
        .server(peers::echo().autostart());
    let router = Router::start(&config).await;
    router.ready("echo").await;
    let bundled = fs::read(router.path("plugins/default-health.wasm")).unwrap();
    let plugin = async || router.get("/api/plugins/default-health").await;
    let loaded = async |what: &str| {
        until(what, Duration::from_secs(60), async || {
            let shown = plugin().await;
            match shown["generation"].as_u64() {
                Some(number) if number > 0 && shown["candidate"].is_null() => Ok(number),
                _ => Err(format!("{shown}\n{}", router.tail())),
            }
        })
        .await
    };
    let mut generation = loaded("the bundled policy").await;
    measure(&router).await;
    let (mut good, mut hostile) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        good.push(measure(&router).await.percentile_us(0.99));
        let (tally, ()) = tokio::join!(measure(&router), rewrite(&router, &bundled, round));
        hostile.push(tally.percentile_us(0.99));
        // Whatever came between, one that is whole served all along, and the last one does.
        assert!(plugin().await["generation"].as_u64() >= Some(generation));
        generation = until("the last of them", Duration::from_secs(60), async || {
            let number = loaded("one that is whole").await;
            if number > generation {
                Ok(number)
            } else {
                Err(plugin().await.to_string())
            }
        })
        .await;
        let one = router.instance("echo").await;
        assert_eq!(one["health"], "healthy", "round {round}: {one}");
    }
    assert_unnoticed(&router, "rewrites", &good, &hostile);
    router.end().await;
}
