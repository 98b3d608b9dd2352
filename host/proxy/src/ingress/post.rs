//! What is known of a POST once its body is there: its instance, its headers, and when it came.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, response::Response};
use http::{HeaderMap, StatusCode, header};

use super::{headers, target::RequestTarget};
use crate::{
    client_of::ClientOf,
    fault::RequestFault,
    forwarder::Forwarder,
    observe::RequestClass,
    session_owner::SessionOwner,
    sessions::{Session, SessionRegistry},
};

/// See the module.
pub(super) struct Post<'a> {
    pub(super) sessions: &'a SessionRegistry,
    pub(super) forwarder: &'a Forwarder,
    pub(super) target: &'a RequestTarget,
    pub(super) headers: &'a HeaderMap,
    pub(super) client_of: Option<&'a ClientOf>,
    pub(super) owner: &'a SessionOwner,
    pub(super) begun: Instant,
}

impl Post<'_> {
    /// The session that it belongs to, also one of an earlier router.
    pub(super) fn session(&self) -> Result<Arc<Session>, RequestFault> {
        let instance = &self.target.entry()?.key.instance;
        let id = headers::session_id(self.headers)?;
        self.sessions.find(id, instance, self.owner)
    }

    /// The answer to a message that is not served. `id` is raw JSON, or empty where it is not known.
    pub(super) fn refuse(&self, fault: RequestFault, id: &str, class: RequestClass) -> Response {
        let fault = self.target.name_in(fault);
        let reporter = self.forwarder.reporter();
        reporter.refuse(&fault, id, class, self.begun)
    }
}

/// The answer to messages that have none.
pub(super) fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    // Some proxies hold back an answer that neither has a length nor ends the connection.
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, 0.into());
    response
}
