//! What clients send to the instance: requests, notifications, and answers to its questions.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    attach::lowest_level,
    envelope::{Envelope, member, progress_token, range_in, splice},
    plan::{OutgoingRequest, RequestPlan, bad_request},
    reply::{CallError, NotSent, Reply, ReplySink},
    session::UpstreamSessionId,
    state::{AnswerEffect, ConnectionState, PendingRequest, RequestOrigin},
    upstream::Upstream,
};

/// Methods that are common enough to be named without an allocation.
const COMMON_METHODS: [&str; 14] = [
    "tools/call",
    "tools/list",
    "ping",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/subscribe",
    "resources/unsubscribe",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    "tasks/get",
    "tasks/result",
];

impl Upstream {
    /// Sends a client's request on. `envelope` was parsed from `source`, and is a request.
    ///
    /// Where this returns `Ok`, `reply` is finished exactly once, at the latest when the request times out or the
    /// connection ends.
    ///
    /// # Errors
    /// Not sent: `reply` is not finished.
    pub fn call(
        &self,
        session: UpstreamSessionId,
        source: &Bytes,
        envelope: &Envelope<'_>,
        reply: Arc<dyn ReplySink>,
    ) -> Result<(), CallError> {
        if let Some(stripped) = envelope.stripped() {
            let source = Bytes::from(stripped);
            let (_, envelope) =
                Envelope::parse(&source).map_err(|error| bad_request(&error.to_string()))?;
            return self.call(session, &source, &envelope, reply);
        }
        let text = std::str::from_utf8(source).map_err(|error| bad_request(&error.to_string()))?;
        let (Some(id), Some(method)) = (envelope.id, envelope.method.as_deref()) else {
            return Err(bad_request("it is not a request"));
        };
        let token = match envelope.params {
            Some(params) => {
                progress_token(params).map_err(|error| bad_request(&error.to_string()))?
            }
            None => None,
        };
        let origin = RequestOrigin::new(
            source,
            range_in(text, id),
            token.map(|token| range_in(text, token)),
        );
        let mut state = self.state.lock();
        self.admit(&state, session, text.len())?;
        let outgoing = match self.plan(&mut state, session, text, envelope, method)? {
            RequestPlan::Send(outgoing) => outgoing,
            RequestPlan::Answer(result) => {
                drop(state);
                let message = [
                    r#"{"jsonrpc":"2.0","id":"#.as_bytes(),
                    origin.id(),
                    b",\"result\":",
                    result.as_bytes(),
                    b"}",
                ];
                reply.finish(Reply::Answer {
                    message: message.concat().into(),
                    error_code: None,
                    is_tool_error: false,
                    is_own: true,
                });
                return Ok(());
            }
        };
        self.enqueue(&mut state, outgoing, origin, token, reply);
        drop(state);
        self.has_deadlines.notify_one();
        self.wake_writer();
        Ok(())
    }

    /// Sends a client's notification on, as far as the instance is concerned by it. With the connection gone it
    /// has no receiver.
    ///
    /// # Errors
    /// The instance does not read what it is sent, and the queue is full.
    pub fn notify(
        &self,
        session: UpstreamSessionId,
        text: &str,
        envelope: &Envelope<'_>,
    ) -> Result<(), NotSent> {
        if let Some(stripped) = envelope.stripped() {
            return self.notify(session, &stripped, &Envelope::of_stripped(&stripped));
        }
        {
            let mut state = self.state.lock();
            if state.closed.is_some() {
                return Ok(());
            }
            self.check_room(&state, text.len())?;
            match envelope.method.as_deref() {
                Some("notifications/initialized") => self.announce_roots(&mut state, session),
                Some("notifications/cancelled") => {
                    self.cancel_for_client(&mut state, session, text, envelope);
                }
                _ => {
                    splice(&mut state.out, text, &[]);
                    state.out.push(b'\n');
                }
            }
        }
        self.has_deadlines.notify_one();
        self.wake_writer();
        Ok(())
    }

    /// Takes a client's answer to a question of the instance.
    ///
    /// # Errors
    /// That session was asked no such question, or the queue is full; then the question stays open.
    pub fn respond(
        &self,
        session: UpstreamSessionId,
        text: &str,
        envelope: &Envelope<'_>,
    ) -> Result<(), NotSent> {
        if let Some(stripped) = envelope.stripped() {
            return self.respond(session, &stripped, &Envelope::of_stripped(&stripped));
        }
        let id = envelope.id.ok_or(NotSent::NoSuchQuestion)?;
        let n = self.question_ids.read(id).ok_or(NotSent::NoSuchQuestion)?;
        {
            let mut state = self.state.lock();
            if state
                .questions
                .get(&n)
                .is_none_or(|ask| ask.session != session)
            {
                return Err(NotSent::NoSuchQuestion);
            }
            self.check_room(&state, text.len())?;
            let ask = state.questions.remove(&n).ok_or(NotSent::NoSuchQuestion)?;
            splice(
                &mut state.out,
                text,
                &[(range_in(text, id), ask.instance_id.as_bytes())],
            );
            state.out.push(b'\n');
        }
        self.wake_writer();
        Ok(())
    }

