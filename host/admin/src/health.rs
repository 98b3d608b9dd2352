//! Liveness, readiness and the state of every instance.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use router_core::view::Readiness;
use serde_json::json;

use crate::{Operations, Problem, RouterFacts, render};

/// `GET /api/health/liveness`: whether a restart would help. It depends on nothing but the driver's loop.
pub(crate) async fn liveness<O: Operations>(State(operations): State<Arc<O>>) -> Response {
    let (code, status) = if operations.is_loop_alive() {
        (StatusCode::OK, "alive")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "stuck")
    };
    let body = json!({ "status": status, "timestamp": render::timestamp() });
    (code, Json(body)).into_response()
}

/// `GET /api/health/readiness`. With `Accept: application/health+json` the statuses are those of that draft.
pub(crate) async fn readiness<O: Operations>(
    State(operations): State<Arc<O>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let facts = operations.facts();
    let Ok(view) = operations.view().await else {
        return Ok(unanswered(facts));
    };
    let readiness = &view.readiness;
    let code = if readiness.status == Readiness::Down {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let wants_draft = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/health+json"));
    let status = match (wants_draft, readiness.status) {
        (false, status) => status.as_str(),
        (true, Readiness::Healthy) => "pass",
        (true, Readiness::Degraded) => "warn",
        (true, Readiness::Down) => "fail",
    };
    let body = json!({
        "status": status,
        "timestamp": render::timestamp(),
        "uptime": facts.started.elapsed().as_secs(),
        "version": facts.version,
        "routerId": facts.router_id,
        "database": render::database(readiness),
        "reasons": readiness.reasons,
        "checks": render::checks(readiness, facts),
    });
    let mut response = (code, Json(body)).into_response();
    if wants_draft {
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/health+json"),
        );
    }
    Ok(response)
}

/// The driver's loop has ended or is stuck: nothing is known, and nothing can be served for long.
fn unanswered(facts: &RouterFacts) -> Response {
    let body = json!({
        "status": "down",
        "timestamp": render::timestamp(),
        "uptime": facts.started.elapsed().as_secs(),
        "version": facts.version,
        "routerId": facts.router_id,
        "database": null,
        "reasons": ["the router's own loop does not answer"],
        "checks": {},
    });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
}

/// `GET /api/health/mcp`.
pub(crate) async fn fleet<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let view = operations.view().await?;
    Ok(Json(render::fleet(&*operations, &view)).into_response())
}

/// `GET /metrics` and `GET /api/metrics/prometheus`, in the text format 0.0.4.
pub(crate) async fn metrics<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let text = operations.metrics().await?;
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
