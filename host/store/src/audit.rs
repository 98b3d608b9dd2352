//! Reading the audit.

use router_values::{AuditQuery, AuditRow};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use crate::{
    StoreError,
    database::Database,
    sql::{Call, args},
    statements::AUDIT_PAGE,
};

/// A row as the database gives it.
struct Read(AuditRow);

impl<'r, R> FromRow<'r, R> for Read
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self(AuditRow {
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
        }))
    }
}

pub(crate) async fn page(
    database: &Database,
    query: AuditQuery,
) -> Result<Vec<AuditRow>, StoreError> {
    let rows_max = i64::from(query.rows_max());
    let args = args![
        query.before,
        query.actor,
        query.action,
        query.target,
        query.since_ms,
        rows_max
    ];
    let rows: Vec<Read> = database.rows(Call::new(AUDIT_PAGE, args)).await?;
    Ok(rows.into_iter().map(|Read(row)| row).collect())
}
