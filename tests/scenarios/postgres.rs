//! The database under a router in use: its backends ended, then it stopped, froze or refused for a minute. No request fails, readiness
//! says so meanwhile, everything recovers by itself, and no audit row is lost or doubled.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::database::{self, Operation, done};
use reqwest::Method;
use router_test_postgres::{Cluster, ClusterOptions};
use router_tests::{Config, Load, Router, Server, load::Plan, peers, until};
use serde_json::json;

/// How long the database is away.
const AWAY: Duration = Duration::from_secs(60);

/// How soon its loss has to be seen, and its return.
const SEEN_WITHIN: Duration = Duration::from_secs(30);
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// Leaves an audit row that differs from all others, and returns its target.
async fn audited(router: &Router, number: u32) -> String {
    let level = format!("info,marker_{number}=debug");
    let (status, body) = router
        .ask(
            Method::PUT,
            "/api/log-level",
            Some(&json!({"level": level})),
        )
        .await;
    assert_eq!(status, 200, "{body}");
    level
}

/// How often each target stands in the audit.
async fn audit(router: &Router) -> BTreeMap<String, u32> {
    let page = router
        .get("/api/audit?action=log-level.set&limit=1000")
        .await;
    let rows = page["rows"].as_array();
    let mut counts = BTreeMap::new();
    for row in rows.unwrap_or_else(|| panic!("no rows in {page}")) {
        *counts
            .entry(row["target"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    counts
}

async fn readiness_until(
    router: &Router,
    what: &str,
    within: Duration,
    status: &str,
    database: &str,
) {
    until(what, within, async || {
        let readiness = router.readiness().await;
        if readiness["status"] == status && readiness["database"] == database {
            Ok(())
        } else {
            Err(format!("{readiness}\n{}", router.tail()))
        }
    })
    .await;
}

/// A database of its own, and a router on it that is not started yet.
async fn prepared() -> (Arc<Cluster>, Router) {
    let (cluster, _, router) = prepared_with([peers::echo().autostart()]).await;
    (cluster, router)
}

/// The same with these servers, and the database's name.
async fn prepared_with<const N: usize>(servers: [Server; N]) -> (Arc<Cluster>, String, Router) {
    let cluster = database::cluster(ClusterOptions::default()).await;
    let database = cluster.fresh_database().unwrap();
    let config = Config::new()
        .set("storage", &format!("url = {:?}", cluster.url(&database)))
        .set("health", "disk_share = 1.0");
    let config = servers.into_iter().fold(config, Config::server);
    (cluster, database, Router::prepared(&config, &[]))
}

async fn survives(what: &str, away: Operation, back: Operation) {
    let (cluster, mut router) = prepared().await;
    let migrated = router.run(&["migrate"]).await;
    assert!(migrated.status.success(), "{migrated:?}");
    router.start_again().await;
    router.ready("echo").await;
    readiness_until(
        &router,
        "a healthy beginning",
        SEEN_WITHIN,
        "healthy",
        "connected",
    )
    .await;
    let plan = Plan::clients(8).paused(Duration::from_millis(5));
    let load = Load::start(router.address(), "/mcp/echo", &plan).await;
    let mut wanted = vec![audited(&router, 0).await];

    // Its connections end one after the other, and nobody notices.
    for number in 1..=5 {
        let held = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || held.terminate_backends("godot-mcp-router"))
            .await
            .unwrap()
            .unwrap();
        wanted.push(audited(&router, number).await);
        load.further(50, SEEN_WITHIN).await;
    }
    readiness_until(
        &router,
        "health after the backends' end",
        SEEN_WITHIN,
        "healthy",
        "connected",
    )
    .await;

    let begun = Instant::now();
    done(&cluster, away).await;
    readiness_until(
        &router,
        &format!("{what}: degraded"),
        SEEN_WITHIN,
        "degraded",
        "disconnected",
    )
    .await;
    let mut number = 100;
    while begun.elapsed() < AWAY {
        wanted.push(audited(&router, number).await);
        number += 1;
        // Load, mutations and looks at readiness go on at a person's pace until the minute is over.
        load.further(200, SEEN_WITHIN).await;
        let readiness = router.readiness().await;
        assert_eq!(readiness["status"], "degraded", "{what}: {readiness}");
        assert_eq!(load.failed().0, 0, "{what}: {:#?}", load.failed());
    }
    done(&cluster, back).await;
    readiness_until(
        &router,
        &format!("{what}: recovered"),
        BACK_WITHIN,
        "healthy",
        "connected",
    )
    .await;
    wanted.push(audited(&router, 99).await);
    until(
        &format!("{what}: every audit row"),
        BACK_WITHIN,
        async || {
            let counts = audit(&router).await;
            let lost: Vec<&String> = wanted
                .iter()
                .filter(|&target| !counts.contains_key(target))
                .collect();
            if lost.is_empty() {
                Ok(())
            } else {
                Err(format!("missing {lost:?}\n{}", router.tail()))
            }
        },
    )
    .await;
    let doubled: Vec<_> = audit(&router)
        .await
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .collect();
    assert!(
        doubled.is_empty(),
        "{what}: more than once in the audit: {doubled:?}"
    );
    load.stop().await.assert_clean(1_000);
    router.end().await;
}

/// The three together, each with a database and a router of its own: three minutes in one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_a_minute_costs_no_request_and_no_audit_row() {
    tokio::join!(
        survives("stopped", Cluster::stop, Cluster::start_again),
        survives("frozen", Cluster::freeze, Cluster::thaw),
        survives("refusing", Cluster::refuse, Cluster::admit),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_starts_and_serves_while_its_database_is_away() {
    let (cluster, mut router) = prepared().await;
    assert!(router.run(&["migrate"]).await.status.success());
    done(&cluster, Cluster::stop).await;
    router.start_again().await;
    router.ready("echo").await;
    assert_eq!(
        router
            .session("echo")
            .await
            .call("echo", &json!({"text": "served"}))
            .await,
        "served"
    );
    readiness_until(&router, "degraded", SEEN_WITHIN, "degraded", "disconnected").await;
    done(&cluster, Cluster::start_again).await;
    readiness_until(&router, "healthy", BACK_WITHIN, "healthy", "connected").await;
    router.end().await;
}

/// The users' table, where the instance whose id a row has is reported: in `public`, made by `migrate`, or in `content`, made by its users.
async fn reports_to(table: &str, migrate: &[&str], row: &str) {
    let servers = ["42", "other"].map(|id| peers::echo().named(id).autostart());
    let (cluster, database, mut router) = prepared_with(servers).await;
    let migrated = router.run(migrate).await;
    assert!(migrated.status.success(), "{migrated:?}");
    let query = |sql: &str| cluster.query(&database, sql).unwrap();
    query(row);
    router.start_again().await;
    let one = router.ready("42").await;
    let sql = format!(
        "SELECT instance_status, instance_last_heartbeat > now() - interval '1 minute' FROM {table} ORDER BY id"
    );
    let reported = async |what: &str, wanted: &str| {
        until(&format!("{table}: {what}"), SEEN_WITHIN, async || {
            let rows = query(&sql);
            if rows.trim() == wanted {
                Ok(())
            } else {
                Err(format!("{rows:?}\n{}", router.tail()))
            }
        })
        .await;
    };
    // A row that is no instance of this router is left alone.
    reported("a heartbeat", "idle|\nhealthy|t").await;
    let pid = query(&format!("SELECT instance_pid FROM {table} WHERE id = 42"));
    assert_eq!(pid.trim(), one["pid"].to_string());
    router.post("/api/instances/42/stop").await;
    reported("the stop", "idle|\nstopped|t").await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_users_table_hears_of_the_instances_that_its_rows_name() {
    let row = |table: &str| {
        format!(
            "INSERT INTO {table} (id, project_slug, version_tag, project_path, instance_status)
            VALUES (42, 'maze', '1', '/x', 'idle'), (7, 'maze', '2', '/y', 'idle')"
        )
    };
    let made = "CREATE SCHEMA content; CREATE TABLE content.godot_versions (id bigint PRIMARY KEY, project_slug text,
        version_tag text, project_path text, instance_status text, instance_pid integer, instance_last_heartbeat timestamp);";
    let (public, content) = (row("godot_versions"), row("content.godot_versions"));
    let own = format!("{made} {content}");
    tokio::join!(
        reports_to(
            "public.godot_versions",
            &["migrate", "--with-godot-versions"],
            &public
        ),
        reports_to("content.godot_versions", &["migrate"], &own),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_on_tables_that_nobody_made_says_which_command_makes_them() {
    let (_cluster, router) = prepared().await;
    let refused = tokio::time::timeout(SEEN_WITHIN, router.run(&["serve"]))
        .await
        .unwrap();
    let output = String::from_utf8_lossy(&refused.stderr).into_owned()
        + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success(), "{output}");
    assert!(output.contains("godot-mcp-router migrate"), "{output}");
}
