//! The schema: which migrations there are, running them, and whether a schema that is found can be used.
//!
//! On SQLite serving migrates by itself; on Postgres only `migrate` does, with a role that may.

use std::time::Duration;

use router_values::{AuditRow, DatabaseUrl, Secret};
use sqlx::Error;
use tokio::time::timeout;

use crate::{
    StoreError,
    facts::{RowOrigin, audit_insert, stamped},
    link::{SqlFault, SqlLink, describe},
    sql::{Call, Sql, args, now_ms, sql},
    statements::SCHEMA_READ,
    target::{Direct, Target},
    versions_table::VersionsTable,
};

/// One step of the schema. Once released its text never changes.
struct Migration {
    version: u32,
    /// Programs that know this version or a later one may serve on the schema afterwards. One back at least.
    compatible_down_to: u32,
    title: &'static str,
    text: Sql,
}

/// Every step, in order.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        compatible_down_to: 0,
        title: "foundation",
        text: Sql {
            postgres: include_str!("../../migrations/postgres/0001_foundation.sql"),
            sqlite: include_str!("../../migrations/sqlite/0001_foundation.sql"),
        },
    },
    Migration {
        version: 2,
        // It only adds tables.
        compatible_down_to: 1,
        title: "history of load",
        text: Sql {
            postgres: include_str!("../../migrations/postgres/0002_load.sql"),
            sqlite: include_str!("../../migrations/sqlite/0002_load.sql"),
        },
    },
    Migration {
        version: 3,
        // It only adds a table.
        compatible_down_to: 1,
        title: "history of what happened",
        text: Sql {
            postgres: include_str!("../../migrations/postgres/0003_history.sql"),
            sqlite: include_str!("../../migrations/sqlite/0003_history.sql"),
        },
    },
    Migration {
        version: 4,
        // It only adds tables.
        compatible_down_to: 1,
        title: "alerts and their deliveries",
        text: Sql {
            postgres: include_str!("../../migrations/postgres/0004_alerts.sql"),
            sqlite: include_str!("../../migrations/sqlite/0004_alerts.sql"),
        },
    },
];

const GODOT_VERSIONS: Sql = Sql {
    postgres: include_str!("../../migrations/postgres/godot_versions.sql"),
    sqlite: include_str!("../../migrations/sqlite/godot_versions.sql"),
};

/// Begins a migration alone: on Postgres a lock of our own (the number is arbitrary and ours), on SQLite the file's.
const BEGIN: Sql = Sql {
    postgres: "BEGIN; SELECT pg_advisory_xact_lock(7107214532001)",
    sqlite: "BEGIN IMMEDIATE",
};

const SCHEMA_ROW: Sql = sql!(
    "INSERT INTO " schema_version " (version, compatible_down_to, title, at_ms)
     VALUES (CAST($1 AS integer), CAST($2 AS integer), $3, $4)"
);

/// `CREATE SCHEMA IF NOT EXISTS` asks for the right to create one even where it exists.
const SCHEMA_EXISTS: Sql = Sql {
    postgres: "SELECT count(*) FROM pg_namespace WHERE nspname = 'godot_mcp_router'",
    sqlite: "SELECT 1",
};

/// The schema version that this program knows.
pub const SCHEMA_VERSION: u32 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// What `migrate` needs.
#[derive(Debug, Clone)]
pub struct MigrateOptions {
    /// As in [`StoreOptions`](crate::StoreOptions).
    pub url: DatabaseUrl,
    /// As in [`StoreOptions`](crate::StoreOptions).
    pub password: Option<Secret>,
    /// Also create `godot_versions`, in the first schema of the search path, where there is none.
    pub with_godot_versions: bool,
    /// Who runs it, for the audit.
    pub actor: String,
    /// Longest duration of it all.
    pub timeout: Duration,
}

/// What `migrate` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// The database, without secrets.
    pub database: String,
    /// The versions that were applied now; empty when there was nothing to do.
    pub applied: Vec<u32>,
    /// The version that the schema has now.
    pub version: u32,
    /// The name of the `godot_versions` table that was created now.
    pub created_godot_versions: Option<String>,
}

/// A version that stands in a schema, and the oldest whose programs may use it.
pub(crate) type Found = (i64, i64);

