//! With a policy that misbehaves in the place of the one that judges, or with a file beside it that is no policy, clients notice
//! nothing: the 99th percentile of their requests stays within 1.5 times of what it is with the good one. Where the router has to compile
//! the file before it can refuse it or take it, they do notice: there it stays within five times.
//!
//! What misbehaves once is not asked again for ten seconds, so the guest is made to begin anew, and the file is another one, in each
//! window of its kind, which lasts until the guest has misbehaved and the file was refused.

use std::{fs, time::Duration};

use router_tests::{Config, Router, peers, until};
use serde_json::Value;

use crate::windows::Windows;

/// Windows of each kind. Odd, so that the median is one of them; a thousand rewrites are shared out among them.
const ROUNDS: u32 = 5;

/// On an idle machine of two cores the medians were between 0.88 and 1.33 in three runs.
const RATIO_MAX: f64 = 1.5;

/// For what is compiled, on a thread of lower priority: the medians of three runs there were 3.7, 1.5 and 1.6 for another version, and
/// 2.5, 1.6 and 1.7 for rewrites. What makes the difference is not known.
const RATIO_COMPILED_MAX: f64 = 5.0;

const REWRITTEN: &str = "rewrites";
const WRONG_VERSION: &str = "wrong version";

/// How much later than without it.
fn ratio_max(what: &str) -> f64 {
    match what {
        REWRITTEN | WRONG_VERSION => RATIO_COMPILED_MAX,
        _ => RATIO_MAX,
    }
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

/// What the guest does, one after the other.
const MODES: [&str; 6] = ["loop", "overflow", "memory", "trap", "host-calls", "log"];

fn config(mode: &str, number: u32) -> Config {
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

async fn reload(router: &Router, mode: &str, number: u32) {
    router.write_config(&config(mode, number));
    router.post("/api/config/reload").await;
}

async fn count(router: &Router, plugin: &str, what: &str) -> u64 {
    let shown = router.get(&format!("/api/plugins/{plugin}")).await;
    shown[what].as_u64().unwrap_or_else(|| panic!("{shown}"))
}

async fn counted(router: &Router, plugin: &str, what: &str, before: u64) {
    let more = format!("more than {before} {what} of {plugin}");
    until(&more, Duration::from_secs(60), async || {
        match count(router, plugin, what).await {
            count if count > before => Ok(()),
            _ => Err(router.tail()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_policy_that_misbehaves() {
    const GUEST: &str = "hostile-health";
    let mut router = Router::prepared(&config("nothing", 0), &[]);
    fs::copy(
        peers::guest("hostile-health.wasm"),
        router.path("plugins/hostile-health.wasm"),
    )
    .unwrap();
    router.start_again().await;
    router.ready("echo").await;
    counted(&router, GUEST, "calls", 0).await;
    let pid = router.pid();
    let mut number = 0;
    let mut windows = Windows::begin(&router, "echo").await;
    for _ in 0..ROUNDS {
        for mode in MODES {
            number += 1;
            reload(&router, "nothing", number).await;
            if mode == MODES[0] {
                windows.add_quiet().await;
            }
            number += 1;
            let before = count(&router, GUEST, "failures").await;
            windows
                .add(
                    mode,
                    async || reload(&router, mode, number).await,
                    async || counted(&router, GUEST, "failures", before).await,
                )
                .await;
        }
    }
    windows.assert_alike(&router, ratio_max).await;
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
    (WRONG_VERSION, wrong_version, "wrong_version"),
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
    counted(&router, NAME, "calls", 0).await;
    (router, file, bundled)
}

async fn scan(router: &Router) -> Value {
    router.post("/api/plugins/reload").await;
    router.get(&format!("/api/plugins/{NAME}")).await
}

/// The good generation served all along.
fn assert_refused(what: &str, code: &str, before: &Value, shown: &Value) {
    let figure = |of: &Value, key: &str| of[key].as_u64().unwrap_or(0);
    let refusals = |of: &Value| figure(&of["refusals"], code);
    assert_eq!(refusals(shown), refusals(before) + 1, "{what}: {shown}");
    assert_eq!(shown["candidate"]["code"], code, "{what}: {shown}");
    assert_eq!(shown["generation"], before["generation"], "{what}: {shown}");
    assert_eq!(shown["state"], "serving", "{what}: {shown}");
    assert_eq!(shown["failures"], 0, "{what}: {shown}");
    assert!(
        figure(shown, "calls") > figure(before, "calls"),
        "{what}: nobody judged: {shown}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_do_not_notice_a_file_that_is_no_policy_or_is_rewritten_a_thousand_times() {
    let (router, file, bundled) = with_bundled_policy().await;
    let pid = router.pid();
    let mut windows = Windows::begin(&router, "echo").await;
    for round in 0..ROUNDS {
        windows.add_quiet().await;
        for (what, made, code) in FILES {
            let before = scan(&router).await;
            let other = made(&bundled, round);
            windows
                .add(
                    what,
                    async || fs::write(&file, &other).unwrap(),
                    async || drop(scan(&router).await),
                )
                .await;
            assert_refused(what, code, &before, &scan(&router).await);
        }
        let before = scan(&router).await;
        let contents: Vec<Vec<u8>> = (0..REWRITES)
            .map(|number| rewritten(&bundled, round, number))
            .collect();
        let rewrite = async || {
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            for bytes in &contents {
                pace.tick().await;
                fs::write(&file, bytes).unwrap();
            }
        };
        windows
            .add(REWRITTEN, rewrite, async || drop(scan(&router).await))
            .await;
        // Whatever came between, one that is whole served all along, and the last one does.
        let shown = scan(&router).await;
        assert!(shown["candidate"].is_null(), "round {round}: {shown}");
        assert_eq!(shown["failures"], 0, "round {round}: {shown}");
        let generation = |of: &Value| of["generation"].as_u64();
        assert!(
            generation(&shown) > generation(&before),
            "round {round}: {shown}"
        );
        let one = router.instance("echo").await;
        assert_eq!(one["health"], "healthy", "round {round}: {one}");
    }
    windows.assert_alike(&router, ratio_max).await;
    assert_unharmed(&router, pid, "files").await;
    router.end().await;
}
