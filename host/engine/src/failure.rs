//! Why a call has no answer.

use serde::Serialize;
use wasmtime::{PoolConcurrencyLimitError, Trap};

use crate::{
    guest::{Bound, excerpt},
    texts::{REASON_BYTES_MAX, cut},
};

/// An answer that is out of the bounds of `wit/`, of a kind whose answers are not cut to them.
#[derive(Debug, thiserror::Error)]
#[error("its answer is refused: {0}")]
pub(crate) struct BadAnswer(String);

impl BadAnswer {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallFailure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// What happened, for people, and the last words of what it printed.
    pub message: String,
    /// The last that the call printed, where it printed anything.
    pub printed: Option<String>,
}

/// The kinds of failure. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Its time was up.
    Timeout,
    /// It trapped.
    Trap,
    /// It ran into a bound: memory, tables, host calls, log, bytes, or those of its answer.
    Limit,
    /// No store could be made for it.
    Start,
}

impl FailureKind {
    /// The word in metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Trap => "trap",
            Self::Limit => "limit",
            Self::Start => "start",
        }
    }
}

impl CallFailure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            kind,
            message,
            printed: None,
        }
    }

    /// The same, of a call that printed something.
    pub(crate) fn with_printed(self, printed: Option<String>) -> Self {
        let Some(text) = &printed else {
            return self;
        };
        Self {
            message: format!("{}; it printed: {}", self.message, excerpt(text)),
            printed,
            ..self
        }
    }

    /// What an error of wasmtime means; one that says nothing by its type is of the kind `otherwise`.
    pub(crate) fn of(error: &wasmtime::Error, otherwise: FailureKind) -> Self {
        if let Some(bound) = error.downcast_ref::<Bound>() {
            let kind = match bound {
                Bound::Time(_) => FailureKind::Timeout,
                Bound::HostCalls(_) | Bound::Log(_) | Bound::Memory(_) | Bound::Tables(_) => {
                    FailureKind::Limit
                }
            };
            return Self::new(kind, bound.to_string());
        }
        if let Some(answer) = error.downcast_ref::<BadAnswer>() {
            return Self::new(
                FailureKind::Limit,
                cut(&answer.to_string(), REASON_BYTES_MAX),
            );
        }
        if let Some(trap) = error.downcast_ref::<Trap>() {
            return Self::new(FailureKind::Trap, trapped(*trap));
        }
        let text = format!("{error:#}");
        // The bounds that are wasmtime's own have no type: bytes that cross, and counts of memories, tables and instances. That there
        // is no room for one more store is not the guest's doing.
        let is_bound = ["fuel", "resource limit exceeded"]
            .iter()
            .any(|part| text.contains(part))
            && !error.is::<PoolConcurrencyLimitError>();
        let kind = if is_bound {
            FailureKind::Limit
        } else {
            otherwise
        };
        Self::new(kind, cut(&text, REASON_BYTES_MAX))
    }
}

fn trapped(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => "its stack overflowed".to_owned(),
        Trap::UnreachableCodeReached => {
            "it panicked (or reached what should be unreachable)".to_owned()
        }
        Trap::MemoryOutOfBounds => {
            "it reached beyond its memory, as a stack does that overflows".to_owned()
        }
        Trap::Interrupt => "it was interrupted".to_owned(),
        other => format!("it trapped: {other}"),
    }
}
