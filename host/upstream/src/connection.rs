//! The loops that move bytes, and what happens when they end.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    lines::{LineReader, ReceivedLine},
    reply::{CallError, Closed, Reply},
    state::LOST_MAX,
    upstream::Upstream,
};

/// Room for lines that is given back once a burst is over.
const KEEP_BYTES_MAX: usize = 256 * 1024;

/// When an instance has closed its input, or is known to have died, how long its last answers are still read. A process that
/// exits closes both ends at once; this only bounds one that does not, or whose output a descendant holds open.
const LAST_READ_WAIT: Duration = Duration::from_millis(500);

/// Moves bytes until the connection ends, then lets everything that waits know.
pub(crate) async fn drive<R, W>(end: EndOnDrop, mut reader: R, mut writer: W) -> Arc<Closed>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let upstream = &end.0;
    let mut lines = LineReader::new(upstream.config.limits.line_bytes_max);
    let closed = tokio::select! {
        closed = upstream.read_lines(&mut lines, &mut reader) => closed,
        error = upstream.write_lines(&mut writer) => Closed::Write(error),
        () = upstream.watch_deadlines() => Closed::Requested,
        () = upstream.close_requested.notified() => upstream.closed_by_owner(),
    };
    if matches!(closed, Closed::Write(_) | Closed::Died) {
        // Whatever this ends with, the reason is known.
        let _ = timeout(LAST_READ_WAIT, upstream.read_lines(&mut lines, &mut reader)).await;
    }
    upstream.end(Arc::new(closed))
}

impl Upstream {
    async fn read_lines<R: AsyncRead + Unpin>(
        &self,
        lines: &mut LineReader,
        reader: &mut R,
    ) -> Closed {
        loop {
            match lines.fill(reader).await {
                Ok(0) => return Closed::Eof,
                Ok(_) => self.stamp(&self.received_ms),
                Err(error) => return Closed::Read(error),
            }
            while let Some(line) = lines.next_line() {
                match line {
                    ReceivedLine::Whole(bytes) => self.receive(bytes),
                    ReceivedLine::Overlong(ends) => self.receive_overlong(&ends),
                }
            }
        }
    }

    /// Writes all lines that are waiting at once, as often as there are any.
    async fn write_lines<W: AsyncWrite + Unpin>(&self, writer: &mut W) -> io::Error {
        let mut batch = Vec::new();
        loop {
            std::mem::swap(&mut batch, &mut self.state.lock().out);
            if batch.is_empty() {
                self.has_work.notified().await;
                continue;
            }
            if let Err(error) = writer.write_all(&batch).await {
                return error;
            }
            if let Err(error) = writer.flush().await {
                return error;
            }
            batch.clear();
            batch.shrink_to(KEEP_BYTES_MAX);
        }
    }

    fn end(&self, closed: Arc<Closed>) -> Arc<Closed> {
        let (pending, _sessions) = {
            let mut state = self.state.lock();
            if let Some(closed) = &state.closed {
                return closed.clone();
            }
            state.lost = state.waiting();
            state.lost.truncate(LOST_MAX);
            state.closed = Some(closed.clone());
            state.client_calls = 0;
            state.sessions_busy = 0;
            state.questions.clear();
            state.subscribed.clear();
            state.out = Vec::new();
            // Sessions hold their connection, and the connection its sessions: the ring is broken here.
            (
                std::mem::take(&mut state.pending),
                std::mem::take(&mut state.sessions),
            )
        };
        let waiting = pending
            .values()
            .filter(|pending| pending.session.is_some())
            .count();
        tracing::debug!(
            instance = %self.config.instance,
            run = %self.config.run,
            reason = %closed,
            waiting,
            unknown_replies = self.counters.unknown_replies.load(Ordering::Relaxed),
            "connection to the instance ended"
        );
        for pending in pending.into_values() {
            pending
                .reply
                .finish(Reply::Failed(CallError::Lost(closed.clone())));
        }
        self.became_idle.notify_waiters();
        closed
    }
}

/// Ends the connection also where its owner drops the future: nobody may be left waiting.
pub(crate) struct EndOnDrop(pub(crate) Arc<Upstream>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(Arc::new(self.0.closed_by_owner()));
    }
}
