//! What can go wrong with a request, and how its client is told: a JSON-RPC error with the client's own id.
//!
//! What is wrong with the HTTP request itself (its headers, its session) has an HTTP status of its own. A request that was
//! well put and could not be served gets 200: clients drop the body of anything else, and with it the reason.

use std::{fmt, time::Duration};

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use router_core::{
    ErrorKind, InstanceId,
    classify::OutcomeKind,
    permit::Rejected,
    route::{Unavailable, UnavailableKind},
};
use router_upstream::{CallError, Closed, EnvelopeError, NotSent, ProtocolVersion};

/// JSON-RPC 2.0, section 5.1.
const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0, section 5.1.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// The code that MCP's SDKs give to a lost connection, and servers to anything of their own.
const UNAVAILABLE: i64 = -32000;
/// The code that MCP's SDKs give to a request that took too long, and to a session that is not known.
const TIMED_OUT: i64 = -32001;
/// MCP 2026-07-28: the protocol version is not supported.
const UNSUPPORTED_VERSION: i64 = -32022;

/// One fault, with the instance it is about.
#[derive(Debug, Clone)]
pub(crate) struct RequestFault {
    thing: FaultKind,
    instance: Option<InstanceId>,
}

/// What went wrong.
#[derive(Debug, Clone)]
pub(crate) enum FaultKind {
    Method,
    ContentType,
    NotAcceptable {
        needed: &'static str,
    },
    BodyTooLong {
        max: usize,
    },
    BodyTooSlow {
        after: Duration,
    },
    BodyBroken,
    BodiesBusy,
    Envelope(EnvelopeError),
    NotAMessage,
    Version {
        requested: String,
    },
    NoInstance,
    InvalidInstance {
        why: String,
    },
    UnknownInstance,
    NoSession,
    UnknownSession,
    TooManySessions {
        max: usize,
    },
    TooManyStreams {
        max: usize,
    },
    NotSent(NotSent),
    BadParams {
        reason: String,
    },
    Breaker(Rejected),
    Unavailable {
        unavailable: Unavailable,
        now_ms: u64,
    },
    StartTooSlow {
        waited: Duration,
    },
    Busy {
        what: &'static str,
    },
    Call {
        error: CallError,
        next: Option<String>,
    },
}

impl RequestFault {
    pub(crate) fn new(thing: FaultKind) -> Self {
        Self {
            thing,
            instance: None,
        }
    }

    pub(crate) fn on(mut self, instance: &InstanceId) -> Self {
        self.instance = Some(instance.clone());
        self
    }

    /// A request that was sent, or was about to be.
    pub(crate) fn call(instance: &InstanceId, error: CallError) -> Self {
        Self::new(FaultKind::Call { error, next: None }).on(instance)
    }

    /// The same fault, with what happens to the instance next.
    pub(crate) fn with_next(mut self, words: String) -> Self {
        if let FaultKind::Call { next, .. } = &mut self.thing {
            *next = Some(words);
        }
        self
    }

    /// The instance it is about, where that exists.
    pub(crate) fn instance(&self) -> Option<&InstanceId> {
        match self.thing {
            FaultKind::UnknownInstance
            | FaultKind::InvalidInstance { .. }
            | FaultKind::NoInstance => None,
            _ => self.instance.as_ref(),
        }
    }

