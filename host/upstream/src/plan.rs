//! What becomes of a client's request: it is sent on as it is, sent on changed because several clients share the instance, or
//! answered by the router.

use std::borrow::Cow;

use tokio::time::Instant;

use crate::{
    cache::{ListKind, PageKey},
    envelope::{Envelope, member, string_of},
    reply::CallError,
    session::{LogLevel, UpstreamSessionId},
    state::{AnswerEffect, ConnectionState},
    upstream::Upstream,
};

/// Longest resource that can be subscribed to: what common servers take as a URL. It is remembered for the session's life.
const URI_BYTES_MAX: usize = 8 * 1024;

/// A request as it is about to be sent.
pub(crate) struct OutgoingRequest<'a> {
    pub(crate) session: UpstreamSessionId,
    pub(crate) envelope: &'a Envelope<'a>,
    pub(crate) text: &'a str,
    /// Written in place of `text`, where the router must say something else than the client did.
    pub(crate) params: Option<String>,
    pub(crate) effect: AnswerEffect,
}

/// What becomes of a request.
pub(crate) enum RequestPlan<'a> {
    Send(OutgoingRequest<'a>),
    /// The answer is known: this raw result.
    Answer(Cow<'static, str>),
}

impl Upstream {
    pub(crate) fn plan<'a>(
        &self,
        state: &mut ConnectionState,
        session: UpstreamSessionId,
        text: &'a str,
        envelope: &'a Envelope<'a>,
        method: &str,
    ) -> Result<RequestPlan<'a>, CallError> {
        let mut outgoing = OutgoingRequest {
            session,
            envelope,
            text,
            params: None,
            effect: AnswerEffect::Nothing,
        };
        // What can be read in two ways is not passed on: it would change at the instance what all of its sessions share.
        let param = |name| match envelope.params {
            Some(params) => member(params, name).map_err(|error| bad_request(&error.to_string())),
            None => Ok(None),
        };
        match method {
            "logging/setLevel" => {
                let level = param("level")?
                    .and_then(string_of)
                    .and_then(|name| LogLevel::parse(&name));
                // An unknown level is for the instance to refuse.
                if let Some(level) = level {
                    let others = state.sessions.iter().filter(|(key, _)| **key != session);
                    let lowest = others.filter_map(|(_, entry)| entry.memory.level()).min();
                    let lowest = lowest.map_or(level, |lowest| lowest.min(level));
                    outgoing.params = Some(format!("{{\"level\":\"{}\"}}", lowest.as_str()));
                    outgoing.effect = AnswerEffect::Level(level);
                }
            }
            "resources/subscribe" => {
                if let Some(uri) = param("uri")?.and_then(string_of) {
                    if uri.len() > URI_BYTES_MAX {
                        return Err(bad_request(&format!(
                            "its uri is longer than {URI_BYTES_MAX} bytes"
                        )));
                    }
                    if self.join_subscribers(state, session, &uri)? {
                        return Ok(RequestPlan::Answer(Cow::Borrowed("{}")));
                    }
                    outgoing.effect = AnswerEffect::Subscribe(uri.into());
                }
            }
            "resources/unsubscribe" => {
                if let Some(uri) = param("uri")?.and_then(string_of)
                    && leave_subscribers(state, session, &uri)
                {
                    return Ok(RequestPlan::Answer(Cow::Borrowed("{}")));
                }
            }
            _ => {
                if let Some(answer) = self.plan_list(state, &mut outgoing, method) {
                    return Ok(RequestPlan::Answer(answer));
                }
            }
        }
        Ok(RequestPlan::Send(outgoing))
    }

    /// Adds a subscriber to a resource that the instance already reports for another session. False where the
    /// instance has to be asked.
    fn join_subscribers(
        &self,
        state: &mut ConnectionState,
        session: UpstreamSessionId,
        uri: &str,
    ) -> Result<bool, CallError> {
        let max = self.config.limits.subscriptions_per_session_max;
        let entry = state.sessions.get(&session).ok_or(CallError::NotAttached)?;
        if entry.memory.subscription_count() >= max {
            return Err(bad_request(&format!(
                "this session already subscribes to {max} resources"
            )));
        }
        let Some(subscribers) = state.subscribed.get_mut(uri) else {
            return Ok(false);
        };
        if !subscribers.contains(&session) {
            subscribers.push(session);
        }
        entry.memory.subscribe(uri);
        Ok(true)
    }

    /// Answers a list from memory, or sees to it that the instance's answer is kept.
    fn plan_list(
        &self,
        state: &ConnectionState,
        outgoing: &mut OutgoingRequest<'_>,
        method: &str,
    ) -> Option<Cow<'static, str>> {
        if self.cache_ttl().is_zero() {
            return None;
        }
        ListKind::of_request(method)?;
        let key = PageKey::of(method, outgoing.envelope.params)?;
        if let Some(result) = state.cache.get(&key, Instant::now()) {
            return Some(Cow::Owned(result.to_owned()));
        }
        outgoing.effect = AnswerEffect::KeepPage {
            key,
            changes: state.cache.changes(),
        };
        None
    }
}

/// Takes a subscriber from a resource. True where others are left, so that the instance must go on to report it. Done
/// before the instance answers: a session that subscribes from now on must not count on this one's subscription.
fn leave_subscribers(state: &mut ConnectionState, session: UpstreamSessionId, uri: &str) -> bool {
    if let Some(entry) = state.sessions.get(&session) {
        entry.memory.unsubscribe(uri);
    }
    let Some(subscribers) = state.subscribed.get_mut(uri) else {
        return false;
    };
    subscribers.retain(|subscriber| *subscriber != session);
    if subscribers.is_empty() {
        state.subscribed.remove(uri);
        return false;
    }
    true
}

pub(crate) fn bad_request(reason: &str) -> CallError {
    CallError::BadRequest {
        reason: reason.to_owned(),
    }
}
