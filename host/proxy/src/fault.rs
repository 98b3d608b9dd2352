//! What can go wrong with a request. Its client gets a JSON-RPC error with its own id, which `answer` makes.
//!
//! What is wrong with the HTTP request itself (its headers, its session) has an HTTP status of its own. A request that was
//! well put and could not be served gets 200: clients drop the body of anything else, and with it the reason.

pub(crate) mod answer;
mod rejection;

use std::time::Duration;

use router_core::{
    ErrorKind, InstanceId,
    classify::OutcomeKind,
    route::{Unavailable, UnavailableKind},
};
use router_upstream::{CallError, Closed, EnvelopeError, NotSent};

pub(crate) use rejection::{BreakerRejection, Rejecting};

/// One fault, with the instance it is about.
#[derive(Debug, Clone)]
pub(crate) struct RequestFault {
    kind: FaultKind,
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
    RepeatedSession,
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
    Breaker(Box<BreakerRejection>),
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

impl From<FaultKind> for RequestFault {
    fn from(kind: FaultKind) -> Self {
        Self {
            kind,
            instance: None,
        }
    }
}

impl FaultKind {
    /// The fault, about this instance.
    pub(crate) fn on(self, instance: &InstanceId) -> RequestFault {
        RequestFault::from(self).on(instance)
    }
}

impl RequestFault {
    pub(crate) fn on(mut self, instance: &InstanceId) -> Self {
        self.instance = Some(instance.clone());
        self
    }

    /// A request that was sent, or was about to be.
    pub(crate) fn call(instance: &InstanceId, error: CallError) -> Self {
        FaultKind::Call { error, next: None }.on(instance)
    }

    /// The same fault, with what happens to the instance next.
    pub(crate) fn with_next(mut self, text: String) -> Self {
        if let FaultKind::Call { next, .. } = &mut self.kind {
            *next = Some(text);
        }
        self
    }

    /// The instance it is about, where that exists.
    pub(crate) fn instance(&self) -> Option<&InstanceId> {
        match self.kind {
            FaultKind::UnknownInstance
            | FaultKind::InvalidInstance { .. }
            | FaultKind::NoInstance => None,
            _ => self.instance.as_ref(),
        }
    }

    /// Whether the connection was lost with the request in flight.
    pub(crate) fn is_loss(&self) -> bool {
        matches!(
            &self.kind,
            FaultKind::Call {
                error: CallError::Lost(_),
                ..
            }
        )
    }

    /// Whether nothing was sent because the connection had ended or the run is draining: another run may serve it.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(
            &self.kind,
            FaultKind::Call {
                error: CallError::Lost(_) | CallError::Draining | CallError::NotAttached,
                ..
            }
        )
    }

    pub(crate) fn error_kind(&self) -> ErrorKind {
        match &self.kind {
            FaultKind::Breaker(_) => ErrorKind::Breaker,
            FaultKind::StartTooSlow { .. } => ErrorKind::Spawn,
            FaultKind::Unavailable { unavailable, .. } => match unavailable.kind {
                UnavailableKind::Backoff
                | UnavailableKind::CrashLoop
                | UnavailableKind::Capacity => ErrorKind::Spawn,
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
            &self.kind,
            FaultKind::Call {
                error: CallError::Cancelled | CallError::SessionEnded,
                ..
            }
        )
    }

    pub(crate) fn is_instance_fault(&self) -> bool {
        matches!(
            self.error_kind(),
            ErrorKind::Timeout | ErrorKind::Spawn | ErrorKind::Socket | ErrorKind::Upstream
        )
    }

    /// What it means for the breaker.
    pub(crate) fn outcome(error: &CallError) -> OutcomeKind {
        match error {
            CallError::TimedOut { .. } => OutcomeKind::Timeout,
            CallError::Lost(closed) => match **closed {
                // Closed by the router, which had its reasons: it says nothing about the instance.
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
}
