//! The SQL of an operator's runbook, run against a migrated Postgres with a router connected: what works as it stands,
//! what cannot on Postgres 15, and the corrected statement beside it.

use std::time::{Duration, Instant};

use router_test_postgres::{Cluster, ClusterOptions};

use crate::place::{PATIENCE, Place, all_rows, connected, flushed, row};

/// The database's name in the runbook.
const DATABASE: &str = "veritable_games";

async fn place() -> Place {
    let options = ClusterOptions {
        settings: vec!["shared_preload_libraries=pg_stat_statements".to_owned()],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::with(options).unwrap();
    let mut place = Place::bare(std::sync::Arc::new(cluster));
    place.cluster().create_database(DATABASE).unwrap();
    place.database = DATABASE.to_owned();
    place.url = place.cluster().url(DATABASE);
    place.query("CREATE EXTENSION pg_stat_statements");
    place.migrate(true).await;
    place
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_work_as_they_stand() {
    let place = place().await;
    let store = place.connected().await;
    store.audit(row("x"));
    flushed(&store).await;
    assert_eq!(place.query("SELECT 1"), "1");
    let connections: u32 = place
        .query("SELECT count(*) as active_connections FROM pg_stat_activity WHERE datname = 'veritable_games';")
        .parse()
        .unwrap();
    assert!((1..20).contains(&connections), "{connections}");
    let by_client = place.query(
        "SELECT count(*) as active_connections, datname, client_addr, state FROM pg_stat_activity
         WHERE datname = 'veritable_games' GROUP BY datname, client_addr, state;",
    );
    assert!(
        by_client.contains("veritable_games|127.0.0.1|idle"),
        "{by_client}"
    );
    let running = place.query(
        "SELECT pid, now() - pg_stat_activity.query_start as duration, query FROM pg_stat_activity
         WHERE datname = 'veritable_games' AND state != 'idle' ORDER BY duration DESC;",
    );
    assert_eq!(
        running.lines().filter(|line| line.contains('|')).count(),
        1,
        "only itself: {running}"
    );
    place.query("SELECT count(*) FROM pg_stat_activity WHERE datname = 'veritable_games';");
    place.query("VACUUM ANALYZE;");
    // "Kill long-running queries" also ends connections that have been idle for as long; it costs nothing.
    let ended = place.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE query_start < NOW() - INTERVAL '0 minutes' AND datname = 'veritable_games' AND pid <> pg_backend_pid();",
    );
    assert!(ended.contains('t'), "{ended}");
    store.kv_put("p", "k", b"v").await.unwrap();
    assert!(store.state().borrow().is_connected());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_that_cannot_work_and_what_does() {
    let place = place().await;
    let store = place.connected().await;
    let cannot = [
        (
            "SELECT name, state, wait_event_type FROM pg_stat_activity
             WHERE datname = 'veritable_games' ORDER BY state_change DESC;",
            "column \"name\" does not exist",
        ),
        (
            "SELECT query, mean_exec_time, calls FROM pg_stat_statements
             WHERE datname = 'veritable_games' ORDER BY mean_exec_time DESC LIMIT 10;",
            "column \"datname\" does not exist",
        ),
        (
            "CREATE ROLE godot_app WITH PASSWORD 'secure_password';
             GRANT SELECT, UPDATE, INSERT ON godot_versions TO godot_app;
             REVOKE DELETE, DROP ON godot_versions FROM godot_app;",
            "unrecognized privilege type \"drop\"",
        ),
    ];
    for (sql, reason) in cannot {
        let refused = place
            .cluster()
            .query(DATABASE, sql)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(reason), "{refused}");
    }
    // One bad statement of three undoes the others: psql sends them as one transaction.
    assert_eq!(
        place.query("SELECT count(*) FROM pg_roles WHERE rolname = 'godot_app'"),
        "0"
    );

    store.kv_get("p", "k").await.unwrap();
    // A backend that has just answered is idle a moment before it waits for its client.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let names = place.query(
            "SELECT application_name AS name, state, wait_event_type FROM pg_stat_activity
             WHERE datname = 'veritable_games' ORDER BY state_change DESC;",
        );
        if names.contains("godot-mcp-router|idle|Client") {
            break;
        }
        assert!(Instant::now() < deadline, "{names}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let slowest = place.query(
        "SELECT s.query, s.mean_exec_time, s.calls FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
         WHERE d.datname = 'veritable_games' ORDER BY s.mean_exec_time DESC LIMIT 10;",
    );
    assert!(slowest.lines().count() >= 1);
    place.query(
        "CREATE ROLE godot_app LOGIN PASSWORD 'secure_password';
         GRANT SELECT, UPDATE, INSERT ON godot_versions TO godot_app;
         REVOKE DELETE, TRUNCATE ON godot_versions FROM godot_app;",
    );
    place.query(&router_store::serving_grants("godot_app"));
    store.close().await;

    let mut options = place.options();
    options.url = place
        .cluster()
        .role_url("godot_app", "secure_password", DATABASE)
        .parse()
        .unwrap();
    let store = router_store::Store::open(options).await.unwrap();
    connected(&store).await;
    store.audit(row("as godot_app"));
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_can_be_restored_and_served_from() {
    let place = place().await;
    let store = place.connected().await;
    for number in 0..100 {
        store.audit(row(number.to_string()));
    }
    store.close().await;
    let dump = std::process::Command::new(place.cluster().bin().join("pg_dump"))
        .arg(&place.url)
        .output()
        .unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    let file = place.dir.path().join("database.sql");
    std::fs::write(&file, dump.stdout).unwrap();
    let mut restored = Place::bare(std::sync::Arc::clone(place.cluster.as_ref().unwrap()));
    // The spool of the data directory is empty; the new directory has none.
    let psql = std::process::Command::new(place.cluster().bin().join("psql"))
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &restored.url, "-f"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        psql.status.success(),
        "{}",
        String::from_utf8_lossy(&psql.stderr)
    );
    restored.dir = tempfile::tempdir().unwrap();
    let store = restored.connected().await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 100);
    store.audit(row("after the restore"));
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 101);
    store.close().await;
}
