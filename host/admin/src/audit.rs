//! Reading the audit, and writing one row for every mutation that passes through this room.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use router_values::{AuditQuery, AuditRow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Caller, OperationError, Operations, Problem, render};

/// Something that a caller changes, or tries to.
pub(crate) struct Mutation<'a> {
    pub(crate) caller: &'a Caller,
    /// [`AuditRow::action`].
    pub(crate) action: &'static str,
    /// [`AuditRow::target`].
    pub(crate) target: &'a str,
}

impl Mutation<'_> {
    /// Writes its audit row, whatever the result, and returns the result.
    pub(crate) fn audit<O: Operations, T>(
        &self,
        operations: &O,
        result: Result<T, OperationError>,
    ) -> Result<T, Problem> {
        self.audit_with(operations, result, |_| String::new())
    }

    /// The same, with a detail about what was done.
    pub(crate) fn audit_with<O: Operations, T>(
        &self,
        operations: &O,
        result: Result<T, OperationError>,
        describe: impl FnOnce(&T) -> String,
    ) -> Result<T, Problem> {
        let (outcome, detail) = match &result {
            Ok(value) => ("ok", describe(value)),
            Err(error @ (OperationError::Failed(_) | OperationError::UnderWay(_))) => {
                ("failed", error.to_string())
            }
            Err(error) => ("refused", error.to_string()),
        };
        operations.audit(AuditRow {
            actor: self.caller.name.to_string(),
            role: self.caller.role.to_string(),
            from_address: self.caller.from.to_string(),
            action: self.action.to_owned(),
            target: self.target.to_owned(),
            result: outcome.to_owned(),
            detail,
            ..AuditRow::default()
        });
        result.map_err(Problem::from)
    }
}

/// The query of `GET /api/audit`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AuditPage {
    before: Option<i64>,
    limit: Option<u32>,
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
}

/// `GET /api/audit?before=&limit=&actor=&action=&target=`: newest first; `next` is the `before` of the next page.
pub(crate) async fn page<O: Operations>(
    State(operations): State<Arc<O>>,
    query: Result<Query<AuditPage>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = query?;
    let query = AuditQuery {
        before: page.before,
        limit: page.limit,
        actor: page.actor,
        action: page.action,
        target: page.target,
        since_ms: None,
    };
    let rows_max = usize::try_from(query.rows_max()).unwrap_or(usize::MAX);
    let rows = operations.audit_page(query).await?;
    let is_full = rows.len() >= rows_max;
    let next = rows.last().filter(|_| is_full).map(|row| row.seq);
    let rows: Vec<Value> = rows.iter().map(render::audit_row).collect();
    Ok(Json(json!({ "rows": rows, "next": next })).into_response())
}

/// Who calls, as the layer in front left it. Its absence is a fault of the wiring, answered with 500.
pub(crate) type Calling = Extension<Caller>;
