//! Reading the history, and how much of it is kept.

use router_values::{EventPosition, HistoryQuery, HistoryRow};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use crate::{
    StoreError,
    database::Database,
    sql::{Call, args},
    statements::{HISTORY_AFTER, HISTORY_PAGE, HISTORY_TRIM},
};

/// A row as the database gives it.
struct Read(HistoryRow);

impl<'r, R> FromRow<'r, R> for Read
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        let (slot, run): (Option<i64>, Option<i64>) = (row.try_get("slot")?, row.try_get("run")?);
        Ok(Self(HistoryRow {
            seq: row.try_get("seq")?,
            id: row.try_get("id")?,
            at_ms: row.try_get("at_ms")?,
            axis: row.try_get("axis")?,
            instance: row.try_get("instance")?,
            slot: slot.and_then(|slot| u32::try_from(slot).ok()),
            run: run.and_then(|run| u64::try_from(run).ok()),
            subject: row.try_get("subject")?,
            from: row.try_get("from_state")?,
            to: row.try_get("to_state")?,
            reason: row.try_get("reason")?,
            detail: row.try_get("detail")?,
            router_id: row.try_get("router_id")?,
            epoch: row.try_get("epoch")?,
            sequence: row.try_get("sequence")?,
        }))
    }
}

pub(crate) async fn page(
    database: &Database,
    query: HistoryQuery,
) -> Result<Vec<HistoryRow>, StoreError> {
    let rows_max = i64::from(query.rows_max());
    let args = args![
        query.before,
        query.instance,
        query.axis,
        query.since_ms,
        rows_max
    ];
    let rows: Vec<Read> = database.rows(Call::new(HISTORY_PAGE, args)).await?;
    Ok(rows.into_iter().map(|Read(row)| row).collect())
}

/// What this router saw after an event, oldest first.
pub(crate) async fn after(
    database: &Database,
    EventPosition { epoch, sequence }: EventPosition,
    rows_max: u32,
) -> Result<Vec<HistoryRow>, StoreError> {
    let router_id = database.options.router_id.as_str();
    let args = args![router_id, epoch, sequence, i64::from(rows_max)];
    let rows: Vec<Read> = database.rows(Call::new(HISTORY_AFTER, args)).await?;
    Ok(rows.into_iter().map(|Read(row)| row).collect())
}

/// Deletes a batch of what is past the bound.
pub(crate) fn trim(history_rows_max: u32, batch_rows: i64) -> Call {
    Call::new(HISTORY_TRIM, args![i64::from(history_rows_max), batch_rows])
}
