//! Alerts and their deliveries in the database: brought up to date, read, and how much of them is kept.
//!
//! They take no way through the spool: the alert journal has each of them, safe on disk, until it is here.

use router_values::{AlertPage, AlertQuery, AlertRow, DeliveryRecord, RowVersion};
use serde::Serialize;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};
use tokio::time::sleep;

use crate::{
    StoreError, StoreOptions,
    counted::Counted,
    database::{Database, StatementFailure},
    drain::{PAUSE_FIRST, PAUSE_MAX, connected},
    facts::{DETAIL_CHARS_MAX, NAME_CHARS_MAX, clean},
    link::SqlFault,
    sql::{Call, args},
    statements::alerts::{
        ALERT_ONE, ALERTS_COUNT, ALERTS_FIRING_MAX, ALERTS_PAGE, ALERTS_PUT, ALERTS_TRIM,
        DELIVERIES_OF, DELIVERIES_PUT, DELIVERIES_TRIM,
    },
};

/// A row as the database gives it.
struct Read<T>(T);

impl<'r, R> FromRow<'r, R> for Read<AlertRow>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self(AlertRow {
            seq: row.try_get("seq")?,
            alert: row.try_get("alert")?,
            firing: row.try_get("firing")?,
            key: row.try_get("key")?,
            rule: row.try_get("rule")?,
            name: row.try_get("name")?,
            severity: row.try_get("severity")?,
            instance: row.try_get("instance")?,
            summary: row.try_get("summary")?,
            remedy: row.try_get("remedy")?,
            runbook: row.try_get("runbook")?,
            attributes: row.try_get("attributes")?,
            state: row.try_get("state")?,
            since_ms: row.try_get("since_ms")?,
            fired_ms: row.try_get("fired_ms")?,
            acknowledged_by: row.try_get("acknowledged_by")?,
            acknowledged_ms: row.try_get("acknowledged_ms")?,
            resolved_ms: row.try_get("resolved_ms")?,
            resolved_because: row.try_get("resolved_because")?,
            story: row.try_get("story")?,
            at_ms: row.try_get("at_ms")?,
            router_id: row.try_get("router_id")?,
            version: RowVersion {
                epoch: row.try_get("epoch")?,
                sequence: row.try_get("sequence")?,
            },
        }))
    }
}

impl<'r, R> FromRow<'r, R> for Read<DeliveryRecord>
where
    R: Row,
    &'static str: ColumnIndex<R>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self(DeliveryRecord {
            id: row.try_get("id")?,
            alert: row.try_get("alert")?,
            firing: row.try_get("firing")?,
            step: row.try_get("step")?,
            sink: row.try_get("sink")?,
            route: row.try_get("route")?,
            occasion: row.try_get("occasion")?,
            severity: row.try_get("severity")?,
            decided_ms: row.try_get("decided_ms")?,
            outcome: row.try_get("outcome")?,
            attempts: row.try_get("attempts")?,
            first_attempt_ms: row.try_get("first_attempt_ms")?,
            last_attempt_ms: row.try_get("last_attempt_ms")?,
            answer: row.try_get("answer")?,
            at_ms: row.try_get("at_ms")?,
            router_id: row.try_get("router_id")?,
            version: RowVersion {
                epoch: row.try_get("epoch")?,
                sequence: row.try_get("sequence")?,
            },
        }))
    }
}

/// Brings rows up to date, however long that takes.
pub(crate) async fn put(database: &Database, alerts: &[AlertRow], deliveries: &[DeliveryRecord]) {
    let router_id = database.options.router_id.as_str();
    let alerts: Vec<AlertRow> = (alerts.iter().cloned())
        .map(|row| AlertRow {
            key: clean(row.key, NAME_CHARS_MAX),
            rule: clean(row.rule, NAME_CHARS_MAX),
            name: clean(row.name, NAME_CHARS_MAX),
            summary: clean(row.summary, DETAIL_CHARS_MAX),
            remedy: clean(row.remedy, DETAIL_CHARS_MAX),
            runbook: clean(row.runbook, NAME_CHARS_MAX),
            acknowledged_by: clean(row.acknowledged_by, NAME_CHARS_MAX),
            resolved_because: clean(row.resolved_because, NAME_CHARS_MAX),
            router_id: router_id.to_owned(),
            ..row
        })
        .collect();
    let deliveries: Vec<DeliveryRecord> = (deliveries.iter().cloned())
        .map(|row| DeliveryRecord {
            sink: clean(row.sink, NAME_CHARS_MAX),
            route: clean(row.route, NAME_CHARS_MAX),
            occasion: clean(row.occasion, NAME_CHARS_MAX),
            answer: clean(row.answer, DETAIL_CHARS_MAX),
            router_id: router_id.to_owned(),
            ..row
        })
        .collect();
    let calls = [
        (!alerts.is_empty()).then(|| insert(ALERTS_PUT, &alerts)),
        (!deliveries.is_empty()).then(|| insert(DELIVERIES_PUT, &deliveries)),
    ];
    let calls: Vec<Call> = calls.into_iter().flatten().collect();
    if calls.is_empty() || persist(database, calls).await.is_ok() {
        return;
    }
    // One of them is poison: the others are kept.
    let alerts = alerts.iter().map(|row| insert(ALERTS_PUT, &[row]));
    let deliveries = deliveries.iter().map(|row| insert(DELIVERIES_PUT, &[row]));
    for call in alerts.chain(deliveries) {
        if let Err(reason) = persist(database, vec![call]).await {
            Counted::add(&database.counted.rejected, 1);
            tracing::error!(
                kind = "database",
                error = reason,
                "row of an alert refused by the database: it is left out"
            );
        }
    }
}

