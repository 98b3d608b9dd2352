//! The heartbeat of instances in `godot_versions`, the users' table. No DDL, no DELETE, and no row that is not there.

use std::{sync::Arc, time::Duration};

use router_core::InstanceId;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, Error};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, Work},
    link::SqlLink,
};

/// Longest wait for a heartbeat: the next one is due by then. Also bounds the wait for somebody's lock on a row.
const HEARTBEAT_MAX: Duration = Duration::from_secs(5);

/// How one instance is doing, for the row of `godot_versions` whose id it has. Instances whose id is not a whole number
/// have no row and are passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionHeartbeat {
    /// The instance.
    pub id: InstanceId,
    /// For `instance_status`.
    pub status: String,
    /// For `instance_pid`; `None` clears it.
    pub pid: Option<u32>,
    /// For `instance_socket_path`; `None` clears it.
    pub socket_path: Option<String>,
    /// For `instance_error_message`; `None` clears it.
    pub error_message: Option<String>,
    /// For `instance_last_heartbeat`, in milliseconds since 1970; `None` leaves the column as it is.
    pub heartbeat_ms: Option<i64>,
}

/// Somebody's lock on a row costs one heartbeat, not a connection: the server gives up before we do.
const LIMITS: &str = "SELECT set_config('lock_timeout', '2000', true), set_config('statement_timeout', '4000', true)";

/// Writes the latest heartbeats whenever there are new ones and a database, until it is stopped.
pub(crate) async fn beat(
    database: Arc<Database>,
    mut latest: watch::Receiver<Arc<Vec<VersionHeartbeat>>>,
    stop: CancellationToken,
) {
    let beating = async {
        // Logged once, not with every beat.
        let mut logged = String::new();
        while latest.changed().await.is_ok() {
            let mut state = database.state.subscribe();
            if state.wait_for(|state| state.is_connected()).await.is_err() {
                return;
            }
            // Taken now, not before the wait: what piled up meanwhile is of no use to anybody.
            let heartbeats = Arc::clone(&latest.borrow_and_update());
            let failed = write(&database, &heartbeats)
                .await
                .err()
                .unwrap_or_default();
            if failed != logged {
                if !failed.is_empty() {
                    tracing::warn!(
                        kind = "database",
                        error = failed,
                        "heartbeat of versions not written"
                    );
                }
                logged = failed;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = beating => {}
    }
}

async fn write(database: &Database, heartbeats: &[VersionHeartbeat]) -> Result<(), String> {
    let update = database
        .pools()
        .and_then(|pools| pools.versions.as_ref()?.update.clone());
    let rows: Vec<Row<'_>> = heartbeats.iter().filter_map(Row::of).collect();
    let Some(update) = update.filter(|_| !rows.is_empty()) else {
        return Ok(());
    };
    let rows = serde_json::to_string(&rows).map_err(|error| error.to_string())?;
    let beat = Beat { update, rows };
    match database.run(&beat, HEARTBEAT_MAX).await {
        Ok(()) => Ok(()),
        Err(failed) => Err(failed.error.to_string()),
    }
}

#[derive(Serialize)]
struct Row<'a> {
    id: i64,
    status: &'a str,
    pid: Option<u32>,
    socket_path: Option<&'a str>,
    error_message: Option<&'a str>,
    heartbeat_ms: Option<i64>,
}

impl<'a> Row<'a> {
    fn of(heartbeat: &'a VersionHeartbeat) -> Option<Self> {
        Some(Self {
            id: i64::try_from(heartbeat.id.as_number()?).ok()?,
            status: &heartbeat.status,
            pid: heartbeat.pid,
            socket_path: heartbeat.socket_path.as_deref(),
            error_message: heartbeat.error_message.as_deref(),
            heartbeat_ms: heartbeat.heartbeat_ms,
        })
    }
}

struct Beat {
    update: Arc<str>,
    rows: String,
}

impl Work for Beat {
    type Output = ();
    async fn run(&self, link: SqlLink<'_>) -> Result<(), Error> {
        // See `update` for why this text is safe.
        let text = AssertSqlSafe(Arc::clone(&self.update));
        match link {
            SqlLink::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                sqlx::query(LIMITS).execute(&mut *transaction).await?;
                let query = sqlx::query(text).bind(&self.rows);
                query.execute(&mut *transaction).await?;
                transaction.commit().await
            }
            SqlLink::Sqlite(connection) => {
                let query = sqlx::query(text).bind(&self.rows);
                query.execute(connection).await.map(drop)
            }
        }
    }
}