/// Brings the schema to [`SCHEMA_VERSION`]. Safe to run again, and by several at once.
///
/// # Errors
/// The database cannot be reached, its schema is newer than this program and says that it is not for it, or a migration
/// failed (then it was rolled back).
pub async fn migrate(options: MigrateOptions) -> Result<MigrationReport, StoreError> {
    let target = Target::new(&options.url, options.password.as_ref())?;
    let work = async {
        let mut direct = target.connect().await.map_err(|error| away(&error))?;
        let applied = apply(&mut direct, &target, &options.actor, "").await?;
        let mut report = MigrationReport {
            database: target.shown(),
            applied,
            ..MigrationReport::default()
        };
        if options.with_godot_versions {
            report.created_godot_versions =
                create_godot_versions(&mut direct, &options.actor).await?;
        }
        let found = found(&mut direct.link())
            .await
            .map_err(|error| away(&error))?;
        report.version = found.map_or(0, |(version, _)| narrow(version));
        direct.close().await;
        Ok(report)
    };
    match timeout(options.timeout, work).await {
        Ok(done) => done,
        Err(_) => Err(StoreError::TimedOut {
            waited_ms: u64::try_from(options.timeout.as_millis()).unwrap_or(u64::MAX),
        }),
    }
}

/// The statements that give a Postgres role what serving needs, and nothing more. The role may be any text.
#[must_use]
pub fn serving_grants(role: &str) -> String {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    format!(
        "GRANT USAGE ON SCHEMA godot_mcp_router TO {role};
GRANT SELECT ON godot_mcp_router.schema_version TO {role};
GRANT SELECT, INSERT, UPDATE ON godot_mcp_router.router TO {role};
GRANT SELECT, INSERT, DELETE ON godot_mcp_router.audit TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON godot_mcp_router.registered_instance, godot_mcp_router.instance_state, godot_mcp_router.plugin_value TO {role};
GRANT SELECT, INSERT, DELETE ON godot_mcp_router.crash TO {role};
GRANT SELECT, INSERT, DELETE ON godot_mcp_router.history TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON godot_mcp_router.load_minute, godot_mcp_router.load_hour TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON godot_mcp_router.alert, godot_mcp_router.delivery TO {role};
"
    )
}

/// Migrates a SQLite file by itself.
pub(crate) async fn sqlite(
    direct: &mut Direct,
    target: &Target,
    router_id: &str,
) -> Result<(), StoreError> {
    apply(direct, target, "router", router_id).await.map(drop)
}

