//! How a client learns of a fault: its HTTP status, its JSON-RPC error, and the sentence in it.

use std::fmt;

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use router_core::InstanceId;
use router_upstream::{CallError, NotSent, ProtocolVersion};

use super::{FaultKind, RequestFault};

/// JSON-RPC 2.0, section 5.1.
const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0, section 5.1.
const INVALID_PARAMS: i64 = -32602;
/// The code that MCP's SDKs give to a lost connection, and servers to anything of their own.
const UNAVAILABLE: i64 = -32000;
/// The code that MCP's SDKs give to a request that took too long, and to a session that is not known.
const TIMED_OUT: i64 = -32001;
/// MCP 2026-07-28: the protocol version is not supported.
const UNSUPPORTED_VERSION: i64 = -32022;

impl RequestFault {
    fn status(&self) -> StatusCode {
        match &self.kind {
            FaultKind::Method => StatusCode::METHOD_NOT_ALLOWED,
            FaultKind::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            FaultKind::NotAcceptable { .. } => StatusCode::NOT_ACCEPTABLE,
            FaultKind::BodyTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            FaultKind::BodyTooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            FaultKind::BodiesBusy | FaultKind::NotSent(NotSent::Busy) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            FaultKind::TooManyStreams { .. } => StatusCode::CONFLICT,
            FaultKind::NoInstance
            | FaultKind::InvalidInstance { .. }
            | FaultKind::UnknownInstance
            | FaultKind::UnknownSession => StatusCode::NOT_FOUND,
            FaultKind::BodyBroken
            | FaultKind::Envelope(_)
            | FaultKind::NotAMessage
            | FaultKind::Version { .. }
            | FaultKind::NoSession
            | FaultKind::RepeatedSession
            | FaultKind::NotSent(NotSent::NoSuchQuestion) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        }
    }

