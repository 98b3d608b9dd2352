//! What an alert rule costs: the bundled one asked about 1,000 instances and about a whole page, with nothing wrong and with everything wrong, as often as the
//! engine answers; the way of facts and conditions in and out included.
//!
//! `cargo run --release -p router-engine --example rule_cost [calls]`, after `make plugins`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use router_alerts::facts::{
    FleetFacts, FleetPage, FleetTotals, InstanceFacts, PAGE_INSTANCES_MAX, RouterState,
};
use router_core::InstanceId;
use router_engine::{Engine, EngineEvent, EngineOptions, NoValues, PluginSettings};

const NAME: &str = "default-alerts";

#[tokio::main]
async fn main() {
    let calls: usize = std::env::args()
        .nth(1)
        .map_or(500, |text| text.parse().unwrap());
    let (engine, mut events) = Engine::start(EngineOptions {
        plugins_dir: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/dist"),
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
    let each = [
        (1_000, "nothing", false),
        (1_000, "everything", true),
        (PAGE_INSTANCES_MAX, "everything", true),
    ];
    for (instances, what, is_wrong) in each {
        let fleet = fleet(instances, is_wrong);
        let begun = Instant::now();
        let mut conditions = 0;
        for _ in 0..calls {
            let answer = engine.evaluate(NAME, fleet.clone()).await;
            conditions = answer.unwrap().unwrap().len();
        }
        println!(
            "evaluations per second with {instances} instances, {what} wrong ({conditions} conditions): {:.0}",
            calls as f64 / begun.elapsed().as_secs_f64()
        );
    }
    engine.shutdown().await;
}

fn fleet(instances: usize, is_wrong: bool) -> FleetFacts {
    let count = u32::try_from(instances).unwrap();
    let instance = |n: u32| InstanceFacts {
        instance: InstanceId::parse(&format!("instance-{n}")).unwrap(),
        template: Some("godot".to_owned()),
        status: if is_wrong { "unhealthy" } else { "healthy" },
        lifecycle: "ready",
        reason: "three pings in a row have had no answer".to_owned(),
        breaker: "CLOSED",
        openings: 0,
        error_share: Some(0.01),
        p95_ms: Some(12.0),
        restarts_recent: 0,
        memory_bytes: Some(100 << 20),
        memory_limit_bytes: None,
        heartbeat_age_ms: Some(1_000),
        attributes: Vec::new(),
    };
    FleetFacts {
        now_ms: 1_800_000_000_000,
        page: FleetPage::ONLY,
        instances: (0..count).map(instance).collect(),
        router: Arc::new(RouterState {
            totals: FleetTotals {
                instances: count,
                wanted: count,
                able: if is_wrong { 0 } else { count },
                ..FleetTotals::default()
            },
            plugins: Vec::new(),
            sinks: Vec::new(),
            database: "connected",
            pool_share: 0.1,
            database_connections: None,
            disks: Vec::new(),
            capacity_required: None,
            capacity_limits: Vec::new(),
            capacity_forecast: None,
            capacity_forecast_ms: None,
            uptime_ms: 3_600_000,
            attributes: Vec::new(),
        }),
    }
}
