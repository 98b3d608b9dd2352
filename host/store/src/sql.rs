//! One statement in two dialects, and its arguments as plain data.
//!
//! Statements are constant text, so that each can be prepared on both databases by a test; arguments are values rather
//! than `bind` calls, so that a statement can be sent again after its connection died.

use std::time::SystemTime;

use router_values::unix_ms;
use sqlx::{
    Arguments as _, Postgres, Sqlite, error::BoxDynError, postgres::PgArguments,
    sqlite::SqliteArguments,
};

/// A statement. The texts differ in the schema's name, and where the dialects do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sql {
    /// For Postgres: our tables stand in the schema `godot_mcp_router`.
    pub(crate) postgres: &'static str,
    /// For SQLite: plain names.
    pub(crate) sqlite: &'static str,
}

/// Builds a [`Sql`] from literals and, bare, the names of our own tables: `sql!("SELECT id FROM " audit " LIMIT 1")`.
macro_rules! sql {
    (@postgres $text:literal) => { $text };
    (@postgres $table:ident) => { concat!("godot_mcp_router.", stringify!($table)) };
    (@sqlite $text:literal) => { $text };
    (@sqlite $table:ident) => { stringify!($table) };
    ($($piece:tt)+) => {
        $crate::sql::Sql {
            postgres: concat!($($crate::sql::sql!(@postgres $piece)),+),
            sqlite: concat!($($crate::sql::sql!(@sqlite $piece)),+),
        }
    };
}
pub(crate) use sql;

/// One argument of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Arg {
    /// A number.
    Number(i64),
    /// A number, or nothing.
    MaybeNumber(Option<i64>),
    /// A text.
    Text(String),
    /// A text, or nothing.
    MaybeText(Option<String>),
    /// Yes or no.
    Flag(bool),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl From<i64> for Arg {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Option<i64>> for Arg {
    fn from(number: Option<i64>) -> Self {
        Self::MaybeNumber(number)
    }
}

impl From<&str> for Arg {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Arg {
    fn from(text: Option<String>) -> Self {
        Self::MaybeText(text)
    }
}

impl From<bool> for Arg {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<u8>> for Arg {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A statement with its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) sql: Sql,
    pub(crate) args: Vec<Arg>,
}

impl Call {
    /// A call of a statement.
    pub(crate) fn new<const N: usize>(sql: Sql, args: [Arg; N]) -> Self {
        Self {
            sql,
            args: args.into(),
        }
    }
}

/// `args![1, "a"]`: arguments of differing types.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { [$($crate::sql::Arg::from($arg)),*] };
}
pub(crate) use args;

/// The arguments as Postgres takes them.
pub(crate) fn for_postgres(args: &[Arg]) -> Result<PgArguments, BoxDynError> {
    let mut encoded = PgArguments::default();
    for arg in args {
        match arg.clone() {
            Arg::Number(number) => encoded.add::<i64>(number),
            Arg::MaybeNumber(number) => encoded.add::<Option<i64>>(number),
            Arg::Text(text) => encoded.add::<String>(text),
            Arg::MaybeText(text) => encoded.add::<Option<String>>(text),
            Arg::Flag(flag) => encoded.add::<bool>(flag),
            Arg::Bytes(bytes) => encoded.add::<Vec<u8>>(bytes),
        }?;
    }
    Ok(encoded)
}

/// The arguments as SQLite takes them.
pub(crate) fn for_sqlite(args: &[Arg]) -> Result<SqliteArguments, BoxDynError> {
    let mut encoded = SqliteArguments::default();
    for arg in args {
        match arg.clone() {
            Arg::Number(number) => encoded.add::<i64>(number),
            Arg::MaybeNumber(number) => encoded.add::<Option<i64>>(number),
            Arg::Text(text) => encoded.add::<String>(text),
            Arg::MaybeText(text) => encoded.add::<Option<String>>(text),
            Arg::Flag(flag) => encoded.add::<bool>(flag),
            Arg::Bytes(bytes) => encoded.add::<Vec<u8>>(bytes),
        }?;
    }
    Ok(encoded)
}

/// The present as rows hold it: milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    unix_ms(SystemTime::now())
}

/// A row that both databases can give.
pub(crate) trait Row:
    for<'r> sqlx::FromRow<'r, <Postgres as sqlx::Database>::Row>
    + for<'r> sqlx::FromRow<'r, <Sqlite as sqlx::Database>::Row>
    + Send
    + Unpin
{
}

impl<T> Row for T where
    T: for<'r> sqlx::FromRow<'r, <Postgres as sqlx::Database>::Row>
        + for<'r> sqlx::FromRow<'r, <Sqlite as sqlx::Database>::Row>
        + Send
        + Unpin
{
}