    fn admit(
        &self,
        state: &ConnectionState,
        session: UpstreamSessionId,
        bytes: usize,
    ) -> Result<(), CallError> {
        let limits = &self.config.limits;
        if let Some(closed) = &state.closed {
            return Err(CallError::Lost(closed.clone()));
        }
        if state.is_draining {
            return Err(CallError::Draining);
        }
        let entry = state.sessions.get(&session).ok_or(CallError::NotAttached)?;
        let busy = |what| Err(CallError::Busy { what });
        if entry.in_flight.len() + entry.cancelled.len() >= limits.in_flight_per_session_max {
            return busy("this session has too many requests in flight");
        }
        if state.client_calls >= limits.in_flight_max {
            return busy("too many requests in flight");
        }
        if self.check_room(state, bytes).is_err() {
            return busy("it does not read what it is sent");
        }
        Ok(())
    }

    fn enqueue(
        &self,
        state: &mut ConnectionState,
        outgoing: OutgoingRequest<'_>,
        origin: RequestOrigin,
        token: Option<&str>,
        reply: Arc<dyn ReplySink>,
    ) {
        let OutgoingRequest {
            session,
            envelope,
            text,
            params,
            effect,
        } = outgoing;
        let n = state.draw_request_id();
        let ours = n.to_string();
        let id = envelope.id.map_or(0..0, |id| range_in(text, id));
        let id = (id, ours.as_bytes());
        let other = match (&params, envelope.params) {
            (Some(written), Some(raw)) => Some((range_in(text, raw), written.as_bytes())),
            _ => token.map(|token| (range_in(text, token), ours.as_bytes())),
        };
        match other {
            None => splice(&mut state.out, text, &[id]),
            Some(other) if other.0.start < id.0.start => {
                splice(&mut state.out, text, &[other, id]);
            }
            Some(other) => splice(&mut state.out, text, &[id, other]),
        }
        state.out.push(b'\n');
        if let AnswerEffect::Level(level) = &effect {
            let others = lowest_level(&state.sessions);
            state.level_sent = Some(others.map_or(*level, |others| others.min(*level)));
        }
        let now = Instant::now();
        let method = envelope.method.as_deref().unwrap_or_default();
        let common = COMMON_METHODS.iter().find(|common| **common == method);
        state.put_pending(
            n,
            PendingRequest {
                session: Some(session),
                origin,
                method: common.map_or_else(
                    || Cow::Owned(method.to_owned()),
                    |common| Cow::Borrowed(*common),
                ),
                since: now,
                deadline: now + self.request_timeout(),
                is_cancelled: false,
                is_waiting_reported: false,
                effect,
                reply,
            },
        );
    }

    /// A client cancels one of its own requests: the instance is notified, and has a moment left to answer.
    fn cancel_for_client(
        &self,
        state: &mut ConnectionState,
        session: UpstreamSessionId,
        text: &str,
        envelope: &Envelope<'_>,
    ) {
        let id = envelope
            .params
            .and_then(|params| member(params, "requestId").ok().flatten());
        let (Some(id), Some(entry)) = (id, state.sessions.get(&session)) else {
            return;
        };
        let is_meant = |n: &&u64| {
            let pending = state.pending.get(*n);
            pending.is_some_and(|pending| pending.origin.id() == id.as_bytes())
        };
        // The newest one, should a client have used an id twice.
        let Some(n) = entry.in_flight.iter().rev().find(is_meant).copied() else {
            return;
        };
        state.set_cancelled(n, Instant::now() + self.config.limits.cancel_grace);
        splice(
            &mut state.out,
            text,
            &[(range_in(text, id), n.to_string().as_bytes())],
        );
        state.out.push(b'\n');
    }

    /// An instance asks for roots when it is initialized, and then no session is there yet. The first session that has
    /// roots makes it ask again; where several have them, which is meant is not for the router to say.
    fn announce_roots(&self, state: &mut ConnectionState, session: UpstreamSessionId) {
        let has_roots = |key: &UpstreamSessionId| {
            state
                .sessions
                .get(key)
                .is_some_and(|entry| entry.capabilities.roots)
        };
        if has_roots(&session) && state.sessions.len() == 1 {
            state.send_line(r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#);
        }
    }
}
