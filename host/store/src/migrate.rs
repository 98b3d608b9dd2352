//! The schema: which migrations there are, running them, and whether a schema that is found can be used.

use std::time::Duration;

use crate::{Secret, StoreError};

/// The schema version that this program knows.
pub const SCHEMA_VERSION: u32 = 1;

/// What `migrate` needs.
#[derive(Debug, Clone)]
pub struct MigrateOptions {
    /// As in [`StoreOptions`](crate::StoreOptions).
    pub url: Secret,
    /// As in [`StoreOptions`](crate::StoreOptions).
    pub password: Option<Secret>,
    /// Also create `godot_versions`, on the search path, where there is none.
    pub with_godot_versions: bool,
    /// Who runs it, for the audit.
    pub actor: String,
    /// Longest run of one migration.
    pub timeout: Duration,
}

/// What `migrate` did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The database, without secrets.
    pub database: String,
    /// The versions that were applied now; empty when there was nothing to do.
    pub applied: Vec<u32>,
    /// The version that the schema has now.
    pub version: u32,
    /// The name of the `godot_versions` table that was created now.
    pub created_godot_versions: Option<String>,
}

/// Brings the schema to [`SCHEMA_VERSION`]. Safe to run again, and by several at once.
///
/// # Errors
/// The database cannot be reached, its schema is newer than this program, or a migration failed (then it was rolled back).
pub async fn migrate(options: MigrateOptions) -> Result<Report, StoreError> {
    let _ = options;
    Err(StoreError::Closed)
}

/// The statements that give a Postgres role what serving needs, and nothing more.
#[must_use]
pub fn serving_grants(role: &str) -> String {
    let _ = role;
    String::new()
}
