//! The database away: down at the start, stopped, frozen, refusing, read-only, its backends terminated. Nothing hangs,
//! nothing is lost, and it comes back by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use router_core::InstanceId;
use router_store::{CrashEvidence, DatabaseState, Store, StoreError, StoreOptions};
use router_test_postgres::{Cluster, ClusterOptions};
use router_values::AuditQuery;
use serde_json::json;

use crate::place::{PATIENCE, Place, all_rows, connected, flushed, lost, row, within};

/// No call may take longer, whatever the database does: a wait for a connection, a statement, the way there and back.
const CALL_MAX: Duration = Duration::from_secs(12);

/// Short enough for a test, long enough for a loaded machine.
fn options(place: &Place) -> StoreOptions {
    let mut options = place.options();
    options.acquire_timeout = Duration::from_secs(3);
    options.query_timeout = Duration::from_secs(5);
    options
}

fn demo() -> InstanceId {
    InstanceId::parse("demo").unwrap()
}

/// How many calls there are.
const CALLS: usize = 10;

/// Every call there is, each within its bound. Those that answered with an error.
async fn call_everything(store: &Store) -> Vec<StoreError> {
    async fn bounded<T>(call: impl Future<Output = Result<T, StoreError>>) -> Option<StoreError> {
        let started = Instant::now();
        let error = call.await.err();
        let took = started.elapsed();
        assert!(took < CALL_MAX, "a call took {took:?}");
        error
    }
    let (id, value) = (demo(), json!({}));
    let errors = tokio::join!(
        bounded(store.audit_page(AuditQuery::default())),
        bounded(store.registered()),
        bounded(store.unregister(&id)),
        bounded(store.intentions()),
        bounded(store.crashes(&id, 5)),
        bounded(store.kv_get("p", "k")),
        bounded(store.kv_put("p", "k", b"v")),
        bounded(store.kv_delete("p", "k")),
        bounded(store.kv_list("p", "")),
    );
    let registering = bounded(store.register(&id, &value)).await;
    let errors: [Option<StoreError>; CALLS - 1] = errors.into();
    errors.into_iter().chain([registering]).flatten().collect()
}

/// Facts of every kind, without waiting for any.
fn tell(store: &Store, from: u32, to: u32) {
    for number in from..to {
        store.audit(row(number.to_string()));
    }
    let evidence = json!({ "from": from });
    store.record_crash(&CrashEvidence {
        id: demo(),
        evidence,
    });
    store.set_intention(&demo(), true);
}

/// Every row once, in the order in which it was audited.
async fn all_stored(store: &Store, count: u32) {
    flushed(store).await;
    let rows = all_rows(store, "instance.restart").await;
    let targets: Vec<u32> = rows
        .iter()
        .rev()
        .map(|row| row.target.parse().unwrap())
        .collect();
    assert_eq!(targets, (0..count).collect::<Vec<_>>());
    let counted = store.counters();
    assert_eq!(
        (counted.lost, counted.rejected, counted.waiting),
        (0, 0, 0),
        "{counted:?}"
    );
}