/// The version that stands in the schema; `None` where there is no schema.
pub(crate) async fn found(link: &mut SqlLink<'_>) -> Result<Option<Found>, Error> {
    match link.rows::<Found>(&Call::new(SCHEMA_READ, [])).await {
        Ok(rows) => Ok(rows.into_iter().next()),
        Err(error) if SqlFault::of(&error) == SqlFault::NoTable => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this program may serve on what was found.
pub(crate) fn usable(found: Option<Found>, target: &Target) -> Result<(), StoreError> {
    let (version, compatible_down_to) = found.unwrap_or((0, 0));
    let (version, compatible_down_to) = (narrow(version), narrow(compatible_down_to));
    if version < SCHEMA_VERSION {
        return Err(StoreError::Unmigrated {
            database: target.shown(),
            found: version,
            needed: SCHEMA_VERSION,
        });
    }
    if compatible_down_to > SCHEMA_VERSION {
        return Err(StoreError::TooNew {
            database: target.shown(),
            found: version,
            compatible_down_to,
            needed: SCHEMA_VERSION,
        });
    }
    Ok(())
}

async fn apply(
    direct: &mut Direct,
    target: &Target,
    actor: &str,
    router_id: &str,
) -> Result<Vec<u32>, StoreError> {
    let mut applied = Vec::new();
    loop {
        let at = found(&mut direct.link())
            .await
            .map_err(|error| away(&error))?;
        let version = at.map_or(0, |(version, _)| narrow(version));
        let Some(next) = MIGRATIONS
            .iter()
            .find(|migration| migration.version > version)
        else {
            usable(at, target)?;
            return Ok(applied);
        };
        match step(&mut direct.link(), next, actor, router_id).await {
            Ok(true) => {
                tracing::info!(
                    version = next.version,
                    title = next.title,
                    "the database was migrated"
                );
                applied.push(next.version);
            }
            // Somebody else was faster.
            Ok(false) => {}
            Err(error) => {
                // Its connection is dropped by the caller; this only makes the lock free sooner.
                let _ = direct.link().script("ROLLBACK").await;
                let (reason, fault) = (describe(&error), SqlFault::of(&error));
                if fault.is_dead() || fault == SqlFault::Away {
                    return Err(StoreError::Disconnected { reason });
                }
                return Err(StoreError::Migration {
                    version: next.version,
                    title: next.title,
                    reason,
                });
            }
        }
    }
}

/// One migration in one transaction. False when it had been applied by then.
async fn step(
    link: &mut SqlLink<'_>,
    migration: &Migration,
    actor: &str,
    router_id: &str,
) -> Result<bool, Error> {
    script(link, BEGIN).await?;
    let exists: Vec<(i64,)> = link.rows(&Call::new(SCHEMA_EXISTS, [])).await?;
    if exists.first().is_some_and(|(count,)| *count == 0) {
        link.script("CREATE SCHEMA godot_mcp_router").await?;
    } else if table_exists(link).await? {
        let at = found(link).await?;
        if at.is_some_and(|(version, _)| narrow(version) >= migration.version) {
            link.script("ROLLBACK").await?;
            return Ok(false);
        }
    }
    script(link, migration.text).await?;
    let version = i64::from(migration.version);
    let compatible = i64::from(migration.compatible_down_to);
    link.change(&Call::new(
        SCHEMA_ROW,
        args![version, compatible, migration.title, now_ms()],
    ))
    .await?;
    let detail = format!("version {version} ({})", migration.title);
    let row = done(actor, "database.migrate", detail, router_id);
    link.change(&audit_insert(&[&row])).await?;
    link.script("COMMIT").await?;
    Ok(true)
}

/// A row about what was done to the schema.
fn done(actor: &str, action: &str, detail: String, router_id: &str) -> AuditRow {
    let row = AuditRow {
        actor: actor.to_owned(),
        action: action.to_owned(),
        result: "ok".to_owned(),
        detail,
        ..AuditRow::default()
    };
    stamped(row, &RowOrigin::new(router_id, 0))
}

/// Asked before reading: on Postgres a failed read would end the transaction.
async fn table_exists(link: &mut SqlLink<'_>) -> Result<bool, Error> {
    const EXISTS: Sql = Sql {
        postgres: "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = 'godot_mcp_router' AND c.relname = 'schema_version'",
        sqlite: "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'",
    };
    let rows: Vec<(i64,)> = link.rows(&Call::new(EXISTS, [])).await?;
    Ok(rows.first().is_some_and(|(count,)| *count > 0))
}

async fn create_godot_versions(
    direct: &mut Direct,
    actor: &str,
) -> Result<Option<String>, StoreError> {
    let mut link = direct.link();
    let refused = |error: Error| StoreError::Migration {
        version: 0,
        title: "godot_versions",
        reason: describe(&error),
    };
    if VersionsTable::find(&mut link, None)
        .await
        .map_err(refused)?
        .is_some()
    {
        return Ok(None);
    }
    script(&mut link, GODOT_VERSIONS).await.map_err(refused)?;
    let table = VersionsTable::find(&mut link, None)
        .await
        .map_err(refused)?;
    let name = table.map(|table| table.name);
    let detail = name.clone().unwrap_or_default();
    let row = done(actor, "database.create-godot-versions", detail, "");
    link.change(&audit_insert(&[&row])).await.map_err(refused)?;
    Ok(name)
}

async fn script(link: &mut SqlLink<'_>, text: Sql) -> Result<(), Error> {
    let text = match link {
        SqlLink::Postgres(_) => text.postgres,
        SqlLink::Sqlite(_) => text.sqlite,
    };
    link.script(text).await
}

fn away(error: &Error) -> StoreError {
    StoreError::Disconnected {
        reason: describe(error),
    }
}

/// Versions are small; a column that holds nonsense reads as a schema from the far future.
pub(crate) fn narrow(version: i64) -> u32 {
    u32::try_from(version).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{MIGRATIONS, SCHEMA_VERSION, serving_grants, usable};
    use crate::{StoreError, target::Target};

    #[test]
    fn migrations_are_numbered_and_leave_the_version_before_them_serving() {
        for (place, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.version as usize, place + 1);
            assert!(migration.compatible_down_to < migration.version);
        }
    }

    #[test]
    fn a_schema_is_usable_when_it_is_ours_or_says_so() {
        let target = Target::new(&"sqlite://x.db".parse().unwrap(), None).unwrap();
        let ours = i64::from(SCHEMA_VERSION);
        assert!(usable(Some((ours, 0)), &target).is_ok());
        assert!(usable(Some((ours + 1, ours)), &target).is_ok());
        assert!(usable(Some((ours + 7, ours)), &target).is_ok());
        let newer = usable(Some((ours + 2, ours + 1)), &target);
        assert!(matches!(newer, Err(StoreError::TooNew { .. })));
        let absent = usable(None, &target).unwrap_err().to_string();
        assert!(absent.contains("godot-mcp-router migrate"), "{absent}");
    }

    #[test]
    fn a_role_is_quoted_in_its_grants() {
        assert!(serving_grants("a\"; DROP").contains("TO \"a\"\"; DROP\";"));
    }
}
