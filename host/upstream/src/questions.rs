//! What the instance asks its clients: which client a question is put to, and how it ends without an answer.

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::{
    attach::cancellation,
    delivery::{DeliveryPath, delivery_path, rewritten},
    envelope::{Envelope, EnvelopeError},
    session::UpstreamSessionId,
    state::{ConnectionState, OpenQuestion},
    upstream::Upstream,
};

/// JSON-RPC: the method is not known.
const METHOD_NOT_FOUND: i64 = -32601;
/// The implementation-defined code for "cannot be done here".
const NOT_ROUTABLE: i64 = -32000;
/// The code that MCP's SDKs give to a request that took too long.
const TIMED_OUT: i64 = -32001;

impl Upstream {
    /// The instance no longer wants an answer to a question of its own.
    pub(crate) fn receive_cancellation(&self, text: &str, id: Option<&str>) {
        let Some(id) = id else {
            return;
        };
        let found = {
            let mut state = self.state.lock();
            let mut open = state.questions.iter();
            let found = open
                .find(|(_, ask)| *ask.instance_id == *id)
                .map(|(n, _)| *n);
            found.and_then(|n| {
                let ask = state.questions.remove(&n)?;
                Some((n, delivery_path(&state, ask.session)?))
            })
        };
        if let Some((n, path)) = found {
            let message = rewritten(text, id, &self.question_ids.raw(n));
            self.deliver(&path, &message);
        }
    }

    /// Puts a question to the one client that can be meant.
    pub(crate) fn receive_question(&self, text: &str, envelope: &Envelope<'_>) {
        let (Some(id), Some(method)) = (envelope.id, envelope.method.as_deref()) else {
            return;
        };
        if self.state.lock().waiting_as(id).is_some() {
            let reason = "it repeats a request of the router".to_owned();
            return self.refuse_line(text.as_bytes(), &EnvelopeError::Invalid { reason });
        }
        let chosen = {
            let mut state = self.state.lock();
            if self.check_room(&state, id.len()).is_err() {
                // It does not read, so that an answer would only be heaped up.
                self.counters
                    .refused_questions
                    .fetch_add(1, Ordering::Relaxed);
                None
            } else if method == "ping" {
                state.send_line(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
                None
            } else {
                match self.choose(&state, method) {
                    Ok((key, path)) => {
                        state.next_question += 1;
                        let n = state.next_question;
                        let ask = OpenQuestion {
                            session: key,
                            instance_id: id.into(),
                            deadline: Instant::now() + self.request_timeout(),
                        };
                        state.questions.insert(n, ask);
                        Some((n, path))
                    }
                    Err((code, reason)) => {
                        self.counters
                            .refused_questions
                            .fetch_add(1, Ordering::Relaxed);
                        state.refuse_question(id, code, &reason);
                        None
                    }
                }
            }
        };
        let Some((n, path)) = chosen else {
            self.wake_writer();
            return;
        };
        self.has_deadlines.notify_one();
        let message = rewritten(text, id, &self.question_ids.raw(n));
        if !path.send(&message) {
            let mut state = self.state.lock();
            if state.questions.remove(&n).is_some() {
                state.refuse_question(id, NOT_ROUTABLE, "the client cannot be reached");
            }
            drop(state);
            self.wake_writer();
        }
    }

    /// Answers the questions that no client answered in time, and withdraws them at their clients: a person who never closes
    /// a dialog must not take the place of the next question for ever.
    pub(crate) fn expire_questions(&self, now: Instant) {
        let withdrawn: Vec<(u64, DeliveryPath)> = {
            let mut state = self.state.lock();
            let late = state
                .questions
                .iter()
                .filter(|(_, ask)| ask.deadline <= now);
            let late: Vec<u64> = late.map(|(n, _)| *n).collect();
            let give_up = |n| {
                let ask = state.questions.remove(&n)?;
                let reason = "the client did not answer in time";
                state.refuse_question(&ask.instance_id, TIMED_OUT, reason);
                Some((n, delivery_path(&state, ask.session)?))
            };
            late.into_iter().filter_map(give_up).collect()
        };
        if withdrawn.is_empty() {
            return;
        }
        self.wake_writer();
        for (n, path) in withdrawn {
            let message = cancellation(&self.question_ids.raw(n), "it was not answered in time");
            self.deliver(&path, &message);
        }
    }

    /// The session with a request in flight, else the only session; anything else would be a guess.
    fn choose(
        &self,
        state: &ConnectionState,
        method: &str,
    ) -> Result<(UpstreamSessionId, DeliveryPath), (i64, String)> {
        let per_session = "with sharing = \"per-session\" each client gets a process of its own, and questions reach it";
        let not_routable = |reason: String| (NOT_ROUTABLE, reason);
        if state.questions.len() >= self.config.limits.questions_max {
            return Err(not_routable(
                "too many questions wait for clients already".to_owned(),
            ));
        }
        let key = if state.sessions_busy == 1 {
            let busy = state
                .sessions
                .iter()
                .find(|(_, entry)| !entry.in_flight.is_empty());
            busy.map(|(key, _)| *key)
        } else if state.sessions_busy == 0 && state.sessions.len() == 1 {
            state.sessions.keys().next().copied()
        } else if state.sessions.is_empty() {
            return Err(not_routable(format!(
                "no client is connected that {method} could be put to"
            )));
        } else {
            let sessions = state.sessions.len();
            return Err(not_routable(format!(
                "{method} could be meant for any of {sessions} clients that share this instance; {per_session}"
            )));
        };
        let found = key.and_then(|key| Some((key, delivery_path(state, key)?)));
        let (key, path) =
            found.ok_or_else(|| not_routable("the client's session ended".to_owned()))?;
        let capabilities = state.sessions.get(&key).map(|entry| entry.capabilities);
        if !capabilities.unwrap_or_default().allow(method) {
            return Err((
                METHOD_NOT_FOUND,
                format!("the client does not support {method}"),
            ));
        }
        Ok((key, path))
    }
}
