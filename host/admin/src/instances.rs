//! Instances: listed, shown, registered, removed and operated.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{
        Query, State,
        rejection::{QueryRejection, StringRejection},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use router_core::{InstanceId, event::Verb};
use router_values::printable;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Caller, OperationError, Operations, Problem,
    audit::{Calling, Mutation},
    plan,
    problem::Path,
    render,
};

/// Instances in an answer where no number is asked for, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Lines of a log in an answer where no number is asked for, and at most.
const TAIL_DEFAULT: usize = 100;
const TAIL_MAX: usize = 10_000;

/// The query of `GET /api/instances`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct InstancesPage {
    after: Option<String>,
    limit: Option<usize>,
}

/// The query of `GET /api/instances/{versionId}/logs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tail {
    tail: Option<usize>,
}

/// `GET /api/instances?limit=&after=`: by id; `next` is the `after` of the next page.
pub(crate) async fn list<O: Operations>(
    State(operations): State<Arc<O>>,
    query: Result<Query<InstancesPage>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = query?;
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let view = operations.view().await?;
    let mut rest = view
        .instances
        .iter()
        .filter(|one| {
            page.after
                .as_deref()
                .is_none_or(|after| one.id.as_str() > after)
        })
        .peekable();
    let mut instances = Vec::new();
    let mut next = None;
    while let Some(one) = rest.next() {
        instances.push(render::instance(one, operations.figures(Some(&one.id))));
        if instances.len() == limit {
            next = rest.peek().map(|_| one.id.as_str().to_owned());
            break;
        }
    }
    let body = json!({ "instances": instances, "total": view.summary.total, "next": next });
    Ok(Json(body).into_response())
}

/// `GET /api/instances/{versionId}`: the instance, its slots, and how it is launched.
pub(crate) async fn show<O: Operations>(
    State(operations): State<Arc<O>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parsed(&id)?;
    Ok(Json(full(&*operations, id).await?).into_response())
}

