//! The guard in front of every route: who is calling, and may they? What it lets through carries a [`Caller`]; what it refuses
//! is answered in the words of the surface that was asked, and a refused login is audited.

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
use router_access::{Access, Needed, Refusal, Request as Asked};
use router_admin::{AuditEntry, Caller, Problem};
use router_core::InstanceId;
use router_core::Role;
use serde_json::json;

use crate::meters::Meters;

/// Audit rows of refused logins per second. A flood of wrong tokens must not become a flood of rows; what is left out is
/// counted in the next one.
const REFUSALS_PER_SECOND_MAX: u32 = 10;

/// JSON-RPC's code for a request that is not served for want of authorisation: of the range that implementations may define.
const JSONRPC_REFUSED: i64 = -32_001;

/// Where a refused login goes.
pub(crate) type Audit = Arc<dyn Fn(AuditEntry) + Send + Sync>;

/// See the module.
pub(crate) struct Guard {
    access: Arc<Access>,
    audit: Audit,
    meters: Arc<Meters>,
    budget: Mutex<Budget>,
}

struct Budget {
    since: Instant,
    spent: u32,
    left_out: u64,
}

impl Guard {
    /// A guard by these rules.
    pub(crate) fn new(access: Arc<Access>, audit: Audit, meters: Arc<Meters>) -> Self {
        Self {
            access,
            audit,
            meters,
            budget: Mutex::new(Budget {
                since: Instant::now(),
                spent: 0,
                left_out: 0,
            }),
        }
    }

    /// Lets a request pass, with its [`Caller`] in its extensions, or answers it.
    #[allow(
        clippy::result_large_err,
        reason = "the refusal is the answer, and rare"
    )]
    pub(crate) fn admit(
        &self,
        request: &mut Request<Body>,
        peer: SocketAddr,
    ) -> Result<(), Response> {
        let (needed, instance) = needed(request.method(), request.uri().path());
        let asked = Asked::from_http(
            peer,
            request.uri(),
            request.headers(),
            needed,
            instance.as_ref(),
        );
        match asked.and_then(|asked| self.access.authorize(&asked)) {
            Ok(principal) => {
                let caller = Caller {
                    role: principal.roles.to_string().into(),
                    name: principal.name,
                    from: peer,
                };
                request.extensions_mut().insert(caller);
                Ok(())
            }
            Err(refusal) => Err(self.refuse(request, peer, &refusal)),
        }
    }

    fn refuse(&self, request: &Request<Body>, peer: SocketAddr, refusal: &Refusal) -> Response {
        self.meters.refused();
        let path = request.uri().path();
        if refusal.kind.is_refused_login()
            && let Some(left_out) = self.budget.lock().spend()
        {
            let more = match left_out {
                0 => String::new(),
                count => format!(" ({count} more were refused before)"),
            };
            (self.audit)(AuditEntry {
                actor: "unknown".into(),
                role: "none".into(),
                from: Some(peer),
                action: "login",
                target: format!(
                    "{} {}",
                    request.method(),
                    path.chars().take(200).collect::<String>()
                ),
                result: "refused",
                detail: format!("{}: {}{more}", refusal.kind.as_str(), refusal.reason),
            });
        }
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
        let mut response = if path.starts_with("/mcp") {
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

impl Budget {
    /// How many were left out since the last one, where this one may be written.
    fn spend(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.spent = 0;
        }
        if self.spent >= REFUSALS_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// What a route asks of its caller, and which instance it is about where that counts.
fn needed(method: &Method, path: &str) -> (Needed, Option<InstanceId>) {
    let needed = match path {
        "/api/health/liveness" | "/api/health/readiness" => Needed::Nothing,
        "/metrics" | "/api/metrics/prometheus" => Needed::Metrics,
        _ if path == "/mcp" || path.starts_with("/mcp/") => Needed::Role(Role::Client),
        _ if *method == Method::GET || *method == Method::HEAD => Needed::Role(Role::Viewer),
        _ => Needed::Role(Role::Operator),
    };
    let named = path.strip_prefix("/mcp/");
    (needed, named.and_then(|id| InstanceId::parse(id).ok()))
}

#[cfg(test)]
mod tests {
    use axum::http::Method;
    use router_access::Needed;
    use router_core::Role;

    use super::needed;

    #[test]
    fn every_route_asks_for_what_the_contract_says() {
        let check = |method: Method, path: &str, expected: Needed, instance: Option<&str>| {
            let (got, named) = needed(&method, path);
            assert_eq!(got, expected, "{method} {path}");
            assert_eq!(named.as_ref().map(|id| id.as_str()), instance, "{path}");
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
    }
}
