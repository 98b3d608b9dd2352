//! The history of load: written by the minute, summed up by the hour, read by the next life, and bounded, whatever clocks,
//! restarts and databases do.

use router_core::capacity::{LoadHistory, Usage};
use router_store::{Store, StoreOptions};
use router_values::unix_ms_now;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use crate::place::{self, Place, connected, lost, on_both, within};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A history of 400 days, of which the first and the last may be cut by the time of day.
const DAYS: usize = 398;

fn usage(running: u32) -> Usage {
    Usage {
        running,
        in_flight: 2 * running,
        memory_bytes: u64::from(running) << 30,
    }
}

/// The beginning of a whole hour that is over.
fn recent_hour() -> u64 {
    let now_ms = unix_ms_now();
    now_ms - now_ms % HOUR_MS - 3 * HOUR_MS
}

/// The numbers of the first row. Our tables are named without their schema.
async fn numbers(place: &Place, sql: &str) -> Vec<i64> {
    place::numbers(place, &qualified(place, sql)).await
}

fn qualified(place: &Place, sql: &str) -> String {
    let schema = place.cluster.as_ref().map_or("", |_| "godot_mcp_router.");
    sql.replace(" load_", &format!(" {schema}load_"))
}

async fn until(place: &Place, sql: &str, wanted: &[i64]) {
    within(&format!("{wanted:?} from {sql}"), async {
        while numbers(place, sql).await != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Another life of the router under test, or another router.
async fn life(place: &Place, router_id: &str, epoch: u64) -> Store {
    let options = StoreOptions {
        epoch,
        data_dir: place.dir.path().join(format!("data-{router_id}")),
        ..StoreOptions::new(place.url.parse().unwrap(), place.dir.path(), router_id)
    };
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    store
}

/// The history, once it has as many days at least.
async fn history(store: &Store, days: usize) -> LoadHistory {
    within(&format!("{days} days"), async {
        loop {
            let history = store.load_history();
            if history.days.len() >= days {
                return history;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A row for each of many times, the last of which is the newest. 30 samples each, of a load that grows with time.
async fn fill(
    place: &Place,
    table: &str,
    router_id: &str,
    rows: u64,
    newest_ms: u64,
    step_ms: u64,
) {
    let last = rows - 1;
    let sql = format!(
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last})
         INSERT INTO {table} (router_id, at_ms, epoch, samples, running_sum, in_flight_sum, memory_bytes_sum,
             running_peak, in_flight_peak, memory_bytes_peak)
         SELECT '{router_id}', CAST({newest_ms} AS bigint) - CAST({last} - i AS bigint) * {step_ms}, 1, 30, i * 30, i * 60,
             CAST(i AS bigint) * 30000000, i + 1, i * 3, CAST(i AS bigint) * 2000000 FROM n"
    );
    place::execute(place, &qualified(place, &sql)).await;
}

on_both!(
    a_restart_in_the_middle_of_an_hour_and_of_a_minute_loses_nothing,
    |place| {
        let hour = recent_hour();
        // The second life has the number of the first, as after the loss of its data directory.
        for (epoch, minutes, running) in [(7, 0..=20, 2), (7, 20..=40, 4), (8, 40..=59, 1)] {
            let store = life(&place, "r", epoch).await;
            for minute in minutes {
                store.record_load(hour + minute * MINUTE_MS, usage(running));
                store.record_load(hour + minute * MINUTE_MS + 30_000, usage(running + 1));
            }
            store.close().await;
        }
        // Two samples of each minute, and four of the two that belong to two lives.
        let samples = [42, 42, 40];
        let sum: i64 = 21 * (2 + 3) + 21 * (4 + 5) + 20 * (1 + 2);
        let wanted = [60, 124, sum, 2 * sum, sum << 30, 5, 10, 5 << 30];
        assert_eq!(samples.iter().sum::<i64>(), 124);
        let columns = "sum(samples), sum(running_sum), sum(in_flight_sum), sum(memory_bytes_sum), max(running_peak),
        max(in_flight_peak), max(memory_bytes_peak)";
        assert_eq!(
            numbers(
                &place,
                &format!("SELECT count(*), {columns} FROM load_minute")
            )
            .await,
            wanted
        );
        let of_hour = numbers(
            &place,
            &format!("SELECT count(*), {columns} FROM load_hour"),
        )
        .await;
        assert_eq!((of_hour[0], &of_hour[1..]), (1, &wanted[1..]));
        assert_eq!(
            numbers(&place, "SELECT at_ms, epoch FROM load_hour").await,
            [i64::try_from(hour).unwrap(), 8]
        );

        let store = life(&place, "r", 9).await;
        let history = history(&store, 1).await;
        assert_eq!(history.minutes.len(), 60);
        let peaks: Vec<u32> = [0, 20, 40, 41]
            .map(|minute: usize| history.minutes[minute].peak.running)
            .into();
        assert_eq!(peaks, [3, 5, 5, 2]);
        let day = history.days[0];
        assert_eq!((day.at_ms, day.peak), (hour - hour % DAY_MS, usage(5)));
        // 354 of 124.
        assert_eq!((day.mean.running, day.mean.in_flight), (3, 6));
        store.close().await;
    }
);

on_both!(
    a_clock_that_jumps_costs_no_more_than_the_time_that_it_was_wrong,
    |place| {
        let hour = recent_hour();
        place.migrate(false).await;
        fill(&place, "load_minute", "r", 1_440, hour, MINUTE_MS).await;
        fill(&place, "load_hour", "r", 9_600, hour, HOUR_MS).await;
        let store = life(&place, "r", 7).await;
        history(&store, DAYS).await;
        // Two minutes of 1970 and two of the far future, then the present, a minute of which is counted twice. Each is written
        // before the clock goes on: the rows are as full as they may be all the time.
        let future = hour + 3_000 * DAY_MS;
        let wrong = [5 * MINUTE_MS, 6 * MINUTE_MS, future, future + MINUTE_MS];
        let present = [0, 1, 2, 1, 3, 4, 5, 6].map(|minute| hour + minute * MINUTE_MS);
        let mut before = None;
        for at_ms in wrong.into_iter().chain(present) {
            let is_wrong = at_ms < DAY_MS || at_ms >= future;
            store.record_load(at_ms, usage(if is_wrong { 77 } else { 10_000 }));
            if let Some(before) = before
                .replace(at_ms)
                .filter(|before| *before != future + MINUTE_MS)
            {
                let row = format!("SELECT count(*) FROM load_minute WHERE at_ms = {before}");
                until(&place, &row, &[1]).await;
            }
        }
        store.close().await;
        let counts = "SELECT (SELECT count(*) FROM load_minute), (SELECT count(*) FROM load_hour)";
        assert_eq!(numbers(&place, counts).await, [1_440, 9_600]);
        for table in ["load_minute", "load_hour"] {
            let wrong = format!(
                "SELECT count(*) FROM {table} WHERE at_ms < {DAY_MS} OR at_ms > {}",
                hour + DAY_MS
            );
            assert_eq!(numbers(&place, &wrong).await, [0], "{table}");
        }
        let last_day = format!(
            "SELECT count(*) FROM load_minute WHERE at_ms > {}",
            hour + 6 * MINUTE_MS - DAY_MS
        );
        let minutes = numbers(&place, &last_day).await[0];
        assert!((1_436..=1_440).contains(&minutes), "{minutes}");
        let again = numbers(
            &place,
            &format!(
                "SELECT samples, running_peak FROM load_minute WHERE at_ms = {}",
                hour + MINUTE_MS
            ),
        )
        .await;
        assert_eq!(again, [2, 10_000]);

        let store = life(&place, "r", 8).await;
        let history = history(&store, DAYS).await;
        assert!(
            history
                .minutes
                .iter()
                .all(|minute| minute.peak != usage(77))
        );
        assert!(history.days.iter().all(|day| day.peak.running != 77));
        assert!(
            history
                .minutes
                .windows(2)
                .all(|pair| pair[0].at_ms < pair[1].at_ms)
        );
        assert!(history.days[0].at_ms < hour - 397 * DAY_MS);
        store.close().await;
    }
);

on_both!(an_hour_whose_minutes_are_gone_is_not_made_less, |place| {
    let hour = recent_hour();
    let sums = "SELECT samples, running_sum, running_peak FROM load_hour";
    for (epoch, minutes, wanted) in [(1, 0..10, [10, 20, 2]), (2, 10..12, [10, 20, 2])] {
        let store = life(&place, "r", epoch).await;
        for minute in minutes {
            store.record_load(hour + minute * MINUTE_MS, usage(2));
        }
        store.close().await;
        assert_eq!(numbers(&place, sums).await, wanted);
        place::execute(&place, &qualified(&place, "DELETE FROM load_minute")).await;
    }
});

on_both!(
    two_routers_share_a_database_and_each_has_its_own_history,
    |place| {
        let hour = recent_hour();
        let (one, other) = (life(&place, "one", 3).await, life(&place, "other", 4).await);
        for minute in 0..10 {
            one.record_load(hour + minute * MINUTE_MS, usage(1));
            other.record_load(hour + minute * MINUTE_MS, usage(9));
        }
        one.close().await;
        other.close().await;
        assert_eq!(
            numbers(
                &place,
                "SELECT count(*), min(epoch), max(epoch) FROM load_minute"
            )
            .await,
            [20, 3, 4]
        );
        assert_eq!(
            numbers(&place, "SELECT count(*), sum(samples) FROM load_hour").await,
            [2, 20]
        );
        for (router_id, running) in [("one", 1), ("other", 9)] {
            let store = life(&place, router_id, 5).await;
            let history = history(&store, 1).await;
            assert_eq!(history.minutes.len(), 10);
            assert_eq!(
                (history.days[0].mean, history.days[0].peak),
                (usage(running), usage(running))
            );
            store.close().await;
        }
    }
);

on_both!(rows_past_their_number_are_deleted, |place| {
    let now_ms = unix_ms_now() / HOUR_MS * HOUR_MS;
    place.migrate(false).await;
    // More than there may be, as a version that kept more would leave them.
    fill(
        &place,
        "load_minute",
        "r",
        2_000,
        now_ms - MINUTE_MS,
        MINUTE_MS,
    )
    .await;
    fill(&place, "load_hour", "r", 12_000, now_ms - HOUR_MS, HOUR_MS).await;
    let store = life(&place, "r", 1).await;
    store.record_load(now_ms, usage(1));
    store.record_load(now_ms + MINUTE_MS, usage(1));
    until(&place, "SELECT count(*) FROM load_minute", &[1_440]).await;
    until(&place, "SELECT count(*) FROM load_hour", &[9_600]).await;
    let oldest = "SELECT min(at_ms), max(at_ms) FROM load_hour";
    let newest = i64::try_from(now_ms).unwrap();
    assert_eq!(
        numbers(&place, oldest).await,
        [newest - 9_599 * 3_600_000, newest]
    );
    store.close().await;
});

on_both!(
    old_rows_of_routers_that_are_gone_are_deleted_and_no_others,
    |place| {
        let now_ms = unix_ms_now() / HOUR_MS * HOUR_MS;
        place.migrate(false).await;
        let old_ms = now_ms - 500 * DAY_MS;
        // Its own are not: by the number of its rows, and by no clock.
        for (router_id, newest_ms) in [("gone", old_ms), ("there", now_ms), ("r", old_ms)] {
            fill(
                &place,
                "load_minute",
                router_id,
                1_200,
                newest_ms,
                MINUTE_MS,
            )
            .await;
            fill(&place, "load_hour", router_id, 1_200, newest_ms, HOUR_MS).await;
        }
        let store = life(&place, "r", 1).await;
        // Some seconds after the start.
        for table in ["load_minute", "load_hour"] {
            let rows = |router_id| {
                format!("(SELECT count(*) FROM {table} WHERE router_id = '{router_id}')")
            };
            let rows = format!("SELECT {}, {}, {}", rows("gone"), rows("there"), rows("r"));
            until(&place, &rows, &[0, 1_200, 1_200]).await;
        }
        store.close().await;
    }
);

/// What a router says and keeps while its database is away for longer than a day.
async fn survives(store: &Store, place: &Place, back: impl AsyncFnOnce()) {
    let start = unix_ms_now() / MINUTE_MS * MINUTE_MS - 1_450 * MINUTE_MS;
    for minute in 0..=1_450 {
        store.record_load(start + minute * MINUTE_MS, usage(3));
    }
    let meanwhile = store.load_history();
    // The present may have gone on by a minute.
    assert!(
        (1_439..=1_440).contains(&meanwhile.minutes.len()),
        "shown all the same"
    );
    assert!(meanwhile.days.iter().all(|day| day.mean == usage(3)));
    back().await;
    connected(store).await;
    // The open one is not due.
    until(
        place,
        "SELECT count(*), coalesce(sum(samples), 0) FROM load_minute",
        &[1_439, 1_439],
    )
    .await;
    assert!(place::logs().contains("load history has a gap"));
    store.close().await;
    until(
        place,
        "SELECT count(*), coalesce(sum(samples), 0) FROM load_minute",
        &[1_440, 1_440],
    )
    .await;
    let hours = numbers(
        place,
        "SELECT sum(samples), max(running_peak) FROM load_hour",
    )
    .await;
    assert_eq!(hours, [1_440, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_wait_for_a_postgres_that_is_away_a_day_of_them_at_most() {
    let place = Place::own_postgres().await;
    let store = place.connected().await;
    place.cluster().stop().unwrap();
    lost(&store).await;
    let back = async || place.cluster().start_again().unwrap();
    survives(&store, &place, back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_wait_for_a_file_that_is_locked_a_day_of_them_at_most() {
    let place = Place::sqlite();
    let store = place.connected().await;
    let mut other = SqliteConnection::connect(&place.url).await.unwrap();
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    store.audit(place::row("notices it"));
    lost(&store).await;
    let back = async || {
        other.execute("ROLLBACK").await.unwrap();
    };
    survives(&store, &place, back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_never_met_its_database_has_the_history_of_its_own_life() {
    let place = Place::own_postgres().await;
    place.cluster().stop().unwrap();
    let store = place.open().await;
    let hour = recent_hour();
    store.record_load(hour, usage(4));
    let history = store.load_history();
    assert_eq!((history.minutes.len(), history.days.len()), (1, 1));
    store.close().await;
    assert!(place::logs().contains("the database did not take its last minutes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_grants_of_the_version_before_serves_and_the_log_says_what_it_lacks() {
    let place = Place::postgres().await;
    place.cluster().create_role("older", "o").unwrap();
    let grants = router_store::serving_grants("older");
    let of_before: Vec<&str> = grants
        .lines()
        .filter(|line| !line.contains("load_"))
        .collect();
    assert_eq!(of_before.len() + 1, grants.lines().count());
    place.query(&of_before.join("\n"));
    let mut options = place.options();
    options.url = place
        .cluster()
        .role_url("older", "o", &place.database)
        .parse()
        .unwrap();
    let store = Store::open(options).await.unwrap();
    connected(&store).await;
    let hour = recent_hour();
    store.record_load(hour, usage(4));
    store.record_load(hour + MINUTE_MS, usage(4));
    within("the log", async {
        while !place::logs().contains("permission denied for table load_minute") {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    store.kv_put("p", "k", b"v").await.unwrap();
    assert!(store.state().borrow().is_connected());
    place.query(&grants);
    until(
        &place,
        "SELECT count(*), coalesce(sum(running_sum), 0) FROM load_hour",
        &[1, 4],
    )
    .await;
    store.close().await;
}
