//! What the instance says: answers and notifications, each to the one it is meant for. Its questions have a room of their own.

use std::sync::{LazyLock, atomic::Ordering};

use bytes::Bytes;
use memchr::memmem::Finder;
use tokio::time::Instant;

use crate::{
    cache::ListKind,
    delivery::{DeliveryPath, delivery_path, one_line, rewritten},
    envelope::{
        Envelope, EnvelopeError, MessageShape, member, range_in, splice, split_batch, string_of,
    },
    lines::LineEnds,
    reply::Reply,
    session::{LogLevel, UpstreamSessionId},
    state::{AnswerEffect, ConnectionState},
    upstream::Upstream,
};

/// Sessions that never named a log level get this and above, once another session has asked for more.
const LEVEL_DEFAULT: LogLevel = LogLevel::Info;

impl Upstream {
    /// Processes one line of the instance.
    pub(crate) fn receive(&self, line: &[u8]) {
        let line = line.trim_ascii();
        let is_first = self.tolerates_broken_line.load(Ordering::Relaxed);
        if is_first {
            self.tolerates_broken_line.store(false, Ordering::Relaxed);
        }
        if line.is_empty() {
            return;
        }
        // What names a request of this router was not begun under another.
        let is_older = || {
            let ends = LineEnds::of(line);
            self.state.lock().find_waiting(&ends).is_none()
        };
        match Envelope::parse(line) {
            Ok((text, envelope)) => self.take(text, &envelope),
            Err(EnvelopeError::Batch) => self.receive_batch(line),
            Err(error) if is_first && is_older() => {
                tracing::debug!(instance = %self.config.instance, error = %error, "dropped a line that an earlier router had begun to read");
            }
            Err(error) => self.refuse_line(line, &error),
        }
    }

    /// 2025-03-26 lets a server answer with several messages in one array.
    fn receive_batch(&self, line: &[u8]) {
        let text = std::str::from_utf8(line).unwrap_or_default();
        // As many as there can be requests to answer.
        let messages = match split_batch(text, self.config.limits.in_flight_max) {
            Ok(messages) => messages,
            Err(error) => return self.refuse_line(line, &error),
        };
        for message in messages {
            match Envelope::parse_text(message) {
                Ok(envelope) => self.take(message, &envelope),
                Err(error) => self.refuse_line(message.as_bytes(), &error),
            }
        }
    }

    fn take(&self, text: &str, envelope: &Envelope<'_>) {
        let is_message = envelope.shape() != MessageShape::Nothing;
        if let Some(stripped) = envelope.stripped().filter(|_| is_message) {
            return self.take(&stripped, &Envelope::of_stripped(&stripped));
        }
        match envelope.shape() {
            MessageShape::Response => self.receive_answer(text, envelope),
            MessageShape::Notification => self.receive_notification(text, envelope),
            MessageShape::Request => self.receive_question(text, envelope),
            MessageShape::Nothing => self.refuse_line(
                text.as_bytes(),
                &EnvelopeError::Invalid {
                    reason: "it is neither a request, a notification nor an answer".to_owned(),
                },
            ),
        }
    }

    fn receive_answer(&self, text: &str, envelope: &Envelope<'_>) {
        let Some(id) = envelope.id else {
            return;
        };
        let error_code = envelope.error_code();
        let (pending, became_idle) = {
            let mut state = self.state.lock();
            let n = state.waiting_as(id).map(|(n, _)| n);
            let pending = n.and_then(|n| state.take_pending(n));
            let Some(mut pending) = pending else {
                drop(state);
                self.counters
                    .unknown_replies
                    .fetch_add(1, Ordering::Relaxed);
                self.events.unknown_reply();
                return;
            };
            if envelope.error.is_none() {
                let effect = std::mem::replace(&mut pending.effect, AnswerEffect::Nothing);
                self.apply(
                    &mut state,
                    pending.session,
                    effect,
                    envelope.result.unwrap_or("null"),
                );
            }
            (pending, state.client_calls == 0)
        };
        // Exactly as long as it becomes, so that it is handed over without another allocation.
        let mut message = Vec::with_capacity(text.len() - id.len() + pending.origin.id().len());
        splice(
            &mut message,
            text,
            &[(range_in(text, id), pending.origin.id())],
        );
        let result = envelope.result.filter(|_| pending.method == "tools/call");
        pending.reply.finish(Reply::Answer {
            message: Bytes::from(message),
            error_code,
            is_tool_error: result.is_some_and(is_error_result),
            is_own: false,
        });
        if became_idle {
            self.became_idle.notify_waiters();
        }
    }

