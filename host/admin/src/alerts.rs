//! Alerts: what fires, its story, and what somebody does about it; silences, maintenance windows, deliveries, and who would be notified.

mod body;
mod past;
mod shown;
mod story;

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{
        Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use router_alerts::{
    Alert, AlertEngine, AlertId, Severity,
    event::{AlertDone, AlertVerb},
    silence::SilenceId,
};
use router_values::unix_ms_now;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Caller, OperationError, Operations, Problem,
    audit::{Calling, Mutation},
    problem::Path,
};
use body::{NewSilence, NewTest};
use past::Shown;

/// Alerts in an answer where no number is asked for, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// The query of `GET /api/alerts`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AlertFilter {
    state: Option<String>,
    severity: Option<String>,
    instance: Option<String>,
    limit: Option<usize>,
    before: Option<i64>,
}

impl AlertFilter {
    fn takes(&self, alert: &Alert) -> bool {
        let state = match self.state.as_deref() {
            None | Some("all") => true,
            Some("open") => alert.is_open(),
            Some(state) => alert.state.as_str() == state,
        };
        let severity = self.severity.as_deref();
        let instance = alert.condition.instance.as_ref().map(|id| id.as_str());
        state
            && severity.is_none_or(|severity| severity == alert.severity.as_str())
            && (self.instance.is_none() || self.instance.as_deref() == instance)
    }
}

/// `GET /api/alerts?state=&severity=&instance=&limit=`: open ones first, the most severe of them first, the newest of those first. With
/// `state=resolved` also what the router itself has forgotten, the latest first; `next` is the `before` of the next page then.
pub(crate) async fn list<O: Operations>(
    State(operations): State<Arc<O>>,
    query: Result<Query<AlertFilter>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(filter) = query?;
    if let Some(severity) = &filter.severity {
        parsed_severity(severity)?;
    }
    let limit = filter.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
    let is_over = filter.state.as_deref() == Some("resolved");
    if filter.before.is_some() && !is_over {
        let detail = "only what is over has pages: before goes with state=resolved";
        return Err(Problem::bad_request(detail));
    }
    if is_over && let Some(page) = past::list(&*operations, filter.clone(), limit).await? {
        return Ok(Json(page).into_response());
    }
    let read = move |engine: &AlertEngine, _: &_| {
        let mut found: Vec<&Alert> = engine
            .alerts()
            .filter(|alert| filter.takes(alert))
            .collect();
        let total = found.len();
        found.sort_by_key(|alert| {
            let newest = std::cmp::Reverse(alert.fired_ms.unwrap_or(alert.since_ms));
            (!alert.is_open(), alert.severity, newest)
        });
        let alerts = found.into_iter().take(limit).map(shown::alert);
        json!({ "alerts": alerts.collect::<Value>(), "total": total })
    };
    Ok(Json(operations.read_alerts(read).await?).into_response())
}

/// The query of `GET /api/alerts/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FiringQuery {
    firing: Option<u32>,
}

/// `GET /api/alerts/{id}?firing=`: the alert, its present firing or that one, with its story and its deliveries.
pub(crate) async fn show<O: Operations>(
    State(operations): State<Arc<O>>,
    Path(id): Path<String>,
    query: Result<Query<FiringQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(FiringQuery { firing }) = query?;
    let id = parsed(&id)?;
    let mut shown = full(&*operations, id, firing).await?;
    let ended = past::ended(&*operations, (id, shown.firing), shown.deliveries);
    shown.value["deliveries"]["ended"] = ended.await;
    Ok(Json(shown.value).into_response())
}

/// The alert, without the deliveries that are over.
async fn full<O: Operations>(
    operations: &O,
    id: AlertId,
    firing: Option<u32>,
) -> Result<Shown, Problem> {
    let read = move |engine: &AlertEngine, schedule: &_| {
        let is_meant = |alert: &&Alert| firing.is_none_or(|firing| firing == alert.firing);
        let alert = engine.alert(id).filter(is_meant);
        let alert = alert.map(|alert| {
            let mut value = shown::alert(alert);
            value["story"] = alert.history().map(story::entry).collect();
            Shown {
                value,
                firing: alert.firing,
                deliveries: past::delivery_ids(alert.history()),
            }
        });
        (alert, shown::deliveries_of(schedule, id, unix_ms_now()))
    };
    let (present, deliveries) = operations.read_alerts(read).await?;
    let mut shown = match present {
        Some(present) => present,
        None => past::one(operations, id, firing).await?,
    };
    shown.value["deliveries"] = deliveries;
    shown.value["deliveries"]["ended"] = Value::Null;
    Ok(shown)
}

/// `POST /api/alerts/{id}/ack|unack|resolve`: answers with the alert.
pub(crate) async fn operate<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path((id, verb)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let alert = parsed(&id)?;
    let (action, verb) = match verb.as_str() {
        "ack" => (
            "alert.acknowledge",
            AlertVerb::Acknowledge {
                alert,
                firing: None,
            },
        ),
        "unack" => ("alert.unacknowledge", AlertVerb::Unacknowledge { alert }),
        "resolve" => ("alert.resolve", AlertVerb::Resolve { alert }),
        other => {
            let detail = format!("an alert can be ack, unack or resolve, not {other:?}");
            return Err(Problem::not_found(detail));
        }
    };
    command(&*operations, &caller, (action, &id), verb).await?;
    let shown = full(&*operations, alert, None).await?;
    Ok(Json(shown.value).into_response())
}

