//! The event streams of one session: what was sent, what waits, and what a client can resume from.
//!
//! A stream belongs to one request (the answer to a POST that became events) or to none (GET). Each has at most one reader.
//! Events that were sent are kept, within a bound over the session, until newer ones take their place; events that wait are
//! bounded per stream. A reader that falls behind loses its connection, not its events.

mod bounds;
mod stream;

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;

use crate::config::ProxyLimits;

use bounds::EventBounds;
use stream::EventStream;

pub(crate) use bounds::EventBudget;

/// One stream of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(u64);

/// One connection that reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReaderId {
    stream: StreamId,
    n: u64,
}

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
    bounds: EventBounds,
    budget: Arc<EventBudget>,
    streams: BTreeMap<StreamId, EventStream>,
    next_stream: u64,
    next_reader: u64,
    is_closed: bool,
}

impl EventLog {
    pub(crate) fn new(epoch: &str, limits: &ProxyLimits, budget: Arc<EventBudget>) -> Self {
        Self {
            epoch: epoch.into(),
            bounds: EventBounds::new(limits),
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
        self.streams.insert(id, EventStream::new(is_answer));
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
        let slow_closed = stream.is_behind(bounds.unsent_events, bounds.unsent_bytes);
        let frame = Bytes::from(format!(
            "id: {}.{}.{}\ndata: {message}\n\n",
            self.epoch, id.0, stream.next_seq
        ));
        self.budget.add(frame.len());
        stream.push(frame);
        if slow_closed {
            stream.drop_reader();
        }
        stream.wake();
        Pushed {
            slow_closed,
            dropped: self.shrink(Some(id)),
        }
    }

    /// Adds a message that belongs to no request: to a stream that is being read, else to one that waits for a reader.
    pub(crate) fn push_to_session(&mut self, message: &str) -> Option<Pushed> {
        if self.is_closed {
            return None;
        }
        let free = |(_, stream): &(&StreamId, &EventStream)| !stream.is_answer;
        let read = self
            .streams
            .iter()
            .filter(free)
            .find(|(_, stream)| stream.is_read());
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
            stream.finish();
        }
    }

    /// The stream without a reader that a new GET goes on with: what waits there was not sent yet.
    pub(crate) fn waiting_stream(&self) -> Option<StreamId> {
        let waits =
            |stream: &EventStream| !stream.is_answer && !stream.is_read() && stream.unsent() > 0;
        self.streams
            .iter()
            .find(|(_, stream)| waits(stream))
            .map(|(id, _)| *id)
    }

    /// How many streams that answer no request are being read.
    pub(crate) fn get_readers(&self) -> usize {
        let streams = self.streams.values();
        streams
            .filter(|stream| !stream.is_answer && stream.is_read())
            .count()
    }

    /// Whether any stream is being read.
    pub(crate) fn has_readers(&self) -> bool {
        self.streams.values().any(|stream| stream.is_read())
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
        if !stream.rewind_past(seq) {
            return None;
        }
        // What waited before the event that it names counts as sent now. The stream itself is about to be read.
        self.drop_superfluous(None);
        Some(id)
    }

    /// Gives a stream a reader, in place of the one it may have. `None` where there is no such stream.
    pub(crate) fn read(&mut self, id: StreamId) -> Option<ReaderId> {
        if self.is_closed {
            return None;
        }
        let stream = self.streams.get_mut(&id)?;
        self.next_reader += 1;
        stream.set_reader(self.next_reader);
        Some(ReaderId {
            stream: id,
            n: self.next_reader,
        })
    }

    /// The next event for a reader; `None` when its stream is over, or it is no longer the reader.
    pub(crate) fn poll_next(
        &mut self,
        reader: ReaderId,
        context: &Context<'_>,
    ) -> Poll<Option<Bytes>> {
        let Some(stream) = self.streams.get_mut(&reader.stream) else {
            return Poll::Ready(None);
        };
        let next = stream.poll_next(reader.n, context);
        if matches!(next, Poll::Ready(Some(_))) {
            self.shrink(None);
        }
        next
    }

    /// A reader is gone.
    pub(crate) fn leave(&mut self, reader: ReaderId) {
        if let Some(stream) = self.streams.get_mut(&reader.stream) {
            stream.leave(reader.n);
            if stream.is_over() {
                self.streams.remove(&reader.stream);
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

    /// Drops what is past the bounds, the oldest first: of what was sent, and of what waits in streams without a reader.
    /// What waits for a connected reader is not touched, nor the last event of the stream that has just been `added` to.
    /// Returns how many of the dropped events nobody had read.
    fn shrink(&mut self, added: Option<StreamId>) -> u64 {
        let dropped = self.drop_superfluous(added);
        self.streams.retain(|_, stream| !stream.is_over());
        dropped
    }

    /// As [`EventLog::shrink`], but leaves streams in which nothing is left.
    fn drop_superfluous(&mut self, added: Option<StreamId>) -> u64 {
        let mut dropped = 0;
        while let Some(id) = self.superfluous(added) {
            let Some(stream) = self.streams.get_mut(&id) else {
                break;
            };
            let popped = stream.pop();
            self.budget.give_back(popped.bytes);
            dropped += u64::from(popped.was_unsent);
        }
        dropped
    }

    /// The stream whose oldest event is to go, if any has to.
    fn superfluous(&self, added: Option<StreamId>) -> Option<StreamId> {
        let (mut sent, mut sent_bytes, mut orphans, mut orphans_bytes) = (0, 0, 0, 0);
        for stream in self.streams.values() {
            sent += stream.sent();
            sent_bytes += stream.sent_bytes();
            if !stream.is_read() {
                orphans += stream.unsent();
                orphans_bytes += stream.unsent_bytes;
            }
        }
        let bounds = self.budget.allowance(&self.bounds);
        let find = |wanted: &dyn Fn(&StreamId, &EventStream) -> bool| {
            let mut streams = self.streams.iter();
            streams
                .find(|(id, stream)| wanted(id, stream))
                .map(|(id, _)| *id)
        };
        if sent > bounds.kept_events || sent_bytes > bounds.kept_bytes {
            return find(&|_, stream| stream.sent() > 0);
        }
        // Twice what may wait for a reader: a client that is disconnected for being slow has lost nothing yet.
        if orphans > 2 * bounds.unsent_events || orphans_bytes > 2 * bounds.unsent_bytes {
            // The last event of a stream is the answer to its request, or the newest event: it goes last.
            return find(&|_, stream| !stream.is_read() && stream.unsent() > 1).or_else(|| {
                find(&|id, stream| !stream.is_read() && stream.unsent() > 0 && Some(*id) != added)
            });
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
