//! What a sink sends and gets, with the bounds that `wit/deps/alerts/sink.wit` states.

use std::fmt;

/// Longest URL that a sink may compose, in bytes; the address of Slack's longest webhook has a tenth of it.
pub const URL_BYTES_MAX: usize = 2_048;

/// Most headers of a request, and of an answer as the sink sees it.
pub const HEADERS_MAX: usize = 64;

/// Longest body of a request, and of an answer as the sink sees it, in bytes. PagerDuty takes 512 KB and Slack 12,000 characters.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Most requests within one call: a delivery takes one, or three where a message was deleted and has to be posted anew. A sink that
/// runs wild does not become a flood at somebody's door.
pub const SENDS_MAX: u32 = 16;

/// Longest name and value of a request's headers together, in bytes: as much as most servers take of all of them.
pub(crate) const HEADER_BYTES_MAX: usize = 16 * 1024;

/// A request as a sink composes it: placeholders stand where secrets belong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressRequest {
    /// `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// Where to, whole.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What came back, without the sink's secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct EgressResponse {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The first 256 KiB.
    pub body: Vec<u8>,
}

/// The body as text: an array of numbers helps nobody who reads a failed test.
impl fmt::Debug for EgressResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressResponse")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &String::from_utf8_lossy(&self.body))
            .finish()
    }
}

/// Why nothing came back. The words hold none of the sink's secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Where it was to go is not allowed; says what would have to be.
    #[error("{0}")]
    Denied(String),
    /// A secret stands where none may stand; says where.
    #[error("{0}")]
    MisplacedSecret(String),
    /// The call's deadline came first.
    #[error("no answer before the deadline of the call")]
    TimedOut,
    /// No connection, or it broke; says how.
    #[error("{0}")]
    Failed(String),
    /// It is no request that could be sent: too long, or not HTTP.
    #[error("{0}")]
    Invalid(String),
}

impl EgressError {
    /// The same error, with another reason.
    pub(crate) fn map_reason(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Denied(reason) => Self::Denied(change(reason)),
            Self::MisplacedSecret(reason) => Self::MisplacedSecret(change(reason)),
            Self::TimedOut => Self::TimedOut,
            Self::Failed(reason) => Self::Failed(change(reason)),
            Self::Invalid(reason) => Self::Invalid(change(reason)),
        }
    }
}