fn insert<T: Serialize>(sql: crate::sql::Sql, rows: &[T]) -> Call {
    let rows = serde_json::to_string(rows).expect("a row holds only texts and numbers");
    Call::new(sql, args![rows])
}

/// Runs statements until the database takes them; an error only where it never will, because of their data.
async fn persist(database: &Database, calls: Vec<Call>) -> Result<(), String> {
    let mut pause = PAUSE_FIRST;
    let mut is_logged = false;
    loop {
        connected(database).await;
        match database.changes(calls.clone()).await {
            Ok(_) => return Ok(()),
            Err(StatementFailure {
                fault: SqlFault::Data,
                error,
            }) => return Err(error.to_string()),
            Err(StatementFailure { fault, error }) => {
                if fault == SqlFault::Refused && !std::mem::replace(&mut is_logged, true) {
                    tracing::error!(
                        kind = "database",
                        error = %error,
                        "alerts wait in their journal: the database refuses them; if a right is missing, `godot-mcp-router migrate` prints the grants"
                    );
                }
                sleep(pause).await;
                let is_away = matches!(error, StoreError::Disconnected { .. });
                pause = if is_away {
                    PAUSE_FIRST
                } else {
                    (pause * 2).min(PAUSE_MAX)
                };
            }
        }
    }
}

pub(crate) async fn page(database: &Database, query: AlertQuery) -> Result<AlertPage, StoreError> {
    let AlertQuery {
        before,
        rows_max,
        severity,
        instance,
    } = query;
    let counted = args![severity.clone(), instance.clone()];
    let args = args![before, severity, instance, i64::from(rows_max)];
    let rows: Vec<Read<AlertRow>> = database.rows(Call::new(ALERTS_PAGE, args)).await?;
    let total: Vec<(i64,)> = database.rows(Call::new(ALERTS_COUNT, counted)).await?;
    Ok(AlertPage {
        rows: rows.into_iter().map(|Read(row)| row).collect(),
        total: total.first().map_or(0, |(total,)| *total),
    })
}

pub(crate) async fn one(
    database: &Database,
    alert: &str,
    firing: Option<i64>,
) -> Result<Option<AlertRow>, StoreError> {
    let args = args![database.options.router_id.as_str(), alert, firing];
    let rows: Vec<Read<AlertRow>> = database.rows(Call::new(ALERT_ONE, args)).await?;
    Ok(rows.into_iter().next().map(|Read(row)| row))
}

pub(crate) async fn firing_max(database: &Database) -> Result<i64, StoreError> {
    let rows: Vec<(i64,)> = database.rows(Call::new(ALERTS_FIRING_MAX, [])).await?;
    Ok(rows.first().map_or(0, |(firing,)| *firing))
}

pub(crate) async fn deliveries(
    database: &Database,
    (alert, firing): (&str, i64),
    ids: &[String],
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let ids = serde_json::to_string(ids).expect("texts");
    let args = args![database.options.router_id.as_str(), ids, alert, firing];
    let rows: Vec<Read<DeliveryRecord>> = database.rows(Call::new(DELIVERIES_OF, args)).await?;
    Ok(rows.into_iter().map(|Read(row)| row).collect())
}

/// Deletes a batch each of what is past the bounds.
pub(crate) fn trims(options: &StoreOptions, batch_rows: i64) -> [Call; 2] {
    [
        (ALERTS_TRIM, options.alert_rows_max),
        (DELIVERIES_TRIM, options.delivery_rows_max),
    ]
    .map(|(sql, rows_max)| Call::new(sql, args![i64::from(rows_max), batch_rows]))
}
