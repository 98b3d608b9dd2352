//! Keeps the connection: probes it, gives it up when it is lost, tries again with back-off, and publishes its state.
//!
//! The one writer of the state. Nothing here can end: a database that is away is an ordinary state.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use router_values::whole_ms;
use sqlx::Error;
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    DatabaseState, StoreError,
    counted::Counted,
    database::{Database, Work},
    link::{SqlFault, SqlLink, describe},
    migrate::{self, Found},
    pools::Pools,
    sql::{Call, args, now_ms},
    statements::{ROUTER_SEEN, SCHEMA_READ, SERVER_CONNECTIONS},
    target::{Direct, Target},
    versions_table::{DEFAULT_NAME, VersionsTable},
};

/// A connection that works is probed this often. A frozen server is found within two probes.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// A server that has not answered `SELECT` on one row within this is taken for gone, unless a new connection works.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// Connecting, with everything that is read and written on a new connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Pauses between attempts: short at first (a restart of the server), then sparing (an outage).
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Connects for the first time, so that a schema that cannot be used is an error of opening the store.
pub(crate) async fn first(database: &Database) -> Result<(), StoreError> {
    match establish(database).await {
        Ok((pools, latency)) => {
            database.replace(Some(Arc::new(pools)));
            connected(database, latency);
            Ok(())
        }
        Err(error @ (StoreError::Unmigrated { .. } | StoreError::TooNew { .. })) => Err(error),
        Err(error) => {
            lost(database, &error);
            Ok(())
        }
    }
}

/// Runs until it is stopped.
pub(crate) async fn keep(database: Arc<Database>, stop: CancellationToken, tasks: TaskTracker) {
    let mut pause = PAUSE_FIRST;
    let mut answered = 0;
    loop {
        let connected = database.pools().is_some();
        let rest = if connected {
            PROBE_EVERY
        } else {
            jittered(pause)
        };
        let doubted = tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(rest) => false,
            () = database.doubt.notified(), if connected => true,
        };
        let seen = tokio::select! {
            () = stop.cancelled() => return,
            seen = check(&database, connected, doubted, answered) => seen,
        };
        answered = database.answered();
        match seen {
            Seen::Fine(latency) => {
                pause = PAUSE_FIRST;
                still_connected(&database, latency);
            }
            Seen::Busy => {}
            Seen::Anew(pools, latency) => {
                pause = PAUSE_FIRST;
                Counted::add(&database.counted.reconnects, 1);
                give_up(&database, Some(pools), &tasks);
                self::connected(&database, latency);
            }
            Seen::Lost(error) => {
                pause = if connected {
                    PAUSE_FIRST
                } else {
                    (pause * 2).min(PAUSE_MAX)
                };
                give_up(&database, None, &tasks);
                lost(&database, &error);
            }
        }
    }
}

/// What a check of the connection found.
enum Seen {
    Fine(Duration),
    /// No connection was free to probe with, but statements are being answered.
    Busy,
    /// A new connection works.
    Anew(Pools, Duration),
    Lost(StoreError),
}

async fn check(database: &Database, connected: bool, doubted: bool, answered: u64) -> Seen {
    if let Some(pools) = database.pools().filter(|_| connected) {
        let figures = pools.figures();
        if !pools.is_in_place(&database.target) {
            tracing::error!(
                kind = "database",
                "database file moved or removed: rows of the last seconds are in it"
            );
        } else if figures.in_use >= figures.max {
            if database.answered() != answered {
                return Seen::Busy;
            }
            // Every connection waits and nothing is answered: only a connection outside the pool can find out why.
            return match establish(database).await {
                Ok(_) => Seen::Busy,
                Err(error) => Seen::Lost(error),
            };
        } else if let Some(seen) = probe(database, doubted).await {
            return seen;
        }
    }
    match establish(database).await {
        Ok((pools, latency)) => Seen::Anew(pools, latency),
        Err(error) => Seen::Lost(error),
    }
}

/// A question to the database through the pool; `None` when it was not answered.
async fn probe(database: &Database, doubted: bool) -> Option<Seen> {
    let probe = Probe {
        // A doubt may be about writing: a full disk still reads.
        seen: doubted.then(|| seen(database)),
    };
    let started = Instant::now();
    let (found, connections) = database.run(&probe, PROBE_MAX).await.ok()?;
    if let Some(pools) = database.pools() {
        let connections = u32::try_from(connections).unwrap_or(0);
        pools
            .server_connections
            .store(connections, Ordering::Relaxed);
    }
    Some(match migrate::usable(found, &database.target) {
        Ok(()) => Seen::Fine(started.elapsed()),
        Err(error) => Seen::Lost(error),
    })
}

