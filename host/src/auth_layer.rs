//! The layer in front of every route: who is calling, and may they? An admitted request carries a [`Caller`]; a refused one is
//! answered in the format of the surface that was called, and a refused login is audited. Pages of allowed origins get the
//! headers that browsers ask for (Fetch standard, "CORS protocol").

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use router_access::{Access, AccessRefusal, AccessRequest, Needed, RefusalKind};
use router_admin::{Caller, Problem};
use router_core::Role;
use router_proxy::{ClientOf, McpPath, SessionOwner};
use router_telemetry::Count;
use router_values::{AuditRow, RateBudget};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use crate::{evidence::EvidenceRecorder, meters::RouterMeters};

/// Audit rows of refused logins per second. A flood of wrong tokens must not become a flood of rows; the suppressed ones are
/// counted in the next row.
const REFUSALS_PER_SECOND_MAX: u32 = 10;

/// How long refused logins may be counted before a row says how many.
const SUPPRESSED_EVERY: Duration = Duration::from_secs(10);

/// JSON-RPC's code for a request that is not served for want of authorisation: of the range that implementations may define.
const JSONRPC_REFUSED: i64 = -32_001;

/// See the module.
pub(crate) struct AuthLayer {
    access: Arc<Access>,
    recorder: Arc<EvidenceRecorder>,
    meters: Arc<RouterMeters>,
    budget: Mutex<RateBudget>,
}

impl AuthLayer {
    /// A layer that enforces these rules.
    pub(crate) fn new(
        access: Arc<Access>,
        recorder: Arc<EvidenceRecorder>,
        meters: Arc<RouterMeters>,
    ) -> Self {
        Self {
            access,
            recorder,
            meters,
            budget: Mutex::new(RateBudget::new(REFUSALS_PER_SECOND_MAX, Instant::now())),
        }
    }

