//! Which database a URL means, how it is connected to, and how it is called in messages without its secrets.

use std::{
    fs::OpenOptions,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    str::FromStr as _,
    time::Duration,
};

use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous},
};

use router_values::{DatabaseUrl, Secret, segment::create_dir};

use crate::{StoreError, link::SqlLink};

/// What Postgres' `pg_stat_activity` calls us, unless the URL says otherwise.
pub(crate) const APPLICATION_NAME: &str = "godot-mcp-router";

/// How long SQLite waits for another process's lock. Shorter than the probe's deadline, so that the reason reads "locked"
/// and not "no answer".
const SQLITE_BUSY: Duration = Duration::from_secs(2);

/// A database, ready to be connected to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A Postgres server.
    Postgres(Box<PgConnectOptions>),
    /// A SQLite file.
    Sqlite(Box<SqliteConnectOptions>, PathBuf),
}

/// A file, whatever it is called: its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileIdentity(u64, u64);

/// One connection outside the pool.
pub(crate) enum Direct {
    Postgres(Box<PgConnection>),
    Sqlite(Box<SqliteConnection>),
}

impl Direct {
    /// The connection, to run statements on.
    pub(crate) fn link(&mut self) -> SqlLink<'_> {
        match self {
            Self::Postgres(connection) => SqlLink::Postgres(connection),
            Self::Sqlite(connection) => SqlLink::Sqlite(connection),
        }
    }

    /// Says goodbye to the server.
    pub(crate) async fn close(self) {
        use sqlx::Connection as _;
        let closed = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "connection not closed cleanly");
        }
    }
}

impl Target {
    /// The database that a URL means.
    pub(crate) fn new(url: &DatabaseUrl, password: Option<&Secret>) -> Result<Self, StoreError> {
        // The parser's own message may repeat parts of the URL: it is not passed on.
        let refused = |reason: &str| StoreError::Url {
            url: url.to_string(),
            reason: reason.to_owned(),
        };
        let text = url.secret().expose();
        let Some(path) = url.file() else {
            let options = PgConnectOptions::from_str(&known_parameters(text));
            let mut options = options.map_err(|_| {
                refused(
                    "it is not of the form postgres://USER@HOST:PORT/DATABASE (percent-encode what is special in a user or password)",
                )
            })?;
            if let Some(password) = password {
                options = options.password(password.expose());
            }
            if options.get_application_name().is_none() {
                options = options.application_name(APPLICATION_NAME);
            }
            // Statements are constant and few; their texts would only repeat in the log what stands in the source.
            return Ok(Self::Postgres(Box::new(
                options.disable_statement_logging(),
            )));
        };
        let options = SqliteConnectOptions::from_str(text)
            .map_err(|_| refused("it is not of the form sqlite://PATH"))?
            .create_if_missing(!text.contains("mode=ro"))
            .journal_mode(SqliteJournalMode::Wal)
            // An audit row that was acknowledged survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(SQLITE_BUSY)
            .disable_statement_logging();
        Ok(Self::Sqlite(Box::new(options), path.to_owned()))
    }

