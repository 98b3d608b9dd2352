//! `/ack/{token}`: the page that a link in a message leads to. Looking at it changes nothing, since mail gateways and chat servers call
//! every address that they see; its button acknowledges. The token is the right to do so: one firing of one alert, once, for a day.

mod page;

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use router_alerts::{
    Alert, AlertEngine, AlertState,
    event::{AlertVerb, RelayedVerb},
    link::AckLink,
};
use router_values::unix_ms_now;

use crate::{
    Caller, OperationError, Operations, Problem,
    audit::{Calling, Mutation},
    problem::Path,
};
use page::Shown;

/// What a link leads to now.
#[derive(Debug, PartialEq, Eq)]
enum Linked {
    /// This router made no such link.
    Unknown,
    /// Its time is over.
    Expired,
    /// It came with a test.
    Test,
    /// Its firing is over, or forgotten.
    Over,
    /// Somebody was on the alert after it was sent, and is not any more.
    Used,
    /// Somebody is on it.
    Acknowledged {
        shown: Shown,
        by: String,
        until_ms: u64,
    },
    /// Nobody is on it.
    Open(Shown),
}

impl Linked {
    /// As it is answered to who only looks.
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Expired | Self::Over | Self::Used => StatusCode::GONE,
            Self::Test | Self::Acknowledged { .. } | Self::Open(_) => StatusCode::OK,
        }
    }
}

/// `GET /ack/{token}`, and `HEAD`: the alert as it is, with the button where nobody is on it.
pub(crate) async fn show<O: Operations>(
    State(operations): State<Arc<O>>,
    Path(token): Path<String>,
) -> Response {
    match read(&*operations, operations.ack_link(&token).as_ref()).await {
        Ok(linked) => page::answer(linked.status(), &linked),
        Err(error) => unavailable(error.into()),
    }
}

/// `POST /ack/{token}`: acknowledges.
pub(crate) async fn acknowledge<O: Operations>(
    State(operations): State<Arc<O>>,
    Extension(caller): Calling,
    Path(token): Path<String>,
) -> Response {
    let link = operations.ack_link(&token);
    let (linked, link) = match (read(&*operations, link.as_ref()).await, link) {
        (Ok(linked @ (Linked::Acknowledged { .. } | Linked::Open(_))), Some(link)) => {
            (linked, link)
        }
        (Ok(linked), _) => return page::answer(linked.status(), &linked),
        (Err(error), _) => return unavailable(error.into()),
    };
    drop(linked);
    let done = follow(&*operations, &caller, &link).await;
    let now = read(&*operations, Some(&link)).await;
    match (done, now) {
        (Ok(()), Ok(linked)) => page::answer(StatusCode::OK, &linked),
        // What is shown says why it was refused.
        (Err(problem), Ok(linked)) if problem.status() == StatusCode::CONFLICT => {
            let status = match linked.status() {
                StatusCode::OK => StatusCode::CONFLICT,
                gone => gone,
            };
            page::answer(status, &linked)
        }
        (Err(problem), _) => unavailable(problem),
        (_, Err(error)) => unavailable(error.into()),
    }
}

async fn follow<O: Operations>(
    operations: &O,
    caller: &Caller,
    link: &AckLink,
) -> Result<(), Problem> {
    // Who it was is not known: it was sent there.
    let by = format!("{} (link)", link.sink);
    let verb = AlertVerb::Relayed {
        about: link.about,
        at_ms: link.sent_ms,
        verb: RelayedVerb::Acknowledge,
    };
    let result = operations.alert_command(by.clone(), verb).await;
    let mutation = Mutation {
        caller: &Caller {
            name: by.into(),
            role: "link".into(),
            ..caller.clone()
        },
        action: "alert.acknowledge",
        target: &link.about.alert.to_string(),
    };
    mutation.audit(operations, result).map(drop)
}

async fn read<O: Operations>(
    operations: &O,
    link: Option<&AckLink>,
) -> Result<Linked, OperationError> {
    let Some(link) = link.cloned() else {
        return Ok(Linked::Unknown);
    };
    if link.is_expired(unix_ms_now()) {
        return Ok(Linked::Expired);
    }
    if link.about.firing == AckLink::TEST {
        return Ok(Linked::Test);
    }
    let read = move |engine: &AlertEngine, _: &_| {
        let alert = engine.alert(link.about.alert);
        alert.map_or(Linked::Over, |alert| linked(alert, &link))
    };
    operations.read_alerts(read).await
}

fn linked(alert: &Alert, link: &AckLink) -> Linked {
    if alert.firing != link.about.firing {
        return Linked::Over;
    }
    let is_used = alert.acknowledged_ms >= Some(link.sent_ms);
    match &alert.state {
        AlertState::Pending | AlertState::Resolved { .. } => Linked::Over,
        AlertState::Acknowledged { by, until_ms } => Linked::Acknowledged {
            shown: Shown::of(alert),
            by: by.clone(),
            until_ms: *until_ms,
        },
        AlertState::Firing if is_used => Linked::Used,
        AlertState::Firing => Linked::Open(Shown::of(alert)),
    }
}

/// The alerts do not answer: as every other route says it, but for who reads it in a browser.
fn unavailable(problem: Problem) -> Response {
    let mut response = problem.into_response();
    page::guard(&mut response);
    response
}
