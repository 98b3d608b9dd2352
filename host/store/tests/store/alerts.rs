//! Alerts and deliveries: rows are there once and as they were last, in whatever order and however often they are brought; how they
//! are read; what they wait for, and where they end.

use router_store::Store;
use router_values::{AlertQuery, AlertRow, DeliveryRecord, RowVersion};

use crate::place::{Place, connected, execute, logs, numbers, on_both, within};

fn version(sequence: i64) -> RowVersion {
    RowVersion { epoch: 7, sequence }
}

fn firing(alert: &str, firing: i64, sequence: i64) -> AlertRow {
    AlertRow {
        alert: alert.into(),
        firing,
        key: format!("crash-loop:{alert}"),
        rule: "default-alerts".into(),
        name: "InstanceCrashLoop".into(),
        severity: "P2".into(),
        instance: "demo".into(),
        summary: "demo is in its crash loop".into(),
        attributes: "{}".into(),
        state: "firing".into(),
        since_ms: 1_000,
        fired_ms: 2_000,
        at_ms: 4_000_000_000_000,
        version: version(sequence),
        ..AlertRow::default()
    }
}

fn resolved(row: AlertRow, sequence: i64) -> AlertRow {
    AlertRow {
        state: "resolved".into(),
        acknowledged_by: "alice".into(),
        acknowledged_ms: Some(2_500),
        resolved_ms: Some(3_000),
        resolved_because: "the condition is gone".into(),
        story: r#"[{"at_ms":3000,"what":"unmuted"}]"#.into(),
        version: version(sequence),
        ..row
    }
}

fn delivery(id: &str, outcome: &str, sequence: i64) -> DeliveryRecord {
    DeliveryRecord {
        id: id.into(),
        alert: "a".into(),
        firing: 1,
        step: 1,
        sink: "oncall".into(),
        occasion: "firing".into(),
        severity: "P2".into(),
        decided_ms: 2_000,
        outcome: outcome.into(),
        at_ms: 4_000_000_000_000,
        version: version(sequence),
        ..DeliveryRecord::default()
    }
}

async fn past(store: &Store, query: AlertQuery) -> Vec<AlertRow> {
    let query = AlertQuery {
        rows_max: query.rows_max.max(1),
        ..query
    };
    store.alerts_page(query).await.unwrap().rows
}

on_both!(a_row_is_there_once_and_as_it_was_last, |place| {
    let store = place.connected().await;
    let first = firing("a", 1, 1);
    let over = resolved(first.clone(), 5);
    store.put_alerts(std::slice::from_ref(&first), &[]).await;
    let open = store.alert("a", None).await.unwrap().unwrap();
    assert_eq!((open.state.as_str(), open.resolved_ms), ("firing", None));
    assert!(past(&store, AlertQuery::default()).await.is_empty());
    // Again, and then the earlier version after the later one, as a statement that was given up may still be carried out.
    for row in [&first, &over, &over, &first] {
        store.put_alerts(std::slice::from_ref(row), &[]).await;
    }
    let read = past(&store, AlertQuery::default()).await;
    let expected = AlertRow {
        seq: read[0].seq,
        router_id: "router-under-test".into(),
        ..over.clone()
    };
    assert_eq!(read, [expected], "a row reads back as it was given");
    // A later life of the router counts from one again.
    let later = AlertRow {
        summary: "nul \0".into(),
        version: RowVersion {
            epoch: 8,
            sequence: 1,
        },
        ..over
    };
    store.put_alerts(&[later], &[]).await;
    let read = store.alert("a", Some(1)).await.unwrap().unwrap();
    assert_eq!(read.summary, "nul \u{fffd}");
    assert!(store.alert("a", Some(2)).await.unwrap().is_none());
    store.close().await;
});

