//! The front: the listener, its connections and their bounds. One thread serves all of them, and the instances' pipes beside
//! them, so that a request costs no hand-over between threads.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use router_admin::Problem;
use router_proxy::{McpPath, Proxy};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::auth_layer::{AuthLayer, cors};

/// Longest head of a request. Session ids and tokens take some hundred bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open requests may take to end at shutdown.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Where callers need no role: a link's token, or a signature over the body, is their right.
const LINKS: &str = "/ack/";
const HOOKS: &str = "/api/hooks/";

/// Longest body of a link's form, which has no fields.
const LINK_BODY_BYTES_MAX: usize = 4 * 1024;

/// How long such a body may take: PagerDuty gives up after 5 s.
const HOOK_BODY_WITHIN: Duration = Duration::from_secs(5);

/// Bodies of signed calls that are read at once: together 4 MiB, of callers who may be anybody.
pub(crate) const UNPROVEN_MAX: usize = 16;

/// What connections are served with.
pub(crate) struct Front {
    /// Decides who may call what, in front of every route.
    pub(crate) auth: Arc<AuthLayer>,
    /// MCP, served on the front's own thread.
    pub(crate) proxy: Arc<Proxy>,
    /// All other routes, served where nothing that takes long holds up a request.
    pub(crate) rest: Router,
    /// The runtime for those.
    pub(crate) rooms: Handle,
    /// How many connections are open.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Connections at once; one more is closed.
    pub(crate) connections_max: usize,
    /// How long a connection may take to send the head of a request, and stay idle between two.
    pub(crate) head_timeout: Duration,
    /// How long a client may take to send a body.
    pub(crate) body_timeout: Duration,
    /// Bodies that are read at once of who has shown no right yet.
    pub(crate) unproven: Arc<Semaphore>,
}

impl Front {
    /// Accepts until `ended`, then lets open requests end.
    pub(crate) async fn serve(self, listener: TcpListener, ended: CancellationToken) {
        let front = Arc::new(self);
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ended.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(counted) = front.count(peer) {
                        let front = Arc::clone(&front);
                        tasks.spawn(front.serve_connection(stream, peer, counted, ended.clone()));
                    }
                }
                Err(error) => pause_after(&error).await,
            }
        }
        drop(listener);
        tasks.close();
        if tokio::time::timeout(CLOSE_WITHIN, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = tasks.len(),
                "connections were still open at the end"
            );
        }
    }

    /// Counts a connection; `None` where it is one too many.
    fn count(&self, peer: SocketAddr) -> Option<Counted> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.connections));
        if before >= self.connections_max {
            tracing::debug!(%peer, reason = "too many connections", "connection closed");
            return None;
        }
        Some(counted)
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _counted: Counted,
        ended: CancellationToken,
    ) {
        // Small answers must not wait for the acknowledgement of those before.
        let _ = stream.set_nodelay(true);
        let head_timeout = self.head_timeout;
        let service = service_fn(move |request: Request<Incoming>| {
            let front = Arc::clone(&self);
            async move { Ok::<_, Infallible>(front.answer(request, peer).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // A client may close its sending side and still want its answer. One that is gone is not distinguishable from it
            // before the next write: the answer, an event, or what keeps a stream alive.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = ended.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%peer, error = %error, "connection ended early");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response {
        let mut request = request.map(Body::new);
        let mcp = McpPath::parse(request.uri().path());
        let origin = match self.auth.admit(&mut request, mcp.as_ref(), peer) {
            Ok(origin) => origin,
            Err(refused) => return refused,
        };
        let mut response = match mcp {
            // The bodies of MCP are bounded by the proxy.
            Some(path) => self.proxy.answer(&path, request).await,
            None => self.serve_rest(request).await,
        };
        if let Some(origin) = origin {
            cors(&mut response, &origin);
        }
        response
    }

    /// The request with its body, once that has arrived. A link's form has none; a signed call is believed only when its body is there, so
    /// that few of them are read at once, and for no longer than the caller waits.
    async fn with_body(&self, request: Request<Body>) -> Result<Request<Body>, Problem> {
        let path = request.uri().path();
        let is_hook = path.starts_with(HOOKS);
        let (bytes_max, within) = match path {
            _ if is_hook => (router_admin::BODY_BYTES_MAX, HOOK_BODY_WITHIN),
            path if path.starts_with(LINKS) => (LINK_BODY_BYTES_MAX, HOOK_BODY_WITHIN),
            _ => (router_admin::BODY_BYTES_MAX, self.body_timeout),
        };
        let place = is_hook.then(|| self.unproven.try_acquire());
        let _place = place.transpose().map_err(|_| {
            let detail = "too many calls are being received: try again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })?;
        read_body(request, bytes_max, within.min(self.body_timeout)).await
    }

    async fn serve_rest(&self, request: Request<Body>) -> Response {
        let request = match self.with_body(request).await {
            Ok(request) => request,
            Err(refused) => return refused.into_response(),
        };
        let answer = self.rooms.spawn(answer_by(self.rest.clone(), request));
        answer.await.unwrap_or_else(|_| {
            // The panic itself was logged where it happened.
            let detail = "the router failed at this request; the reason is in its log";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        })
    }
}

async fn read_body(
    request: Request<Body>,
    bytes_max: usize,
    within: Duration,
) -> Result<Request<Body>, Problem> {
    let (head, body) = request.into_parts();
    let read = axum::body::to_bytes(body, bytes_max);
    let Ok(read) = tokio::time::timeout(within, read).await else {
        let detail = format!("the body did not arrive within {} ms", within.as_millis());
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
    };
    let body = read.map_err(|error| {
        let detail = format!("the body is broken, or longer than {bytes_max} bytes: {error}");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
    })?;
    Ok(Request::from_parts(head, Body::from(body)))
}

async fn answer_by(routes: Router, request: Request<Body>) -> Response {
    match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// One open connection, in the count of all.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that was reset before it was accepted needs no pause; want of descriptors passes only with time.
async fn pause_after(error: &io::Error) {
    let passing = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    if !passing {
        tracing::warn!(error = %error, "connections cannot be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
