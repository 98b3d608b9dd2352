//! Another policy takes the place of the one that judges, while clients call as fast as they can: no request fails, and its first
//! verdict is seen within two seconds of its file being closed.

use std::{
    fs,
    time::{Duration, Instant},
};

use router_tests::{Config, Load, Router, load::Plan, peers, until};
use serde_json::Value;

const CLIENTS: usize = 32;
const LOAD_FOR: Duration = Duration::from_secs(20);
const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// The threshold of the bundled policy, 500 MiB, as its code holds it, and another: what a rebuild with another number would differ in.
const THRESHOLD_BYTES: f64 = 500.0 * 1024.0 * 1024.0;
const OTHER_BYTES: f64 = 0.5 * 1024.0 * 1024.0;

/// WebAssembly's `f64.const`, which the eight bytes of its value follow (core specification, 5.4.7).
const F64_CONST: u8 = 0x44;

fn with_threshold(from: f64, to: f64, component: &[u8]) -> Vec<u8> {
    let instruction = |value: f64| {
        let mut bytes = vec![F64_CONST];
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let wanted = instruction(from);
    let places: Vec<usize> = (0..component.len())
        .filter(|&at| component[at..].starts_with(&wanted))
        .collect();
    assert_eq!(
        places.len(),
        1,
        "the bundled policy holds its threshold at {places:?}"
    );
    let mut other = component.to_vec();
    other[places[0]..places[0] + wanted.len()].copy_from_slice(&instruction(to));
    other
}

async fn plugin(router: &Router) -> Value {
    router.get("/api/plugins/default-health").await
}

/// Waits for the instance's health, and returns how long that took.
async fn judged(router: &Router, health: &str, since: Instant) -> Duration {
    until(
        &format!("the verdict {health}"),
        Duration::from_secs(20),
        async || {
            let one = router.instance("echo").await;
            if one["health"] == health {
                Ok(since.elapsed())
            } else {
                Err(format!("{one}\n{}", plugin(router).await))
            }
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_is_replaced_under_load_and_no_request_fails() {
    let config = Config::new()
        .bundled_policy()
        .server(peers::echo().autostart());
    let router = Router::start(&config).await;
    router.ready("echo").await;
    let file = router.path("plugins/default-health.wasm");
    let bundled = fs::read(&file).unwrap();
    let strict = with_threshold(THRESHOLD_BYTES, OTHER_BYTES, &bundled);
    until(
        "the bundled policy to judge",
        Duration::from_secs(30),
        async || {
            let shown = plugin(&router).await;
            let calls = shown["calls"].as_u64().unwrap_or(0);
            if calls > 0 {
                Ok(())
            } else {
                Err(shown.to_string())
            }
        },
    )
    .await;
    judged(&router, "healthy", Instant::now()).await;
    router
        .instance_until("echo", "measured", Duration::from_secs(30), |one| {
            one["memoryMb"].as_f64().is_some_and(|mb| mb > 0.5)
        })
        .await;

    let begun = Instant::now();
    let load = Load::start(router.address(), "/mcp/echo", &Plan::clients(CLIENTS)).await;
    load.further(1_000, Duration::from_secs(20)).await;
    let mut swaps = Vec::new();
    while begun.elapsed() < LOAD_FOR {
        for (component, health) in [(&strict, "degraded"), (&bundled, "healthy")] {
            // As people copy files: in place, and not at once.
            fs::write(&file, component).unwrap();
            swaps.push(judged(&router, health, Instant::now()).await);
            load.further(1_000, Duration::from_secs(20)).await;
        }
    }
    let degraded = router.get("/api/plugins").await;
    load.stop().await.assert_clean(10_000);
    assert!(swaps.len() >= 2, "{swaps:?}");
    let slowest = swaps.iter().max().unwrap();
    assert!(
        *slowest <= SEEN_WITHIN,
        "the slowest of these took too long: {swaps:?}\n{degraded}"
    );
    assert_eq!(router.instance("echo").await["restarts"], 0);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_candidate_leaves_the_good_generation_and_says_why() {
    let config = Config::new()
        .bundled_policy()
        .server(peers::echo().autostart());
    let router = Router::start(&config).await;
    router.ready("echo").await;
    judged(&router, "healthy", Instant::now()).await;
    let file = router.path("plugins/default-health.wasm");
    let bundled = fs::read(&file).unwrap();
    // Generation 0 is the built-in rule, which answers until the first guest is compiled.
    let good = until("a generation", Duration::from_secs(30), async || {
        let shown = plugin(&router).await;
        match shown["generation"].as_u64() {
            Some(number) if number > 0 => Ok(number),
            _ => Err(shown.to_string()),
        }
    })
    .await;
    for (what, bytes) in [
        ("no wasm", b"#!/bin/sh\nexit 0\n".to_vec()),
        ("half of one", bundled[..bundled.len() / 2].to_vec()),
        ("nothing", Vec::new()),
    ] {
        fs::write(&file, &bytes).unwrap();
        let shown = until(
            &format!("{what}: refused"),
            Duration::from_secs(20),
            async || {
                router.post("/api/plugins/reload").await;
                let shown = plugin(&router).await;
                if shown["candidate"]["reason"].is_string() {
                    Ok(shown)
                } else {
                    Err(shown.to_string())
                }
            },
        )
        .await;
        assert_eq!(shown["generation"], good, "{what}: {shown}");
        assert_eq!(router.instance("echo").await["health"], "healthy", "{what}");
    }
    fs::write(&file, &bundled).unwrap();
    until("the good one again", Duration::from_secs(20), async || {
        let shown = plugin(&router).await;
        if shown["candidate"].is_null() {
            Ok(())
        } else {
            Err(shown.to_string())
        }
    })
    .await;
    router.end().await;
}
