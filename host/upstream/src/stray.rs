//! Lines that are no messages: counted, logged within a bound, and the request that waits for one is failed.

use std::sync::atomic::Ordering;

use crate::{
    envelope::EnvelopeError,
    lines::LineEnds,
    reply::{CallError, Reply},
    upstream::Upstream,
};

/// A stray line is logged this often at most per connection: sloppy servers print banners, hostile ones floods.
const STRAY_LINES_LOGGED_MAX: u64 = 5;

impl Upstream {
    /// A line past the bound: the request that waits for it fails.
    pub(crate) fn receive_overlong(&self, ends: &LineEnds) {
        self.counters.overlong_lines.fetch_add(1, Ordering::Relaxed);
        let max = self.config.limits.line_bytes_max;
        tracing::warn!(instance = %self.config.instance, max, "the instance sent a line longer than the bound");
        self.fail(ends, CallError::AnswerTooLong { max });
    }

    pub(crate) fn refuse_line(&self, line: &[u8], error: &EnvelopeError) {
        let before = self.counters.refused_lines.fetch_add(1, Ordering::Relaxed);
        if before < STRAY_LINES_LOGGED_MAX {
            let shown = String::from_utf8_lossy(&line[..line.len().min(200)]);
            tracing::warn!(instance = %self.config.instance, error = %error, line = %shown, "the instance wrote a line that is not a message");
        }
        // A message that is broken inside is most likely an answer; other stray lines may merely quote an id.
        let is_broken_message = matches!(
            error,
            EnvelopeError::NotUtf8 { .. } | EnvelopeError::TooDeep
        );
        if is_broken_message && line.starts_with(b"{") {
            let reason = error.to_string();
            self.fail(&LineEnds::of(line), CallError::AnswerRefused { reason });
        }
    }

    /// Fails the request that the ends of a line name.
    fn fail(&self, ends: &LineEnds, error: CallError) {
        let pending = {
            let mut state = self.state.lock();
            let n = state.find_waiting(ends);
            n.and_then(|n| state.take_pending(n))
        };
        if let Some(pending) = pending {
            pending.reply.finish(Reply::Failed(error));
            self.notify_if_idle();
        }
    }
}
