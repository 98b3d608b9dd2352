//! The tables of one connection: what waits to be written, who waits for what, and who subscribed to what.
//!
//! Guarded by one lock that is never held while anything outside is called.

use std::{borrow::Cow, collections::HashMap, ops::Range, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    cache::{ListCache, PageKey},
    envelope::{member, quoted, string_of},
    ids::{Table, draw_request_id, find_last_request_id, read_request_id},
    lines::LineEnds,
    reply::{Closed, ReplySink},
    session::{ClientCapabilities, LogLevel, SessionMemory, SessionSink, UpstreamSessionId},
};

/// Requests that are remembered as lost with a connection: enough to see a pattern.
pub(crate) const LOST_MAX: usize = 50;

/// Requests up to this size are kept whole while they wait, as evidence of what was in flight.
const KEEP_WHOLE_BYTES_MAX: usize = 4096;

/// One waiting request, as evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its method, with the tool's name where it calls one.
    pub what: String,
    /// How long it has been waiting.
    pub waiting: Duration,
}

#[derive(Default)]
pub(crate) struct ConnectionState {
    /// Why the connection has ended, once it has.
    pub(crate) closed: Option<Arc<Closed>>,
    /// What waited for an answer when it ended; at most [`LOST_MAX`], those that had waited longest.
    pub(crate) lost: Vec<InFlight>,
    /// No more requests of clients are taken.
    pub(crate) is_draining: bool,
    /// Lines for the writer.
    pub(crate) out: Vec<u8>,
    pub(crate) next_session: u64,
    pub(crate) next_question: u64,
    pub(crate) pending: Table<u64, PendingRequest>,
    /// Requests of clients among `pending`.
    pub(crate) client_calls: usize,
    pub(crate) sessions: Table<UpstreamSessionId, AttachedSession>,
    /// Sessions with a request that their client waits for.
    pub(crate) sessions_busy: usize,
    /// Questions of the instance that wait for a client.
    pub(crate) questions: Table<u64, OpenQuestion>,
    /// The subscribers of each resource.
    pub(crate) subscribed: HashMap<Box<str>, Vec<UpstreamSessionId>>,
    /// The log level that the instance was last sent.
    pub(crate) level_sent: Option<LogLevel>,
    pub(crate) cache: ListCache,
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

/// A request that waits for the instance's answer.
pub(crate) struct PendingRequest {
    /// Whose; the router's own where absent.
    pub(crate) session: Option<UpstreamSessionId>,
    pub(crate) origin: RequestOrigin,
    pub(crate) method: Cow<'static, str>,
    pub(crate) since: Instant,
    pub(crate) deadline: Instant,
    pub(crate) is_cancelled: bool,
    pub(crate) is_waiting_reported: bool,
    pub(crate) effect: AnswerEffect,
    pub(crate) reply: Arc<dyn ReplySink>,
}

/// What a client's request said that its answer must say again. A copy: a slice would keep all that was received with the
/// request for as long as it waits, a batch of many megabytes say.
pub(crate) struct RequestOrigin {
    text: Box<[u8]>,
    id: Range<usize>,
    progress: Option<Range<usize>>,
}

/// What an answer without error changes.
pub(crate) enum AnswerEffect {
    Nothing,
    KeepPage { key: PageKey, changes: u64 },
    Subscribe(Box<str>),
    Level(LogLevel),
}

/// A question of the instance that was put to a client.
pub(crate) struct OpenQuestion {
    pub(crate) session: UpstreamSessionId,
    /// The instance's id for it, as raw JSON.
    pub(crate) instance_id: Box<str>,
    /// When it is given up.
    pub(crate) deadline: Instant,
}

impl RequestOrigin {
    /// Remembers where a request's id and progress token stand.
    pub(crate) fn new(source: &[u8], id: Range<usize>, progress: Option<Range<usize>>) -> Self {
        if source.len() <= KEEP_WHOLE_BYTES_MAX {
            return Self {
                text: source.into(),
                id,
                progress,
            };
        }
        let mut text = Vec::with_capacity(id.len() + progress.as_ref().map_or(0, Range::len));
        text.extend_from_slice(&source[id]);
        let id = 0..text.len();
        let progress = progress.map(|range| {
            text.extend_from_slice(&source[range]);
            id.end..text.len()
        });
        Self {
            text: text.into(),
            id,
            progress,
        }
    }

    /// For a request of the router's own.
    pub(crate) fn own() -> Self {
        Self {
            text: (*b"0").into(),
            id: 0..1,
            progress: None,
        }
    }

