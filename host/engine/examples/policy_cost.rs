//! What a policy costs: a call with a fresh store, marshalling and recording included, and making a store. Beside it stands what the
//! machine adds to a loop of the same length that calls nothing: its interruptions are in the 99th percentile of a call as well.
//!
//! `cargo run --release -p router-engine --example policy_cost [calls]`, after `make plugins`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use router_core::health::HealthFacts;
use router_engine::{Engine, EngineEvent, EngineOptions, NoValues, PluginSettings};

const NAME: &str = "default-health";

#[tokio::main]
async fn main() {
    let calls: usize = std::env::args()
        .nth(1)
        .map_or(20_000, |text| text.parse().unwrap());
    let plugins_dir: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist");
    let begun = Instant::now();
    let (engine, mut events) = Engine::start(EngineOptions {
        plugins_dir,
        trials_dir: None,
        cache_dir: None,
        settings: PluginSettings::default(),
        policies: None,
        name_fault: |_| None,
        values: Arc::new(NoValues),
        reserve_address_space: true,
    })
    .unwrap();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(60), events.recv()).await;
        let event = event.expect("run `make plugins` first").unwrap();
        if matches!(&event, EngineEvent::Swapped { plugin, .. } if plugin == NAME) {
            break;
        }
    }
    println!(
        "load (compile, check, describe): {:.1} ms",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let mut answered = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        engine.judge(NAME, None, facts()).await.unwrap().unwrap();
        answered.push(begun.elapsed().as_secs_f64() * 1e6);
        // The next store is made meanwhile, as between the judgements of a real router.
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
    let spaced = engine.show(NAME).unwrap().call_micros;
    let mut called = engine.measure_judge(NAME, facts(), calls).await.unwrap();
    called.sort_by(f64::total_cmp);
    let at = |share: f64| called[(called.len() as f64 * share) as usize];
    println!(
        "call with a fresh store, recording included: p50 {:.1} µs, p99 {:.1} µs",
        at(0.5),
        at(0.99)
    );
    let mut idled = idle(Duration::from_secs_f64(at(0.5) / 1e6), calls);
    idled.sort_by(f64::total_cmp);
    println!(
        "a loop of that length that calls nothing: p99 {:.1} µs",
        idled[(calls as f64 * 0.99) as usize]
    );
    println!(
        "a call alone and with pauses: p50 {:.1} µs, p99 {:.1} µs (as /api/plugins shows them)",
        spaced.p50.unwrap(),
        spaced.p99.unwrap(),
    );
    answered.sort_by(f64::total_cmp);
    let at = |share: f64| answered[(answered.len() as f64 * share) as usize];
    println!(
        "asked to answered, over threads: p50 {:.1} µs, p99 {:.1} µs",
        at(0.5),
        at(0.99)
    );
    let mut made = engine.measure_instantiate(NAME, calls).await.unwrap();
    made.sort_by(f64::total_cmp);
    let at = |share: f64| made[(made.len() as f64 * share) as usize];
    println!(
        "make a store: p50 {:.1} µs, p99 {:.1} µs",
        at(0.5),
        at(0.99)
    );
    engine.shutdown().await;
}

/// Loops so long, so many times: how long each took, in microseconds.
fn idle(within: Duration, times: usize) -> Vec<f64> {
    let once = |_| {
        let begun = Instant::now();
        while begun.elapsed() < within {
            std::hint::spin_loop();
        }
        begun.elapsed().as_secs_f64() * 1e6
    };
    (0..times).map(once).collect()
}

fn facts() -> HealthFacts {
    HealthFacts {
        instance: "platformer@1.4.2".into(),
        uptime_ms: 3_600_000,
        memory_bytes: Some(200 << 20),
        memory_limit_bytes: Some(512 << 20),
        ping_ms: Some(1.2),
        window_requests: 1_234,
        window_errors: 3,
        window_p95_ms: Some(42.0),
        in_flight: 2,
        tools_count: 6,
        ..HealthFacts::default()
    }
}
