//! Ingress: a request as HTTP brings it. It is parsed and checked here, once, and its instance is looked up once; what passes
//! goes to the sessions and the forwarder.

mod batch;
mod body;
mod headers;
mod initialize;
mod message;
mod post;
mod target;

use std::{sync::Arc, time::Instant};

use axum::{body::Body, extract::Request, response::Response};
use http::{Method, StatusCode, request};
use router_core::InstanceId;

use crate::{
    config::ProxyLimits,
    fault::{FaultKind, RequestFault},
    forwarder::Forwarder,
    observe::{ProxyCount, RequestClass},
    path::McpPath,
    session_owner::SessionOwner,
    sessions::{Session, SessionRegistry, sse},
    table::RoutingTable,
};

use body::BodyReader;
use post::Post;
use target::RequestTarget;

/// See the module.
pub(crate) struct Ingress {
    table: Arc<RoutingTable>,
    sessions: Arc<SessionRegistry>,
    forwarder: Arc<Forwarder>,
    bodies: BodyReader,
    limits: ProxyLimits,
    /// Whose sessions are where nobody authorizes callers.
    nobody: SessionOwner,
}

impl Ingress {
    pub(crate) fn new(
        table: Arc<RoutingTable>,
        sessions: Arc<SessionRegistry>,
        forwarder: Arc<Forwarder>,
        limits: ProxyLimits,
    ) -> Self {
        Self {
            table,
            sessions,
            forwarder,
            bodies: BodyReader::new(&limits),
            limits,
            nobody: SessionOwner::default(),
        }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, path: &McpPath, request: Request) -> Response {
        let begun = Instant::now();
        let answer = match *request.method() {
            Method::POST => return self.post(path, request, begun).await,
            Method::GET => self.open_stream(path, &request),
            Method::DELETE => self.end_session(path, &request),
            _ => Err(FaultKind::Method.into()),
        };
        let reporter = self.forwarder.reporter();
        answer.unwrap_or_else(|fault| reporter.refuse(&fault, "", RequestClass::Other, begun))
    }

    /// Takes what a client posts: one message, or a batch of them.
    async fn post(&self, path: &McpPath, request: Request, begun: Instant) -> Response {
        let (parts, body) = request.into_parts();
        let received = match check_post(&parts) {
            Ok(()) => self.bodies.receive(body).await,
            Err(fault) => Err(fault),
        };
        // Now that the body is there, so that the entry is as new as it can be.
        let target = RequestTarget::find(&self.table, path);
        let post = Post {
            sessions: &self.sessions,
            forwarder: &self.forwarder,
            target: &target,
            headers: &parts.headers,
            client_of: parts.extensions.get(),
            owner: parts.extensions.get().unwrap_or(&self.nobody),
            begun,
        };
        match received {
            Ok(received) if batch::is_batch(&received.bytes) => {
                let messages_max = self.limits.batch_messages_max;
                batch::answer(&post, &received.bytes, messages_max).await
            }
            Ok(received) => message::answer(&post, received).await,
            Err(fault) => post.refuse(fault, "", RequestClass::Other),
        }
    }

    /// Opens a session's stream from the instance to the client, or resumes one.
    fn open_stream(&self, path: &McpPath, request: &Request) -> Result<Response, RequestFault> {
        let headers = request.headers();
        path.required_instance()?;
        headers::check_version(headers)?;
        headers::check_accepts_events(headers)?;
        let target = RequestTarget::find(&self.table, path);
        let entry = target.entry()?;
        let session = self.session(request, &entry.key.instance);
        let session = session.map_err(|fault| target.name_in(fault))?;
        if let Some(upstream) = &entry.upstream {
            // What the instance says reaches attached sessions only; where this fails, the next request says why.
            let _ = session.attach(upstream);
        }
        let last = headers::text(headers, &headers::LAST_EVENT_ID);
        let reader = session.open_get(last, self.limits.get_streams_max)?;
        Ok(sse::response(session, reader))
    }

    fn session(
        &self,
        request: &Request,
        instance: &InstanceId,
    ) -> Result<Arc<Session>, RequestFault> {
        let owner = request.extensions().get().unwrap_or(&self.nobody);
        let id = headers::session_id(request.headers())?;
        self.sessions.find(id, instance, owner)
    }

    /// Ends a session for its client. Its instance may be gone already.
    fn end_session(&self, path: &McpPath, request: &Request) -> Result<Response, RequestFault> {
        let instance = path.required_instance()?;
        headers::check_version(request.headers())?;
        let session = self.session(request, instance);
        let session =
            session.map_err(|fault| RequestTarget::find(&self.table, path).name_in(fault))?;
        self.sessions.end(&session);
        session.end();
        let observer = &self.forwarder.reporter().observer;
        observer.count(ProxyCount::SessionEnded);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }
}

fn check_post(parts: &request::Parts) -> Result<(), RequestFault> {
    headers::check_is_json(&parts.headers)?;
    headers::check_accepts_both(&parts.headers)
}