    fn code(&self) -> i64 {
        match &self.kind {
            FaultKind::Envelope(error) => error.code(),
            FaultKind::Version { .. } => UNSUPPORTED_VERSION,
            FaultKind::UnknownSession => TIMED_OUT,
            FaultKind::BadParams { .. } => INVALID_PARAMS,
            FaultKind::Call { error, .. } => match error {
                CallError::TimedOut { .. } => TIMED_OUT,
                CallError::BadRequest { .. } => INVALID_PARAMS,
                _ => UNAVAILABLE,
            },
            FaultKind::Breaker(_)
            | FaultKind::Unavailable { .. }
            | FaultKind::StartTooSlow { .. }
            | FaultKind::Busy { .. }
            | FaultKind::BodiesBusy
            | FaultKind::NotSent(NotSent::Busy)
            | FaultKind::TooManySessions { .. } => UNAVAILABLE,
            _ => INVALID_REQUEST,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match &self.kind {
            FaultKind::Breaker(rejection) => rejection.rejected.retry_after_ms,
            FaultKind::Unavailable {
                unavailable,
                now_ms,
            } => unavailable.retry_after_ms(*now_ms),
            FaultKind::BodiesBusy | FaultKind::Busy { .. } | FaultKind::NotSent(NotSent::Busy) => {
                Some(1_000)
            }
            _ => None,
        }
    }

    fn data(&self) -> serde_json::Value {
        if let FaultKind::Version { requested } = &self.kind {
            let supported = ProtocolVersion::SUPPORTED.map(ProtocolVersion::as_str);
            return serde_json::json!({ "supported": supported, "requested": requested });
        }
        let mut data = serde_json::json!({ "kind": self.error_kind().as_str() });
        if let Some(instance) = &self.instance {
            data["instance"] = instance.as_str().into();
        }
        if let Some(retry_after_ms) = self.retry_after_ms() {
            data["retryAfterMs"] = retry_after_ms.into();
        }
        match &self.kind {
            FaultKind::Unavailable { unavailable, .. } => {
                data["state"] = unavailable.kind.as_str().into();
            }
            FaultKind::Breaker(rejection) => rejection.add_to(&mut data),
            _ => {}
        }
        data
    }

    /// The JSON-RPC error as one line. `id` is raw JSON, or empty where it is not known.
    pub(crate) fn message(&self, id: &str) -> String {
        let id = if id.is_empty() { "null" } else { id };
        let error = serde_json::json!({
            "code": self.code(),
            "message": self.to_string(),
            "data": self.data(),
        });
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#)
    }

    /// The HTTP answer.
    pub(crate) fn response(&self, id: &str) -> Response {
        let mut response = json(self.message(id).into());
        *response.status_mut() = self.status();
        if let Some(ms) = self.retry_after_ms() {
            let seconds = ms.div_ceil(1000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        if matches!(self.kind, FaultKind::Method) {
            let allowed = HeaderValue::from_static("GET, POST, DELETE");
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        response
    }
}

/// An answer of JSON.
pub(crate) fn json(body: bytes::Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

impl fmt::Display for RequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instance = self.instance.as_ref().map_or("", InstanceId::as_str);
        match &self.kind {
            FaultKind::NotAcceptable { needed } => write!(f, "Accept must allow {needed}"),
            FaultKind::BodyTooLong { max } => write!(f, "The body is longer than {max} bytes"),
            FaultKind::BodyTooSlow { after } => {
                write!(f, "The body did not arrive within {} ms", after.as_millis())
            }
            FaultKind::Envelope(error) => write!(f, "The {error}"),
            FaultKind::Version { requested } => write!(
                f,
                "Unsupported protocol version {requested:?}. Start with initialize and one of {}",
                ProtocolVersion::SUPPORTED
                    .map(ProtocolVersion::as_str)
                    .join(", ")
            ),
            FaultKind::InvalidInstance { why: reason } | FaultKind::BadParams { reason } => {
                f.write_str(reason)
            }
            FaultKind::UnknownInstance => write!(
                f,
                "There is no instance {instance}. GET /api/instances lists them"
            ),
            FaultKind::TooManySessions { max } => {
                write!(f, "Instance {instance} already has {max} active sessions")
            }
            FaultKind::TooManyStreams { max } => {
                write!(f, "This session already has {max} streams open")
            }
            FaultKind::NotSent(NotSent::Busy) => write!(
                f,
                "Instance {instance} does not read what it is sent. Try again in a second"
            ),
            FaultKind::Breaker(rejection) => rejection.describe(f, instance),
            FaultKind::Unavailable {
                unavailable,
                now_ms,
            } => f.write_str(&unavailable.message(instance, *now_ms)),
            FaultKind::StartTooSlow { waited } => write!(
                f,
                "Instance {instance} did not become ready within {} ms. It is being started; try again in a few seconds",
                waited.as_millis()
            ),
            FaultKind::Busy { what } => {
                write!(f, "Instance {instance}: {what}. Try again in a second")
            }
            FaultKind::Call { error, next: None } => write!(f, "Instance {instance}: {error}"),
            FaultKind::Call {
                error,
                next: Some(next),
            } => write!(f, "Instance {instance}: {error}. {next}"),
            kind => f.write_str(kind.fixed_text()),
        }
    }
}

impl FaultKind {
    /// The sentence of those that are always the same.
    fn fixed_text(&self) -> &'static str {
        match self {
            Self::Method => "Use POST, GET or DELETE",
            Self::ContentType => "Content-Type must be application/json",
            Self::BodyBroken => "The body ended before it was complete",
            Self::BodiesBusy => {
                "Too many long bodies are being received or wait for an instance to start. Try again in a second"
            }
            Self::NotAMessage => "The message is no JSON-RPC 2.0 request, notification or answer",
            Self::NoInstance => {
                "Name an instance: /mcp/{versionId}. GET /api/instances lists them; /mcp itself is not served yet"
            }
            Self::NoSession => "Mcp-Session-Id is missing: start with initialize",
            Self::RepeatedSession => "Mcp-Session-Id is given more than once",
            Self::UnknownSession => {
                "Session not found: it has ended, or was never given out. Initialize again"
            }
            Self::NotSent(NotSent::NoSuchQuestion) => {
                "This session was asked no question with that id"
            }
            _ => "The request cannot be served",
        }
    }
}
