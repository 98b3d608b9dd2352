//! The client sessions that share one connection, as their owner describes them: what each may be asked, what it asked to
//! hear, and how it is reached.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

use crate::reply::Closed;

/// One session on one connection. Never reused within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamSessionId(pub(crate) u64);

/// How a session's client is reached outside of its requests. Called from the connection's task; must not block.
pub trait SessionSink: Send + Sync {
    /// A message for the session: one line of JSON, with ids as the client knows them. False where it was dropped.
    fn deliver(&self, message: &str) -> bool;
}

/// Severity of a log message (RFC 5424), lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the whole meaning")]
pub enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

impl LogLevel {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Debug, "debug"),
        (Self::Info, "info"),
        (Self::Notice, "notice"),
        (Self::Warning, "warning"),
        (Self::Error, "error"),
        (Self::Critical, "critical"),
        (Self::Alert, "alert"),
        (Self::Emergency, "emergency"),
    ];

    /// The level of a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(level, _)| *level)
    }

    /// The name in messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// What a session's client can be asked, of what it declared in `initialize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCapabilities {
    /// `roots/list`.
    pub roots: bool,
    /// `sampling/createMessage`.
    pub sampling: bool,
    /// `elicitation/create`.
    pub elicitation: bool,
}

impl ClientCapabilities {
    /// Whether a question of this method may be put to the client. Methods that no capability governs always may.
    #[must_use]
    pub fn allow(self, method: &str) -> bool {
        match method {
            "roots/list" => self.roots,
            "sampling/createMessage" => self.sampling,
            "elicitation/create" => self.elicitation,
            _ => true,
        }
    }
}

/// What a session asked the instance to remember. It outlives the connection, so that it can be repeated to a restarted instance.
#[derive(Debug, Default)]
pub struct SessionMemory {
    remembered: Mutex<Remembered>,
}

#[derive(Debug, Default, Clone)]
struct Remembered {
    level: Option<LogLevel>,
    subscriptions: BTreeSet<Box<str>>,
}

impl SessionMemory {
    /// The lowest level of log messages that the session asked for.
    #[must_use]
    pub fn level(&self) -> Option<LogLevel> {
        self.remembered.lock().level
    }

    /// The resources that the session is subscribed to.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Box<str>> {
        self.remembered
            .lock()
            .subscriptions
            .iter()
            .cloned()
            .collect()
    }

    /// Whether there is nothing to repeat to an instance.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let remembered = self.remembered.lock();
        remembered.level.is_none() && remembered.subscriptions.is_empty()
    }

    pub(crate) fn set_level(&self, level: LogLevel) {
        self.remembered.lock().level = Some(level);
    }

    pub(crate) fn subscribe(&self, uri: &str) {
        self.remembered.lock().subscriptions.insert(uri.into());
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        self.remembered.lock().subscriptions.remove(uri);
    }

    pub(crate) fn subscription_count(&self) -> usize {
        self.remembered.lock().subscriptions.len()
    }
}

/// A session that is to share a connection.
pub struct SessionSpec {
    /// What its client can be asked.
    pub capabilities: ClientCapabilities,
    /// Whether it began under an earlier router, whose knowledge of its subscriptions and log level is lost. It then
    /// is also notified of resources without a subscriber under this router.
    pub is_inherited: bool,
    /// What it asked for on an earlier connection; it is repeated to the instance.
    pub memory: Arc<SessionMemory>,
    /// How its client is reached.
    pub sink: Arc<dyn SessionSink>,
}

/// Why a session cannot be attached.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AttachError {
    /// [`crate::UpstreamLimits::sessions_max`] is reached.
    #[error("the instance already has {max} sessions")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The connection has ended.
    #[error("the instance went away: {0}")]
    Lost(Arc<Closed>),
}
