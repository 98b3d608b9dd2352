//! `[template.NAME]`: how instances of one kind are launched.

use std::{collections::BTreeMap, time::Duration};

use crate::{Breaker, PolicyName, Secret, TemplateName};

/// `[template.NAME]`. Texts may hold `{placeholders}`; they are filled in for each instance by [`crate::Config::define`].
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// Its name.
    pub name: TemplateName,
    /// The program: a path, or a name that is looked up in the child's `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment besides what every instance gets.
    pub env: BTreeMap<String, Secret>,
    /// Names passed on from the router's own environment.
    pub pass_env: Vec<String>,
    /// Working directory; the router's own when absent.
    pub cwd: Option<String>,
    /// How the instance is reached.
    pub transport: Transport,
    /// Whether sessions share one process.
    pub sharing: Sharing,
    /// Which MCP era is spoken to the instance.
    pub era: Era,
    /// What differs from `[instances]` and `[policy]`.
    pub tuning: Tuning,
    /// Thresholds in place of `[breaker]`, where `[template.NAME.breaker]` is there.
    pub breaker: Option<Breaker>,
}

/// What a template, and an instance over its template, may say about itself. `None`: as the level above.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tuning {
    /// Started with the router, not on first use.
    pub autostart: Option<bool>,
    /// See [`crate::Instances::idle_timeout`].
    pub idle_timeout: Option<Switchable<Duration>>,
    /// See [`crate::Instances::spawn_timeout`].
    pub spawn_timeout: Option<Duration>,
    /// See [`crate::Instances::socket_timeout`].
    pub socket_timeout: Option<Duration>,
    /// See [`crate::Instances::request_timeout`].
    pub request_timeout: Option<Duration>,
    /// See [`crate::Instances::cache_ttl`].
    pub cache_ttl: Option<Switchable<Duration>>,
    /// See [`crate::Stop::drain`].
    pub drain: Option<Duration>,
    /// Resident memory of the whole tree, in MiB, at which a slot is killed. Without one: unlimited.
    pub max_memory_mb: Option<u64>,
    /// Soft and hard limit on open files. Without one: the router's own.
    pub max_open_files: Option<u64>,
    /// Whether instances outlive the router.
    pub on_router_exit: Option<OnRouterExit>,
    /// See [`crate::Instances::permanent_exit_codes`].
    pub permanent_exit_codes: Option<Vec<i32>>,
    /// `policy.health`: who judges health.
    pub health_policy: Option<PolicyName>,
}

/// A value, or the word `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switchable<T>(pub Option<T>);

/// How an instance is reached. (`http` will follow.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Its stdin and stdout.
    Stdio,
    /// It listens on `SOCKET_PATH` itself.
    Socket,
}

impl Transport {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Socket => "socket",
        }
    }
}

/// Whether sessions share one process. (`per-session` will follow.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// All sessions on one.
    Shared,
}

impl Sharing {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
        }
    }
}

/// Which MCP era is spoken to an instance. (`modern` and `auto` will follow.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// The one that begins with `initialize`.
    Legacy,
}

impl Era {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
        }
    }
}

/// What becomes of an instance when the router ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRouterExit {
    /// It goes on, and the next router adopts it.
    Keep,
    /// It is stopped.
    Stop,
}

impl OnRouterExit {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Stop => "stop",
        }
    }
}
