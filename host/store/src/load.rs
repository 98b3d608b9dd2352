//! The history of load: how much the fleet used, by the minute for a day and by the hour for 400 days.
//!
//! Samples are added up in memory, and each minute is written once it is over, with the hour that it belongs to: an hour's row is
//! true at any moment, so that a router that dies in its middle loses nothing of it. While the database is away, minutes
//! wait in memory, a day of them at most; those that still wait when the router ends are lost, and the log says how many. They are
//! not worth the room that audit rows need in the spool.

mod ledger;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use router_core::capacity::{Usage, UsageTally};
use serde::Serialize;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    StoreError,
    database::{Database, StatementFailure},
    drain::connected,
    sql::{Call, Sql, args, now_ms},
    statements::{
        LOAD_DAYS, LOAD_HOURS_PURGE, LOAD_HOURS_PUT, LOAD_HOURS_TRIM, LOAD_MINUTES,
        LOAD_MINUTES_PURGE, LOAD_MINUTES_PUT, LOAD_MINUTES_TRIM,
    },
};
pub(crate) use ledger::Ledger;
use ledger::{DAY_MS, DAYS_MAX, MINUTES_MAX, Tallied};

const HOUR_MS: u64 = 3_600_000;

/// Rows of hours that a router has at most.
const HOURS_MAX: usize = DAYS_MAX * 24;

/// Pauses after a failure: short at first (a connection that died), then as long as it takes until there is a minute more to write.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Minutes as the statement takes them.
#[derive(Serialize)]
struct MinuteRow {
    at_ms: u64,
    samples: u64,
    running_sum: u64,
    in_flight_sum: u64,
    memory_bytes_sum: u64,
    running_peak: u32,
    in_flight_peak: u32,
    memory_bytes_peak: u64,
}

/// What the database gives for a minute or a day, in the order of [`MinuteRow`].
type LoadRow = (i64, i64, i64, i64, i64, i64, i64, i64);

/// Reads what earlier lives wrote, once, and from then on writes what this one adds, until it is stopped.
pub(crate) async fn keep(
    database: Arc<Database>,
    ledger: Arc<watch::Sender<Ledger>>,
    stop: CancellationToken,
) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = read_then_write(&database, &ledger) => {}
    }
}

async fn read_then_write(database: &Database, ledger: &watch::Sender<Ledger>) {
    let mut retry = Retry::default();
    let (minutes, days) = loop {
        connected(database).await;
        match read(database).await {
            Ok(rows) => break rows,
            Err(failed) => retry.wait(&failed.error).await,
        }
    };
    let now_ms = unsigned(now_ms());
    ledger.send_modify(|ledger| ledger.absorb(minutes, days, now_ms));
    let mut changes = ledger.subscribe();
    let is_due = |ledger: &Ledger| ledger.unwritten_count() > 0;
    while changes.wait_for(is_due).await.is_ok() {
        connected(database).await;
        let (minutes, latest_ms) = {
            let ledger = ledger.borrow();
            (ledger.unwritten(), ledger.latest_ms())
        };
        if let Err(failed) = write(database, &minutes, latest_ms).await {
            retry.wait(&failed.error).await;
            continue;
        }
        retry = Retry::default();
        let mut lost = 0;
        ledger.send_modify(|ledger| lost = ledger.written(&minutes));
        if lost > 0 {
            tracing::warn!(
                minutes = lost,
                "load history has a gap: minutes could not be kept until they were written"
            );
        }
    }
}

/// How long to wait after a failure, and what was logged of it.
struct Retry {
    pause: Duration,
    /// Logged once, not with every attempt.
    logged: String,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            pause: PAUSE_FIRST,
            logged: String::new(),
        }
    }
}

