//! What happens to files: a SQLite file that is locked, damaged, removed or unreachable, and a spool that cannot be
//! written or is full.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use router_store::{Store, StoreError};
use router_values::AuditQuery;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::place::{Place, all_rows, connected, flushed, lost, on_both, row, within};

async fn spooled(store: &Store, count: u64) {
    within("facts are on disk", async {
        while store.counters().spooled < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_its_directory_and_the_spool_are_the_owners_alone() {
    let place = Place::sqlite();
    let store = place.connected().await;
    store.audit(row("x"));
    flushed(&store).await;
    let mode = |path: &str| {
        let path = place.dir.path().join(path);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/router.db"), 0o600);
    assert_eq!(mode("data/router.db-wal"), 0o600);
    assert_eq!(mode("data/spool"), 0o700);
    store.close().await;
    assert!(
        !place.dir.path().join("data/router.db-wal").exists(),
        "one file is left"
    );
    let left = std::fs::read_dir(place.dir.path().join("data/spool")).unwrap();
    assert_eq!(left.count(), 0, "an empty spool leaves no file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_process_locks_is_waited_for() {
    let place = Place::sqlite();
    let store = place.connected().await;
    let mut other = SqliteConnection::connect(&place.url).await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    for number in 0..50 {
        store.audit(row(number.to_string()));
    }
    let reason = lost(&store).await;
    assert!(reason.contains("locked"), "{reason}");
    other.execute("ROLLBACK").await.unwrap();
    connected(&store).await;
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 50);
    assert_eq!(store.counters().lost, 0);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named_left_alone_and_replaced_by_a_good_one() {
    let place = Place::sqlite();
    let file = place.dir.path().join("data/router.db");
    std::fs::create_dir(place.dir.path().join("data")).unwrap();
    std::fs::write(
        &file,
        "this is no database, however long one looks at it".repeat(200),
    )
    .unwrap();
    let store = place.open().await;
    let reason = lost(&store).await;
    assert!(
        reason.contains("not a database") && reason.contains("backup"),
        "{reason}"
    );
    store.audit(row("kept meanwhile"));
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with("this is no database")
    );
    let read = store.audit_page(AuditQuery::default()).await;
    assert!(matches!(read, Err(StoreError::Disconnected { .. })));
    std::fs::rename(&file, place.dir.path().join("damaged")).unwrap();
    connected(&store).await;
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_damaged_in_the_middle_of_use_loses_no_later_row() {
    let place = Place::sqlite();
    let store = place.connected().await;
    for number in 0..2_000 {
        store.audit(row(format!("before {number}")));
    }
    store.close().await;
    let file = place.dir.path().join("data/router.db");
    let mut bytes = std::fs::read(&file).unwrap();
    // Every page but the first.
    for byte in bytes.iter_mut().skip(4_096) {
        *byte = 0xa5;
    }
    std::fs::write(&file, bytes).unwrap();
    let store = place.open().await;
    store.audit(row("after"));
    let reason = lost(&store).await;
    assert!(reason.contains("malformed"), "{reason}");
    spooled(&store, 1).await;
    std::fs::remove_file(&file).unwrap();
    connected(&store).await;
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed_under_us_is_noticed_and_begun_anew() {
    let place = Place::sqlite();
    let store = place.connected().await;
    store.audit(row("gone with the file"));
    flushed(&store).await;
    let data = place.dir.path().join("data");
    for name in ["router.db", "router.db-wal", "router.db-shm"] {
        std::fs::rename(data.join(name), data.join(format!("old-{name}"))).unwrap();
    }
    within("a new file", async {
        while store.counters().reconnects == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    store.audit(row("in the new file"));
    flushed(&store).await;
    let kept = all_rows(&store, "instance.restart").await;
    assert_eq!(
        (kept.len(), kept[0].target.as_str()),
        (1, "in the new file")
    );
    assert!(store.state().borrow().is_connected());
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_cannot_be_is_no_reason_not_to_serve() {
    // A read-only file system, a directory where the file should be, a file where the directory should be.
    let place = Place::sqlite();
    std::fs::write(place.dir.path().join("file"), "").unwrap();
    std::fs::create_dir(place.dir.path().join("dir")).unwrap();
    let root = place.dir.path().display();
    for path in [
        "/proc/x/router.db".to_owned(),
        format!("{root}/dir"),
        format!("{root}/file/router.db"),
    ] {
        let mut options = place.options();
        options.url = format!("sqlite://{path}").parse().unwrap();
        let store = Store::open(options).await.unwrap();
        let reason = lost(&store).await;
        assert!(
            !reason.is_empty() && reason != "not tried yet",
            "{path}: {reason}"
        );
        store.audit(row("kept"));
        store.close().await;
    }
    let store = place.connected().await;
    within("what was kept is drained", async {
        while all_rows(&store, "instance.restart").await.len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    store.close().await;
}

on_both!(
    a_spool_that_cannot_be_written_passes_rows_on_from_memory,
    |place| {
        // A file stands where the directory should be.
        std::fs::create_dir_all(place.dir.path().join("elsewhere")).unwrap();
        let data = place.dir.path().join("elsewhere/data");
        std::fs::write(&data, "").unwrap();
        let mut options = place.options();
        options.data_dir = data.clone();
        let store = Store::open(options).await.unwrap();
        connected(&store).await;
        for number in 0..100 {
            store.audit(row(number.to_string()));
        }
        flushed(&store).await;
        assert_eq!(all_rows(&store, "instance.restart").await.len(), 100);
        let counted = store.counters();
        assert_eq!(
            (counted.lost, counted.spooled, counted.waiting),
            (0, 0, 0),
            "{counted:?}"
        );
        // It is written again as soon as it can be.
        std::fs::remove_file(&data).unwrap();
        store.audit(row("on disk again"));
        spooled(&store, 1).await;
        flushed(&store).await;
        assert!(crate::place::logs().contains("spool not writable"));
        store.close().await;
    }
);

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_is_loud_and_keeps_what_it_has() {
    let place = Place::own_postgres().await;
    place.cluster().stop().unwrap();
    let mut options = place.options();
    options.spool_bytes_max = 40_000;
    let store = Store::open(options).await.unwrap();
    for number in 0..1_000 {
        store.audit(row(format!("full-{number}-")));
        // One at a time: the bound is checked per write, and a write takes all that waits.
        if number < 150 {
            spooled_or_lost(&store, number + 1).await;
        }
    }
    spooled_or_lost(&store, 1_000).await;
    let counted = store.counters();
    assert!(counted.lost > 0 && counted.spooled > 50, "{counted:?}");
    assert_eq!(counted.lost + counted.spooled, 1_000, "{counted:?}");
    let logged = crate::place::logs();
    let lines = logged.lines().filter(|line| {
        line.contains("ERROR") && line.contains("fact lost") && line.contains("full-")
    });
    assert_eq!(
        lines.count() as u64,
        counted.lost,
        "each lost row stands in the log"
    );
    place.cluster().start_again().unwrap();
    connected(&store).await;
    flushed(&store).await;
    store.audit(row("room again"));
    flushed(&store).await;
    let kept = all_rows(&store, "instance.restart").await;
    assert_eq!(kept.len() as u64, counted.spooled + 1);
    assert_eq!(
        kept.last().unwrap().target,
        "full-0-",
        "the oldest are kept"
    );
    store.close().await;
}

async fn spooled_or_lost(store: &Store, count: u64) {
    within("facts are on disk or lost", async {
        while store.counters().spooled + store.counters().lost < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

on_both!(
    a_spool_with_foreign_and_torn_lines_is_drained_around_them,
    |place| {
        let spool = place.dir.path().join("data/spool");
        std::fs::create_dir_all(&spool).unwrap();
        let line = |number: u32| {
            serde_json::json!({
            "kind": "audit", "id": format!("id{number}"), "at_ms": 1_767_225_600_000_u64, "actor": "a", "role": "",
            "action": "left.behind", "target": number.to_string(), "from_address": "", "result": "ok", "detail": "",
            "router_id": "r", "epoch": 1
        })
        .to_string()
        };
        // The second file repeats a row of the first, as after a kill between database and removal.
        let first = format!(
            "{}\nno fact\n\u{0}\n{}\n{{\"kind\":\"audit\",\"id\":\"torn",
            line(1),
            line(2)
        );
        let second = format!("{}\n{}\n", line(2), line(3));
        std::fs::write(spool.join("facts-00000000000000000007.jsonl"), first).unwrap();
        std::fs::write(spool.join("facts-00000000000000000011.jsonl"), second).unwrap();
        std::fs::write(spool.join("facts-00000000000000000009.jsonl"), "").unwrap();
        let mut options = place.options();
        options.audit_retention_days = 0;
        let store = Store::open(options).await.unwrap();
        connected(&store).await;
        store.audit(row("own"));
        flushed(&store).await;
        let kept: Vec<String> = all_rows(&store, "left.behind")
            .await
            .into_iter()
            .rev()
            .map(|row| row.target)
            .collect();
        assert_eq!(kept, ["1", "2", "3"]);
        let counted = store.counters();
        assert_eq!(
            (counted.torn, counted.rejected, counted.lost),
            (1, 2, 0),
            "{counted:?}"
        );
        assert_eq!((counted.drained, counted.waiting), (4, 0), "{counted:?}");
        store.close().await;
        let left: Vec<_> = std::fs::read_dir(&spool)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["rejected.jsonl"]);
    }
);