    fn apply(
        &self,
        state: &mut ConnectionState,
        session: Option<UpstreamSessionId>,
        effect: AnswerEffect,
        result: &str,
    ) {
        let Some(key) = session else {
            return;
        };
        let memory = state.sessions.get(&key).map(|entry| entry.memory.clone());
        match (effect, memory) {
            (AnswerEffect::KeepPage { key, changes }, _) => {
                state
                    .cache
                    .put(key, result, changes, self.cache_ttl(), Instant::now());
            }
            (AnswerEffect::Subscribe(uri), Some(memory)) => {
                memory.subscribe(&uri);
                let subscribers = state.subscribed.entry(uri).or_default();
                if !subscribers.contains(&key) {
                    subscribers.push(key);
                }
            }
            (AnswerEffect::Level(level), Some(memory)) => {
                memory.set_level(level);
                self.balance_level(state);
                self.wake_writer();
            }
            (AnswerEffect::Nothing, _) | (_, None) => {}
        }
    }

    fn receive_notification(&self, text: &str, envelope: &Envelope<'_>) {
        let method = envelope.method.as_deref().unwrap_or_default();
        let param = |name| {
            envelope
                .params
                .and_then(|params| member(params, name).ok().flatten())
        };
        match method {
            "notifications/progress" => self.receive_progress(text, param("progressToken")),
            "notifications/cancelled" => self.receive_cancellation(text, param("requestId")),
            "notifications/message" => {
                let level = param("level").and_then(string_of);
                let level = level.and_then(|name| LogLevel::parse(&name));
                self.notify_sessions(text, true, |state, key| is_wanted_level(state, key, level));
            }
            "notifications/resources/updated" => {
                let uri = param("uri").and_then(string_of).unwrap_or_default();
                self.notify_sessions(text, false, |state, key| {
                    match state.subscribed.get(&*uri) {
                        Some(subscribers) => subscribers.contains(&key),
                        // Subscribed to under an earlier router, by one of the sessions that are left of it.
                        None => state
                            .sessions
                            .get(&key)
                            .is_some_and(|entry| entry.is_inherited),
                    }
                });
            }
            _ => {
                if let Some(kind) = ListKind::of_notification(method) {
                    self.state.lock().cache.changed(kind);
                    self.events.list_changed(kind);
                }
                self.notify_sessions(text, false, |_, _| true);
            }
        }
    }

    fn receive_progress(&self, text: &str, token: Option<&str>) {
        let found = token.and_then(|token| {
            let state = self.state.lock();
            let (_, pending) = state.waiting_as(token)?;
            let theirs = pending.origin.progress()?.to_vec();
            Some((token, theirs, pending.reply.clone()))
        });
        let Some((token, theirs, reply)) = found else {
            self.counters.undelivered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let message = rewritten(text, token, &theirs);
        if !reply.interleave(&message) {
            self.counters.undelivered.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends a notification to every session that wants it. Those about work go through the session's newest waiting
    /// request, so that the client has them before the answer.
    fn notify_sessions(
        &self,
        text: &str,
        is_about_work: bool,
        wants: impl Fn(&ConnectionState, UpstreamSessionId) -> bool,
    ) {
        let paths: Vec<DeliveryPath> = {
            let state = self.state.lock();
            let keys = state
                .sessions
                .keys()
                .copied()
                .filter(|key| wants(&state, *key));
            keys.filter_map(|key| {
                let mut path = delivery_path(&state, key)?;
                path.call = path.call.filter(|_| is_about_work);
                Some(path)
            })
            .collect()
        };
        if paths.is_empty() {
            return;
        }
        let message = one_line(text);
        for path in paths {
            self.deliver(&path, &message);
        }
    }
}

/// Whether a tool's result says `"isError": true`. Most say nothing or `false`, and those are not parsed again.
fn is_error_result(result: &str) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"isError\""));
    let bytes = result.as_bytes();
    let may = KEY.find_iter(bytes).any(|at| {
        let rest = bytes[at + b"\"isError\"".len()..].trim_ascii_start();
        rest.strip_prefix(b":")
            .is_some_and(|rest| rest.trim_ascii_start().starts_with(b"true"))
    });
    may && member(result, "isError").ok().flatten() == Some("true")
}

/// Whether a session wants a log message of this level. Messages with an unknown level go to every session.
fn is_wanted_level(
    state: &ConnectionState,
    key: UpstreamSessionId,
    level: Option<LogLevel>,
) -> bool {
    let (Some(entry), Some(level)) = (state.sessions.get(&key), level) else {
        return true;
    };
    match entry.memory.level() {
        Some(asked) => level >= asked,
        // What it may have asked for under an earlier router is not known.
        None if entry.is_inherited => true,
        None => state.level_sent.is_none() || level >= LEVEL_DEFAULT,
    }
}
