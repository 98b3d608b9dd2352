//! Where the end of a request goes once its client reads a stream.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{
    fault::RequestFault,
    sessions::{Session, StreamId},
};

/// The requests of one batch that wait for their answers, all of which go to one stream.
pub(crate) struct AnswerBatch {
    pub(crate) stream: StreamId,
    waiting: AtomicUsize,
}

impl AnswerBatch {
    pub(crate) fn new(stream: StreamId, requests: usize) -> Self {
        Self {
            stream,
            waiting: AtomicUsize::new(requests),
        }
    }

    /// Adds the answer to one of its requests. The stream ends after the last one.
    pub(crate) fn answer(&self, session: &Session, message: &str) {
        session.push(self.stream, message);
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            session.finish_answer(self.stream);
        }
    }
}

/// The end of one request in a stream.
pub(crate) struct StreamEnd {
    pub(crate) session: Arc<Session>,
    pub(crate) stream: StreamId,
    /// The batch that it came in, whose stream it is.
    pub(crate) batch: Option<Arc<AnswerBatch>>,
    /// The client's id, raw JSON.
    pub(crate) id: Box<str>,
}

impl StreamEnd {
    pub(crate) fn send(&self, message: &str) {
        match &self.batch {
            Some(batch) => batch.answer(&self.session, message),
            None => self.session.push_answer(self.stream, message),
        }
    }

    pub(crate) fn fail(&self, fault: &RequestFault) {
        self.send(&fault.message(&self.id));
    }
}
