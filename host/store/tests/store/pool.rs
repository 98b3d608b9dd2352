//! The pool: its bound, its exact message, what the server sees of it, and that nobody's impatience costs a connection.

use std::time::{Duration, Instant};

use router_store::{Store, StoreError};
use router_test_postgres::{Cluster, ClusterOptions};
use router_values::Secret;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::place::{self, Place, connected, within};

/// A store of two connections, and somebody who holds the lock on the values of plugins.
async fn held(place: &Place, query_timeout: Duration) -> (Store, PgConnection) {
    let mut options = place.options();
    options.pool_size = 2;
    options.acquire_timeout = Duration::from_millis(400);
    options.query_timeout = query_timeout;
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    // What it reads by itself as soon as it has connected is over, and does not wait for the lock's end too.
    let mut busy_at = Instant::now();
    within("a pool at rest", async {
        while busy_at.elapsed() < Duration::from_millis(500) {
            if store.pool().in_use > 0 {
                busy_at = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let mut locker = PgConnection::connect(&place.url).await.unwrap();
    locker
        .execute("BEGIN; LOCK TABLE godot_mcp_router.plugin_value")
        .await
        .unwrap();
    (store, locker)
}

fn backends(place: &Place) -> u32 {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'godot-mcp-router'",
        place.database
    );
    place.query(&sql).parse().unwrap()
}

/// Every connection of the pool waits for the lock.
async fn all_in_use(
    locker: &mut PgConnection,
    store: &Store,
) -> Vec<tokio::task::JoinHandle<Result<Option<Vec<u8>>, StoreError>>> {
    let blocked: Vec<_> = (0..2)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.kv_get("p", "k").await })
        })
        .collect();
    // Not only in use: what the store reads by itself when it has connected uses one too, and gives it back.
    let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'godot_mcp_router.plugin_value'::regclass AND NOT granted";
    within("both connections wait for the lock", async {
        while sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&mut *locker)
            .await
            .unwrap()
            < 2
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(store.pool().in_use, 2);
    blocked
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_says_so_in_the_text_that_operators_search_for() {
    let place = Place::postgres().await;
    let (store, mut locker) = held(&place, Duration::from_secs(30)).await;
    let blocked = all_in_use(&mut locker, &store).await;
    let refused = store.kv_get("p", "k").await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Exhausted { max: 2, .. }),
        "{refused:?}"
    );
    assert!(
        refused
            .to_string()
            .contains("no available connections in pool")
    );
    let logged = place::logs();
    let line = logged
        .lines()
        .find(|line| line.contains("no available connections in pool"));
    assert!(line.is_some_and(|line| line.contains("ERROR")), "{line:?}");
    assert_eq!(store.counters().exhausted, 1);
    assert_eq!(store.pool().max, 2);
    assert!(backends(&place) <= 2);
    // A pool that is busy is not a database that is away.
    assert!(store.state().borrow().is_connected());
    locker.execute("ROLLBACK").await.unwrap();
    for call in blocked {
        within("a call that waited for the lock", call)
            .await
            .unwrap()
            .unwrap();
    }
    store.kv_get("p", "k").await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_pool_stays_connected_for_as_long_as_its_server_answers() {
    let place = Place::postgres().await;
    let (store, mut locker) = held(&place, Duration::from_secs(30)).await;
    let blocked = all_in_use(&mut locker, &store).await;
    // Several probes long: each finds no connection, asks outside the pool, and is content.
    let changed = tokio::time::timeout(Duration::from_secs(7), async {
        let mut state = store.state();
        state.borrow_and_update();
        state.changed().await
    });
    assert!(
        changed.await.is_err(),
        "the state changed to {:?}",
        store.state().borrow()
    );
    locker.execute("ROLLBACK").await.unwrap();
    for call in blocked {
        within("a call that waited for the lock", call)
            .await
            .unwrap()
            .unwrap();
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_cancels_a_statement_that_runs_too_long() {
    let place = Place::postgres().await;
    let (store, mut locker) = held(&place, Duration::from_millis(300)).await;
    let refused = store.kv_get("p", "k").await.unwrap_err();
    assert!(
        matches!(refused, StoreError::TimedOut { .. }),
        "{refused:?}"
    );
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'",
        place.database
    );
    let waiting = place.query(&sql);
    assert_eq!(waiting, "0");
    locker.execute("ROLLBACK").await.unwrap();
    store.kv_get("p", "k").await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_given_up_in_the_middle_cost_no_connection() {
    let place = Place::postgres().await;
    let (store, mut locker) = held(&place, Duration::from_secs(30)).await;
    for _ in 0..20 {
        let call = store.kv_get("p", "k");
        let given_up = tokio::time::timeout(Duration::from_millis(30), call).await;
        assert!(!matches!(given_up, Ok(Ok(_))));
    }
    // The server still works on what was given up: that takes places, and opens no further connections.
    assert!(backends(&place) <= 2);
    let refused = store.kv_get("p", "k").await.unwrap_err();
    assert!(
        matches!(refused, StoreError::Exhausted { .. }),
        "{refused:?}"
    );
    locker.execute("ROLLBACK").await.unwrap();
    for _ in 0..20 {
        store.kv_get("p", "k").await.unwrap();
    }
    within("every connection is free again", async {
        while store.pool().in_use > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(store.pool().size <= 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_the_pool_and_none_is_refused() {
    let place = Place::postgres().await;
    let store = place.connected().await;
    let callers: Vec<_> = (0..200)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move { store.kv_put("p", &caller.to_string(), b"v").await })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await.unwrap().unwrap();
    }
    // The server may still be ending the connection that was there before the pool.
    within("no more connections than there may be", async {
        while backends(&place) > 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(store.counters().reconnects, 0, "it is one pool all along");
    assert_eq!(store.kv_list("p", "").await.unwrap().len(), 200);
    store.close().await;
    within("no connection is left", async {
        while backends(&place) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_after_their_time() {
    let place = Place::postgres().await;
    let mut options = place.options();
    options.idle_timeout = Duration::from_secs(1);
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.kv_list("p", "").await })
        })
        .collect();
    for caller in callers {
        within("a caller", caller).await.unwrap().unwrap();
    }
    // One may stay: the probe uses it.
    within("idle connections are closed", async {
        while store.pool().size > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_given_apart_from_the_url_and_stands_nowhere() {
    let options = ClusterOptions {
        passwords: true,
        ..ClusterOptions::default()
    };
    let secret = "hunter2@:/%?#-unmistakable";
    let cluster = std::sync::Arc::new(Cluster::with(options).unwrap());
    let mut place = Place::bare(cluster);
    let database = place.database.clone();
    place.url = place.cluster().url(&database);
    place.migrate(false).await;
    place.cluster().create_role("router", secret).unwrap();
    place.query(&router_store::serving_grants("router"));
    let url = format!(
        "postgres://router@127.0.0.1:{}/{database}",
        place.cluster().port()
    );
    let mut options = place.options();
    options.url = url.parse().unwrap();
    options.password = Some(Secret::new(secret));
    assert!(!format!("{options:?}").contains("unmistakable"));
    let store = Store::open(options.clone()).await.unwrap();
    connected(&store).await;
    store.close().await;

    // A wrong one: the reason names the role, not the secret.
    let mut wrong = options.clone();
    wrong.password = Some(Secret::new("hunter2-unmistakable-wrong"));
    let store = Store::open(wrong).await.unwrap();
    let reason = place::lost(&store).await;
    assert!(reason.contains("28P01"), "{reason}");
    store.close().await;

    let mut in_url = options;
    in_url.password = None;
    let with_password = url.replace("router@", "router:hunter2-unmistakable-wrong@");
    in_url.url = with_password.parse().unwrap();
    let store = Store::open(in_url).await.unwrap();
    let reason = place::lost(&store).await;
    assert!(!reason.contains("unmistakable"), "{reason}");
    store.close().await;
    let logged = place::logs();
    assert!(logged.contains("28P01"), "the log was captured");
    assert!(!logged.contains("unmistakable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_of_the_server_are_counted_those_of_others_among_them() {
    let place = Place::own_postgres().await;
    let store = place.connected().await;
    let of_all = || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        // The one that asks is none of those that stay.
        place.query(sql).parse::<u32>().unwrap() - 1
    };
    // The store's own come and go: both counts are taken until they agree.
    let counted = async || {
        within("the count", async {
            while store.pool().server != Some(of_all()) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        store.pool().server
    };
    counted().await;
    let others = [
        PgConnection::connect(&place.url).await.unwrap(),
        PgConnection::connect(&place.url).await.unwrap(),
    ];
    assert!(counted().await >= Some(3));
    drop(others);
    store.close().await;

    let place = Place::sqlite();
    let store = place.connected().await;
    assert_eq!(store.pool().server, None);
    store.close().await;
}
