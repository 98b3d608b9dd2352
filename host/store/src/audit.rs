//! The audit: who did what, when, from where, with what result.

use std::net::SocketAddr;

use serde::Serialize;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use crate::{
    StoreError,
    database::Database,
    sql::{Call, args},
    statements::AUDIT_PAGE,
};

/// Rows of a page where none are asked for, and at most.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// One thing that somebody did or tried. The store adds when, which router and a unique id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditRow {
    /// Who: a token's name, `loopback`, or `router` for what the router did by itself.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// What, as one word with dots: `instance.restart`.
    pub action: String,
    /// To what: an instance, a plugin, a file; empty for the router itself.
    pub target: String,
    /// From where.
    pub from: Option<SocketAddr>,
    /// `ok`, `refused` or `failed`.
    pub result: String,
    /// More for people. Cut to 4,096 characters.
    pub detail: String,
}

/// A kept row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Its number: later rows have larger ones. What [`AuditQuery::before`] takes.
    pub seq: i64,
    /// Unique over all routers.
    pub id: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// See [`AuditRow::actor`].
    pub actor: String,
    /// See [`AuditRow::role`].
    pub role: String,
    /// See [`AuditRow::action`].
    pub action: String,
    /// See [`AuditRow::target`].
    pub target: String,
    /// See [`AuditRow::from`]; empty where there was no address.
    #[serde(rename = "from")]
    pub from_address: String,
    /// See [`AuditRow::result`].
    pub result: String,
    /// See [`AuditRow::detail`].
    pub detail: String,
    /// Which router wrote it.
    pub router_id: String,
    /// In which life.
    pub epoch: i64,
}

impl<'r, R> FromRow<'r, R> for AuditRecord
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self {
            seq: row.try_get("seq")?,
            id: row.try_get("id")?,
            at_ms: row.try_get("at_ms")?,
            actor: row.try_get("actor")?,
            role: row.try_get("role")?,
            action: row.try_get("action")?,
            target: row.try_get("target")?,
            from_address: row.try_get("from_address")?,
            result: row.try_get("result")?,
            detail: row.try_get("detail")?,
            router_id: row.try_get("router_id")?,
            epoch: row.try_get("epoch")?,
        })
    }
}

/// Which rows to read, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only rows whose `seq` is smaller.
    pub before: Option<i64>,
    /// At most so many; 0 means 100, more than 1,000 means 1,000.
    pub limit: u32,
    /// Only of this actor.
    pub actor: Option<String>,
    /// Only this action.
    pub action: Option<String>,
    /// Only on this target.
    pub target: Option<String>,
    /// Only rows at or after this, in milliseconds since 1970.
    pub since_ms: Option<i64>,
}

pub(crate) async fn page(
    database: &Database,
    query: AuditQuery,
) -> Result<Vec<AuditRecord>, StoreError> {
    let limit = match query.limit {
        0 => LIMIT_DEFAULT,
        limit => limit.min(LIMIT_MAX),
    };
    let args = args![
        query.before,
        query.actor,
        query.action,
        query.target,
        query.since_ms,
        i64::from(limit)
    ];
    Ok(database.rows(Call::new(AUDIT_PAGE, args)).await?)
}