    /// The database in a message: no user, no password, no parameters.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Postgres(options) => {
                let database = options.get_database().unwrap_or("");
                match options.get_socket() {
                    Some(socket) => format!("postgres:{}/{database}", socket.display()),
                    None => format!(
                        "postgres://{}:{}/{database}",
                        options.get_host(),
                        options.get_port()
                    ),
                }
            }
            Self::Sqlite(_, path) => format!("sqlite://{}", path.display()),
        }
    }

    /// Which file stands at the path now; `None` for a server, or where there is none.
    pub(crate) fn file_identity(&self) -> Option<FileIdentity> {
        match self {
            Self::Postgres(_) => None,
            Self::Sqlite(_, path) => {
                let metadata = std::fs::metadata(path).ok()?;
                Some(FileIdentity(metadata.dev(), metadata.ino()))
            }
        }
    }

    /// Opens one connection. Unbounded in time: the caller sets a deadline.
    pub(crate) async fn connect(&self) -> Result<Direct, sqlx::Error> {
        match self {
            Self::Postgres(options) => Ok(Direct::Postgres(Box::new(options.connect().await?))),
            Self::Sqlite(options, path) => {
                prepare_file(path).map_err(sqlx::Error::Io)?;
                Ok(Direct::Sqlite(Box::new(options.connect().await?)))
            }
        }
    }

    /// Opens one connection that cannot write; `None` where there is no file. Unbounded in time, as [`Target::connect`].
    pub(crate) async fn connect_read_only(&self) -> Result<Option<Direct>, sqlx::Error> {
        match self {
            Self::Postgres(_) => {
                let mut direct = self.connect().await?;
                let read_only = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
                direct.link().script(read_only).await?;
                Ok(Some(direct))
            }
            Self::Sqlite(_, path) => {
                if !path.try_exists().map_err(sqlx::Error::Io)? {
                    return Ok(None);
                }
                let mut wal = path.clone().into_os_string();
                wal.push("-wal");
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .read_only(true)
                    // A file that nobody has open has nothing beside it, and reading it would otherwise leave something there.
                    .immutable(!Path::new(&wal).try_exists().map_err(sqlx::Error::Io)?)
                    .busy_timeout(SQLITE_BUSY)
                    .disable_statement_logging();
                Ok(Some(Direct::Sqlite(Box::new(options.connect().await?))))
            }
        }
    }
}

/// Parameters of a Postgres URL that are understood, as sqlx 0.9 documents them.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The URL without parameters that other programs understand and we do not. The parser would log them with their values,
/// which may be secrets.
fn known_parameters(url: &str) -> String {
    let Some((before, parameters)) = url.split_once('?') else {
        return url.to_owned();
    };
    let known = |parameter: &&str| {
        let key = parameter.split(['=', '%']).next().unwrap_or("");
        let known = PARAMETERS.contains(&key) || key.starts_with("options[");
        if !known {
            tracing::warn!(
                parameter = key,
                "unknown parameter of the database URL ignored"
            );
        }
        known
    };
    let kept: Vec<&str> = parameters.split('&').filter(known).collect();
    format!("{before}?{}", kept.join("&"))
}

/// Creates the file where it is missing, with its directory, for its owner only: an audit concerns nobody else. SQLite
/// gives the files beside it the same mode.
fn prepare_file(path: &Path) -> std::io::Result<()> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        create_dir(dir)?;
    }
    if path.exists() {
        return Ok(());
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use router_values::Secret;

    use super::Target;
    use crate::StoreError;

    fn target(url: &str, password: Option<&Secret>) -> Result<Target, StoreError> {
        Target::new(&url.parse().unwrap(), password)
    }

    #[test]
    fn what_only_the_driver_refuses_is_said_without_secrets() {
        let wrong = [
            "postgres://u:hunter2@h/db?port=x",
            "postgres://u:hunter2@h/db?statement-cache-capacity=x",
        ];
        for url in wrong {
            let error = target(url, None).expect_err(url);
            assert!(matches!(error, StoreError::Url { .. }), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn parameters_of_other_programs_are_left_out() {
        let cases = [
            ("postgres://h/d", "postgres://h/d"),
            (
                "postgres://h/d?schema=x&sslmode=disable&pgbouncer=true",
                "postgres://h/d?sslmode=disable",
            ),
            ("postgres://h/d?passwrod=hunter2", "postgres://h/d?"),
            (
                "postgres://h/d?options[search_path]=content",
                "postgres://h/d?options[search_path]=content",
            ),
        ];
        for (url, kept) in cases {
            assert_eq!(super::known_parameters(url), kept);
            target(url, None).unwrap();
        }
    }

    #[test]
    fn a_target_is_shown_without_secrets() {
        let password = Secret::new("hunter2");
        let cases = [
            ("postgres://u:hunter2@h:1/db", "postgres://h:1/db"),
            ("postgres://u@%2Frun%2Fpg/db", "postgres:/run/pg/db"),
            ("sqlite://data/router.db", "sqlite://data/router.db"),
            ("sqlite://a%20b.db", "sqlite://a b.db"),
        ];
        for (url, shown) in cases {
            assert_eq!(target(url, Some(&password)).unwrap().shown(), shown);
        }
    }
}
