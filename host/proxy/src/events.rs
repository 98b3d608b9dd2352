//! The event streams of one session: what was sent, what waits, and what a client can resume from.
//!
//! A stream belongs to one request (the answer to a POST that became events) or to none (GET). Each has at most one reader.
//! Events that were sent are kept, within a bound over the session, until newer ones take their place; events that wait are
//! bounded per stream. A reader that falls behind loses its connection, not its events.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

use crate::config::ProxyLimits;

mod bounds;

use bounds::Bounds;
pub(crate) use bounds::EventBudget;

/// One stream of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(u64);

/// One connection that reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId(u64);

/// What had to be given up when an event was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pushed {
    /// A connection was closed because it does not read.
    pub(crate) slow_closed: bool,
    /// Events that nobody had read were dropped.
    pub(crate) dropped: u64,
}

/// All streams of one session.
#[derive(Debug)]
pub(crate) struct EventLog {
    epoch: Box<str>,
    bounds: Bounds,
    budget: Arc<EventBudget>,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: u64,
    next_reader: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Stream {
    /// Whether it answers a request; it then ends with the answer.
    is_answer: bool,
    is_finished: bool,
    events: VecDeque<Event>,
    /// Bytes of all `events`.
    bytes: usize,
    next_seq: u64,
    /// The first event that has not been handed to a reader.
    unsent_seq: u64,
    unsent_bytes: usize,
    reader: Option<Reader>,
}

#[derive(Debug)]
struct Event {
    seq: u64,
    frame: Bytes,
}

#[derive(Debug)]
struct Reader {
    id: ReaderId,
    waker: Option<Waker>,
    /// What already waited when it came, which is no fault of its own.
    found: usize,
    found_bytes: usize,
}

impl Stream {
    fn new(is_answer: bool) -> Self {
        Self {
            is_answer,
            is_finished: false,
            events: VecDeque::new(),
            bytes: 0,
            next_seq: 0,
            unsent_seq: 0,
            unsent_bytes: 0,
            reader: None,
        }
    }

    fn unsent(&self) -> usize {
        usize::try_from(self.next_seq - self.unsent_seq).unwrap_or(usize::MAX)
    }

    fn wake(&mut self) {
        if let Some(waker) = self.reader.as_mut().and_then(|reader| reader.waker.take()) {
            waker.wake();
        }
    }

    fn drop_reader(&mut self) {
        self.wake();
        self.reader = None;
    }

    /// Takes the oldest event out; true where nobody had read it.
    fn pop(&mut self, budget: &EventBudget) -> bool {
        let Some(event) = self.events.pop_front() else {
            return false;
        };
        budget.give_back(event.frame.len());
        self.bytes -= event.frame.len();
        let was_unsent = event.seq >= self.unsent_seq;
        if was_unsent {
            self.unsent_seq = event.seq + 1;
            self.unsent_bytes -= event.frame.len();
        }
        was_unsent
    }

    fn is_over(&self) -> bool {
        let can_go = if self.is_answer {
            self.is_finished
        } else {
            self.reader.is_none()
        };
        can_go && self.events.is_empty()
    }
}

impl EventLog {
    pub(crate) fn new(epoch: &str, limits: &ProxyLimits, budget: Arc<EventBudget>) -> Self {
        Self {
            epoch: epoch.into(),
            bounds: Bounds::new(limits),
            budget,
            streams: BTreeMap::new(),
            next_stream: 0,
            next_reader: 0,
            is_closed: false,
        }
    }

    /// A new stream, for the answer to a request or for GET.
    pub(crate) fn open(&mut self, is_answer: bool) -> StreamId {
        self.next_stream += 1;
        let id = StreamId(self.next_stream);
        self.streams.insert(id, Stream::new(is_answer));
        id
    }

