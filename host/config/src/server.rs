//! `[server]` and `[[token]]`: where the router listens, whom it believes, and what one client may take.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use router_core::InstanceId;

use crate::{Origin, Secret};

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where the router listens. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Names besides loopback and the own addresses that `Host` may hold. Lower case, without a port.
    pub allowed_hosts: Vec<String>,
    /// Pages of these origins may call.
    pub allowed_origins: Vec<Origin>,
    /// What callers from this machine may do without a token.
    pub loopback_roles: Vec<Role>,
    /// Whether metrics may be read by anybody, also from elsewhere.
    pub public_metrics: bool,
    /// Where the router keeps its name, its epoch, its session key and its spool. One router per directory.
    pub data_dir: PathBuf,
    /// The router's name where it is chosen by the operator and not by the router.
    pub router_id: Option<String>,
    /// What session ids are sealed with, where several routers have to agree on it. `None`: a key kept in the data directory.
    pub session_key: Option<Secret>,
    /// How long a session id is valid after it was given out.
    pub session_ttl: Duration,
    /// After so long without a request or a stream a session is forgotten; its id stays valid.
    pub session_idle_timeout: Duration,
    /// Sessions of one instance that are remembered at once.
    pub max_sessions: usize,
    /// Connections at once; one more is closed.
    pub max_connections: usize,
    /// Longest body of a request, in bytes.
    pub max_body_bytes: usize,
    /// How long a connection may take to send the head of a request, and stay idle between two.
    pub head_timeout: Duration,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
}

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Reads `/api`.
    Viewer,
    /// Speaks MCP.
    Client,
    /// Changes things.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Client, Self::Operator, Self::Admin];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[[token]]`: a caller from elsewhere. Only the hash of what it presents is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Who it is; appears in the audit. No two tokens share one.
    pub name: String,
    /// SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it may do; at least one.
    pub roles: Vec<Role>,
    /// The instances that it may speak MCP with; `None`: all.
    pub instances: Option<Vec<InstanceId>>,
}
