//! Plugins: what is loaded, what was refused, and a look at the directory on demand.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};

use crate::{
    Operations, Problem,
    audit::{Calling, audited},
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
    let report = audited(&*operations, &caller, ("plugins.reload", ""), result)?;
    Ok(Json(report).into_response())
}