/// `POST /api/alerts/test` with `{"severity": "P2", "sink": "oncall"}`, both optional: a marked test goes the way of such an alert.
pub(crate) async fn test<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    body: Result<Json<NewTest>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(NewTest { severity, sink }) = body?;
    let severity = severity
        .as_deref()
        .map_or(Ok(Severity::P4), parsed_severity)?;
    let target = sink.clone().unwrap_or_default();
    let result = operations
        .test_alert(caller.name.to_string(), severity, sink)
        .await;
    let mutation = Mutation {
        caller: &caller,
        action: "alert.test",
        target: &target,
    };
    let results = mutation.audit(&*operations, result)?;
    Ok(
        Json(json!({ "results": results.iter().map(shown::test).collect::<Value>() }))
            .into_response(),
    )
}

/// The query of `GET /api/alerts/route`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteQuery {
    severity: String,
    #[serde(default)]
    name: String,
    instance: Option<String>,
}

/// `GET /api/alerts/route?severity=&name=&instance=`: which sinks such an alert goes to.
pub(crate) async fn route<O: Operations>(
    State(operations): State<Arc<O>>,
    query: Result<Query<RouteQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    let severity = parsed_severity(&query.severity)?;
    let read = move |engine: &AlertEngine, _: &_| {
        let routing = engine.routing(severity, &query.name, query.instance.as_deref());
        shown::routing(&routing)
    };
    Ok(Json(operations.read_alerts(read).await?).into_response())
}

/// `GET /api/silences`.
pub(crate) async fn silences<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let read = |engine: &AlertEngine, _: &_| {
        let silences = engine
            .silences()
            .map(|(id, silence)| shown::silence(id, silence));
        json!({ "silences": silences.collect::<Value>() })
    };
    Ok(Json(operations.read_alerts(read).await?).into_response())
}

/// The query of `POST /api/silences`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preview {
    #[serde(default)]
    preview: bool,
}

/// `POST /api/silences[?preview=true]` with a matcher, a reason and an end: 201, or what it would mute now.
pub(crate) async fn add_silence<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    query: Result<Query<Preview>, QueryRejection>,
    body: Result<Json<NewSilence>, JsonRejection>,
) -> Result<Response, Problem> {
    let Query(Preview { preview }) = query?;
    let Json(new) = body?;
    let silence = new.silence(&caller.name, unix_ms_now())?;
    if preview {
        let read = move |engine: &AlertEngine, _: &_| {
            let muted = engine.matching(&silence.matcher).map(shown::alert);
            json!({ "wouldMute": muted.collect::<Value>() })
        };
        return Ok(Json(operations.read_alerts(read).await?).into_response());
    }
    let target = new.describe();
    let verb = AlertVerb::AddSilence(silence.clone());
    let done = command(&*operations, &caller, ("silence.add", &target), verb).await?;
    let AlertDone::Silence(id) = done else {
        let detail = "the silence was answered as another command";
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
    };
    Ok((StatusCode::CREATED, Json(shown::silence(id, &silence))).into_response())
}

/// `DELETE /api/silences/{id}`.
pub(crate) async fn end_silence<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let number = id
        .parse()
        .map_err(|_| Problem::not_found(format!("there is no silence {id:?}")))?;
    let verb = AlertVerb::EndSilence(SilenceId(number));
    command(&*operations, &caller, ("silence.end", &id), verb).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /api/maintenance`: each window, with when it lasts or begins next.
pub(crate) async fn maintenance<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let read = |engine: &AlertEngine, _: &_| {
        let now_ms = unix_ms_now();
        let windows = engine
            .maintenance()
            .map(|(name, span)| shown::window(name, span, now_ms));
        json!({ "windows": windows.collect::<Value>() })
    };
    Ok(Json(operations.read_alerts(read).await?).into_response())
}

/// `GET /api/deliveries`: what waits, and dead letters.
pub(crate) async fn deliveries<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let read = |_: &AlertEngine, schedule: &_| shown::deliveries(schedule, unix_ms_now());
    Ok(Json(operations.read_alerts(read).await?).into_response())
}

/// `POST /api/deliveries/{id}/retry`: sends it again, and tries its sink at once.
pub(crate) async fn retry<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let result = operations
        .retry_delivery(id.clone(), caller.name.to_string())
        .await;
    let mutation = Mutation {
        caller: &caller,
        action: "delivery.retry",
        target: &id,
    };
    mutation.audit(&*operations, result)?;
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn command<O: Operations>(
    operations: &O,
    caller: &Caller,
    (action, target): (&'static str, &str),
    verb: AlertVerb,
) -> Result<AlertDone, Problem> {
    let result = operations
        .alert_command(caller.name.to_string(), verb)
        .await;
    let mutation = Mutation {
        caller,
        action,
        target,
    };
    mutation.audit(operations, result)
}

fn parsed(id: &str) -> Result<AlertId, Problem> {
    AlertId::parse(id).ok_or_else(|| {
        let quoted = router_values::quoted(id);
        Problem::not_found(format!(
            "there is no alert {quoted}; an id has 16 hexadecimal digits"
        ))
    })
}

fn parsed_severity(text: &str) -> Result<Severity, Problem> {
    Severity::parse(text).ok_or_else(|| {
        let quoted = router_values::quoted(text);
        OperationError::Invalid(vec![format!("{quoted} is no severity: P1, P2, P3 or P4")]).into()
    })
}