    /// Admits a request, with its [`Caller`] in its extensions, or answers it. For an admitted request of a page returns the
    /// page's origin, for [`cors`].
    #[allow(
        clippy::result_large_err,
        reason = "the refusal is the answer, and rare"
    )]
    pub(crate) fn admit(
        &self,
        request: &mut Request<Body>,
        mcp: Option<&McpPath>,
        peer: SocketAddr,
    ) -> Result<Option<HeaderValue>, Response> {
        let needed = needed(request.method(), request.uri().path(), mcp.is_some());
        let asked = AccessRequest::from_http(
            peer,
            request.uri(),
            request.headers(),
            needed,
            mcp.and_then(McpPath::instance),
        );
        let origin = asked.as_ref().ok().and_then(|asked| {
            let origin = self.access.allowed_origin(asked)?;
            HeaderValue::from_str(origin).ok()
        });
        if let Some(origin) = &origin
            && is_preflight(request)
        {
            return Err(preflight(origin));
        }
        match asked.and_then(|asked| self.access.authorize(&asked)) {
            Ok(principal) => {
                let owner = SessionOwner {
                    via: principal.via.as_str(),
                    name: Arc::clone(&principal.name),
                };
                request.extensions_mut().insert(owner);
                let caller = Caller {
                    role: principal.roles.to_string().into(),
                    is_admin: principal.roles.contains(Role::Admin),
                    name: principal.name,
                    from: peer,
                };
                request.extensions_mut().insert(caller);
                if let Some(instances) = principal.instances {
                    request.extensions_mut().insert(ClientOf(instances));
                }
                Ok(origin)
            }
            Err(refusal) => {
                let mut refused = self.refuse(request, mcp.is_some(), peer, &refusal);
                if let Some(origin) = &origin {
                    cors(&mut refused, origin);
                }
                Err(refused)
            }
        }
    }

    /// Writes rows about refused logins that were only counted, until it is cancelled.
    pub(crate) async fn report_suppressed(self: Arc<Self>) {
        let mut ticks = interval(SUPPRESSED_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.report_suppressed_now();
        }
    }

    fn report_suppressed_now(&self) {
        let suppressed = self.budget.lock().take_suppressed();
        if suppressed > 0 {
            self.recorder.audit(AuditRow {
                detail: format!("{suppressed} more were refused"),
                ..refused_login()
            });
        }
    }

    fn refuse(
        &self,
        request: &Request<Body>,
        is_mcp: bool,
        peer: SocketAddr,
        refusal: &AccessRefusal,
    ) -> Response {
        self.meters.metrics.count(Count::RequestRefused);
        let path = request.uri().path();
        // Reading without a token is what every open dashboard tab does; changing something without one is worth a row.
        let is_attempt = refusal.kind == RefusalKind::TokenMissing
            && !matches!(*request.method(), Method::GET | Method::HEAD);
        if (refusal.kind.is_refused_login() || is_attempt)
            && let Some(suppressed) = self.budget.lock().spend(Instant::now())
        {
            let more = match suppressed {
                0 => String::new(),
                count => format!(" ({count} more were refused before)"),
            };
            let unknown = refused_login();
            let path: String = path.chars().take(200).collect();
            self.recorder.audit(AuditRow {
                actor: refusal.name.as_deref().map_or(unknown.actor, str::to_owned),
                from_address: peer.to_string(),
                target: format!("{} {path}", request.method()),
                detail: format!("{}: {}{more}", refusal.kind.as_str(), refusal.reason),
                ..unknown
            });
        }
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
        let mut response = if is_mcp {
            let error = json!({ "code": JSONRPC_REFUSED, "message": refusal.reason });
            let body = json!({ "jsonrpc": "2.0", "id": null, "error": error });
            (status, Json(body)).into_response()
        } else {
            Problem::new(status, refusal.reason.clone()).into_response()
        };
        let challenge = refusal.www_authenticate.as_deref();
        if let Some(challenge) = challenge.and_then(|text| HeaderValue::from_str(text).ok()) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn is_preflight(request: &Request<Body>) -> bool {
    *request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser asks before it sends what a plain form could not.
fn preflight(origin: &HeaderValue) -> Response {
    /// What clients of both surfaces send beside what browsers always may.
    const HEADERS: &str =
        "authorization, content-type, last-event-id, mcp-protocol-version, mcp-session-id";
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let fixed = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, POST, PUT, DELETE",
        ),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        // Ten minutes: a changed configuration is noticed soon enough.
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    cors(&mut response, origin);
    response
}

/// Lets a page of an allowed origin read an answer.
pub(crate) fn cors(response: &mut Response, origin: &HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let exposed = HeaderValue::from_static("mcp-session-id, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// The row about a login of an unknown caller.
fn refused_login() -> AuditRow {
    AuditRow {
        actor: "unknown".to_owned(),
        role: "none".to_owned(),
        action: "login".to_owned(),
        result: "refused".to_owned(),
        ..AuditRow::default()
    }
}

/// What a route requires of its caller.
fn needed(method: &Method, path: &str, is_mcp: bool) -> Needed {
    match path {
        "/api/health/liveness" | "/api/health/readiness" => Needed::Nothing,
        // The token in the link is the right, and the signature of the call.
        _ if path.starts_with("/ack/") || path.starts_with("/api/hooks/") => Needed::Nothing,
        "/metrics" | "/api/metrics/prometheus" => Needed::Metrics,
        _ if is_mcp => Needed::Role(Role::Client),
        _ if *method == Method::GET || *method == Method::HEAD => Needed::Role(Role::Viewer),
        _ => Needed::Role(Role::Operator),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use router_access::Needed;
    use router_core::Role;
    use router_proxy::McpPath;

    use super::needed;

    #[test]
    fn every_route_asks_for_what_the_contract_says() {
        let check = |method: Method, path: &str, expected: Needed, instance: Option<&str>| {
            let mcp = McpPath::parse(path);
            let got = needed(&method, path, mcp.is_some());
            assert_eq!(got, expected, "{method} {path}");
            let named = mcp.as_ref().and_then(McpPath::instance);
            assert_eq!(named.map(|id| id.as_str()), instance, "{path}");
        };
        let role = Needed::Role;
        check(Method::GET, "/api/health/liveness", Needed::Nothing, None);
        check(Method::GET, "/api/health/readiness", Needed::Nothing, None);
        check(Method::GET, "/api/health/mcp", role(Role::Viewer), None);
        check(Method::GET, "/metrics", Needed::Metrics, None);
        check(
            Method::GET,
            "/api/metrics/prometheus",
            Needed::Metrics,
            None,
        );
        check(Method::POST, "/mcp/demo", role(Role::Client), Some("demo"));
        check(Method::GET, "/mcp/42", role(Role::Client), Some("42"));
        check(
            Method::POST,
            "/mcp/maze%401.0",
            role(Role::Client),
            Some("maze@1.0"),
        );
        check(Method::POST, "/mcp", role(Role::Client), None);
        check(Method::POST, "/mcp/../api", role(Role::Client), None);
        check(Method::GET, "/api/audit", role(Role::Viewer), None);
        check(
            Method::POST,
            "/api/instances/x/stop",
            role(Role::Operator),
            None,
        );
        check(
            Method::DELETE,
            "/api/instances/x",
            role(Role::Operator),
            None,
        );
        check(Method::PUT, "/api/log-level", role(Role::Operator), None);
        check(Method::POST, "/anything", role(Role::Operator), None);
        check(Method::GET, "/mcpx", role(Role::Viewer), None);
        for method in [Method::GET, Method::HEAD, Method::POST] {
            check(method.clone(), "/ack/AbC-_", Needed::Nothing, None);
            check(method.clone(), "/ack/../api/x", Needed::Nothing, None);
            check(
                method.clone(),
                "/api/hooks/pagerduty/oncall",
                Needed::Nothing,
                None,
            );
            for path in [
                "/ack",
                "/acknowledge/x",
                "/api/ack/x",
                "/api/hooks",
                "/api/hooksx/y",
            ] {
                let rest = if method == Method::POST {
                    Role::Operator
                } else {
                    Role::Viewer
                };
                check(method.clone(), path, role(rest), None);
            }
        }
    }
}
