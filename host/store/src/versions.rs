//! `godot_versions`, the users' table: the heartbeat of instances, in those of its columns that exist and that we may
//! write. No DDL, no DELETE, and no row that is not there.

use std::{sync::Arc, time::Duration};

use router_core::InstanceId;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, Error};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, Work},
    link::Link,
    sql::{Call, Sql, args},
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

/// The users' table as it was found, and the statement that fits its columns.
#[derive(Debug, Clone)]
pub(crate) struct VersionsTable {
    /// Its quoted name.
    pub(crate) name: String,
    /// `None`: it has none of our columns.
    update: Option<Arc<str>>,
}

/// The table where none is named.
pub(crate) const DEFAULT_NAME: &str = "godot_versions";

/// The columns of the table: its quoted name, the column, its type, and whether we may update it. `$1` is its name; one
/// without a schema is looked for on the search path, then in the schema `content`. With two dots it would be an error there.
const COLUMNS: Sql = Sql {
    postgres: "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), CAST(a.attname AS text),
            format_type(a.atttypid, a.atttypmod), has_column_privilege(c.oid, a.attnum, 'UPDATE')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.oid = CASE WHEN strpos($1, '.') > 0 THEN to_regclass($1)
                ELSE coalesce(to_regclass($1), to_regclass('content.' || $1)) END
            AND a.attnum > 0 AND NOT a.attisdropped
            AND a.attname IN ('id', 'instance_status', 'instance_last_heartbeat', 'instance_pid',
                'instance_socket_path', 'instance_error_message')
        ORDER BY a.attnum",
    sqlite: "SELECT '\"' || replace(m.name, '\"', '\"\"') || '\"', c.name, lower(c.type), TRUE
        FROM sqlite_master m JOIN pragma_table_info(m.name) c
        WHERE m.type = 'table' AND m.name = $1
            AND c.name IN ('id', 'instance_status', 'instance_last_heartbeat', 'instance_pid',
                'instance_socket_path', 'instance_error_message')
        ORDER BY c.cid",
};

/// Somebody's lock on a row costs one heartbeat, not a connection: the server gives up before we do.
const LIMITS: &str = "SELECT set_config('lock_timeout', '2000', true), set_config('statement_timeout', '4000', true)";

impl VersionsTable {
    /// Finds the table; `None` stands for [`DEFAULT_NAME`].
    pub(crate) async fn find(
        link: &mut Link<'_>,
        wanted: Option<&str>,
    ) -> Result<Option<Self>, Error> {
        let wanted = wanted.unwrap_or(DEFAULT_NAME);
        let columns: Vec<(String, String, String, bool)> =
            link.rows(&Call::new(COLUMNS, args![wanted])).await?;
        let Some((name, ..)) = columns.first() else {
            return Ok(None);
        };
        let name = name.clone();
        let is_postgres = matches!(link, Link::Postgres(_));
        let update = update(&name, &columns, is_postgres).map(Arc::from);
        if update.is_none() {
            tracing::warn!(
                table = name,
                "no heartbeat is written: the table has no id, or no column for it that we may update"
            );
        }
        Ok(Some(Self { name, update }))
    }
}

/// The statement for the columns that are there. Its only variable parts are the table's name, quoted by the database,
/// and types that the database itself named.
fn update(
    name: &str,
    columns: &[(String, String, String, bool)],
    is_postgres: bool,
) -> Option<String> {
    let id_type = columns
        .iter()
        .find(|(_, column, ..)| column == "id")?
        .2
        .as_str();
    let sets: Vec<String> = columns
        .iter()
        .filter(|(_, _, _, allowed)| *allowed)
        .filter_map(|(_, column, kind, _)| {
            let value = if is_postgres {
                postgres_value(column, kind)?
            } else {
                sqlite_value(column)?.to_owned()
            };
            Some(format!("{column} = {value}"))
        })
        .collect();
    if sets.is_empty() {
        return None;
    }
    let sets = sets.join(", ");
    Some(if is_postgres {
        let same = match id_type {
            "bigint" | "integer" | "smallint" => "v.id = h.id",
            // Costs the use of its index, which a table of versions can bear.
            _ => "CAST(v.id AS text) = CAST(h.id AS text)",
        };
        format!(
            "UPDATE {name} AS v SET {sets} FROM json_to_recordset(CAST($1 AS json)) AS h (id bigint, status text,
                pid bigint, socket_path text, error_message text, heartbeat_ms bigint) WHERE {same}"
        )
    } else {
        format!(
            "UPDATE {name} AS v SET {sets} FROM json_each($1) AS h WHERE v.id = h.value ->> 'id'"
        )
    })
}

fn postgres_value(column: &str, kind: &str) -> Option<String> {
    let given = match column {
        "instance_status" => "h.status",
        "instance_pid" => "h.pid",
        "instance_socket_path" => "h.socket_path",
        "instance_error_message" => "h.error_message",
        "instance_last_heartbeat" => {
            let at = match kind {
                "bigint" => "h.heartbeat_ms".to_owned(),
                _ => format!("CAST(to_timestamp(h.heartbeat_ms / 1000.0) AS {kind})"),
            };
            return Some(format!("coalesce({at}, v.instance_last_heartbeat)"));
        }
        _ => return None,
    };
    Some(format!("CAST({given} AS {kind})"))
}

fn sqlite_value(column: &str) -> Option<&'static str> {
    Some(match column {
        "instance_status" => "h.value ->> 'status'",
        "instance_pid" => "h.value ->> 'pid'",
        "instance_socket_path" => "h.value ->> 'socket_path'",
        "instance_error_message" => "h.value ->> 'error_message'",
        "instance_last_heartbeat" => {
            "coalesce(strftime('%Y-%m-%dT%H:%M:%fZ', (h.value ->> 'heartbeat_ms') / 1000.0, 'unixepoch'), v.instance_last_heartbeat)"
        }
        _ => return None,
    })
}

/// Writes the latest heartbeats whenever there are new ones and a database, until it is stopped.
pub(crate) async fn beat(
    database: Arc<Database>,
    mut latest: watch::Receiver<Arc<Vec<VersionHeartbeat>>>,
    stop: CancellationToken,
) {
    let beating = async {
        let mut told = String::new();
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
            if failed != told {
                if !failed.is_empty() {
                    tracing::warn!(
                        kind = "database",
                        error = failed,
                        "the heartbeat of versions could not be written"
                    );
                }
                told = failed;
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
    async fn run(&self, link: Link<'_>) -> Result<(), Error> {
        // See `update` for why this text is safe.
        let text = AssertSqlSafe(Arc::clone(&self.update));
        match link {
            Link::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                sqlx::query(LIMITS).execute(&mut *transaction).await?;
                let query = sqlx::query(text).bind(&self.rows);
                query.execute(&mut *transaction).await?;
                transaction.commit().await
            }
            Link::Sqlite(connection) => {
                let query = sqlx::query(text).bind(&self.rows);
                query.execute(connection).await.map(drop)
            }
        }
    }
}
