//! One stream of events: what was sent, what waits, and who reads it.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

/// See the module.
#[derive(Debug)]
pub(super) struct EventStream {
    /// Whether it answers a request; it then ends with the answer.
    pub(super) is_answer: bool,
    is_finished: bool,
    pub(super) events: VecDeque<StreamEvent>,
    /// Bytes of all `events`.
    pub(super) bytes: usize,
    pub(super) next_seq: u64,
    /// The first event that has not been handed to a reader.
    pub(super) unsent_seq: u64,
    pub(super) unsent_bytes: usize,
    reader: Option<StreamReader>,
}

#[derive(Debug)]
pub(super) struct StreamEvent {
    pub(super) seq: u64,
    pub(super) frame: Bytes,
}

#[derive(Debug)]
struct StreamReader {
    n: u64,
    waker: Option<Waker>,
    /// What already waited when it came, which is no fault of its own.
    found: usize,
    found_bytes: usize,
}

/// An event that was taken out.
#[derive(Debug, Default)]
pub(super) struct Popped {
    pub(super) bytes: usize,
    /// Nobody had read it.
    pub(super) was_unsent: bool,
}

impl EventStream {
    pub(super) fn new(is_answer: bool) -> Self {
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

    pub(super) fn is_read(&self) -> bool {
        self.reader.is_some()
    }

    pub(super) fn unsent(&self) -> usize {
        usize::try_from(self.next_seq - self.unsent_seq).unwrap_or(usize::MAX)
    }

    /// Events that were sent and are kept to be resumed from.
    pub(super) fn sent(&self) -> usize {
        self.events.len() - self.unsent()
    }

    pub(super) fn sent_bytes(&self) -> usize {
        self.bytes - self.unsent_bytes
    }

    /// Whether its reader has more to read than that, what it found when it came not counted.
    pub(super) fn is_behind(&self, unsent_max: usize, unsent_bytes_max: usize) -> bool {
        self.reader.as_ref().is_some_and(|reader| {
            self.unsent() > unsent_max + reader.found
                || self.unsent_bytes > unsent_bytes_max + reader.found_bytes
        })
    }

    /// Adds the event with the number [`EventStream::next_seq`].
    pub(super) fn push(&mut self, frame: Bytes) {
        self.unsent_bytes += frame.len();
        self.bytes += frame.len();
        let seq = self.next_seq;
        self.next_seq += 1;
        self.events.push_back(StreamEvent { seq, frame });
    }

    pub(super) fn finish(&mut self) {
        self.is_finished = true;
        self.wake();
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.reader.as_mut().and_then(|reader| reader.waker.take()) {
            waker.wake();
        }
    }

    /// Reader `n` takes the place of the one before.
    pub(super) fn set_reader(&mut self, n: u64) {
        self.drop_reader();
        self.reader = Some(StreamReader {
            n,
            waker: None,
            found: self.unsent(),
            found_bytes: self.unsent_bytes,
        });
    }

    pub(super) fn drop_reader(&mut self) {
        self.wake();
        self.reader = None;
    }

    /// Reader `n` is gone.
    pub(super) fn leave(&mut self, n: u64) {
        self.reader = self.reader.take().filter(|current| current.n != n);
    }

    /// Goes back to the event after `seq`, or to the oldest that is left. False where there was no such event.
    pub(super) fn rewind_past(&mut self, seq: u64) -> bool {
        if seq >= self.next_seq {
            return false;
        }
        let oldest = self.events.front();
        self.unsent_seq = oldest.map_or(self.next_seq, |event| event.seq.max(seq + 1));
        let unsent = self.events.iter().skip(self.first_unsent());
        self.unsent_bytes = unsent.map(|event| event.frame.len()).sum();
        true
    }

    /// The next event for reader `n`; `None` when the stream is over, or another one reads it.
    pub(super) fn poll_next(&mut self, n: u64, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let at = self.first_unsent();
        let Some(current) = self.reader.as_mut().filter(|current| current.n == n) else {
            return Poll::Ready(None);
        };
        if let Some(event) = self.events.get(at) {
            self.unsent_seq = event.seq + 1;
            self.unsent_bytes -= event.frame.len();
            return Poll::Ready(Some(event.frame.clone()));
        }
        if self.is_finished {
            return Poll::Ready(None);
        }
        current.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Takes the oldest event out.
    pub(super) fn pop(&mut self) -> Popped {
        let Some(event) = self.events.pop_front() else {
            return Popped::default();
        };
        let bytes = event.frame.len();
        self.bytes -= bytes;
        let was_unsent = event.seq >= self.unsent_seq;
        if was_unsent {
            self.unsent_seq = event.seq + 1;
            self.unsent_bytes -= bytes;
        }
        Popped { bytes, was_unsent }
    }

    pub(super) fn is_over(&self) -> bool {
        let can_go = if self.is_answer {
            self.is_finished
        } else {
            self.reader.is_none()
        };
        can_go && self.events.is_empty()
    }

    fn first_unsent(&self) -> usize {
        self.events
            .partition_point(|event| event.seq < self.unsent_seq)
    }
}
