//! The routes of `/api`, and the page of `/ack`.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::DefaultBodyLimit,
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

use crate::{
    Operations, Problem, ack, alerts, audit, capacity, control, events, health, history, hooks,
    instances, plugins,
};

/// Longest body on `/api`: the definition of an instance with a long environment.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Every route of this room. Each request must carry a [`crate::Caller`] in its extensions.
pub fn router<O: Operations>(operations: Arc<O>) -> Router {
    Router::new()
        .route("/api/health/liveness", get(health::liveness::<O>))
        .route("/api/health/readiness", get(health::readiness::<O>))
        .route("/api/health/mcp", get(health::fleet::<O>))
        .route("/api/metrics/prometheus", get(health::metrics::<O>))
        .route("/metrics", get(health::metrics::<O>))
        .route(
            "/api/instances",
            get(instances::list::<O>).post(instances::register::<O>),
        )
        .route(
            "/api/instances/{id}",
            get(instances::show::<O>).delete(instances::remove::<O>),
        )
        .route(
            "/api/instances/{id}/state",
            delete(instances::clear_state::<O>),
        )
        .route("/api/instances/{id}/logs", get(instances::logs::<O>))
        .route("/api/instances/{id}/crashes", get(instances::crashes::<O>))
        .route(
            "/api/instances/{id}/breaker/{verb}",
            post(instances::breaker::<O>),
        )
        .route("/api/instances/{id}/{verb}", post(instances::operate::<O>))
        .route("/api/plugins", get(plugins::list::<O>))
        .route("/api/plugins/reload", post(plugins::reload::<O>))
        .route("/api/plugins/{name}", get(plugins::show::<O>))
        .route("/api/plugins/{name}/confirm", post(plugins::confirm::<O>))
        .route("/api/plugins/{name}/reject", post(plugins::reject::<O>))
        .route("/api/alerts", get(alerts::list::<O>))
        .route("/api/alerts/test", post(alerts::test::<O>))
        .route("/api/alerts/route", get(alerts::route::<O>))
        .route("/api/alerts/{id}", get(alerts::show::<O>))
        .route("/api/alerts/{id}/{verb}", post(alerts::operate::<O>))
        .route(
            "/api/silences",
            get(alerts::silences::<O>).post(alerts::add_silence::<O>),
        )
        .route("/api/silences/{id}", delete(alerts::end_silence::<O>))
        .route("/api/maintenance", get(alerts::maintenance::<O>))
        .route("/api/deliveries", get(alerts::deliveries::<O>))
        .route("/api/deliveries/{id}/retry", post(alerts::retry::<O>))
        .route(
            "/ack/{token}",
            get(ack::show::<O>).post(ack::acknowledge::<O>),
        )
        .route(
            "/api/hooks/pagerduty/{sink}",
            post(hooks::pagerduty::<O>).layer(Extension(Arc::new(hooks::SeenEvents::default()))),
        )
        .route("/api/capacity", get(capacity::show::<O>))
        .route("/api/audit", get(audit::page::<O>))
        .route("/api/history", get(history::page::<O>))
        .route("/api/events", get(events::stream::<O>))
        .route("/api/config/reload", post(control::reload::<O>))
        .route(
            "/api/log-level",
            get(control::log_level::<O>).put(control::set_log_level::<O>),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(map_response(guard))
        .with_state(operations)
}

/// What the API says is of this moment, and what others wrote in it is what its type says.
async fn guard(mut response: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let headers = response.headers_mut();
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn unknown(uri: Uri) -> Response {
    Problem::not_found(format!("there is nothing at {}", uri.path())).into_response()
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).into_response()
}
