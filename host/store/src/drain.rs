//! The way from the spool into the database: oldest first, in order, many rows of a table at once, and never twice.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use router_values::{AuditRow, HistoryRow};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    StoreError, StoreOptions, alerts,
    counted::Counted,
    database::{Database, StatementFailure},
    facts::{Fact, audit_insert, history_insert},
    history,
    link::SqlFault,
    load,
    spool::{Spool, SpoolBatch},
    sql::{Call, args, now_ms},
    statements::{
        AUDIT_PURGE, CRASH_PURGE, HISTORY_PURGE,
        alerts::{ALERTS_PURGE, DELIVERIES_PURGE},
    },
};

/// Rows in one statement: some 200 KB, a few milliseconds of a server's time.
const ROWS_MAX: usize = 500;
/// Pauses after a refusal that is not about the data (a missing grant).
pub(crate) const PAUSE_FIRST: Duration = Duration::from_millis(100);
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Rows past their time that are deleted with one statement: short enough not to hold up the writer of SQLite.
const PURGE_ROWS: i64 = 1_000;
/// How often rows past their time are deleted.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);
/// The first time, after a start has calmed down.
const PURGE_FIRST: Duration = Duration::from_secs(5);

/// Brings facts into the database until it is stopped.
pub(crate) async fn drain(database: Arc<Database>, spool: Spool, stop: CancellationToken) {
    let drained = async {
        let mut progress = spool.progress();
        loop {
            if progress
                .wait_for(|progress| progress.pending)
                .await
                .is_err()
            {
                return;
            }
            connected(&database).await;
            if let Some(batch) = spool.take().await {
                put(&database, &spool, batch).await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = drained => {}
    }
}

/// Waits until there is a connection.
pub(crate) async fn connected(database: &Database) {
    let mut state = database.state.subscribe();
    // The sender lives in the database that is borrowed here.
    let _ = state.wait_for(|state| state.is_connected()).await;
}

/// Brings one batch into the database, however long that takes, and lets the spool forget it.
async fn put(database: &Database, spool: &Spool, batch: SpoolBatch) {
    let mut rest = batch.facts.as_slice();
    while let [first, ..] = rest {
        let (calls, count) = match first {
            Fact::Audit(_) => {
                let rows: Vec<&AuditRow> =
                    rest.iter().map_while(audit_row).take(ROWS_MAX).collect();
                (vec![audit_insert(&rows)], rows.len())
            }
            Fact::History(_) => {
                let rows: Vec<&HistoryRow> =
                    rest.iter().map_while(history_row).take(ROWS_MAX).collect();
                (vec![history_insert(&rows)], rows.len())
            }
            Fact::Crash { .. } | Fact::Intention { .. } | Fact::Cleared { .. } => {
                (first.calls(), 1)
            }
        };
        let (now, later) = rest.split_at(count);
        let can_be_left_out = matches!(first, Fact::History(_));
        if persist(database, calls, count as u64, can_be_left_out)
            .await
            .is_err()
        {
            one_by_one(database, spool, now).await;
        }
        rest = later;
    }
    spool.done(batch.number).await;
}

fn audit_row(fact: &Fact) -> Option<&AuditRow> {
    match fact {
        Fact::Audit(row) => Some(row),
        _ => None,
    }
}

fn history_row(fact: &Fact) -> Option<&HistoryRow> {
    match fact {
        Fact::History(row) => Some(row),
        _ => None,
    }
}

/// One of these facts is poison: the others are kept, it is put aside.
async fn one_by_one(database: &Database, spool: &Spool, facts: &[Fact]) {
    for fact in facts {
        if let Err(reason) = persist(database, fact.calls(), 1, false).await {
            spool.reject(fact.clone(), reason).await;
        }
    }
}

/// Runs the statements of some facts until the database takes them; an error only where it never will, because of their data.
/// What can be left out is not waited for where the database refuses it: a right that is missing for one table must not hold the
/// audit up.
async fn persist(
    database: &Database,
    calls: Vec<Call>,
    facts: u64,
    can_be_left_out: bool,
) -> Result<(), String> {
    let mut pause = PAUSE_FIRST;
    loop {
        match database.changes(calls.clone()).await {
            Ok(changed) => {
                // Rows that were there already are not counted: a former life counted them. One fact may delete many rows.
                let rows = changed.first().copied().unwrap_or(0);
                Counted::add(&database.counted.drained, rows.min(facts));
                return Ok(());
            }
            Err(StatementFailure {
                fault: SqlFault::Data,
                error,
            }) => return Err(error.to_string()),
            Err(StatementFailure {
                fault: SqlFault::Refused,
                error,
            }) if can_be_left_out => {
                if database.counted.left_out.fetch_add(facts, Relaxed) == 0 {
                    tracing::warn!(
                        kind = "database",
                        error = %error,
                        "history not kept: if a right is missing, `godot-mcp-router migrate` prints the grants"
                    );
                }
                return Ok(());
            }
            Err(StatementFailure { fault, error }) => {
                if fault == SqlFault::Refused {
                    tracing::error!(kind = "database", error = %error, "audit rows wait in the spool: the database refuses them");
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
                if matches!(error, StoreError::Disconnected { .. }) {
                    connected(database).await;
                    pause = PAUSE_FIRST;
                }
            }
        }
    }
}

/// Deletes rows past their time, until it is stopped.
pub(crate) async fn purge(database: Arc<Database>, stop: CancellationToken) {
    let purged = async {
        let mut rest = PURGE_FIRST;
        loop {
            sleep(rest).await;
            rest = PURGE_EVERY;
            connected(&database).await;
            for call in purges(&database.options) {
                if let Err(error) = purge_all(&database, &call).await {
                    tracing::warn!(error = %error.error, "rows past their time could not be deleted");
                    rest = PURGE_EVERY / 60;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = purged => {}
    }
}

/// The statements that delete one batch each of what is past its time.
fn purges(options: &StoreOptions) -> Vec<Call> {
    let mut calls = load::purges(&options.router_id, PURGE_ROWS).to_vec();
    let days = i64::from(options.audit_retention_days);
    if days > 0 {
        let before_ms = now_ms().saturating_sub(days * 86_400_000);
        let purge = |sql| Call::new(sql, args![before_ms, PURGE_ROWS]);
        calls.extend(
            [
                AUDIT_PURGE,
                CRASH_PURGE,
                HISTORY_PURGE,
                ALERTS_PURGE,
                DELIVERIES_PURGE,
            ]
            .map(purge),
        );
    }
    calls.push(history::trim(options.history_rows_max, PURGE_ROWS));
    calls.extend(alerts::trims(options, PURGE_ROWS));
    calls
}

/// Deletes in batches, so that nobody waits long behind it.
async fn purge_all(database: &Database, batch: &Call) -> Result<(), StatementFailure> {
    let mut purged = 0;
    loop {
        let rows = database.change(batch.clone()).await?;
        purged += rows;
        if rows == 0 {
            if purged > 0 {
                tracing::info!(rows = purged, "rows past their time were deleted");
            }
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}
