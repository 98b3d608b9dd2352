//! `[storage]` and `[audit]`: where the router's rows live, and how long what was done is remembered.

use std::{fmt, time::Duration};

use router_values::{DatabaseKind, DatabaseUrl, Secret};

use crate::{
    Applies, Place,
    reader::{ConfigSection, SecretKey},
    value::InvalidValue,
};

/// `[storage]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// Which database.
    pub url: DatabaseUrl,
    /// Postgres' password; wins over one in the URL.
    pub password: Option<Secret>,
    /// Connections at most.
    pub pool_size: u32,
    /// An idle connection is closed after so long.
    pub pool_idle_timeout: Duration,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may run.
    pub query_timeout: Duration,
    /// The users' table of versions.
    pub versions_table: TableName,
}

/// A table, with its schema or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    /// `None`: found on the search path, else in the schema `content`.
    pub schema: Option<String>,
    /// Its name.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// One `AUDIT` line in the log for each audit row. Rows are written either way.
    pub enabled: bool,
    /// Days that audit rows, crash evidence and log files are kept; 0: for ever.
    pub retention_days: u32,
}

/// The built-in database: no server, no set-up.
const URL_DEFAULT: &str = "sqlite://data/router.db";

impl Storage {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        let section = root.child("storage");
        let seconds = Duration::from_secs;
        let (url, url_place) = read_url(&section);
        let storage = Self {
            password: read_password(&section, &url, &url_place),
            url,
            pool_size: section
                .key("pool_size")
                .variable("DATABASE_POOL_SIZE")
                .restart()
                .within(1, 1_000)
                .or(10),
            pool_idle_timeout: section
                .key("pool_idle_timeout")
                .variable("DATABASE_POOL_IDLE_TIMEOUT")
                .restart()
                .within(seconds(1), seconds(86_400))
                .or(seconds(30)),
            acquire_timeout: section
                .key("acquire_timeout")
                .restart()
                .within(Duration::from_millis(100), seconds(300))
                .or(seconds(5)),
            query_timeout: section
                .key("query_timeout")
                .variable("DB_QUERY_TIMEOUT")
                .restart()
                .within(Duration::from_millis(100), seconds(3_600))
                .or(seconds(30)),
            versions_table: section.key("versions_table").restart().or(TableName {
                schema: None,
                table: "godot_versions".to_owned(),
            }),
        };
        section.close();
        storage
    }
}

fn read_url(section: &ConfigSection<'_, '_>) -> (DatabaseUrl, Option<Place>) {
    let (reader, key) = (section.reader, section.key_path("url"));
    let working_dir = reader.environment.working_dir();
    let found = section.secret(&SecretKey {
        name: "url",
        file_name: "url_file",
        variables: &["DATABASE_URL", "POSTGRES_URL"],
        default: Some("\"sqlite://data/router.db\""),
        applies: Applies::Restart,
    });
    let text = found
        .as_ref()
        .map_or(URL_DEFAULT, |found| found.secret.expose());
    let place = found.as_ref().map(|found| found.place.clone());
    let url = DatabaseUrl::parse(text, working_dir).unwrap_or_else(|what| {
        let what = format!("this is not the URL of a database: {what}");
        let remedy = "write sqlite://PATH or postgres://USER@HOST:PORT/DATABASE";
        reader.fault_at(&key, what, remedy);
        DatabaseUrl::parse(URL_DEFAULT, working_dir).expect("the default is a URL")
    });
    reader.mean(&key, &url.to_string(), url.secret());
    (url, place)
}

fn read_password(
    section: &ConfigSection<'_, '_>,
    url: &DatabaseUrl,
    url_place: &Option<Place>,
) -> Option<Secret> {
    let found = section.secret(&SecretKey {
        name: "password",
        file_name: "password_file",
        variables: &["DATABASE_PASSWORD"],
        default: None,
        applies: Applies::Restart,
    })?;
    let in_document = !matches!(found.place, Place::Variable(_));
    let key = section.key_path("password");
    // What stands in for a faulty URL says nothing about the password.
    if section.reader.is_faulty(&section.key_path("url")) {
        return None;
    }
    match (url.kind(), in_document) {
        (DatabaseKind::Sqlite, true) => {
            let remedy = "remove it, or set url to a Postgres server";
            section
                .reader
                .fault(found.place, key, "SQLite has no password", remedy);
            None
        }
        // Whole environments are shared between programs; the file is ours alone.
        (DatabaseKind::Sqlite, false) => {
            section
                .reader
                .notice(key, "SQLite has no password: DATABASE_PASSWORD is not used");
            None
        }
        (DatabaseKind::Postgres, true)
            if url.has_password() && matches!(url_place, Some(Place::Line { .. })) =>
        {
            let remedy = "take the password out of url";
            section
                .reader
                .fault(found.place, key, "the URL holds a password as well", remedy);
            None
        }
        (DatabaseKind::Postgres, _) => Some(found.secret),
    }
}

impl Audit {
    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
        /// What was done is kept for at least a year.
        const DAYS_MIN: u32 = 365;
        let section = root.child("audit");
        let audit = Self {
            enabled: section
                .key("enabled")
                .variable("ENABLE_AUDIT_LOG")
                .restart()
                .or(true),
            retention_days: section
                .key("retention_days")
                .restart()
                .rule(|days| match days {
                    0 | DAYS_MIN..=36_500 => Ok(()),
                    _ => Err(InvalidValue::new(
                        format!(
                            "{days} is out of range: what was done is kept for at least a year"
                        ),
                        format!(
                            "write a number from {DAYS_MIN} to 36500, or 0 to keep it for ever"
                        ),
                    )),
                })
                .or(400),
        };
        section.close();
        audit
    }
}