    /// Adds a message to a stream. Unknown streams take nothing.
    pub(crate) fn push(&mut self, id: StreamId, message: &str) -> Pushed {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Pushed {
                slow_closed: false,
                dropped: 1,
            };
        };
        let bounds = self.budget.allowance(&self.bounds);
        let is_behind = stream.reader.as_ref().is_some_and(|reader| {
            stream.unsent() > bounds.unsent_events + reader.found
                || stream.unsent_bytes > bounds.unsent_bytes + reader.found_bytes
        });
        let seq = stream.next_seq;
        let frame = Bytes::from(format!(
            "id: {}.{}.{seq}\ndata: {message}\n\n",
            self.epoch, id.0
        ));
        stream.next_seq += 1;
        let mut pushed = Pushed::default();
        stream.unsent_bytes += frame.len();
        stream.bytes += frame.len();
        self.budget.add(frame.len());
        stream.events.push_back(Event { seq, frame });
        if is_behind {
            stream.drop_reader();
            pushed.slow_closed = true;
        }
        stream.wake();
        pushed.dropped = self.shrink(Some(id));
        pushed
    }

    /// Adds a message that belongs to no request: to a stream that somebody reads, else to one that waits for a reader.
    pub(crate) fn push_to_session(&mut self, message: &str) -> Option<Pushed> {
        if self.is_closed {
            return None;
        }
        let free = |(_, stream): &(&StreamId, &Stream)| !stream.is_answer;
        let read = self
            .streams
            .iter()
            .filter(free)
            .find(|(_, stream)| stream.reader.is_some());
        let id = read
            .or_else(|| self.streams.iter().rfind(free))
            .map(|(id, _)| *id);
        let id = id.unwrap_or_else(|| self.open(false));
        Some(self.push(id, message))
    }

    /// Adds the event with which a stream begins, where the protocol asks for one: it gives the client an id to resume
    /// from before there is anything to say (2025-11-25, "Sending Messages to the Server").
    pub(crate) fn prime(&mut self, id: StreamId) {
        self.push(id, "");
    }