    /// The client's id as raw JSON.
    pub(crate) fn id(&self) -> &[u8] {
        &self.text[self.id.clone()]
    }

    /// The client's progress token as raw JSON.
    pub(crate) fn progress(&self) -> Option<&[u8]> {
        self.progress.clone().map(|range| &self.text[range])
    }

    /// The whole request, where it was short enough to be kept.
    pub(crate) fn request(&self) -> &[u8] {
        &self.text
    }
}

impl ConnectionState {
    /// An id for a request that is about to wait.
    pub(crate) fn draw_request_id(&self) -> u64 {
        draw_request_id(|id| self.pending.contains_key(&id))
    }

    /// The request that waits under a raw JSON id or progress token.
    pub(crate) fn waiting_as(&self, raw: &str) -> Option<(u64, &PendingRequest)> {
        let n = read_request_id(raw)?;
        Some((n, self.pending.get(&n)?))
    }

    /// The waiting request that the ends of a line name which is no message.
    pub(crate) fn find_waiting(&self, ends: &LineEnds) -> Option<u64> {
        let find = |piece| find_last_request_id(piece, |id| self.pending.contains_key(&id));
        find(&ends.tail).or_else(|| find(&ends.head))
    }

    /// Queues one line for the writer.
    pub(crate) fn send_line(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.push(b'\n');
    }

    /// Takes a waiting request out of every table.
    pub(crate) fn take_pending(&mut self, n: u64) -> Option<PendingRequest> {
        let pending = self.pending.remove(&n)?;
        if let Some(session) = pending.session {
            self.client_calls -= 1;
            self.forget_waiting(session, n);
            if let Some(entry) = self.sessions.get_mut(&session) {
                entry.cancelled.retain(|other| *other != n);
            }
        }
        Some(pending)
    }

    /// Its client no longer waits for a request, which the instance may answer all the same until `until`. The session is
    /// not at work for its sake.
    pub(crate) fn set_cancelled(&mut self, n: u64, until: Instant) {
        let Some(pending) = self.pending.get_mut(&n) else {
            return;
        };
        pending.is_cancelled = true;
        pending.deadline = pending.deadline.min(until);
        if let Some(session) = pending.session
            && self.forget_waiting(session, n)
            && let Some(entry) = self.sessions.get_mut(&session)
        {
            entry.cancelled.push(n);
        }
    }

    /// Takes a request from those that a session waits for. True where it was among them.
    fn forget_waiting(&mut self, session: UpstreamSessionId, n: u64) -> bool {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return false;
        };
        let Some(at) = entry.in_flight.iter().position(|other| *other == n) else {
            return false;
        };
        entry.in_flight.remove(at);
        if entry.in_flight.is_empty() {
            self.sessions_busy -= 1;
        }
        true
    }

    /// Puts a request into every table.
    pub(crate) fn put_pending(&mut self, n: u64, pending: PendingRequest) {
        if let Some(session) = pending.session {
            self.client_calls += 1;
            if let Some(entry) = self.sessions.get_mut(&session) {
                if entry.in_flight.is_empty() {
                    self.sessions_busy += 1;
                }
                entry.in_flight.push(n);
            }
        }
        self.pending.insert(n, pending);
    }

    /// The requests of clients that wait for an answer, longest first.
    pub(crate) fn waiting(&self) -> Vec<InFlight> {
        let now = Instant::now();
        let calls = self
            .pending
            .values()
            .filter(|pending| pending.session.is_some());
        let mut all: Vec<InFlight> = calls
            .map(|pending| InFlight {
                what: tool_called(&pending.method, pending.origin.request())
                    .unwrap_or_else(|| pending.method.to_string()),
                waiting: now - pending.since,
            })
            .collect();
        all.sort_by_key(|call| std::cmp::Reverse(call.waiting));
        all
    }

    /// Answers a question of the instance with an error.
    pub(crate) fn refuse_question(&mut self, instance_id: &str, code: i64, message: &str) {
        let message = quoted(message);
        self.send_line(&format!(
            r#"{{"jsonrpc":"2.0","id":{instance_id},"error":{{"code":{code},"message":{message}}}}}"#
        ));
    }
}

/// `tools/call` with the tool's name, where the request was kept.
fn tool_called(method: &str, request: &[u8]) -> Option<String> {
    if method != "tools/call" {
        return None;
    }
    let params = member(std::str::from_utf8(request).ok()?, "params").ok()??;
    let name = string_of(member(params, "name").ok()??)?;
    // Enough to recognise it, and a bound on what the evidence can hold.
    Some(format!(
        "tools/call {}",
        name.chars().take(100).collect::<String>()
    ))
}
