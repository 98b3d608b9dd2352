//! Switches of the running router: its configuration file and its log level.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use crate::{
    Operations, Problem, ReloadReport,
    audit::{Calling, Mutation},
};

/// `POST /api/config/reload`: what changed, what applies now, and what takes a restart.
pub(crate) async fn reload<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
) -> Result<Response, Problem> {
    let result = operations.reload_config().await;
    let mutation = Mutation {
        caller: &caller,
        action: "config.reload",
        target: "",
    };
    let report = mutation.audit_with(&*operations, result, ReloadReport::to_string)?;
    Ok(Json(report).into_response())
}

/// The body of `PUT /api/log-level`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Level {
    level: String,
}

/// `GET /api/log-level`.
pub(crate) async fn log_level<O: Operations>(State(operations): State<Arc<O>>) -> Response {
    Json(json!({ "level": operations.log_level() })).into_response()
}

/// `PUT /api/log-level` with `{"level": "debug"}`, or a filter such as `info,router_proxy=debug`. Until the router ends.
pub(crate) async fn set_log_level<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    body: Result<Json<Level>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Level { level }) = body?;
    let result = operations.set_log_level(&level);
    let mutation = Mutation {
        caller: &caller,
        action: "log-level.set",
        target: &level,
    };
    mutation.audit(&*operations, result)?;
    Ok(log_level(State(operations)).await)
}
