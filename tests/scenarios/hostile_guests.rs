//! With a policy that misbehaves in the place of the one that judges, clients notice nothing: the 99th percentile of their requests
//! stays within 1.5 times of what it is with the good one. Same run, same machine, medians of five; no speed is asserted by itself.

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
        let (good_us, hostile_us) = (median(good.clone()), median(hostile.clone()));
        let ratio = f64::from(hostile_us) / f64::from(good_us);
        println!("{mode}: p99 {hostile_us} us beside {good_us} us without, ratio {ratio:.2}");
        assert!(
            ratio <= RATIO_MAX,
            "{mode}: p99 {hostile:?} us, without {good:?} us\n{}",
            router.tail()
        );
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
