//! The history of load of a whole router, on both databases: what an instance that serves uses stands in the database once the router
//! has ended, and the next router goes on with it.

use std::time::Duration;

use router_store::{Store, StoreOptions};
use router_test_postgres::ClusterOptions;
use router_tests::{Config, Router, peers, until};
use serde_json::Value;

use crate::database;

const WITHIN: Duration = Duration::from_secs(30);

/// What the store has of it after the router's end: peaks of running instances and of memory, and how many minutes.
async fn kept(router: &Router, url: &str) -> (u32, u64, usize) {
    let router_id = std::fs::read_to_string(router.path("data/router_id")).unwrap();
    let options = StoreOptions::new(
        url.parse().unwrap(),
        router.path("reader"),
        router_id.trim(),
    );
    let store = Store::open(options).await.unwrap();
    let history = until("the history", WITHIN, async || {
        let history = store.load_history();
        if history.minutes.is_empty() {
            Err("empty".to_owned())
        } else {
            Ok(history)
        }
    })
    .await;
    store.close().await;
    assert!((1..=2).contains(&history.days.len()), "{history:?}");
    let peak = history
        .days
        .iter()
        .fold(history.days[0].peak, |peak, day| peak.peak(day.peak));
    (peak.running, peak.memory_bytes, history.minutes.len())
}

async fn is_kept(config: Config, url: impl Fn(&Router) -> String) {
    let servers = ["one", "two"].map(|id| peers::echo().named(id).autostart());
    let config = servers.into_iter().fold(config, Config::server);
    let mut router = Router::prepared(&config, &[]);
    assert!(router.run(&["migrate"]).await.status.success());
    let mut minutes = 0;
    for _ in 0..2 {
        router.start_again().await;
        for id in ["one", "two"] {
            // Its memory is known, and the fleet was sampled twice since.
            let sampled = |one: &Value| one["memoryMb"].is_number();
            let one = router.instance_until(id, "sampled", WITHIN, sampled).await;
            let later = one["uptimeSeconds"].as_f64().unwrap() + 5.0;
            let is_later = |one: &Value| one["uptimeSeconds"].as_f64() > Some(later);
            router.instance_until(id, "older", WITHIN, is_later).await;
        }
        let status = router.terminate().await;
        assert!(status.success(), "{}", router.tail());
        let (running, memory_bytes, kept) = kept(&router, &url(&router)).await;
        assert_eq!(running, 2);
        assert!(memory_bytes > 1_000_000, "{memory_bytes}");
        assert!(kept >= minutes.max(1), "{kept} minutes after {minutes}");
        minutes = kept;
    }
    assert!(!router.log().contains("load history"), "{}", router.tail());
    router.start_again().await;
    // What is not yet adopted would be left running.
    for id in ["one", "two"] {
        router.ready(id).await;
    }
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_fleet_uses_is_kept_over_restarts_on_both_databases() {
    let cluster = database::cluster(ClusterOptions::default()).await;
    let name = cluster.fresh_database().unwrap();
    let postgres = cluster.url(&name);
    let config = Config::new().set("storage", &format!("url = {postgres:?}"));
    tokio::join!(
        is_kept(config, |_| postgres.clone()),
        is_kept(Config::new(), |router| format!(
            "sqlite://{}",
            router.path("data/router.db").display()
        )),
    );
}
