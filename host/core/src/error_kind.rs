//! What goes wrong, in one word that rooms, metrics and dashboards share. Closed.

use std::fmt;

/// A kind of error: the label of `mcp_errors_total{kind}` and the middle of `mcp_errors_{kind}_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The database.
    Database,
    /// No answer in time.
    Timeout,
    /// A request that is not acceptable.
    Validation,
    /// An instance that could not be started.
    Spawn,
    /// The connection to an instance.
    Socket,
    /// An instance that failed, or answered with an error of its own.
    Upstream,
    /// A rejection by a circuit breaker.
    Breaker,
    /// A plugin.
    Plugin,
    /// The router itself.
    Internal,
}

impl ErrorKind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Database,
        Self::Timeout,
        Self::Validation,
        Self::Spawn,
        Self::Socket,
        Self::Upstream,
        Self::Breaker,
        Self::Plugin,
        Self::Internal,
    ];

    /// The name in labels and family names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Timeout => "timeout",
            Self::Validation => "validation",
            Self::Spawn => "spawn",
            Self::Socket => "socket",
            Self::Upstream => "upstream",
            Self::Breaker => "breaker",
            Self::Plugin => "plugin",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