    /// Whether the connection was lost with the request in flight.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(
            &self.thing,
            FaultKind::Call {
                error: CallError::Lost(_),
                ..
            }
        )
    }

    /// Whether nothing was sent because the connection had ended or the run is draining: another run may serve it.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(
            &self.thing,
            FaultKind::Call {
                error: CallError::Lost(_) | CallError::Draining | CallError::NotAttached,
                ..
            }
        )
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match &self.thing {
            FaultKind::Breaker(_) => ErrorKind::Breaker,
            FaultKind::StartTooSlow { .. } => ErrorKind::Spawn,
            FaultKind::Unavailable { unavailable, .. } => match unavailable.kind {
                UnavailableKind::Backoff | UnavailableKind::CrashLoop => ErrorKind::Spawn,
                _ => ErrorKind::Upstream,
            },
            FaultKind::BodiesBusy | FaultKind::Busy { .. } | FaultKind::NotSent(NotSent::Busy) => {
                ErrorKind::Internal
            }
            FaultKind::Call { error, .. } => match error {
                CallError::TimedOut { .. } => ErrorKind::Timeout,
                CallError::Lost(closed)
                    if matches!(**closed, Closed::Read(_) | Closed::Write(_)) =>
                {
                    ErrorKind::Socket
                }
                CallError::BadRequest { .. } | CallError::Cancelled | CallError::SessionEnded => {
                    ErrorKind::Validation
                }
                CallError::NotAttached => ErrorKind::Internal,
                _ => ErrorKind::Upstream,
            },
            _ => ErrorKind::Validation,
        }
    }

    /// Whether it is worth a metric and a log line: a client that cancels has no fault to complain about.
    pub(crate) fn is_error(&self) -> bool {
        !matches!(
            &self.thing,
            FaultKind::Call {
                error: CallError::Cancelled | CallError::SessionEnded,
                ..
            }
        )
    }

    pub(crate) fn is_instance_fault(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Timeout | ErrorKind::Spawn | ErrorKind::Socket | ErrorKind::Upstream
        )
    }

    /// What it means for the breaker.
    pub(crate) fn outcome(error: &CallError) -> OutcomeKind {
        match error {
            CallError::TimedOut { .. } => OutcomeKind::Timeout,
            CallError::Lost(closed) => match **closed {
                // Closed by the router, which had its reasons: no verdict about the instance.
                Closed::Requested => OutcomeKind::Cancelled,
                Closed::Eof | Closed::Died => OutcomeKind::UpstreamDied,
                Closed::Read(_) | Closed::Write(_) => OutcomeKind::Socket,
            },
            CallError::AnswerTooLong { .. } | CallError::AnswerRefused { .. } => {
                OutcomeKind::BadAnswer
            }
            _ => OutcomeKind::Cancelled,
        }
    }

    fn status(&self) -> StatusCode {
        match &self.thing {
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
            | FaultKind::NotSent(NotSent::NoSuchQuestion) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        }
    }

    fn code(&self) -> i64 {
        match &self.thing {
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
        match &self.thing {
            FaultKind::Breaker(rejected) => rejected.retry_after_ms,
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
        if let FaultKind::Version { requested } = &self.thing {
            let supported = ProtocolVersion::SUPPORTED.map(ProtocolVersion::as_str);
            return serde_json::json!({ "supported": supported, "requested": requested });
        }
        let mut data = serde_json::json!({ "kind": self.kind().as_str() });
        if let Some(instance) = &self.instance {
            data["instance"] = instance.as_str().into();
        }
        if let Some(retry_after_ms) = self.retry_after_ms() {
            data["retryAfterMs"] = retry_after_ms.into();
        }
        if let FaultKind::Unavailable { unavailable, .. } = &self.thing {
            data["state"] = unavailable.kind.as_str().into();
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
        if matches!(self.thing, FaultKind::Method) {
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
        match &self.thing {
            FaultKind::Method => f.write_str("Use POST, GET or DELETE"),
            FaultKind::ContentType => f.write_str("Content-Type must be application/json"),
            FaultKind::NotAcceptable { needed } => write!(f, "Accept must allow {needed}"),
            FaultKind::BodyTooLong { max } => write!(f, "The body is longer than {max} bytes"),
            FaultKind::BodyTooSlow { after } => {
                write!(f, "The body did not arrive within {} ms", after.as_millis())
            }
            FaultKind::BodyBroken => f.write_str("The body ended before it was complete"),
            FaultKind::BodiesBusy => {
                f.write_str("Too many long bodies are being received or wait for an instance to start. Try again in a second")
            }
            FaultKind::Envelope(error) => write!(f, "The {error}"),
            FaultKind::NotAMessage => {
                f.write_str("The message is no JSON-RPC 2.0 request, notification or answer")
            }
            FaultKind::Version { requested } => write!(
                f,
                "Unsupported protocol version {requested:?}. Start with initialize and one of {}",
                ProtocolVersion::SUPPORTED
                    .map(ProtocolVersion::as_str)
                    .join(", ")
            ),
            FaultKind::NoInstance => f.write_str(
                "Name an instance: /mcp/{versionId}. GET /api/instances lists them; /mcp itself is not served yet",
            ),
            FaultKind::InvalidInstance { why } => f.write_str(why),
            FaultKind::UnknownInstance => write!(
                f,
                "There is no instance {instance}. GET /api/instances lists them"
            ),
            FaultKind::NoSession => f.write_str("Mcp-Session-Id is missing: start with initialize"),
            FaultKind::UnknownSession => f.write_str(
                "Session not found: it has ended, or was never given out. Initialize again",
            ),
            FaultKind::TooManySessions { max } => {
                write!(f, "Instance {instance} already has {max} active sessions")
            }
            FaultKind::TooManyStreams { max } => {
                write!(f, "This session already has {max} streams open")
            }
            FaultKind::NotSent(NotSent::NoSuchQuestion) => {
                f.write_str("This session was asked no question with that id")
            }
            FaultKind::NotSent(NotSent::Busy) => write!(
                f,
                "Instance {instance} does not read what it is sent. Try again in a second"
            ),
            FaultKind::BadParams { reason } => f.write_str(reason),
            FaultKind::Breaker(rejected) => write!(f, "{rejected}"),
            FaultKind::Unavailable {
                unavailable,
                now_ms,
            } => f.write_str(&unavailable.message(instance, *now_ms)),
            FaultKind::StartTooSlow { waited } => write!(
                f,
                "Instance {instance} did not become ready within {} ms. It is being started; try again in a few seconds",
                waited.as_millis()
            ),
            FaultKind::Busy { what } => write!(f, "Instance {instance}: {what}. Try again in a second"),
            FaultKind::Call { error, next } => {
                write!(f, "Instance {instance}: {error}")?;
                match next {
                    Some(next) => write!(f, ". {next}"),
                    None => Ok(()),
                }
            }
        }
    }
}
