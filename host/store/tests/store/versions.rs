//! The heartbeat in the users' table, in whatever shape that is.

use router_core::InstanceId;
use router_store::{Store, VersionHeartbeat};

use crate::place::{Place, connected, within};

fn heartbeat(id: &str, status: &str) -> VersionHeartbeat {
    VersionHeartbeat {
        id: InstanceId::parse(id).unwrap(),
        status: status.to_owned(),
        pid: Some(4711),
        socket_path: Some("/tmp/godot-mcp-1.sock".to_owned()),
        error_message: None,
        heartbeat_ms: Some(1_767_225_600_123),
    }
}

/// Beats until a question to the table has the wanted answer.
async fn beats_until(
    place: &Place,
    store: &Store,
    beats: &[VersionHeartbeat],
    sql: &str,
    wanted: &str,
) {
    store.heartbeat(beats.to_vec());
    let mut last = String::new();
    let seen = tokio::time::timeout(crate::place::PATIENCE, async {
        loop {
            last = place.query(sql);
            if last == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let seen = seen.await.is_ok();
    assert!(seen, "{last:?} instead of {wanted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_a_new_user_is_updated() {
    let place = Place::postgres().await;
    let report = place.migrate(true).await;
    assert_eq!(
        report.created_godot_versions.as_deref(),
        Some("public.godot_versions")
    );
    assert_eq!(place.migrate(true).await.created_godot_versions, None);
    place.query("INSERT INTO godot_versions (project_slug, version_tag, project_path) VALUES ('maze', '1', '/x'), ('maze', '2', '/y')");
    let store = place.connected().await;
    // An id that is no number, and one that no row has, are passed over.
    let beats = [
        heartbeat("1", "healthy"),
        heartbeat("maze@1", "idle"),
        heartbeat("99", "idle"),
    ];
    let sql =
        "SELECT id, instance_status, instance_pid, instance_socket_path, instance_error_message,
            extract(epoch FROM instance_last_heartbeat) FROM godot_versions ORDER BY id";
    let wanted = "1|healthy|4711|/tmp/godot-mcp-1.sock||1767225600.123000\n2|idle||||";
    beats_until(&place, &store, &beats, sql, wanted).await;
    let mut gone = heartbeat("1", "crash_loop");
    (gone.pid, gone.socket_path, gone.heartbeat_ms) = (None, None, None);
    gone.error_message = Some("it's broken".into());
    let wanted = "1|crash_loop|||it's broken|1767225600.123000\n2|idle||||";
    beats_until(&place, &store, &[gone], sql, wanted).await;
    assert_eq!(store.counters().errors, 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_others_made_are_understood() {
    // What makes the table; what it is found by; the question; its answer.
    let cases: &[(&str, &[Option<&str>], &str, &str)] = &[
        (
            "CREATE SCHEMA content; CREATE TABLE content.godot_versions (id serial PRIMARY KEY, instance_status varchar(5),
                instance_last_heartbeat timestamp, other text); INSERT INTO content.godot_versions (other) VALUES ('x')",
            // The daemon gives the configured name, which is by default the second one.
            &[None, Some("godot_versions")],
            "SELECT instance_status, instance_last_heartbeat, other FROM content.godot_versions",
            "healt|2026-01-01 00:00:00.123|x",
        ),
        (
            "CREATE TYPE state AS ENUM ('healthy', 'idle'); CREATE TABLE \"My Versions\" (id text, instance_status state,
                instance_pid text, instance_last_heartbeat bigint); INSERT INTO \"My Versions\" (id) VALUES ('1')",
            &[Some("public.\"My Versions\"")],
            "SELECT instance_status, instance_pid, instance_last_heartbeat FROM \"My Versions\"",
            "healthy|4711|1767225600123",
        ),
        (
            "CREATE TABLE godot_versions (id bigint, instance_status text); INSERT INTO godot_versions VALUES (1, 'x');
             CREATE SCHEMA content; CREATE TABLE content.godot_versions (id bigint, instance_status text);
             INSERT INTO content.godot_versions VALUES (1, 'untouched')",
            &[Some("godot_versions")],
            "SELECT a.instance_status, b.instance_status FROM godot_versions a, content.godot_versions b",
            "healthy|untouched",
        ),
    ];
    for (make, names, sql, answer) in cases {
        for name in *names {
            let place = Place::postgres().await;
            place.query(make);
            let mut options = place.options();
            options.versions_table = name.map(str::to_owned);
            let store = Store::open(options).await.unwrap();
            connected(&store).await;
            beats_until(&place, &store, &[heartbeat("1", "healthy")], sql, answer).await;
            store.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_is_missed_only_where_somebody_named_it() {
    let place = Place::postgres().await;
    for name in [
        None,
        Some("godot_versions"),
        Some("nowhere_versions"),
        Some("content.nowhere_versions"),
        Some("one.two.three"),
        Some("no name at all"),
    ] {
        let mut options = place.options();
        options.versions_table = name.map(str::to_owned);
        let store = Store::open(options).await.unwrap();
        connected(&store).await;
        store.heartbeat(vec![heartbeat("1", "healthy")]);
        store.kv_put("p", "k", b"v").await.unwrap();
        assert_eq!(store.counters().errors, 0, "{name:?}");
        store.close().await;
    }
    let logged = crate::place::logs();
    let missed =
        |name: &str| logged.contains(&format!("versions table not found table=\"{name}\""));
    assert!(missed("nowhere_versions") && missed("content.nowhere_versions"));
    assert!(!missed("godot_versions"));
    // What no table can be called costs the heartbeat and nothing else.
    assert!(logged.contains("versions table not readable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_columns_that_may_be_updated_are() {
    let place = Place::postgres().await;
    place.migrate(true).await;
    place.query("INSERT INTO godot_versions (project_slug, version_tag, project_path) VALUES ('maze', '1', '/x')");
    place.cluster().create_role("careful", "c").unwrap();
    place.query(&router_store::serving_grants("careful"));
    place.query("GRANT SELECT, UPDATE (instance_status) ON godot_versions TO careful");
    let mut options = place.options();
    options.url = place
        .cluster()
        .role_url("careful", "c", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    let sql = "SELECT instance_status, instance_pid FROM godot_versions";
    beats_until(
        &place,
        &store,
        &[heartbeat("1", "healthy")],
        sql,
        "healthy|",
    )
    .await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_odd_or_absent_costs_only_the_heartbeat() {
    let odd = [
        "SELECT 1",
        "CREATE TABLE godot_versions (name text)",
        "CREATE TABLE godot_versions (id bigint)",
        "CREATE VIEW godot_versions AS SELECT 1 AS id, 'x' AS instance_status",
        "CREATE TABLE godot_versions (id bigint, instance_status integer); INSERT INTO godot_versions VALUES (1, 1)",
        "CREATE TABLE godot_versions (id bigint, instance_status text CHECK (instance_status = 'x')); INSERT INTO godot_versions VALUES (1, 'x')",
    ];
    for make in odd {
        let place = Place::postgres().await;
        place.query(make);
        let store = place.connected().await;
        store.heartbeat(vec![heartbeat("1", "healthy")]);
        store.kv_put("p", "k", b"v").await.unwrap();
        assert!(store.state().borrow().is_connected(), "{make}");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_holds_delays_no_later_heartbeat() {
    use sqlx::{Connection as _, Executor as _};
    let place = Place::postgres().await;
    place.migrate(true).await;
    place.query("INSERT INTO godot_versions (project_slug, version_tag, project_path) VALUES ('maze', '1', '/x')");
    let store = place.connected().await;
    let mut holder = sqlx::PgConnection::connect(&place.url).await.unwrap();
    holder
        .execute("BEGIN; UPDATE godot_versions SET instance_pid = 1")
        .await
        .unwrap();
    for _ in 0..100 {
        store.heartbeat(vec![heartbeat("1", "stale")]);
    }
    within("a heartbeat gave up on the row", async {
        while store.counters().errors == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    // All of them take one connection; the probe has one of its own for moments.
    within("no more than one connection in use", async {
        while store.pool().in_use > 1 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    holder.execute("ROLLBACK").await.unwrap();
    let sql = "SELECT instance_status FROM godot_versions";
    beats_until(&place, &store, &[heartbeat("1", "healthy")], sql, "healthy").await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite_too() {
    use sqlx::{Connection as _, Executor as _, Row as _};
    let place = Place::sqlite();
    let report = place.migrate(true).await;
    assert_eq!(
        report.created_godot_versions.as_deref(),
        Some("\"godot_versions\"")
    );
    let mut direct = sqlx::SqliteConnection::connect(&place.url).await.unwrap();
    direct
        .execute("INSERT INTO godot_versions (project_slug, version_tag, project_path) VALUES ('maze', '1', '/x')")
        .await
        .unwrap();
    let mut options = place.options();
    options.versions_table = Some("godot_versions".to_owned());
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    store.heartbeat(vec![heartbeat("1", "healthy"), heartbeat("demo", "idle")]);
    within("the heartbeat is written", async {
        loop {
            let row = direct
                .fetch_one("SELECT instance_status, instance_pid, instance_last_heartbeat FROM godot_versions")
                .await
                .unwrap();
            if row.get::<String, _>(0) == "healthy" {
                assert_eq!(row.get::<i64, _>(1), 4711);
                assert_eq!(row.get::<String, _>(2), "2026-01-01T00:00:00.123Z");
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    store.close().await;
}