/// `POST /api/instances`: 201, with the instance and its address.
pub(crate) async fn register<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    headers: HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<Response, Problem> {
    let text = json_text(&headers, body)?;
    // Only for its id and environment: the text itself is parsed again, because it may hold what a value cannot.
    let definition: Value = serde_json::from_str(&text)
        .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
    let named = definition["id"]
        .as_str()
        .map_or_else(|| definition["id"].to_string(), str::to_owned);
    let result = match may_register(&caller, &definition) {
        Ok(()) => operations.register(text).await,
        Err(refused) => Err(refused),
    };
    let mutation = Mutation {
        caller: &caller,
        action: "instance.register",
        target: shortened(&named),
    };
    let id = mutation.audit(&*operations, result)?;
    let location = format!("/api/instances/{id}");
    let body = full(&*operations, id).await?;
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn json_text(
    headers: &HeaderMap,
    body: Result<String, StringRejection>,
) -> Result<String, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let media = kind.split(';').next().unwrap_or("").trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let detail = "Content-Type must be application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

/// A template defines what runs. An environment could make it run anything else (`LD_PRELOAD`, `NODE_OPTIONS`, …), as the
/// router's own user: that takes more than the right to operate, which everybody on this machine has by default.
fn may_register(caller: &Caller, definition: &Value) -> Result<(), OperationError> {
    let env = definition["env"].as_object();
    if caller.is_admin || env.is_none_or(serde_json::Map::is_empty) {
        return Ok(());
    }
    Err(OperationError::Forbidden(
        "env in a definition takes the role admin; write it into the template, or use an admin's token"
            .to_owned(),
    ))
}

/// `DELETE /api/instances/{versionId}`: 204; 409 where it is defined elsewhere.
pub(crate) async fn remove<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parsed(&id)?;
    let result = operations.unregister(id.clone()).await;
    let mutation = Mutation {
        caller: &caller,
        action: "instance.remove",
        target: id.as_str(),
    };
    mutation.audit(&*operations, result)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /api/instances/{versionId}/{verb}`: done when it is answered.
pub(crate) async fn operate<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = parsed(&id)?;
    let verb = match verb.as_str() {
        "start" | "spawn" => Verb::Start,
        "stop" => Verb::Stop,
        "restart" => Verb::Restart,
        _ => {
            return Err(Problem::not_found(format!(
                "an instance has no {verb:?}; try start, stop or restart"
            )));
        }
    };
    act(&*operations, &caller, id, verb).await
}

/// `POST /api/instances/{versionId}/breaker/{verb}`: `isolate` opens it until `reset` closes it.
pub(crate) async fn breaker<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = parsed(&id)?;
    let verb = match verb.as_str() {
        "isolate" => Verb::BreakerIsolate,
        "reset" => Verb::BreakerReset,
        _ => {
            return Err(Problem::not_found(format!(
                "a breaker has no {verb:?}; try isolate or reset"
            )));
        }
    };
    act(&*operations, &caller, id, verb).await
}

/// `DELETE /api/instances/{versionId}/state`: forgets failures, crash evidence, tool baseline and the breaker's past.
pub(crate) async fn clear_state<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parsed(&id)?;
    act(&*operations, &caller, id, Verb::ClearState).await
}

/// `GET /api/instances/{versionId}/logs?tail=`: plain text, oldest line first.
pub(crate) async fn logs<O: Operations>(
    State(operations): State<Arc<O>>,
    Path(id): Path<String>,
    query: Result<Query<Tail>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Tail { tail }) = query?;
    let id = parsed(&id)?;
    operations.instance(id.clone()).await?;
    let lines = tail.unwrap_or(TAIL_DEFAULT).min(TAIL_MAX);
    let mut text = operations.logs_tail(id, lines).await?.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    // It is read at a terminal, with `curl`.
    Ok(printable(&text).into_owned().into_response())
}

/// `GET /api/instances/{versionId}/crashes`: newest first.
pub(crate) async fn crashes<O: Operations>(
    State(operations): State<Arc<O>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = parsed(&id)?;
    operations.instance(id.clone()).await?;
    let crashes = operations.crashes(id.clone()).await?;
    Ok(Json(json!({ "versionId": id.as_str(), "crashes": crashes })).into_response())
}

/// Carries out a command, writes its audit row, and shows the instance as it is then.
async fn act<O: Operations>(
    operations: &O,
    caller: &Caller,
    id: InstanceId,
    verb: Verb,
) -> Result<Response, Problem> {
    let result = operations.command(id.clone(), verb).await;
    let mutation = Mutation {
        caller,
        action: action(verb),
        target: id.as_str(),
    };
    let done = mutation.audit(operations, result)?;
    let mut body = full(operations, id).await?;
    if done.pid.is_some() {
        // The process that this command started, also where it has ended since.
        body["pid"] = json!(done.pid);
    }
    if let Some(limit) = done.passed_limit {
        body["passedLimit"] = limit.into();
    }
    Ok(Json(body).into_response())
}

/// What a command is called in the audit.
fn action(verb: Verb) -> &'static str {
    match verb {
        Verb::Start => "instance.start",
        Verb::Stop => "instance.stop",
        Verb::Restart => "instance.restart",
        Verb::ClearState => "instance.clear-state",
        Verb::BreakerIsolate => "breaker.isolate",
        Verb::BreakerReset => "breaker.reset",
    }
}

async fn full<O: Operations>(operations: &O, id: InstanceId) -> Result<Value, Problem> {
    let one = operations.instance(id).await?;
    let mut body = render::instance(&one, operations.figures(Some(&one.id)));
    body["toolBreakers"] = render::tool_breakers(&one);
    body["slots"] = one.slots.iter().map(render::slot).collect();
    let definition = operations.definition(&one.id, one.source);
    if let Some(plan) = &one.plan {
        let template = definition.as_ref().map_or("", |one| &one.template);
        let observed = plan.observed.as_ref();
        body["circuitBreaker"]["wouldBe"] = json!(observed.map(|one| one.would_be.as_str()));
        body["breakerPlan"] = plan::render(plan, &operations.breaker_origins(template));
    }
    body["definition"] = json!(definition);
    Ok(body)
}

fn parsed(id: &str) -> Result<InstanceId, Problem> {
    InstanceId::parse(id).map_err(|error| Problem::bad_request(error.to_string()))
}

/// What was sent as an id, no longer than an id may be: it goes into the audit whatever it is.
fn shortened(text: &str) -> &str {
    let end = text
        .char_indices()
        .nth(64)
        .map_or(text.len(), |(index, _)| index);
    &text[..end]
}
