//! The inspection of a database, which changes nothing in it: whether serving would work.

use std::time::Duration;

use router_values::{DatabaseUrl, Secret};
use tokio::time::timeout;

use crate::{
    StoreError,
    keeper::away,
    migrate::{self, Found},
    target::{Direct, Target},
    versions_table::VersionsTable,
};

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    /// The database, without secrets.
    pub database: String,
    /// Its schema.
    pub schema: Schema,
    /// The quoted name of the users' table of versions, where it is there.
    pub versions: Option<String>,
}

/// What serving would do with the schema that is there.
#[derive(Debug)]
pub enum Schema {
    /// There is none yet, nor perhaps the file: serving makes both. SQLite only.
    WillBeMade,
    /// It is older than this version needs, and serving migrates it. SQLite only.
    WillBeMigrated {
        /// Its version.
        version: u32,
    },
    /// Serving can use it.
    Usable {
        /// Its version.
        version: u32,
    },
    /// Serving would refuse to start: [`StoreError::Unmigrated`] or [`StoreError::TooNew`], which say what to do.
    Unusable(StoreError),
}

/// Inspects a database: no file is made, no row is written and nothing is migrated.
///
/// # Errors
/// The URL is wrong, or the database does not answer, or not within the time.
pub async fn inspect(
    url: &DatabaseUrl,
    password: Option<&Secret>,
    versions_table: Option<&str>,
    within: Duration,
) -> Result<Inspection, StoreError> {
    let target = Target::new(url, password)?;
    let inspected = async {
        let Some(mut direct) = target
            .connect_read_only()
            .await
            .map_err(|error| away(&error))?
        else {
            return Ok((None, None));
        };
        let found = read(&mut direct, versions_table).await;
        direct.close().await;
        found.map_err(|error| away(&error))
    };
    let (found, versions) = timeout(within, inspected).await.unwrap_or_else(|_| {
        let waited_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        Err(StoreError::TimedOut { waited_ms })
    })?;
    Ok(Inspection {
        database: target.shown(),
        schema: schema(found, &target),
        versions,
    })
}

async fn read(
    direct: &mut Direct,
    versions_table: Option<&str>,
) -> Result<(Option<Found>, Option<String>), sqlx::Error> {
    let mut link = direct.link();
    let found = migrate::found(&mut link).await?;
    let versions = VersionsTable::find(&mut link, versions_table).await?;
    Ok((found, versions.map(|table| table.name)))
}

fn schema(found: Option<Found>, target: &Target) -> Schema {
    let version = found.map_or(0, |(version, _)| migrate::narrow(version));
    match (migrate::usable(found, target), target) {
        (Ok(()), _) => Schema::Usable { version },
        (Err(StoreError::Unmigrated { .. }), Target::Sqlite(..)) if version == 0 => {
            Schema::WillBeMade
        }
        (Err(StoreError::Unmigrated { .. }), Target::Sqlite(..)) => {
            Schema::WillBeMigrated { version }
        }
        (Err(error), _) => Schema::Unusable(error),
    }
}
