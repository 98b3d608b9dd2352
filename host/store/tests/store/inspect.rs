//! The inspection of a database says what serving would do, and leaves everything as it was.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use router_store::{Inspection, SCHEMA_VERSION, Schema, Store, StoreError, inspect};
use router_test_postgres::Cluster;
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection};

use crate::place::{PATIENCE, Place, flushed, row};

async fn inspected(place: &Place) -> Inspection {
    let url = place.url.parse().unwrap();
    inspect(&url, None, Some("godot_versions"), PATIENCE)
        .await
        .unwrap()
}

/// Every file below a directory, with its bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path.display().to_string(), bytes);
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_not_made() {
    let place = Place::sqlite();
    let seen = inspected(&place).await;
    assert!(matches!(seen.schema, Schema::WillBeMade), "{seen:?}");
    assert_eq!(seen.database, place.url);
    assert_eq!(seen.versions, None);
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_left_as_it_is_whether_somebody_has_it_open_or_not() {
    let place = Place::sqlite();
    place.migrate(true).await;
    let store = place.connected().await;
    store.audit(row("x"));
    flushed(&store).await;
    let seen_at = async || {
        let mut direct = SqliteConnection::connect(&place.url).await.unwrap();
        let rows = direct
            .fetch_all("SELECT router_id, epoch, seen_at_ms FROM router")
            .await
            .unwrap();
        let count = direct
            .fetch_one("SELECT count(*) FROM audit")
            .await
            .unwrap();
        direct.close().await.unwrap();
        let routers: Vec<(String, i64, i64)> = rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect();
        (routers, count.get::<i64, _>(0))
    };
    let before = seen_at().await;
    let seen = inspected(&place).await;
    assert!(
        matches!(seen.schema, Schema::Usable { version } if version == SCHEMA_VERSION),
        "{seen:?}"
    );
    assert_eq!(seen.versions.as_deref(), Some("\"godot_versions\""));
    assert_eq!(seen_at().await, before);
    store.close().await;
    let before = files(place.dir.path());
    let seen = inspected(&place).await;
    assert!(matches!(seen.schema, Schema::Usable { .. }), "{seen:?}");
    assert_eq!(files(place.dir.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_said_and_left_alone() {
    let place = Place::sqlite();
    let file = place.dir.path().join("data/router.db");
    std::fs::create_dir(place.dir.path().join("data")).unwrap();
    std::fs::write(
        &file,
        "this is no database, however often it is read".repeat(200),
    )
    .unwrap();
    let before = files(place.dir.path());
    let url = place.url.parse().unwrap();
    let refused = inspect(&url, None, None, PATIENCE).await.unwrap_err();
    assert!(refused.to_string().contains("not a database"), "{refused}");
    assert_eq!(files(place.dir.path()), before);
    std::fs::write(&file, "").unwrap();
    let seen = inspected(&place).await;
    assert!(matches!(seen.schema, Schema::WillBeMade), "{seen:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_recognised_by_its_schema_and_gets_no_row() {
    let place = Place::bare(Cluster::shared().unwrap());
    let seen = inspected(&place).await;
    assert!(
        matches!(
            seen.schema,
            Schema::Unusable(StoreError::Unmigrated { found: 0, .. })
        ),
        "{seen:?}"
    );
    let schemas = "SELECT count(*) FROM pg_namespace WHERE nspname = 'godot_mcp_router'";
    assert_eq!(place.query(schemas), "0");
    place.migrate(true).await;
    let seen = inspected(&place).await;
    assert!(matches!(seen.schema, Schema::Usable { .. }), "{seen:?}");
    assert_eq!(seen.versions.as_deref(), Some("public.godot_versions"));
    assert_eq!(
        place.query("SELECT count(*) FROM godot_mcp_router.router"),
        "0"
    );
    let newer = format!(
        "INSERT INTO godot_mcp_router.schema_version VALUES ({}, {}, 'later', 0)",
        SCHEMA_VERSION + 2,
        SCHEMA_VERSION + 1
    );
    place.query(&newer);
    let seen = inspected(&place).await;
    assert!(
        matches!(seen.schema, Schema::Unusable(StoreError::TooNew { .. })),
        "{seen:?}"
    );
    assert!(Store::open(place.options()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_not_waited_for() {
    let place = Place::own_postgres().await;
    let url = place.url.parse().unwrap();
    place.cluster().freeze().unwrap();
    let started = Instant::now();
    let refused = inspect(&url, None, None, Duration::from_millis(300)).await;
    assert!(
        matches!(refused, Err(StoreError::TimedOut { .. })),
        "{refused:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
    place.cluster().thaw().unwrap();
    place.cluster().stop().unwrap();
    let refused = inspect(&url, None, None, PATIENCE).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Disconnected { .. }),
        "{refused:?}"
    );
}
