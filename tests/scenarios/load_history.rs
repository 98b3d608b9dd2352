//! The history of load of a whole router, on both databases: what an instance that serves uses stands in the database once the router
//! has ended, and the next router goes on with it; and capacity is answered for from a history of 400 days.

use std::{
    fs,
    time::{Duration, Instant},
};

use router_store::{Store, StoreOptions};
use router_test_postgres::ClusterOptions;
use router_tests::{Config, Router, peers, until};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqliteConnection};

use crate::database;

const WITHIN: Duration = Duration::from_secs(30);

/// What the store has of it after the router's end: peaks of running instances and of memory, and how many minutes.
async fn kept(router: &Router, url: &str) -> (u32, u64, usize) {
    let router_id = fs::read_to_string(router.path("data/router_id")).unwrap();
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

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// As many as are kept: a day by the minute, and 400 days by the hour.
const MINUTES: u64 = 1_440;
const HOURS: u64 = 9_600;

/// The project's promise for `GET /api/capacity`, and five times as long for a machine that other tests share.
const ANSWERED_WITHIN: Duration = Duration::from_millis(5 * 20);

/// Rows of the last times up to now, of a load that grows.
fn rows(table: &str, router_id: &str, rows: u64, step_ms: u64) -> String {
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let now_ms = u64::try_from(now_ms.as_millis()).unwrap();
    let (last, newest_ms) = (rows - 1, now_ms - now_ms % step_ms - step_ms);
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})
         INSERT INTO {table} (router_id, at_ms, epoch, samples, running_sum, in_flight_sum, memory_bytes_sum,
             running_peak, in_flight_peak, memory_bytes_peak)
         SELECT '{router_id}', CAST({newest_ms} AS bigint) - CAST({last} - i AS bigint) * {step_ms}, 1, 30, i, 2 * i,
             CAST(i AS bigint) * 1000000, 1 + i / 200, 1 + i / 50, CAST(i AS bigint) * 100000 FROM n"
    )
}

#[allow(clippy::print_stdout, reason = "figures for people")]
async fn is_answered_for(what: &str, config: Config, fill: impl AsyncFn(&Router, &[String])) {
    let config = config
        .set("policy", "capacity = \"default-capacity\"")
        .server(peers::echo().autostart());
    let mut router = Router::prepared(&config, &[]);
    let policy = router.path("plugins/default-capacity.wasm");
    fs::copy(peers::bundled_capacity_policy(), policy).unwrap();
    assert!(router.run(&["migrate"]).await.status.success());
    // Its first life makes its id, and the tables where they are not made yet.
    router.start_again().await;
    router.ready("echo").await;
    assert!(router.terminate().await.success(), "{}", router.tail());
    let router_id = fs::read_to_string(router.path("data/router_id")).unwrap();
    let of = |table: &str, count, step_ms| rows(table, router_id.trim(), count, step_ms);
    let sql = [
        "DELETE FROM load_minute".to_owned(),
        "DELETE FROM load_hour".to_owned(),
        of("load_minute", MINUTES, MINUTE_MS),
        of("load_hour", HOURS, HOUR_MS),
    ];
    fill(&router, &sql).await;
    router.start_again().await;
    router.ready("echo").await;
    until("a plan from all of it", WITHIN, async || {
        let capacity = router.get("/api/capacity").await;
        let history = &capacity["plan"]["reckonedFrom"]["history"];
        // The first and the last minute or day may be cut by the time of day.
        let is_whole = history["minutes"].as_u64() > Some(MINUTES - 5)
            && history["days"].as_u64() > Some(HOURS / 24 - 2)
            && capacity["plan"]["policy"] == "default-capacity"
            && !capacity["plan"]["forecasts"][0].is_null();
        is_whole
            .then_some(())
            .ok_or_else(|| format!("{capacity}\n{}", router.tail()))
    })
    .await;
    let mut took = Vec::new();
    for _ in 0..50 {
        let asked = Instant::now();
        router.get("/api/capacity").await;
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("GET /api/capacity on {what}: median {median:?}, longest {longest:?}");
    assert!(median <= ANSWERED_WITHIN, "{what}: {took:?}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capacity_is_answered_for_from_400_days_on_both_databases() {
    is_answered_for("SQLite", Config::new(), async |router, statements| {
        let url = format!("sqlite://{}", router.path("data/router.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        for sql in statements {
            let sql = AssertSqlSafe(sql.as_str());
            connection.execute(sql).await.unwrap();
        }
        connection.close().await.unwrap();
    })
    .await;
    let cluster = database::cluster(ClusterOptions::default()).await;
    let name = cluster.fresh_database().unwrap();
    let url = cluster.url(&name);
    let config = Config::new().set("storage", &format!("url = {url:?}"));
    is_answered_for("Postgres", config, async |_, statements| {
        let (cluster, url) = (std::sync::Arc::clone(&cluster), url.clone());
        let statements = statements.to_vec();
        let filled = tokio::task::spawn_blocking(move || {
            for sql in statements {
                let sql = sql.replace(" load_", " godot_mcp_router.load_");
                cluster.query_at(&url, &sql).unwrap();
            }
        });
        filled.await.unwrap();
    })
    .await;
}