    /// The stream ends once everything in it is sent.
    pub(crate) fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.is_finished = true;
            stream.wake();
        }
    }

    /// The stream without a reader that a new GET goes on with: what waits there was sent to nobody.
    pub(crate) fn waiting_stream(&self) -> Option<StreamId> {
        let waits =
            |stream: &Stream| !stream.is_answer && stream.reader.is_none() && stream.unsent() > 0;
        self.streams
            .iter()
            .find(|(_, stream)| waits(stream))
            .map(|(id, _)| *id)
    }

    /// How many streams that answer no request are being read.
    pub(crate) fn get_readers(&self) -> usize {
        let streams = self.streams.values();
        streams
            .filter(|stream| !stream.is_answer && stream.reader.is_some())
            .count()
    }

    /// Whether any stream is being read.
    pub(crate) fn has_readers(&self) -> bool {
        self.streams.values().any(|stream| stream.reader.is_some())
    }

    /// Goes back to the event after the one that a client names as the last it has. `None` where that stream is not known
    /// (any more).
    pub(crate) fn rewind(&mut self, last_event_id: &str) -> Option<StreamId> {
        let (rest, seq) = last_event_id.rsplit_once('.')?;
        let (epoch, stream) = rest.rsplit_once('.')?;
        let (id, seq) = (StreamId(stream.parse().ok()?), seq.parse::<u64>().ok()?);
        if epoch != &*self.epoch {
            return None;
        }
        let stream = self.streams.get_mut(&id)?;
        if seq >= stream.next_seq {
            return None;
        }
        stream.unsent_seq = stream
            .events
            .front()
            .map_or(stream.next_seq, |event| event.seq.max(seq + 1));
        let unsent = stream
            .events
            .iter()
            .filter(|event| event.seq >= stream.unsent_seq);
        stream.unsent_bytes = unsent.map(|event| event.frame.len()).sum();
        Some(id)
    }

    /// Gives a stream a reader, in place of the one it may have. `None` where there is no such stream.
    pub(crate) fn read(&mut self, id: StreamId) -> Option<ReaderId> {
        if self.is_closed {
            return None;
        }
        let stream = self.streams.get_mut(&id)?;
        stream.drop_reader();
        self.next_reader += 1;
        let reader = ReaderId(self.next_reader);
        stream.reader = Some(Reader {
            id: reader,
            waker: None,
            found: stream.unsent(),
            found_bytes: stream.unsent_bytes,
        });
        Some(reader)
    }

    /// The next event for a reader; `None` when its stream is over, or it is no longer the reader.
    pub(crate) fn poll_next(
        &mut self,
        id: StreamId,
        reader: ReaderId,
        context: &Context<'_>,
    ) -> Poll<Option<Bytes>> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Poll::Ready(None);
        };
        let Some(current) = stream
            .reader
            .as_mut()
            .filter(|current| current.id == reader)
        else {
            return Poll::Ready(None);
        };
        let at = stream
            .events
            .partition_point(|event| event.seq < stream.unsent_seq);
        if let Some(event) = stream.events.get(at) {
            let frame = event.frame.clone();
            stream.unsent_seq = event.seq + 1;
            stream.unsent_bytes -= frame.len();
            self.shrink(None);
            return Poll::Ready(Some(frame));
        }
        if stream.is_finished {
            return Poll::Ready(None);
        }
        current.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// A reader is gone.
    pub(crate) fn leave(&mut self, id: StreamId, reader: ReaderId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream
                .reader
                .as_ref()
                .is_some_and(|current| current.id == reader)
        {
            stream.reader = None;
            if stream.is_over() {
                self.streams.remove(&id);
            }
        }
    }

    /// Ends all connections; no stream can be read any more.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.drop_readers();
    }

    /// Ends all connections; their streams can be resumed.
    pub(crate) fn drop_readers(&mut self) {
        for stream in self.streams.values_mut() {
            stream.drop_reader();
        }
    }

    /// Drops what is past the bounds, the oldest first: of what was sent, and of what waits in streams that nobody reads.
    /// What waits for a connected reader is not touched, nor the last event of the stream that has just been `added` to.
    /// Tells how many of the dropped events nobody had read.
    fn shrink(&mut self, added: Option<StreamId>) -> u64 {
        let mut dropped = 0;
        while let Some(id) = self.superfluous(added) {
            let Some(stream) = self.streams.get_mut(&id) else {
                break;
            };
            dropped += u64::from(stream.pop(&self.budget));
        }
        self.streams.retain(|_, stream| !stream.is_over());
        dropped
    }

    /// The stream whose oldest event is to go, if any has to.
    fn superfluous(&self, added: Option<StreamId>) -> Option<StreamId> {
        let (mut sent, mut sent_bytes, mut orphans, mut orphans_bytes) = (0, 0, 0, 0);
        for stream in self.streams.values() {
            sent += stream.events.len() - stream.unsent();
            sent_bytes += stream.bytes - stream.unsent_bytes;
            if stream.reader.is_none() {
                orphans += stream.unsent();
                orphans_bytes += stream.unsent_bytes;
            }
        }
        let bounds = self.budget.allowance(&self.bounds);
        let find = |wanted: &dyn Fn(&StreamId, &Stream) -> bool| {
            let mut streams = self.streams.iter();
            streams
                .find(|(id, stream)| wanted(id, stream))
                .map(|(id, _)| *id)
        };
        if sent > bounds.kept_events || sent_bytes > bounds.kept_bytes {
            return find(&|_, stream| stream.events.len() > stream.unsent());
        }
        // Twice what may wait for a reader: whoever is disconnected for being slow has lost nothing yet.
        if orphans > 2 * bounds.unsent_events || orphans_bytes > 2 * bounds.unsent_bytes {
            // The last event of a stream is the answer to its request, or the newest news: it goes last.
            return find(&|_, stream| stream.reader.is_none() && stream.unsent() > 1).or_else(
                || {
                    find(&|id, stream| {
                        stream.reader.is_none() && stream.unsent() > 0 && Some(*id) != added
                    })
                },
            );
        }
        None
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        let held = self.streams.values().map(|stream| stream.bytes).sum();
        self.budget.give_back(held);
    }
}

#[cfg(test)]
mod tests;
