//! `GET /api/events`: every change of state as server-sent events (WHATWG HTML, section 9.2).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{OperationError, Operations, Problem, StateChange};

/// Below the 30 to 60 s after which proxies in between drop a silent connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The stream. A listener that falls behind gets the number of changes that it missed, and goes on with the present.
pub(crate) async fn stream<O: Operations>(
    State(operations): State<Arc<O>>,
) -> Result<Response, Problem> {
    let changes = operations
        .subscribe()
        .ok_or_else(|| OperationError::Unavailable {
            reason: "too many listen to the events already; close one and try again".to_owned(),
            retry_after: None,
        })?;
    let events = Sse::new(rendered(changes)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(events.into_response())
}

fn rendered(
    changes: Receiver<Arc<StateChange>>,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(changes, |mut changes| async move {
        let event = match changes.recv().await {
            Ok(change) => Event::default()
                .id(change.sequence.to_string())
                .event(change.transition.change.axis().as_str())
                .data(to_json(&change).to_string()),
            Err(RecvError::Lagged(missed)) => Event::default()
                .event("missed")
                .data(json!({ "missed": missed }).to_string()),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), changes))
    })
}

fn to_json(change: &StateChange) -> Value {
    let transition = &change.transition;
    let (from, to) = transition.change.as_strs();
    let key = transition.key.as_ref();
    json!({
        "at": change.at,
        "versionId": key.map(|key| key.instance.as_str()),
        "slot": key.map(|key| key.slot),
        "tool": transition.tool.as_deref(),
        "run": transition.run.map(|run| run.0),
        "axis": transition.change.axis().as_str(),
        "from": from,
        "to": to,
        "reason": transition.reason,
        "detail": transition.detail,
    })
}
