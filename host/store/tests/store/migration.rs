//! The schema: from empty, twice, at once, by whom, too old and too new; and the serving role's grants.

use router_core::capacity::Usage;
use router_store::{DatabaseState, SCHEMA_VERSION, Store, StoreError};
use router_test_postgres::Cluster;

use crate::place::{Place, all_rows, connected, execute, flushed, numbers, on_both, row, state};

#[tokio::test(flavor = "multi_thread")]
async fn an_unmigrated_server_says_which_command_to_run() {
    let place = Place::bare(Cluster::shared().unwrap());
    let refused = Store::open(place.options()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Unmigrated {
                found: 0,
                needed: SCHEMA_VERSION,
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("godot-mcp-router migrate"));
    let report = place.migrate(false).await;
    assert_eq!(report.applied, [1, 2, 3, 4]);
    assert_eq!(report.version, SCHEMA_VERSION);
    assert_eq!(report.created_godot_versions, None);
    assert!(report.database.ends_with(&place.database), "{report:?}");
    let again = place.migrate(false).await;
    assert!(again.applied.is_empty() && again.version == SCHEMA_VERSION);
    let store = place.connected().await;
    let rows = all_rows(&store, "database.migrate").await;
    assert_eq!(rows.len(), 4);
    assert_eq!(
        (rows[0].actor.as_str(), rows[0].result.as_str()),
        ("tester", "ok")
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_migrations_at_once_are_one() {
    let place = Place::bare(Cluster::shared().unwrap());
    let runs: Vec<_> = (0..6)
        .map(|_| tokio::spawn(router_store::migrate(place.migrate_options(false))))
        .collect();
    let mut applied = 0;
    for run in runs {
        applied += run.await.unwrap().unwrap().applied.len();
    }
    assert_eq!(applied, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_routers_open_one_new_file() {
    let place = Place::sqlite();
    let opens: Vec<_> = (0..6)
        .map(|number| {
            let mut options = place.options();
            options.data_dir = place.dir.path().join(format!("data{number}"));
            tokio::spawn(Store::open(options))
        })
        .collect();
    for open in opens {
        let store = open.await.unwrap().unwrap();
        connected(&store).await;
        store.close().await;
    }
    let store = place.connected().await;
    assert_eq!(all_rows(&store, "database.migrate").await.len(), 4);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_ddl_may_serve_with_these_grants_and_nothing_more() {
    let place = Place::postgres().await;
    place.migrate(true).await;
    place.cluster().create_role("serving", "s").unwrap();
    place.query(&router_store::serving_grants("serving"));
    place.query("GRANT SELECT, UPDATE ON godot_versions TO serving");
    let url = place.cluster().role_url("serving", "s", &place.database);
    let mut options = place.options();
    options.url = url.parse().unwrap();
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    let id = router_core::InstanceId::parse("demo").unwrap();
    let value = serde_json::json!({});
    for _ in 0..2 {
        store.audit(row("x"));
        store.set_intention(&id, true);
        let evidence = value.clone();
        store.record_crash(&router_store::CrashEvidence {
            id: id.clone(),
            evidence,
        });
        store.kv_put("p", "k", b"v").await.unwrap();
    }
    flushed(&store).await;
    store.register(&id, &value).await.unwrap();
    assert_eq!(store.registered().await.unwrap().len(), 1);
    assert_eq!(store.intentions().await.unwrap().len(), 1);
    assert_eq!(store.crashes(&id, 5).await.unwrap().len(), 2);
    assert!(store.kv_delete("p", "k").await.unwrap());
    store.clear_state(&id);
    flushed(&store).await;
    assert!(store.unregister(&id).await.unwrap());
    store.record_load(router_values::unix_ms_now(), Usage::default());
    store.close().await;
    assert_eq!((store.counters().errors, store.counters().rejected), (0, 0));
    let minutes = "SELECT count(*) FROM godot_mcp_router.load_minute";
    assert_eq!(place.query(minutes), "1");
    for forbidden in [
        "CREATE TABLE godot_mcp_router.x (y int)",
        "CREATE SCHEMA x",
        "DROP TABLE godot_mcp_router.audit",
        "DELETE FROM godot_versions",
        "UPDATE godot_mcp_router.audit SET actor = 'nobody'",
        "UPDATE godot_mcp_router.schema_version SET version = 9",
    ] {
        let refused = place
            .cluster()
            .query_at(&url, forbidden)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("permission denied") || refused.contains("must be owner"),
            "{forbidden}: {refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_grants_learns_what_is_missing() {
    let place = Place::postgres().await;
    place.cluster().create_role("poor", "p").unwrap();
    let mut options = place.options();
    options.url = place
        .cluster()
        .role_url("poor", "p", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    let reason = crate::place::lost(&store).await;
    assert!(
        reason.contains("42501") && reason.contains("grants"),
        "{reason}"
    );
    place.query(&router_store::serving_grants("poor"));
    connected(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_migrate_leaves_nothing_behind() {
    let place = Place::bare(Cluster::shared().unwrap());
    place.cluster().create_role("nobody", "n").unwrap();
    let mut options = place.migrate_options(false);
    options.url = place
        .cluster()
        .role_url("nobody", "n", &place.database)
        .parse()
        .unwrap();
    let refused = router_store::migrate(options).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Migration { version: 1, .. }),
        "{refused:?}"
    );
    assert!(
        refused.to_string().contains("permission denied"),
        "{refused}"
    );
    // With a schema made for it, it needs no right to create one.
    place.query("CREATE SCHEMA godot_mcp_router AUTHORIZATION nobody");
    let mut options = place.migrate_options(false);
    options.url = place
        .cluster()
        .role_url("nobody", "n", &place.database)
        .parse()
        .unwrap();
    assert_eq!(
        router_store::migrate(options).await.unwrap().applied,
        [1, 2, 3, 4]
    );
}

on_both!(
    a_schema_of_the_version_before_is_brought_up_and_may_be_used_by_both,
    |place| {
        // As version 1 of the schema left it.
        let (text, schema) = if place.cluster.is_some() {
            place.query("DROP SCHEMA godot_mcp_router CASCADE; CREATE SCHEMA godot_mcp_router");
            let text = include_str!("../../../migrations/postgres/0001_foundation.sql");
            (text, "godot_mcp_router.")
        } else {
            std::fs::create_dir(place.dir.path().join("data")).unwrap();
            (
                include_str!("../../../migrations/sqlite/0001_foundation.sql"),
                "",
            )
        };
        let rows = format!(
        "{text};
         INSERT INTO {schema}schema_version (version, compatible_down_to, title, at_ms) VALUES (1, 0, 'foundation', 0);
         INSERT INTO {schema}registered_instance (id, definition, at_ms, router_id, epoch) VALUES ('demo', '{{}}', 1, 'r', 1)"
    );
        execute(&place, &rows).await;
        let report = place.migrate(false).await;
        assert_eq!(
            (report.applied.as_slice(), report.version),
            ([2, 3, 4].as_slice(), SCHEMA_VERSION)
        );
        let store = place.connected().await;
        assert_eq!(store.registered().await.unwrap().len(), 1);
        store.close().await;
        // A program that knows only version 1 reads these two numbers, and serves.
        let compatible = format!(
            "SELECT version, compatible_down_to FROM {schema}schema_version ORDER BY version DESC LIMIT 1"
        );
        assert_eq!(numbers(&place, &compatible).await, [4, 1]);
    }
);

/// Puts a version into the schema, as a later program's migration would.
async fn set_version(place: &Place, version: u32, compatible_down_to: u32) {
    let schema = if place.cluster.is_some() {
        "godot_mcp_router."
    } else {
        ""
    };
    let sql = format!(
        "INSERT INTO {schema}schema_version (version, compatible_down_to, title, at_ms)
         VALUES ({version}, {compatible_down_to}, 'later', 0)"
    );
    execute(place, &sql).await;
}

on_both!(
    a_newer_schema_is_refused_unless_it_says_that_it_is_compatible,
    |place| {
        place.migrate(false).await;
        set_version(&place, SCHEMA_VERSION + 1, SCHEMA_VERSION).await;
        let store = place.connected().await;
        store.audit(row("on a newer schema"));
        flushed(&store).await;
        assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
        // Migrated further under a running router: it notices, and says why it stops writing.
        set_version(&place, SCHEMA_VERSION + 2, SCHEMA_VERSION + 1).await;
        state(&store, "unusable", |state| {
            matches!(state, DatabaseState::Unusable { .. })
        })
        .await;
        store.audit(row("waits in the spool"));
        store.close().await;
        let refused = Store::open(place.options()).await.unwrap_err();
        let newer = SCHEMA_VERSION + 2;
        assert!(
            matches!(refused, StoreError::TooNew { found, .. } if found == newer),
            "{refused:?}"
        );
        assert!(
            refused.to_string().contains("upgrade the program"),
            "{refused}"
        );
        let refused = router_store::migrate(place.migrate_options(false))
            .await
            .unwrap_err();
        assert!(matches!(refused, StoreError::TooNew { .. }), "{refused:?}");
    }
);

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_migrated_while_we_wait_is_noticed() {
    let cluster = std::sync::Arc::new(Cluster::start().unwrap());
    let place = Place::bare(cluster);
    place.cluster().stop().unwrap();
    let store = Store::open(place.options()).await.unwrap();
    store.audit(row("early"));
    place.cluster().start_again().unwrap();
    state(&store, "unusable", |state| {
        matches!(state, DatabaseState::Unusable { .. })
    })
    .await;
    let reason = crate::place::lost(&store).await;
    assert!(reason.contains("godot-mcp-router migrate"), "{reason}");
    place.migrate(false).await;
    connected(&store).await;
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_url_is_an_error_at_once() {
    for url in [
        "postgres://u:p@h/db?port=x",
        "postgres://u:p@h/db?statement-cache-capacity=x",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let parsed = url.parse().unwrap();
        let options = router_store::StoreOptions::new(parsed, dir.path(), "r");
        let refused = Store::open(options).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::Url { .. }),
            "{url}: {refused:?}"
        );
    }
}
