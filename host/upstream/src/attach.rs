//! Sessions come to a connection and go from it: what they asked for is kept in step with what the instance was sent.

use std::sync::Arc;

use crate::{
    envelope::quoted,
    ids::Table,
    reply::{CallError, Reply, ReplySink},
    session::{AttachError, LogLevel, SessionSpec, UpstreamSessionId},
    state::{AttachedSession, ConnectionState, PendingRequest},
    upstream::Upstream,
};

impl Upstream {
    /// Lets a session share this connection, and repeats to the instance what the session had asked for.
    ///
    /// # Errors
    /// The connection has ended, or has as many sessions as it may.
    pub fn attach(&self, spec: SessionSpec) -> Result<UpstreamSessionId, AttachError> {
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
            let key = UpstreamSessionId(state.next_session);
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
                    self.send_unanswered(&mut state, "resources/subscribe", &uri_params(&uri));
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
    pub fn detach(&self, key: UpstreamSessionId) {
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
            self.drop_subscriptions(&mut state, key);
            let asked: Vec<u64> = state
                .questions
                .iter()
                .filter(|(_, ask)| ask.session == key)
                .map(|(n, _)| *n)
                .collect();
            for n in asked {
                if let Some(ask) = state.questions.remove(&n) {
                    state.refuse_question(
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
        self.notify_if_idle();
    }

    /// How many sessions share this connection.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.state.lock().sessions.len()
    }

    /// Takes a request out and sends the instance a cancellation.
    pub(crate) fn cancel(
        &self,
        state: &mut ConnectionState,
        n: u64,
        reason: &str,
    ) -> Option<PendingRequest> {
        let pending = state.take_pending(n)?;
        state.send_line(&cancellation(n.to_string().as_bytes(), reason));
        Some(pending)
    }

    fn drop_subscriptions(&self, state: &mut ConnectionState, key: UpstreamSessionId) {
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
            self.send_unanswered(state, "resources/unsubscribe", &uri_params(&uri));
        }
    }

    /// Sends the instance the lowest level that any session asked for, where that has changed.
    pub(crate) fn balance_level(&self, state: &mut ConnectionState) {
        let lowest = lowest_level(&state.sessions);
        if lowest.is_some() && lowest != state.level_sent {
            state.level_sent = lowest;
            let level = lowest.map_or("", LogLevel::as_str);
            self.send_unanswered(
                state,
                "logging/setLevel",
                &format!("{{\"level\":\"{level}\"}}"),
            );
        }
    }

    /// Sends a request of the router's own whose answer does not matter.
    fn send_unanswered(&self, state: &mut ConnectionState, method: &'static str, params: &str) {
        let reply: Arc<dyn ReplySink> = Arc::new(IgnoreReply);
        self.send_own(state, method, params, self.request_timeout(), reply);
    }
}

/// The lowest level that any session asked for.
pub(crate) fn lowest_level(
    sessions: &Table<UpstreamSessionId, AttachedSession>,
) -> Option<LogLevel> {
    sessions
        .values()
        .filter_map(|entry| entry.memory.level())
        .min()
}

/// The notification that a request does not wait for an answer any more. `id` is raw JSON.
pub(crate) fn cancellation(id: &[u8], reason: &str) -> String {
    let (id, reason) = (String::from_utf8_lossy(id), quoted(reason));
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":{reason}}}}}"#
    )
}

fn uri_params(uri: &str) -> String {
    format!("{{\"uri\":{}}}", quoted(uri))
}

struct IgnoreReply;

impl ReplySink for IgnoreReply {
    fn interleave(&self, _: &str) -> bool {
        false
    }
    fn finish(&self, _: Reply) {}
}
