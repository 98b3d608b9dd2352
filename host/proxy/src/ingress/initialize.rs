//! `initialize`: answered by the router from what the instance said when it was started, and never sent to it again.

use std::sync::Arc;

use axum::response::Response;
use http::HeaderValue;
use router_upstream::{
    ClientCapabilities,
    envelope::{member, string_of},
};

use super::{headers::SESSION_ID, post::Post};
use crate::{
    fault::{FaultKind, RequestFault, answer::json},
    forwarder::IncomingRequest,
    observe::FinishedRequest,
    table::RoutingEntry,
};

/// Begins a session, and answers as the instance did.
pub(super) async fn answer(
    post: &Post<'_>,
    entry: &Arc<RoutingEntry>,
    incoming: &IncomingRequest<'_>,
) -> Result<Response, RequestFault> {
    let instance = &entry.key.instance;
    let bad = |reason: &str| {
        let reason = reason.to_owned();
        FaultKind::BadParams { reason }.on(instance)
    };
    let params = incoming.envelope.params.unwrap_or("null");
    let part = |name| member(params, name).map_err(|error| bad(&error.to_string()));
    let wanted = part("protocolVersion")?.and_then(string_of);
    let wanted = wanted.ok_or_else(|| bad("initialize without a protocolVersion"))?;
    let capabilities = capabilities_of(part("capabilities")?.unwrap_or("{}"));

    let (_, upstream) = post.forwarder.ready(entry, None).await?;
    let Some(handshake) = upstream.described() else {
        let what = "its handshake is not complete";
        return Err(FaultKind::Busy { what }.on(instance));
    };
    let version = handshake.protocol_version().negotiate(&wanted);
    let session = post
        .sessions
        .begin(instance, post.owner, version, capabilities)?;
    // A connection that has just ended is replaced by the session's first request.
    if let Err(fault) = session.attach(&upstream)
        && !fault.is_unsent()
    {
        post.sessions.discard(&session);
        return Err(fault);
    }
    let result = handshake.answer(version);
    let answer = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
        incoming.id
    );
    let mut response = json(answer.into());
    if let Ok(token) = HeaderValue::from_str(&session.token) {
        response.headers_mut().insert(SESSION_ID, token);
    }
    let observer = &post.forwarder.reporter().observer;
    observer.finished(&FinishedRequest {
        instance: instance.as_str(),
        class: incoming.class,
        tool: None,
        elapsed: incoming.begun.elapsed(),
        error: None,
        is_instance_fault: false,
    });
    Ok(response)
}

fn capabilities_of(declared: &str) -> ClientCapabilities {
    let has = |name| {
        let declared = member(declared, name).ok().flatten();
        declared.is_some_and(|raw| raw != "null")
    };
    ClientCapabilities {
        roots: has("roots"),
        sampling: has("sampling"),
        elicitation: has("elicitation"),
    }
}
