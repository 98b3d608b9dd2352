//! Plugins: what is loaded, what was refused, and a scan of the directory on demand.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};

use crate::{
    Operations, Problem,
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