/// Connects outside the pool and does once what every new connection may rely on: the schema is usable, writing works,
/// the users' table is known.
async fn establish(database: &Database) -> Result<(Pools, Duration), StoreError> {
    let attempt = async {
        let mut direct = database
            .target
            .connect()
            .await
            .map_err(|error| away(&error))?;
        if let Target::Sqlite(..) = database.target {
            migrate::sqlite(&mut direct, &database.target, &database.options.router_id).await?;
        }
        let started = Instant::now();
        let found = migrate::found(&mut direct.link())
            .await
            .map_err(|error| away(&error))?;
        let latency = started.elapsed();
        migrate::usable(found, &database.target)?;
        direct
            .link()
            .change(&seen(database))
            .await
            .map_err(|error| away(&error))?;
        let versions = versions(database, &mut direct).await;
        direct.close().await;
        Ok((versions, latency))
    };
    let attempted = timeout(CONNECT_MAX, attempt).await.unwrap_or_else(|_| {
        let (database, ms) = (database.target.shown(), CONNECT_MAX.as_millis());
        let reason = format!("{database} did not answer within {ms} ms");
        Err(StoreError::Disconnected { reason })
    });
    match attempted {
        Ok((versions, latency)) => {
            let pools = Pools::new(&database.target, &database.options, versions);
            Ok((pools, latency))
        }
        Err(error) => {
            Counted::add(&database.counted.errors, 1);
            Err(error)
        }
    }
}

async fn versions(database: &Database, direct: &mut Direct) -> Option<VersionsTable> {
    let wanted = database.options.versions_table.as_deref();
    match VersionsTable::find(&mut direct.link(), wanted).await {
        Ok(Some(table)) => Some(table),
        Ok(None) => {
            // Most have none, and never named it.
            if let Some(wanted) = wanted.filter(|wanted| *wanted != DEFAULT_NAME) {
                tracing::warn!(table = wanted, "versions table not found");
            }
            None
        }
        Err(error) => {
            let error = describe(&error);
            tracing::warn!(
                error,
                "versions table not readable: no heartbeat is written"
            );
            None
        }
    }
}

/// The row of this router, as of now.
fn seen(database: &Database) -> Call {
    let options = &database.options;
    let epoch = i64::try_from(options.epoch).unwrap_or(i64::MAX);
    let now_ms = now_ms();
    let version = env!("CARGO_PKG_VERSION");
    Call::new(
        ROUTER_SEEN,
        args![
            options.router_id.as_str(),
            epoch,
            version,
            database.started_ms,
            now_ms
        ],
    )
}

/// Why a database cannot be used now, and what to do about it where that is known.
pub(crate) fn away(error: &Error) -> StoreError {
    let reason = describe(error);
    let refused =
        matches!(error, Error::Database(error) if error.code().as_deref() == Some("42501"));
    let reason = match SqlFault::of(error) {
        _ if refused => {
            format!("{reason}: give the role the grants that `godot-mcp-router migrate` prints")
        }
        SqlFault::Away if reason.contains("malformed") || reason.contains("not a database") => {
            format!("{reason}: the file is damaged; move it away, or restore it from a backup")
        }
        _ => reason,
    };
    StoreError::Disconnected { reason }
}

struct Probe {
    seen: Option<Call>,
}

impl Work for Probe {
    /// What stands in the schema, and how many clients the server has.
    type Output = (Option<Found>, i64);
    async fn run(&self, mut link: SqlLink<'_>) -> Result<Self::Output, Error> {
        if let Some(seen) = &self.seen {
            link.change(seen).await?;
        }
        let found = link.rows(&Call::new(SCHEMA_READ, [])).await?;
        let counted = link.rows(&Call::new(SERVER_CONNECTIONS, [])).await?;
        let connections = counted.first().map_or(0, |(count,): &(i64,)| *count);
        Ok((found.into_iter().next(), connections))
    }
}

fn give_up(database: &Database, next: Option<Pools>, tasks: &TaskTracker) {
    if let Some(old) = database.replace(next.map(Arc::new)) {
        tasks.spawn(async move { old.retire().await });
    }
}

fn connected(database: &Database, latency: Duration) {
    let before = database
        .state
        .send_replace(DatabaseState::Connected { latency });
    if !before.is_connected() {
        let database = database.target.shown();
        tracing::info!(
            database,
            elapsed_ms = whole_ms(latency),
            state = "connected",
            "database connected"
        );
    }
}

/// A new latency wakes no watcher: it changes with every probe.
fn still_connected(database: &Database, latency: Duration) {
    database.state.send_if_modified(|state| {
        let changed = !state.is_connected();
        *state = DatabaseState::Connected { latency };
        changed
    });
}

fn lost(database: &Database, error: &StoreError) {
    let reason = match error {
        StoreError::Disconnected { reason } => reason.clone(),
        error => error.to_string(),
    };
    let unusable = matches!(
        error,
        StoreError::Unmigrated { .. } | StoreError::TooNew { .. }
    );
    database.state.send_if_modified(|state| {
        let (since, same) = match &*state {
            DatabaseState::Closed => return false,
            DatabaseState::Disconnected { since, reason: old } if !unusable => {
                (*since, *old == reason)
            }
            DatabaseState::Unusable { since, reason: old } if unusable => (*since, *old == reason),
            _ => (SystemTime::now(), false),
        };
        if same {
            return false;
        }
        let shown = database.target.shown();
        tracing::error!(
            kind = "database",
            database = shown,
            reason,
            state = "disconnected",
            "database disconnected"
        );
        let reason = reason.clone();
        *state = if unusable {
            DatabaseState::Unusable { since, reason }
        } else {
            DatabaseState::Disconnected { since, reason }
        };
        true
    });
}

fn jittered(pause: Duration) -> Duration {
    // Several routers that lost one server do not come back in step.
    pause.mul_f64(rand::random_range(0.8..1.2))
}
