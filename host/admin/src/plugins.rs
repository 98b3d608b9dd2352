//! Plugins: what is loaded, what was refused, a scan of the directory on demand, and what operators decide about generations.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    Caller, OperationError, Operations, Problem,
    audit::{Calling, Mutation},
    problem::Path,
};

/// `GET /api/plugins`.
pub(crate) async fn list<O: Operations>(State(operations): State<Arc<O>>) -> Response {
    Json(operations.plugins()).into_response()
}

/// `GET /api/plugins/{name}`.
pub(crate) async fn show<O: Operations>(
    State(operations): State<Arc<O>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let plugin = operations.plugin(&name).ok_or_else(|| {
        Problem::not_found(format!(
            "there is no plugin {name:?}; GET /api/plugins lists those there are"
        ))
    })?;
    Ok(Json(plugin).into_response())
}

/// `POST /api/plugins/reload`.
pub(crate) async fn reload<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
) -> Result<Response, Problem> {
    let result = operations.reload_plugins().await;
    let mutation = Mutation {
        caller: &caller,
        action: "plugins.reload",
        target: "",
    };
    let report = mutation.audit(&*operations, result)?;
    Ok(Json(report).into_response())
}

/// `POST /api/plugins/{name}/confirm`: the generation that is held, tried or was rejected is in force from now on.
pub(crate) async fn confirm<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let result = operations.confirm_plugin(&name).await;
    decided(&*operations, &caller, ("plugin.confirm", &name), result)
}

/// `POST /api/plugins/{name}/reject`: the generation that is held or tried is not taken; without one, the one before that in
/// force is in force again.
pub(crate) async fn reject<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let result = operations.reject_plugin(&name).await;
    decided(&*operations, &caller, ("plugin.reject", &name), result)
}

/// What came of a decision: what is in force now, in words, and the plugin.
fn decided<O: Operations>(
    operations: &O,
    caller: &Caller,
    (action, target): (&'static str, &str),
    result: Result<String, OperationError>,
) -> Result<Response, Problem> {
    let mutation = Mutation {
        caller,
        action,
        target,
    };
    let done = mutation.audit_with(operations, result, String::clone)?;
    let plugin = operations.plugin(target);
    Ok(Json(json!({ "done": done, "plugin": plugin })).into_response())
}
