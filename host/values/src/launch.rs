//! How an instance is reached and what outlives its router, as the configuration says it and the shim does it.

use serde::{Deserialize, Serialize};

/// How an instance is reached. (`http` will follow.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Newline-delimited JSON-RPC on its stdin and stdout.
    Stdio,
    /// It listens on `SOCKET_PATH` itself.
    Socket,
}

impl Transport {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Socket => "socket",
        }
    }
}

/// What becomes of an instance when its router is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRouterExit {
    /// It goes on, and waits to be adopted by the next router.
    Keep,
    /// It is stopped when no router has come back after a grace period.
    Stop,
}

impl OnRouterExit {
    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Stop => "stop",
        }
    }
}
