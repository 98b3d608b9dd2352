//! The client sessions that share one connection: what each asked to hear, and how it is reached.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

use crate::{
    envelope::quoted,
    ids::Table,
    reply::{CallError, Reply, ReplySink},
    state::{Pending, State},
    upstream::Upstream,
};

/// One session on one connection. Never reused within a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub(crate) u64);

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

    /// The level that a word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, name)| *name == word);
        found.map(|(level, _)| *level)
    }

    /// The word in messages.
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

/// What a session asked the instance to remember. It outlives the connection, so that a restarted instance is told again.
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

    /// Whether there is nothing to tell an instance again.
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
    /// also hears of resources that nobody subscribed to under this router.
    pub is_inherited: bool,
    /// What it asked for on an earlier connection; the instance is told again.
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
    Lost(Arc<crate::Closed>),
}

/// A session on this connection.
pub(crate) struct AttachedSession {
    pub(crate) capabilities: ClientCapabilities,
    pub(crate) is_inherited: bool,
    pub(crate) memory: Arc<SessionMemory>,
    pub(crate) sink: Arc<dyn SessionSink>,
    /// The requests that its client waits for, oldest first.
    pub(crate) in_flight: Vec<u64>,
    /// Those that it cancelled, and that the instance may still answer.
    pub(crate) cancelled: Vec<u64>,
}

impl Upstream {
    /// Lets a session share this connection, and tells the instance again what the session had asked for.
    ///
    /// # Errors
    /// The connection has ended, or has as many sessions as it may.
    pub fn attach(&self, spec: SessionSpec) -> Result<SessionKey, AttachError> {
        let key = {
            let mut state = self.state.lock();
            if let Some(closed) = &state.closed {
                return Err(AttachError::Lost(closed.clone()));
            }
            let max = self.config.limits.sessions_max;
            if state.sessions.len() >= max {
                return Err(AttachError::TooMany { max });
            }
            state.next_session += 1;
            let key = SessionKey(state.next_session);
            let subscriptions = spec.memory.subscriptions();
            state.sessions.insert(
                key,
                AttachedSession {
                    capabilities: spec.capabilities,
                    is_inherited: spec.is_inherited,
                    memory: spec.memory,
                    sink: spec.sink,
                    in_flight: Vec::new(),
                    cancelled: Vec::new(),
                },
            );
            for uri in subscriptions {
                let subscribers = state.subscribed.entry(uri.clone()).or_default();
                subscribers.push(key);
                if subscribers.len() == 1 {
                    self.send_forgotten(&mut state, "resources/subscribe", &uri_params(&uri));
                }
            }
            self.balance_level(&mut state);
            key
        };
        self.wake_writer();
        Ok(key)
    }

    /// Ends a session's part in this connection: its requests are cancelled, its subscriptions given up, and questions
    /// put to its client are answered with an error. Unknown keys are ignored.
    pub fn detach(&self, key: SessionKey) {
        let mut ended = Vec::new();
        {
            let mut state = self.state.lock();
            let Some(entry) = state.sessions.get_mut(&key) else {
                return;
            };
            let in_flight = std::mem::take(&mut entry.in_flight);
            for n in std::mem::take(&mut entry.cancelled) {
                ended.extend(state.take_pending(n));
            }
            for n in in_flight {
                ended.extend(self.cancel(&mut state, n, "its session ended"));
            }
            state.sessions_busy = state
                .sessions
                .values()
                .filter(|entry| !entry.in_flight.is_empty())
                .count();
            state.sessions.remove(&key);
            self.give_up_subscriptions(&mut state, key);
            let asked: Vec<u64> = state
                .asks
                .iter()
                .filter(|(_, ask)| ask.session == key)
                .map(|(n, _)| *n)
                .collect();
            for n in asked {
                if let Some(ask) = state.asks.remove(&n) {
                    state.refuse_ask(
                        &ask.instance_id,
                        -32000,
                        "the client's session ended before it answered",
                    );
                }
            }
            self.balance_level(&mut state);
        }
        self.wake_writer();
        for pending in ended {
            pending.reply.finish(Reply::Failed(CallError::SessionEnded));
        }
        self.tell_if_idle();
    }

    /// How many sessions share this connection.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.state.lock().sessions.len()
    }

    /// Takes a request out and tells the instance that nobody waits for it any more.
    pub(crate) fn cancel(&self, state: &mut State, n: u64, reason: &str) -> Option<Pending> {
        let pending = state.take_pending(n)?;
        state.send_line(&cancellation(&self.ids.raw(n), reason));
        Some(pending)
    }

    fn give_up_subscriptions(&self, state: &mut State, key: SessionKey) {
        let mut lonely = Vec::new();
        state.subscribed.retain(|uri, subscribers| {
            let before = subscribers.len();
            subscribers.retain(|subscriber| *subscriber != key);
            if subscribers.is_empty() && before > 0 {
                lonely.push(uri.clone());
            }
            !subscribers.is_empty()
        });
        for uri in lonely {
            self.send_forgotten(state, "resources/unsubscribe", &uri_params(&uri));
        }
    }

    /// Sends the instance the lowest level that any session asked for, where that has changed.
    pub(crate) fn balance_level(&self, state: &mut State) {
        let lowest = lowest_level(&state.sessions);
        if lowest.is_some() && lowest != state.level_sent {
            state.level_sent = lowest;
            let level = lowest.map_or("", LogLevel::as_str);
            self.send_forgotten(
                state,
                "logging/setLevel",
                &format!("{{\"level\":\"{level}\"}}"),
            );
        }
    }

    /// Sends a request of the router's own whose answer does not matter.
    fn send_forgotten(&self, state: &mut State, method: &'static str, params: &str) {
        let reply: Arc<dyn ReplySink> = Arc::new(Forgotten);
        self.send_own(state, method, params, self.request_timeout(), reply);
    }
}

/// The lowest level that any session asked for.
pub(crate) fn lowest_level(sessions: &Table<SessionKey, AttachedSession>) -> Option<LogLevel> {
    sessions
        .values()
        .filter_map(|entry| entry.memory.level())
        .min()
}

/// Tells the other side that nobody waits for an answer any more. `id` is raw JSON.
pub(crate) fn cancellation(id: &[u8], reason: &str) -> String {
    let (id, reason) = (String::from_utf8_lossy(id), quoted(reason));
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":{reason}}}}}"#
    )
}

fn uri_params(uri: &str) -> String {
    format!("{{\"uri\":{}}}", quoted(uri))
}

struct Forgotten;

impl ReplySink for Forgotten {
    fn interleave(&self, _: &str) -> bool {
        false
    }
    fn finish(&self, _: Reply) {}
}