async fn answers(store: &Store) {
    let errors = call_everything(store).await;
    assert!(errors.is_empty(), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn started_with_the_database_down_it_serves_and_connects_by_itself() {
    let place = Place::own_postgres().await;
    place.cluster().stop().unwrap();
    let store = within("open", Store::open(options(&place))).await.unwrap();
    let reason = lost(&store).await;
    assert!(reason.contains("refused"), "{reason}");
    let started = Instant::now();
    let errors = call_everything(&store).await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "reads answer at once"
    );
    assert_eq!(errors.len(), CALLS);
    for error in errors {
        assert!(
            matches!(error, StoreError::Disconnected { .. }),
            "{error:?}"
        );
    }
    tell(&store, 0, 500);
    store.clear_state(&demo());
    within("facts are on disk", async {
        loop {
            let counted = store.counters();
            assert_eq!(counted.spooled, counted.waiting, "{counted:?}");
            if counted.spooled == 503 {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    place.cluster().start_again().unwrap();
    connected(&store).await;
    all_stored(&store, 500).await;
    answers(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_over_a_restart_of_the_router_is_drained_by_the_next_life() {
    let place = Place::own_postgres().await;
    place.cluster().stop().unwrap();
    for life in 0..3 {
        let store = Store::open(options(&place)).await.unwrap();
        tell(&store, life * 100, (life + 1) * 100);
        store.close().await;
    }
    place.cluster().start_again().unwrap();
    let store = place.connected().await;
    within("the spool is empty", async {
        while store.counters().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    all_stored(&store, 300).await;
    assert_eq!(store.crashes(&demo(), 20).await.unwrap().len(), 3);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_decided_while_the_database_was_away_is_known_before_the_next_life_asks() {
    use sqlx::{Connection as _, Executor as _};
    let place = Place::own_postgres().await;
    let store = place.connected().await;
    store.set_intention(&demo(), true);
    flushed(&store).await;
    place.cluster().stop().unwrap();
    lost(&store).await;
    for number in 0..500 {
        store.audit(row(number.to_string()));
    }
    store.set_intention(&demo(), false);
    store.close().await;
    place.cluster().start_again().unwrap();
    // Rows that take their time hold up what is behind them.
    let mut locker = sqlx::PgConnection::connect(&place.url).await.unwrap();
    locker
        .execute("BEGIN; LOCK TABLE godot_mcp_router.audit")
        .await
        .unwrap();
    let store = place.connected().await;
    assert!(!store.flush(Duration::from_millis(300)).await);
    let stale = store.intentions().await.unwrap();
    assert_eq!(stale.len(), 1, "which the caller knows");
    locker.execute("ROLLBACK").await.unwrap();
    flushed(&store).await;
    assert_eq!(store.intentions().await.unwrap(), []);
    all_stored(&store, 500).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_was_cleared_while_the_database_was_away_does_not_come_back() {
    let place = Place::own_postgres().await;
    let store = place.connected().await;
    let crash = |store: &Store, number: u32| {
        let evidence = json!({ "exitCode": number });
        store.record_crash(&CrashEvidence {
            id: demo(),
            evidence,
        });
    };
    crash(&store, 1);
    flushed(&store).await;
    place.cluster().stop().unwrap();
    lost(&store).await;
    crash(&store, 2);
    store.clear_state(&demo());
    crash(&store, 3);
    store.close().await;
    place.cluster().start_again().unwrap();
    let store = place.connected().await;
    flushed(&store).await;
    let kept = store.crashes(&demo(), 20).await.unwrap();
    assert_eq!((kept.len(), &kept[0].evidence["exitCode"]), (1, &json!(3)));
    store.close().await;
}

/// Harms the database while facts are reported and everything is called, and heals it.
async fn under_load(place: &Place, harm: impl FnOnce(&Cluster), heal: impl FnOnce(&Cluster)) {
    let store = Store::open(options(place)).await.unwrap();
    connected(&store).await;
    tell(&store, 0, 200);
    harm(place.cluster());
    tell(&store, 200, 400);
    // In flight while it is being noticed: these must end too.
    call_everything(&store).await;
    let reason = lost(&store).await;
    let started = Instant::now();
    let errors = call_everything(&store).await;
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "reads answer at once"
    );
    assert_eq!(errors.len(), CALLS, "{reason}");
    tell(&store, 400, 600);
    heal(place.cluster());
    connected(&store).await;
    tell(&store, 600, 800);
    all_stored(&store, 800).await;
    answers(&store).await;
    assert!(store.counters().reconnects >= 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_hangs_nobody() {
    let place = Place::own_postgres().await;
    under_load(&place, |it| it.freeze().unwrap(), |it| it.thaw().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_costs_nothing_but_waiting() {
    let place = Place::own_postgres().await;
    under_load(
        &place,
        |it| it.stop().unwrap(),
        |it| it.start_again().unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_refuses_us_costs_nothing_but_waiting() {
    let place = Place::own_postgres().await;
    under_load(&place, |it| it.refuse().unwrap(), |it| it.admit().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_made_read_only_is_away_until_it_takes_writes() {
    let place = Place::own_postgres().await;
    let set = |it: &Cluster, value: &str| {
        let sql = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        // As the superuser's own session reads it too, it says for itself that it writes.
        it.query("postgres", &sql).unwrap();
        it.query("postgres", "SELECT pg_reload_conf()").unwrap();
        it.terminate_backends("godot-mcp-router").unwrap();
    };
    under_load(&place, |it| set(it, "on"), |it| set(it, "off")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_does_not_hold_up_an_open_or_an_end() {
    let place = Place::own_postgres().await;
    let running = Store::open(options(&place)).await.unwrap();
    connected(&running).await;
    place.cluster().freeze().unwrap();
    tell(&running, 0, 10);
    let started = Instant::now();
    running.close().await;
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let started = Instant::now();
    let store = Store::open(options(&place)).await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    let reason = lost(&store).await;
    assert!(reason.contains("did not answer"), "{reason}");
    place.cluster().thaw().unwrap();
    connected(&store).await;
    within("the spool is empty", async {
        while store.counters().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    all_stored(&store, 10).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_distinguished() {
    let options_of_server = ClusterOptions {
        max_connections: 20,
        ..ClusterOptions::default()
    };
    let place = Place::bare(Arc::new(Cluster::with(options_of_server).unwrap()));
    place.migrate(false).await;
    place.cluster().create_role("filler", "f").unwrap();
    place.cluster().create_role("router", "r").unwrap();
    place.query(&router_store::serving_grants("router"));
    use sqlx::Connection as _;
    let mut fillers = Vec::new();
    let url = place.cluster().role_url("filler", "f", &place.database);
    while let Ok(filler) = sqlx::PgConnection::connect(&url).await {
        fillers.push(filler);
    }
    let mut options = options(&place);
    options.url = place
        .cluster()
        .role_url("router", "r", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    let reason = lost(&store).await;
    assert!(reason.contains("53300"), "{reason}");
    drop(fillers);
    connected(&store).await;
    answers(&store).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminated_backends_cost_no_call_and_no_fact() {
    let place = Place::own_postgres().await;
    let store = Store::open(options(&place)).await.unwrap();
    connected(&store).await;
    let ended = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU32::new(0));
    let callers: Vec<_> = (0..6)
        .map(|caller| {
            let (store, ended, calls) = (store.clone(), Arc::clone(&ended), Arc::clone(&calls));
            tokio::spawn(async move {
                while !ended.load(Ordering::Relaxed) {
                    let (key, value) = (
                        format!("k{caller}"),
                        calls.load(Ordering::Relaxed).to_be_bytes(),
                    );
                    store.kv_put("p", &key, &value).await.unwrap();
                    assert_eq!(store.kv_get("p", &key).await.unwrap().unwrap(), value);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut terminated = 0;
    for round in 0..20 {
        tell(&store, round * 50, (round + 1) * 50);
        terminated += place
            .cluster()
            .terminate_backends("godot-mcp-router")
            .unwrap();
        let before = calls.load(Ordering::Relaxed);
        within("calls go on", async {
            while calls.load(Ordering::Relaxed) < before + 12 {
                tokio::task::yield_now().await;
                if callers.iter().any(tokio::task::JoinHandle::is_finished) {
                    return;
                }
            }
        })
        .await;
    }
    ended.store(true, Ordering::Relaxed);
    for caller in callers {
        within("a caller", caller).await.unwrap();
    }
    assert!(
        terminated >= 20,
        "only {terminated} backends were terminated"
    );
    assert!(
        store.state().borrow().is_connected(),
        "it was never announced as lost"
    );
    all_stored(&store, 1_000).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_holds_rows_back_until_it_is_given() {
    let place = Place::own_postgres().await;
    place.cluster().create_role("router", "r").unwrap();
    place.query(&router_store::serving_grants("router"));
    place.query("REVOKE INSERT ON godot_mcp_router.audit FROM router");
    let mut options = options(&place);
    options.url = place
        .cluster()
        .role_url("router", "r", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    tell(&store, 0, 100);
    assert!(!store.flush(Duration::from_millis(500)).await);
    assert_eq!(
        store.counters().rejected,
        0,
        "they wait, they are not put aside"
    );
    place.query("GRANT INSERT ON godot_mcp_router.audit TO router");
    all_stored(&store, 100).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_database_will_never_take_holds_up_no_other() {
    let place = Place::own_postgres().await;
    place.query("ALTER TABLE godot_mcp_router.audit ADD CHECK (target <> 'poison')");
    let store = place.connected().await;
    for number in 0..20 {
        let target = if number == 7 {
            "poison".to_owned()
        } else {
            number.to_string()
        };
        store.audit(row(target));
    }
    flushed(&store).await;
    assert_eq!(all_rows(&store, "instance.restart").await.len(), 19);
    assert_eq!(store.counters().rejected, 1);
    let aside = place.dir.path().join("data/spool/rejected.jsonl");
    let aside = std::fs::read_to_string(aside).unwrap();
    assert!(
        aside.contains("poison") && aside.lines().count() == 1,
        "{aside}"
    );
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_locked_by_somebody_delays_rows_and_loses_none() {
    use sqlx::{Connection as _, Executor as _};
    let place = Place::postgres().await;
    let mut options = options(&place);
    options.query_timeout = Duration::from_millis(300);
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    let mut locker = sqlx::PgConnection::connect(&place.url).await.unwrap();
    locker
        .execute("BEGIN; LOCK TABLE godot_mcp_router.audit")
        .await
        .unwrap();
    tell(&store, 0, 50);
    assert!(!store.flush(Duration::from_secs(1)).await);
    let refused = store.audit_page(AuditQuery::default()).await.unwrap_err();
    assert!(
        matches!(refused, StoreError::TimedOut { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("TIMEOUT"));
    assert!(store.state().borrow().is_connected(), "a lock is no outage");
    locker.execute("ROLLBACK").await.unwrap();
    all_stored(&store, 50).await;
    assert!(store.counters().timeouts >= 1);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_without_its_end_leaves_no_task() {
    let place = Place::postgres().await;
    let store = place.connected().await;
    let mut state = store.state();
    tell(&store, 0, 5);
    drop(store);
    // The sender of the state lives as long as the last task.
    let ended = tokio::time::timeout(PATIENCE, async { while state.changed().await.is_ok() {} });
    ended.await.expect("a task outlived its store");
    assert!(!matches!(&*state.borrow(), DatabaseState::Closed));
}