on_both!(what_is_over_is_listed_and_counted, |place| {
    let store = place.connected().await;
    let other = AlertRow {
        severity: "P1".into(),
        instance: String::new(),
        ..firing("b", 1, 3)
    };
    let rows = [
        resolved(firing("a", 1, 1), 1),
        resolved(firing("a", 2, 2), 2),
        resolved(other, 3),
        firing("a", 3, 4),
    ];
    store.put_alerts(&rows, &[]).await;
    let ids = |rows: &[AlertRow]| -> Vec<(String, i64)> {
        let ids = rows.iter().map(|row| (row.alert.clone(), row.firing));
        ids.collect()
    };
    let query = AlertQuery {
        rows_max: 2,
        ..AlertQuery::default()
    };
    let page = store.alerts_page(query.clone()).await.unwrap();
    assert_eq!(page.total, 3);
    assert_eq!(ids(&page.rows), [("b".into(), 1), ("a".into(), 2)]);
    let next = AlertQuery {
        before: Some(page.rows[1].seq),
        ..query
    };
    assert_eq!(ids(&past(&store, next).await), [("a".into(), 1)]);
    let query = AlertQuery {
        rows_max: 9,
        severity: Some("P2".into()),
        instance: Some("demo".into()),
        ..AlertQuery::default()
    };
    let page = store.alerts_page(query).await.unwrap();
    assert_eq!((page.total, page.rows.len()), (2, 2));
    assert_eq!(store.alert("a", None).await.unwrap().unwrap().firing, 3);
    assert_eq!(store.alerts_firing_max().await.unwrap(), 3);
    store.close().await;
});

on_both!(a_delivery_has_its_attempts_and_the_last_answer, |place| {
    let store = place.connected().await;
    let sending = DeliveryRecord {
        attempts: 1,
        first_attempt_ms: Some(10),
        last_attempt_ms: Some(10),
        ..delivery("a-1-1-x", "sending", 1)
    };
    let failed = DeliveryRecord {
        attempts: 1,
        answer: "429 \0 slow down".into(),
        ..delivery("a-1-1-x", "failed", 2)
    };
    let again = DeliveryRecord {
        attempts: 2,
        first_attempt_ms: Some(90),
        last_attempt_ms: Some(90),
        ..delivery("a-1-1-x", "sending", 3)
    };
    let delivered = DeliveryRecord {
        attempts: 2,
        ..delivery("a-1-1-x", "delivered", 4)
    };
    for row in [&sending, &failed, &again, &delivered, &failed] {
        store.put_alerts(&[], std::slice::from_ref(row)).await;
    }
    store
        .put_alerts(
            &[firing("a", 1, 9)],
            &[delivery("a-1-2-x", "dead_letter", 5)],
        )
        .await;
    let ids = ["a-1-2-x", "a-1-1-x", "nothing"].map(str::to_owned);
    let read = store.deliveries(("b", 1), &ids).await.unwrap();
    let led = store.deliveries(("a", 1), &[]).await.unwrap();
    assert_eq!(led, read, "by what they are about");
    assert!(store.deliveries(("a", 2), &[]).await.unwrap().is_empty());
    let expected = DeliveryRecord {
        attempts: 2,
        first_attempt_ms: Some(10),
        last_attempt_ms: Some(90),
        answer: "429 \u{fffd} slow down".into(),
        router_id: "router-under-test".into(),
        ..delivered
    };
    assert_eq!(read[0], expected);
    assert_eq!((read.len(), read[1].outcome.as_str()), (2, "dead_letter"));
    store.close().await;
});

on_both!(another_router_has_rows_of_its_own, |place| {
    let store = place.connected().await;
    store.put_alerts(&[firing("a", 1, 4)], &[]).await;
    let mut options = place.options();
    options.router_id = "another".into();
    let another = Store::open(options).await.unwrap();
    connected(&another).await;
    another
        .put_alerts(&[resolved(firing("a", 1, 1), 1)], &[])
        .await;
    assert_eq!(
        store.alert("a", None).await.unwrap().unwrap().state,
        "firing"
    );
    let theirs = another.alert("a", None).await.unwrap().unwrap();
    assert_eq!(theirs.state, "resolved");
    assert_eq!(past(&store, AlertQuery::default()).await, [theirs]);
    // Numbers are those of all: receivers know an alert by the same key, whichever router sends it.
    another.put_alerts(&[firing("b", 9, 2)], &[]).await;
    assert_eq!(store.alerts_firing_max().await.unwrap(), 9);
    store.close().await;
    another.close().await;
});

