//! What is kept about instances: definitions registered by API, decisions of operators, crash evidence.

use router_core::InstanceId;
use serde::Serialize;
use serde_json::Value;

use crate::{
    StoreError,
    database::Database,
    facts::{CRASHES_PER_INSTANCE_MAX, RowOrigin},
    sql::{Call, args, now_ms},
    statements::{
        CRASH_DELETE, CRASHES, INTENTIONS, REGISTERED_ALL, REGISTERED_DELETE, REGISTERED_INSERT,
        REGISTERED_ONE, STATE_DELETE,
    },
};

/// Longest definition as text: a template's name and its variables.
const DEFINITION_BYTES_MAX: usize = 256 * 1024;
/// Instances that one answer may list. More than one machine can run by two orders of magnitude.
const INSTANCES_MAX: i64 = 10_000;

/// An instance that was registered by API.
#[derive(Debug, Clone, PartialEq)]
pub struct Registered {
    /// Its id.
    pub id: InstanceId,
    /// Its definition as it was sent (template, vars, …), at most 256 KiB as text.
    pub definition: Value,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What an operator wants of an instance, to survive the router.
#[derive(Debug, Clone, PartialEq)]
pub struct Intention {
    /// Which instance.
    pub id: InstanceId,
    /// An operator stopped it: only an operator starts it again.
    pub stopped: bool,
    /// When that was decided, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Why and how a process of an instance ended. The store adds when, which router and a unique id.
#[derive(Debug, Clone, PartialEq)]
pub struct CrashEvidence {
    /// Whose.
    pub id: InstanceId,
    /// Everything known (exit, reason, stderr tail, methods in flight, memory); past 64 KiB as text it is replaced by its
    /// beginning.
    pub evidence: Value,
}

/// Kept crash evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Crash {
    /// Its number: later ones are larger.
    pub seq: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// As it was recorded.
    pub evidence: Value,
    /// Which router saw it.
    pub router_id: String,
}

type RegisteredRow = (String, String, i64);

pub(crate) async fn registered(database: &Database) -> Result<Vec<Registered>, StoreError> {
    let rows: Vec<RegisteredRow> = database
        .rows(Call::new(REGISTERED_ALL, args![INSTANCES_MAX]))
        .await?;
    // A row that was written by hand must not hide the others.
    Ok(rows.into_iter().filter_map(read_registered).collect())
}

fn read_registered((id, definition, at_ms): RegisteredRow) -> Option<Registered> {
    let id = read_id(&id)?;
    match serde_json::from_str(&definition) {
        Ok(definition) => Some(Registered {
            id,
            definition,
            at_ms,
        }),
        Err(error) => {
            tracing::error!(instance = %id, error = %error, "a registered instance is not JSON and was passed over");
            None
        }
    }
}

fn read_id(text: &str) -> Option<InstanceId> {
    InstanceId::parse(text)
        .inspect_err(|error| tracing::error!(error = %error, "a row was passed over"))
        .ok()
}

pub(crate) async fn register(
    database: &Database,
    origin: &RowOrigin,
    id: &InstanceId,
    definition: &Value,
) -> Result<(), StoreError> {
    let text = definition.to_string();
    if text.len() > DEFINITION_BYTES_MAX {
        return Err(StoreError::Invalid(format!(
            "the definition of {id} has {} bytes, at most {DEFINITION_BYTES_MAX} are kept",
            text.len()
        )));
    }
    let at_ms = now_ms();
    let args = args![
        id.as_str(),
        text.as_str(),
        at_ms,
        origin.router_id.as_str(),
        origin.epoch
    ];
    if database.change(Call::new(REGISTERED_INSERT, args)).await? > 0 {
        return Ok(());
    }
    // There already: unless it is this very row, kept by an attempt whose answer was lost with its connection.
    let rows: Vec<RegisteredRow> = database
        .rows(Call::new(REGISTERED_ONE, args![id.as_str()]))
        .await?;
    if rows
        .iter()
        .any(|(_, kept, kept_at)| *kept == text && *kept_at == at_ms)
    {
        return Ok(());
    }
    Err(StoreError::AlreadyRegistered(id.clone()))
}

pub(crate) async fn unregister(database: &Database, id: &InstanceId) -> Result<bool, StoreError> {
    let of = |sql| Call::new(sql, args![id.as_str()]);
    let calls = vec![of(REGISTERED_DELETE), of(STATE_DELETE), of(CRASH_DELETE)];
    let changed = database.changes(calls).await?;
    Ok(changed.first().is_some_and(|rows| *rows > 0))
}

pub(crate) async fn intentions(database: &Database) -> Result<Vec<Intention>, StoreError> {
    let rows: Vec<(String, bool, i64)> = database
        .rows(Call::new(INTENTIONS, args![INSTANCES_MAX]))
        .await?;
    let read = |(id, stopped, at_ms): (String, bool, i64)| {
        Some(Intention {
            id: read_id(&id)?,
            stopped,
            at_ms,
        })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

pub(crate) async fn crashes(
    database: &Database,
    id: &InstanceId,
    limit: u32,
) -> Result<Vec<Crash>, StoreError> {
    let limit = i64::from(limit).clamp(1, CRASHES_PER_INSTANCE_MAX);
    let rows: Vec<(i64, i64, String, String)> = database
        .rows(Call::new(CRASHES, args![id.as_str(), limit]))
        .await?;
    let read = |(seq, at_ms, evidence, router_id): (i64, i64, String, String)| Crash {
        seq,
        at_ms,
        evidence: serde_json::from_str(&evidence).unwrap_or(Value::String(evidence)),
        router_id,
    };
    Ok(rows.into_iter().map(read).collect())
}
