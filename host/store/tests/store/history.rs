//! The history: what is kept, how it is read, what it gives way to, and where it ends.

use router_store::Store;
use router_values::{EventPosition, HistoryQuery, HistoryRow};

use crate::place::{Place, all_rows, connected, execute, flushed, numbers, on_both, row, within};

fn happened(instance: &str, to: &str) -> HistoryRow {
    HistoryRow {
        axis: "lifecycle".into(),
        instance: instance.into(),
        slot: Some(0),
        run: Some(12),
        from: "ready".into(),
        to: to.into(),
        reason: "the policy strict asked for a recycle".into(),
        ..HistoryRow::default()
    }
}

async fn page(store: &Store, query: HistoryQuery) -> Vec<HistoryRow> {
    store.history_page(query).await.unwrap()
}

on_both!(
    what_happened_is_kept_in_order_and_outlives_the_router,
    |place| {
        let store = place.connected().await;
        let given = store.record_history(happened("demo", "draining"));
        assert_eq!((given.epoch, given.sequence), (7, 1));
        let plugin = HistoryRow {
            axis: "plugin".into(),
            subject: "stri\0ct".into(),
            to: "serving".into(),
            ..HistoryRow::default()
        };
        store.record_history(plugin);
        store.record_history(happened("maze", "idle"));
        store.close().await;

        let mut options = place.options();
        options.epoch = 8;
        let store = Store::open(options).await.unwrap();
        connected(&store).await;
        store.record_history(happened("demo", "starting"));
        let all = page(&store, HistoryQuery::default()).await;
        let positions: Vec<String> = all.iter().map(|row| row.position().to_string()).collect();
        assert_eq!(positions, ["8-1", "7-3", "7-2", "7-1"]);
        let first = HistoryRow {
            seq: all[3].seq,
            ..given
        };
        assert_eq!(all[3], first, "a row reads back as it was given");
        assert_eq!((all[2].slot, all[2].run), (None, None));
        assert_eq!(all[2].subject, "stri\u{fffd}ct");

        let query = HistoryQuery {
            instance: Some("demo".into()),
            ..HistoryQuery::default()
        };
        assert_eq!(page(&store, query).await.len(), 2);
        let query = HistoryQuery {
            axis: Some("plugin".into()),
            ..HistoryQuery::default()
        };
        assert_eq!(page(&store, query).await.len(), 1);
        let query = HistoryQuery {
            since_ms: Some(all[0].at_ms),
            limit: Some(1),
            ..HistoryQuery::default()
        };
        assert_eq!(page(&store, query).await, all[..1]);
        let query = HistoryQuery {
            before: Some(all[1].seq),
            limit: Some(1),
            ..HistoryQuery::default()
        };
        assert_eq!(page(&store, query).await, all[2..3]);

        let after = |sequence, rows_max| {
            let position = EventPosition { epoch: 7, sequence };
            store.history_after(position, rows_max)
        };
        let oldest_first: Vec<HistoryRow> = all.iter().rev().cloned().collect();
        assert_eq!(after(0, 9).await.unwrap(), oldest_first);
        assert_eq!(after(1, 2).await.unwrap(), oldest_first[1..3]);
        assert_eq!(after(3, 9).await.unwrap(), oldest_first[3..]);
        store.close().await;
    }
);

on_both!(only_the_events_of_this_router_follow_one, |place| {
    let mut options = place.options();
    options.router_id = "another".into();
    let another = Store::open(options).await.unwrap();
    connected(&another).await;
    another.record_history(happened("theirs", "idle"));
    another.close().await;
    let store = place.connected().await;
    store.record_history(happened("ours", "idle"));
    let position = EventPosition {
        epoch: 0,
        sequence: 0,
    };
    let after = store.history_after(position, 9).await.unwrap();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].instance, "ours");
    // The history itself is that of all who share the database.
    assert_eq!(page(&store, HistoryQuery::default()).await.len(), 2);
    store.close().await;
});

on_both!(what_is_past_its_time_or_one_too_many_is_deleted, |place| {
    let place_rows = |count: u32| {
        let schema = place.cluster.as_ref().map_or("", |_| "godot_mcp_router.");
        let numbers = match place.cluster {
            Some(_) => format!("generate_series(1, {count}) AS numbers (n)"),
            None => format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count}) \
                 SELECT n FROM numbers)"
            ),
        };
        format!(
            "INSERT INTO {schema}history (id, at_ms, axis, instance, subject, from_state, to_state, reason, detail, router_id, \
             epoch, sequence) SELECT 'old' || n, CASE WHEN n <= 3000 THEN 1000 ELSE 4000000000000 END, 'health', 'demo', '', '', \
             '', '', '', 'r', 1, n FROM {numbers}"
        )
    };
    if place.cluster.is_none() {
        // Migrated by its first store.
        place.connected().await.close().await;
    }
    execute(&place, &place_rows(6_000)).await;
    let mut options = place.options();
    options.history_rows_max = 2_000;
    let store = Store::open(options).await.unwrap();
    let schema = place.cluster.as_ref().map_or("", |_| "godot_mcp_router.");
    let counted = format!("SELECT count(*) FROM {schema}history");
    within("the youngest rows to be left", async {
        while numbers(&place, &counted).await != [2_000] {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    let oldest = format!("SELECT min(sequence) FROM {schema}history");
    assert_eq!(numbers(&place, &oldest).await, [4_001]);
    store.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn it_leaves_half_of_the_spool_to_the_audit() {
    let place = Place::own_postgres().await;
    place.cluster().stop().unwrap();
    let mut options = place.options();
    options.spool_bytes_max = 200_000;
    let store = Store::open(options).await.unwrap();
    within("the history to be left out", async {
        while store.counters().left_out < 10 {
            store.record_history(happened("demo", "idle"));
            // Each fact alone: the bound is looked at before it is taken.
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
    })
    .await;
    let kept = store.counters().spooled;
    for number in 0..100 {
        store.audit(row(format!("room-{number}")));
    }
    within("the audit on disk", async {
        while store.counters().spooled < kept + 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let counted = store.counters();
    assert_eq!(counted.lost, 0, "{counted:?}");
    assert!(kept > 100, "{counted:?}");
    place.cluster().start_again().unwrap();
    connected(&store).await;
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 100);
    // There is room again.
    let later = store.record_history(happened("demo", "ready"));
    let newest = page(&store, HistoryQuery::default()).await;
    assert_eq!(newest[0].sequence, later.sequence);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_to_it_holds_no_audit_up() {
    let place = Place::postgres().await;
    place.cluster().create_role("recent", "r").unwrap();
    place.query(&router_store::serving_grants("recent"));
    place.query("REVOKE INSERT ON godot_mcp_router.history FROM recent");
    let mut options = place.options();
    options.url = place
        .cluster()
        .role_url("recent", "r", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    store.record_history(happened("demo", "idle"));
    store.audit(row("demo"));
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 1);
    let counted = store.counters();
    assert_eq!(
        (counted.left_out, counted.lost, counted.rejected),
        (1, 0, 0)
    );
    assert!(crate::place::logs().contains("history not kept: if a right is missing"));
    store.close().await;
}