on_both!(what_is_past_its_time_or_one_too_many_is_deleted, |place| {
    let store = place.connected().await;
    let mut alerts = Vec::new();
    let mut deliveries = Vec::new();
    for number in 0..1_500 {
        let at_ms = if number < 600 {
            1_000
        } else {
            4_000_000_000_000
        };
        alerts.push(AlertRow {
            at_ms,
            ..firing("a", number + 1, number + 1)
        });
        deliveries.push(DeliveryRecord {
            at_ms,
            ..delivery(&format!("a-{number}"), "delivered", number + 1)
        });
    }
    store.put_alerts(&alerts, &deliveries).await;
    // Brought up to date: on Postgres each takes a number, which must not make fewer rows of the most.
    store.put_alerts(&alerts, &deliveries).await;
    store.close().await;
    let mut options = place.options();
    options.alert_rows_max = 200;
    options.delivery_rows_max = 300;
    let store = Store::open(options).await.unwrap();
    let schema = place.cluster.as_ref().map_or("", |_| "godot_mcp_router.");
    let counted = format!(
        "SELECT (SELECT count(*) FROM {schema}alert), (SELECT min(firing) FROM {schema}alert), \
         (SELECT count(*) FROM {schema}delivery)"
    );
    within("the latest rows to be left", async {
        while numbers(&place, &counted).await != [200, 1_301, 300] {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    store.close().await;
});

on_both!(one_that_is_poison_costs_no_other_its_place, |place| {
    let store = place.connected().await;
    let table = if place.cluster.is_some() {
        "ALTER TABLE godot_mcp_router.alert ADD CHECK (name <> 'poison')"
    } else {
        "CREATE TRIGGER poison BEFORE INSERT ON alert WHEN NEW.name = 'poison' \
         BEGIN SELECT RAISE(ABORT, 'poison'); END"
    };
    execute(&place, table).await;
    let poison = AlertRow {
        name: "poison".into(),
        ..firing("b", 1, 2)
    };
    let rows = [firing("a", 1, 1), poison, firing("c", 1, 3)];
    store
        .put_alerts(&rows, &[delivery("a-1-1-x", "delivered", 4)])
        .await;
    assert!(store.alert("a", None).await.unwrap().is_some());
    assert!(store.alert("b", None).await.unwrap().is_none());
    assert!(store.alert("c", None).await.unwrap().is_some());
    assert_eq!(store.deliveries(("a", 1), &[]).await.unwrap().len(), 1);
    assert_eq!(store.counters().rejected, 1);
    store.close().await;
});

#[tokio::test(flavor = "multi_thread")]
async fn rows_wait_for_a_right_that_is_missing_and_for_a_database_that_is_away() {
    let place = Place::own_postgres().await;
    place.cluster().create_role("recent", "r").unwrap();
    place.query(&router_store::serving_grants("recent"));
    place.query("REVOKE INSERT ON godot_mcp_router.alert FROM recent");
    let mut options = place.options();
    options.url = place
        .cluster()
        .role_url("recent", "r", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    let putting = tokio::spawn({
        let store = store.clone();
        async move { store.put_alerts(&[firing("a", 1, 1)], &[]).await }
    });
    within("the log", async {
        while !logs().contains("alerts wait in their journal") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    place.cluster().stop().unwrap();
    assert!(!putting.is_finished());
    place.cluster().start_again().unwrap();
    place.query("GRANT INSERT ON godot_mcp_router.alert TO recent");
    within("the row", putting).await.unwrap();
    assert!(store.alert("a", None).await.unwrap().is_some());
    let counted = store.counters();
    assert_eq!((counted.rejected, counted.left_out), (0, 0), "{counted:?}");
    store.close().await;
}
