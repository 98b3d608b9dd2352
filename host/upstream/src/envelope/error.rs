//! Why a text is not a message.

/// How deeply a message may nest. Parsers behind us recurse (Python's gives up near 1,000, `serde_json`'s at 128 by
/// default); scene trees and JSON schemas stay far below this.
pub const DEPTH_MAX: usize = 512;

/// Longest id, method or progress token. They are kept while their request waits, after its body is gone; real ones are
/// numbers, UUIDs and names.
pub const NAME_BYTES_MAX: usize = 1024;

/// Why a text is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not text.
    #[error("message is not UTF-8: byte {at} is invalid")]
    NotUtf8 {
        /// Offset of the first invalid byte.
        at: usize,
    },
    /// More than [`DEPTH_MAX`] arrays and objects inside one another.
    #[error("message nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Several messages in one array.
    #[error("message is a batch, which only protocol 2025-03-26 has: send one message at a time")]
    Batch,
    /// Not JSON.
    #[error("message is not JSON: {reason}")]
    Syntax {
        /// What the parser found, and where.
        reason: String,
    },
    /// JSON, but not a JSON-RPC message.
    #[error("message is not JSON-RPC: {reason}")]
    Invalid {
        /// Which part is wrong.
        reason: String,
    },
}

impl EnvelopeError {
    /// The JSON-RPC code that answers such a message (JSON-RPC 2.0, section 5.1).
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::NotUtf8 { .. } | Self::TooDeep | Self::Syntax { .. } => -32700,
            Self::Batch | Self::Invalid { .. } => -32600,
        }
    }
}

pub(super) fn is_overlong(name: &str) -> bool {
    name.len() > NAME_BYTES_MAX
}

pub(super) fn overlong(what: &str) -> EnvelopeError {
    invalid(&format!("its {what} is longer than {NAME_BYTES_MAX} bytes"))
}

pub(super) fn invalid(reason: &str) -> EnvelopeError {
    EnvelopeError::Invalid {
        reason: reason.to_owned(),
    }
}

// By value, because it is what `map_err` hands over.
#[allow(clippy::needless_pass_by_value)]
pub(super) fn syntax(error: serde_json::Error) -> EnvelopeError {
    let reason = error.to_string();
    if error.is_data() {
        EnvelopeError::Invalid { reason }
    } else {
        EnvelopeError::Syntax { reason }
    }
}
