//! `godot_versions`, the users' table: which of our columns it has, and the statement that writes those of them that we may write.

use std::sync::Arc;

use sqlx::Error;

use crate::{
    link::SqlLink,
    sql::{Call, Sql, args},
};

/// The users' table as it was found, and the statement that fits its columns.
#[derive(Debug, Clone)]
pub(crate) struct VersionsTable {
    /// Its quoted name.
    pub(crate) name: String,
    /// `None`: it has none of our columns.
    pub(crate) update: Option<Arc<str>>,
}

/// The table where none is named.
pub(crate) const DEFAULT_NAME: &str = "godot_versions";

/// The columns of the table: its quoted name, the column, its type, and whether we may update it. `$1` is its name; one
/// without a schema is searched on the search path, then in the schema `content`. With two dots it would be an error there.
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

impl VersionsTable {
    /// Finds the table; `None` stands for [`DEFAULT_NAME`].
    pub(crate) async fn find(
        link: &mut SqlLink<'_>,
        wanted: Option<&str>,
    ) -> Result<Option<Self>, Error> {
        let wanted = wanted.unwrap_or(DEFAULT_NAME);
        let columns: Vec<(String, String, String, bool)> =
            link.rows(&Call::new(COLUMNS, args![wanted])).await?;
        let Some((name, ..)) = columns.first() else {
            return Ok(None);
        };
        let name = name.clone();
        let is_postgres = matches!(link, SqlLink::Postgres(_));
        let update = update(&name, &columns, is_postgres).map(Arc::from);
        if update.is_none() {
            tracing::warn!(
                table = name,
                "no heartbeat is written: the versions table has no id, or no column that may be updated"
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
