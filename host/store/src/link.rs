//! Running statements on one connection, and what their errors mean for us.

use sqlx::{AssertSqlSafe, Connection as _, postgres::PgConnection, sqlite::SqliteConnection};

use crate::sql::{Call, Row, for_postgres, for_sqlite};

/// One connection, of either database.
pub(crate) enum SqlLink<'c> {
    Postgres(&'c mut PgConnection),
    Sqlite(&'c mut SqliteConnection),
}

impl SqlLink<'_> {
    /// The rows that a statement gives.
    pub(crate) async fn rows<T: Row>(&mut self, call: &Call) -> Result<Vec<T>, sqlx::Error> {
        match self {
            Self::Postgres(connection) => {
                let args = for_postgres(&call.args).map_err(sqlx::Error::Encode)?;
                let query = sqlx::query_as_with::<sqlx::Postgres, T, _>(call.sql.postgres, args);
                query.fetch_all(&mut **connection).await
            }
            Self::Sqlite(connection) => {
                let args = for_sqlite(&call.args).map_err(sqlx::Error::Encode)?;
                let query = sqlx::query_as_with::<sqlx::Sqlite, T, _>(call.sql.sqlite, args);
                query.fetch_all(&mut **connection).await
            }
        }
    }

    /// Runs one statement. How many rows it changed.
    pub(crate) async fn change(&mut self, call: &Call) -> Result<u64, sqlx::Error> {
        match self {
            Self::Postgres(connection) => {
                let args = for_postgres(&call.args).map_err(sqlx::Error::Encode)?;
                let query = sqlx::query_with::<sqlx::Postgres, _>(call.sql.postgres, args);
                Ok(query.execute(&mut **connection).await?.rows_affected())
            }
            Self::Sqlite(connection) => {
                let args = for_sqlite(&call.args).map_err(sqlx::Error::Encode)?;
                let query = sqlx::query_with::<sqlx::Sqlite, _>(call.sql.sqlite, args);
                Ok(query.execute(&mut **connection).await?.rows_affected())
            }
        }
    }

    /// Runs statements in one transaction. How many rows each changed.
    pub(crate) async fn changes(&mut self, calls: &[Call]) -> Result<Vec<u64>, sqlx::Error> {
        let mut changed = Vec::with_capacity(calls.len());
        match self {
            Self::Postgres(connection) => {
                let mut transaction = connection.begin().await?;
                for call in calls {
                    changed.push(SqlLink::Postgres(&mut transaction).change(call).await?);
                }
                transaction.commit().await?;
            }
            Self::Sqlite(connection) => {
                // A deferred transaction that turns into a writer can fail at once where an immediate one waits for the lock.
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                for call in calls {
                    changed.push(SqlLink::Sqlite(&mut transaction).change(call).await?);
                }
                transaction.commit().await?;
            }
        }
        Ok(changed)
    }

    /// Runs several statements without arguments, as they stand in a migration.
    pub(crate) async fn script(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        let script = sqlx::raw_sql(AssertSqlSafe(text));
        match self {
            Self::Postgres(connection) => script.execute(&mut **connection).await.map(drop),
            Self::Sqlite(connection) => script.execute(&mut **connection).await.map(drop),
        }
    }
}

/// What an error of a statement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SqlFault {
    /// Its connection is gone: on another one it may work at once.
    Dead,
    /// The same, and the server says that an administrator ended it: the statement is not to blame.
    Terminated,
    /// The database cannot serve it now (starting, full, locked, read-only, damaged).
    Away,
    /// Its data will never be taken, on any connection.
    Data,
    /// The server cancelled it for taking too long.
    Cancelled,
    /// Our tables are not there.
    NoTable,
    /// The database refused it (a missing grant, a wrong type).
    Refused,
}

impl SqlFault {
    /// Whether its connection is gone.
    pub(crate) fn is_dead(self) -> bool {
        matches!(self, Self::Dead | Self::Terminated)
    }

    /// Judges an error.
    pub(crate) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                if database
                    .try_downcast_ref::<sqlx::sqlite::SqliteError>()
                    .is_some()
                {
                    Self::of_sqlite(code.parse().unwrap_or(1), database.message())
                } else {
                    Self::of_sqlstate(&code)
                }
            }
            sqlx::Error::Encode(_) => Self::Data,
            sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => Self::Away,
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Dead,
            _ => Self::Refused,
        }
    }

    /// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
    fn of_sqlstate(code: &str) -> Self {
        match code {
            "57P01" => Self::Terminated,
            "57P02" | "57P05" => Self::Dead,
            // 57014: statement_timeout; 55P03: lock_timeout.
            "57014" | "55P03" => Self::Cancelled,
            "42P01" | "3F000" => Self::NoTable,
            // A standby, or a server that was made read-only; a conflict of transactions, which goes away by itself.
            "25006" | "40001" | "40P01" => Self::Away,
            _ => match code.get(..2) {
                Some("08") => Self::Dead,
                Some("22" | "23") => Self::Data,
                Some("53" | "57" | "58" | "XX") => Self::Away,
                _ => Self::Refused,
            },
        }
    }

    /// <https://www.sqlite.org/rescode.html>; the low byte is the primary code.
    fn of_sqlite(code: i32, message: &str) -> Self {
        match code & 0xff {
            // TOOBIG, CONSTRAINT, MISMATCH.
            18..=20 => Self::Data,
            // BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB.
            5..=8 | 10 | 11 | 13 | 14 | 15 | 26 => Self::Away,
            1 if message.contains("no such table") => Self::NoTable,
            _ => Self::Refused,
        }
    }
}

/// An error for people: what the database said, without sqlx's preamble.
pub(crate) fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            format!("{} ({code})", database.message())
        }
        sqlx::Error::Io(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection could be opened in time".to_owned(),
        error => error.to_string(),
    }
}