impl Retry {
    async fn wait(&mut self, error: &StoreError) {
        // A database that is away is no news, and is waited for.
        if matches!(error, StoreError::Disconnected { .. }) {
            return sleep(PAUSE_FIRST).await;
        }
        let error = error.to_string();
        if error != self.logged {
            tracing::warn!(
                kind = "database",
                error,
                "load history not kept: if a right is missing, `godot-mcp-router migrate` prints the grants"
            );
            self.logged = error;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

/// The rows of this router: minutes, and days from hours.
async fn read(database: &Database) -> Result<(Vec<Tallied>, Vec<Tallied>), StatementFailure> {
    let minutes = rows(database, LOAD_MINUTES, MINUTES_MAX).await?;
    Ok((minutes, rows(database, LOAD_DAYS, DAYS_MAX).await?))
}

async fn rows(
    database: &Database,
    sql: Sql,
    rows_max: usize,
) -> Result<Vec<Tallied>, StatementFailure> {
    let router_id = database.options.router_id.as_str();
    let args = args![router_id, now_ms(), signed(rows_max as u64)];
    let rows: Vec<LoadRow> = database.rows(Call::new(sql, args)).await?;
    Ok(rows.into_iter().map(tallied).collect())
}

/// Writes minutes and the hours that they are in, and keeps to the bounds. Harmless to repeat.
async fn write(
    database: &Database,
    minutes: &[Tallied],
    latest_ms: u64,
) -> Result<(), StatementFailure> {
    let (Some((first, _)), Some((last, _))) = (minutes.first(), minutes.last()) else {
        return Ok(());
    };
    let (from, to) = (first - first % HOUR_MS, last - last % HOUR_MS + HOUR_MS);
    let router_id = database.options.router_id.as_str();
    let rows: Vec<MinuteRow> = minutes.iter().copied().map(MinuteRow::of).collect();
    let rows = serde_json::to_string(&rows).expect("a row holds only numbers");
    let trim = |sql, rows_max: usize| {
        let args = args![router_id, signed(latest_ms), signed(rows_max as u64)];
        Call::new(sql, args)
    };
    let calls = vec![
        Call::new(
            LOAD_MINUTES_PUT,
            args![router_id, signed(database.options.epoch), rows],
        ),
        Call::new(LOAD_HOURS_PUT, args![router_id, signed(from), signed(to)]),
        trim(LOAD_MINUTES_TRIM, MINUTES_MAX),
        trim(LOAD_HOURS_TRIM, HOURS_MAX),
    ];
    database.changes(calls).await.map(drop)
}

/// Deletes a batch of rows of routers that write no more: each writer keeps to its own bounds.
pub(crate) fn purges(router_id: &str, rows_max: i64) -> [Call; 2] {
    let purge = |sql, days: u64| Call::new(sql, args![router_id, signed(days * DAY_MS), rows_max]);
    [
        // A day, and one more for clocks that differ.
        purge(LOAD_MINUTES_PURGE, 2),
        purge(LOAD_HOURS_PURGE, DAYS_MAX as u64 + 1),
    ]
}

impl MinuteRow {
    fn of((at_ms, tally): Tallied) -> Self {
        Self {
            at_ms,
            samples: tally.samples,
            running_sum: tally.running_sum,
            in_flight_sum: tally.in_flight_sum,
            memory_bytes_sum: tally.memory_bytes_sum,
            running_peak: tally.peak.running,
            in_flight_peak: tally.peak.in_flight,
            memory_bytes_peak: tally.peak.memory_bytes,
        }
    }
}

fn tallied(row: LoadRow) -> Tallied {
    let (at_ms, samples, running_sum, in_flight_sum, memory_bytes_sum, running, in_flight, memory) =
        row;
    let count = |number: i64| u32::try_from(unsigned(number)).unwrap_or(u32::MAX);
    let tally = UsageTally {
        samples: unsigned(samples),
        running_sum: unsigned(running_sum),
        in_flight_sum: unsigned(in_flight_sum),
        memory_bytes_sum: unsigned(memory_bytes_sum),
        peak: Usage {
            running: count(running),
            in_flight: count(in_flight),
            memory_bytes: unsigned(memory),
        },
    };
    (unsigned(at_ms), tally)
}

/// A column that holds nonsense reads as 0.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
