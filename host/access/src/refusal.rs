//! Why a request is not served: what the client gets instead.

use std::{fmt, sync::Arc};

/// A refused request. `reason` may be shown to the client: it names no secret and no instance that the caller did not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRefusal {
    /// The HTTP status: 400, 401 or 403.
    pub status: u16,
    /// What was refused, as a closed list: for the audit and for metrics.
    pub kind: RefusalKind,
    /// Why, and what to do about it, for people.
    pub reason: String,
    /// The value of `WWW-Authenticate` (RFC 6750 §3), where there is one.
    pub www_authenticate: Option<String>,
    /// Whose token was shown, where it is one of ours: for the audit. The role or the instance was refused then.
    pub name: Option<Arc<str>>,
}

/// What was refused. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// A header that decides access is repeated or is not text.
    MalformedHeader,
    /// `Host` is missing, malformed, or no name of this router.
    Host,
    /// `Origin` is present and not allowed.
    Origin,
    /// A token is needed and there is none.
    TokenMissing,
    /// The token is malformed or unknown.
    TokenInvalid,
    /// The caller is known and lacks the role.
    Role,
    /// The caller is a client, but not of this instance.
    Instance,
}

impl RefusalKind {
    /// As it is shown in logs and in the audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedHeader => "malformed_header",
            Self::Host => "host",
            Self::Origin => "origin",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::Role => "role",
            Self::Instance => "instance",
        }
    }

    /// Whether somebody tried to be somebody: such a refusal is audited.
    #[must_use]
    pub fn is_refused_login(self) -> bool {
        matches!(self, Self::TokenInvalid | Self::Role | Self::Instance)
    }

    fn status(self) -> u16 {
        match self {
            Self::MalformedHeader => 400,
            Self::TokenMissing | Self::TokenInvalid => 401,
            // The MCP specification asks for 403 on a bad Origin; its SDKs answer a bad Host alike.
            Self::Host | Self::Origin | Self::Role | Self::Instance => 403,
        }
    }
}

impl AccessRefusal {
    pub(crate) fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Self {
            status: kind.status(),
            kind,
            reason: reason.into(),
            www_authenticate: None,
            name: None,
        }
    }

    /// Of a caller who is known.
    pub(crate) fn of(self, name: &Arc<str>) -> Self {
        Self {
            name: Some(Arc::clone(name)),
            ..self
        }
    }

    /// With a challenge of the bearer scheme; `parameters` is empty or starts with a comma.
    pub(crate) fn challenged(self, parameters: &str) -> Self {
        Self {
            www_authenticate: Some(format!("Bearer realm=\"godot-mcp-router\"{parameters}")),
            ..self
        }
    }
}

impl fmt::Display for AccessRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for AccessRefusal {}
