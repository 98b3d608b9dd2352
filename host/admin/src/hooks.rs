//! `POST /api/hooks/pagerduty/{sink}`: what PagerDuty says of incidents that a sink opened there (its webhooks, version 3). The signature
//! is the right to say it.
//!
//! What is answered decides what PagerDuty does: after 5 s, or a status of 5xx, it calls again, for two days; after any other 4xx it drops
//! the event, and after three of them it stops calling for a day. So what is not understood, or changes nothing, is taken (202), what
//! cannot be kept is to be sent again (503), and only what is not signed is refused (403).

mod event;
mod seen;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use router_alerts::{
    AlertEngine, AlertRef,
    event::{AlertVerb, RelayedVerb},
    identity::{dedup_key, parse_dedup_key},
};
use router_values::{AuditRow, quoted};
use serde_json::json;
use tokio::time::timeout;

use crate::{OperationError, Operations, Problem, audit::Calling, problem::Path};
use event::IncidentEvent;
pub(crate) use seen::SeenEvents;

/// Where PagerDuty puts its signatures.
const SIGNATURES: &str = "x-pagerduty-signature";

/// How long the alerts may take: PagerDuty waits 5 s.
const TAKE_WITHIN: Duration = Duration::from_secs(4);

/// What became of an event that was signed.
enum Taken {
    /// It was done.
    Done,
    /// It changes nothing, for this reason.
    Ignored(String),
}

/// See the module.
pub(crate) async fn pagerduty<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Extension(seen): Extension<Arc<SeenEvents>>,
    Path(sink): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let signatures = headers.get_all(SIGNATURES).iter();
    let signatures: Vec<&str> = signatures.filter_map(|one| one.to_str().ok()).collect();
    match operations.is_signed_webhook(&sink, &signatures.join(","), &body, caller.from) {
        Some(true) => {}
        Some(false) => {
            let detail = "the signature is not one by the sink's webhook_secret";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        None => {
            let sink = quoted(&sink);
            let detail = format!("there is no sink {sink} with a webhook_secret");
            return Err(Problem::not_found(detail));
        }
    }
    let (name, reason) = match IncidentEvent::parse(&body) {
        Err(reason) => ("ignored", Some(reason)),
        Ok(event) if seen.has(&sink, &event.id) => {
            ("ignored", Some("it was taken before".to_owned()))
        }
        Ok(event) => {
            let taking = take(&*operations, &sink, &event, caller.from);
            let taken = timeout(TAKE_WITHIN, taking).await;
            let taken = taken.unwrap_or_else(|_| Err("the alerts do not answer".to_owned()));
            let taken = taken.map_err(|reason| {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason).retry_after(TAKE_WITHIN)
            })?;
            seen.note(&sink, &event.id);
            match taken {
                Taken::Done => ("done", None),
                Taken::Ignored(reason) => ("ignored", Some(reason)),
            }
        }
    };
    let answer = Json(json!({ "result": name, "reason": reason }));
    Ok((StatusCode::ACCEPTED, answer).into_response())
}

/// Does what an event says; an error is why it cannot be kept.
async fn take<O: Operations>(
    operations: &O,
    sink: &str,
    event: &IncidentEvent,
    from: std::net::SocketAddr,
) -> Result<Taken, String> {
    let (key, name) = (event.dedup_key.clone(), sink.to_owned());
    let read = move |engine: &AlertEngine, _: &_| find(engine, &key, &name);
    let found = operations.read_alerts(read).await;
    let Some(about) = found.map_err(|error| error.to_string())? else {
        let reason = "no alert that fires now is that incident".to_owned();
        return Ok(Taken::Ignored(reason));
    };
    let by = format!("{} ({sink})", event.agent);
    let verb = AlertVerb::Relayed {
        about,
        at_ms: event.at_ms,
        verb: event.verb,
    };
    let result = operations.alert_command_kept(by.clone(), verb).await;
    let (outcome, detail) = match &result {
        Ok(_) => ("ok", String::new()),
        // Our own acknowledgement comes back, or something that was said long ago: nothing is done.
        Err(OperationError::Conflict(reason)) => return Ok(Taken::Ignored(reason.clone())),
        Err(error) => ("failed", error.to_string()),
    };
    operations.audit(AuditRow {
        actor: by,
        role: "webhook".to_owned(),
        from_address: from.to_string(),
        action: action(event.verb).to_owned(),
        target: about.alert.to_string(),
        result: outcome.to_owned(),
        detail,
        ..AuditRow::default()
    });
    result
        .map(|_| Taken::Done)
        .map_err(|error| error.to_string())
}

fn action(verb: RelayedVerb) -> &'static str {
    match verb {
        RelayedVerb::Acknowledge => "alert.acknowledge",
        RelayedVerb::Unacknowledge => "alert.unacknowledge",
        RelayedVerb::Resolve => "alert.resolve",
    }
}

/// The firing that the sink opened an incident for, where it is the present one. What a sink never heard of is none of its business.
fn find(engine: &AlertEngine, key: &str, sink: &str) -> Option<AlertRef> {
    parse_dedup_key(key).find(|about| {
        let alert = engine.alert(about.alert);
        alert.is_some_and(|alert| {
            alert.firing == about.firing
                && alert.heard.contains_key(sink)
                && dedup_key(&alert.condition.key, about.firing) == key
        })
    })
}
