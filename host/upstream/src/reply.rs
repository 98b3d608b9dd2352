//! How a request ends, and what receives that.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;

/// Receives what belongs to one request. Its methods are called from the connection's task and must not block.
pub trait ReplySink: Send + Sync {
    /// A message that the instance sent before its answer: progress, a log line, a question. One line of JSON, with
    /// ids as the client knows them. False where no client will read it.
    fn interleave(&self, message: &str) -> bool;

    /// The request has been waiting for [`crate::UpstreamLimits::waiting_after`] and goes on to wait. Called at most once.
    fn waiting(&self) {}

    /// How the request ended. Called exactly once, and nothing after it.
    fn finish(&self, reply: Reply);
}

/// How a request ended.
#[derive(Debug, Clone)]
pub enum Reply {
    /// There is an answer.
    Answer {
        /// The whole message, one line of JSON, with the client's id.
        message: Bytes,
        /// The code of its error object, where it has one.
        error_code: Option<i64>,
        /// Whether it is the result of a tool that says `isError`: an answer all the same.
        is_tool_error: bool,
        /// Whether the router gave it by itself (a list from memory, a subscription that others hold): it says nothing about
        /// the instance, which was not asked.
        is_own: bool,
    },
    /// There is no answer.
    Failed(CallError),
}

/// Why a request has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The connection ended first.
    #[error("the instance went away: {0}")]
    Lost(Arc<Closed>),
    /// Not sent, because the slot is being drained.
    #[error("the instance is draining")]
    Draining,
    /// Not sent, because too much is waiting.
    #[error("the instance is busy: {what}")]
    Busy {
        /// Which bound was met.
        what: &'static str,
    },
    /// No answer in time. The instance was sent a cancellation.
    #[error("no answer within {} ms", after.as_millis())]
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// Its client cancelled it, and the instance did not answer any more.
    #[error("the request was cancelled by its client")]
    Cancelled,
    /// Its session ended.
    #[error("the session ended")]
    SessionEnded,
    /// The session is not attached to this connection.
    #[error("the session is not attached to this connection")]
    NotAttached,
    /// The answer was longer than a line may be.
    #[error("the instance's answer is longer than {max} bytes")]
    AnswerTooLong {
        /// The bound.
        max: usize,
    },
    /// The answer nests deeper than clients can be expected to read.
    #[error("the instance's answer is not acceptable: {reason}")]
    AnswerRefused {
        /// What is wrong with it.
        reason: String,
    },
    /// The request itself cannot be sent on.
    #[error("{reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a client's notification or answer was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The session was asked no question with that id.
    #[error("no question with that id is open")]
    NoSuchQuestion,
    /// Too much waits already for an instance that does not read.
    #[error("the instance does not read what it is sent")]
    Busy,
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// The instance closed its output.
    #[error("it closed its output")]
    Eof,
    /// Reading failed.
    #[error("reading from it failed")]
    Read(#[source] io::Error),
    /// Writing failed.
    #[error("writing to it failed")]
    Write(#[source] io::Error),
    /// [`crate::Upstream::close_died`] was called: the process has ended, even where a descendant holds its output open.
    #[error("its process ended")]
    Died,
    /// [`crate::Upstream::close`] was called.
    #[error("the router closed the connection")]
    Requested,
}
