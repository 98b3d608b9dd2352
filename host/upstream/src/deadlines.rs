//! Deadlines of waiting requests, and of the instance's questions. One timer for all of them, armed only while something
//! waits, so that a request costs no timer of its own.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{
    reply::{CallError, Reply},
    upstream::Upstream,
};

/// Deadlines are checked this often: a twentieth of the request timeout, within these bounds.
const TICK_MIN: Duration = Duration::from_millis(10);
const TICK_MAX: Duration = Duration::from_secs(1);

impl Upstream {
    /// Never returns.
    pub(crate) async fn watch_deadlines(&self) {
        loop {
            if self.is_idle() {
                self.has_deadlines.notified().await;
            }
            let tick = (self.request_timeout() / 20).clamp(TICK_MIN, TICK_MAX);
            let tick = tick.min(self.config.limits.waiting_after).max(TICK_MIN);
            sleep_until(Instant::now() + tick).await;
            let now = Instant::now();
            self.check_deadlines(now);
            self.expire_questions(now);
        }
    }

    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.pending.is_empty() && state.questions.is_empty()
    }

    fn check_deadlines(&self, now: Instant) {
        let waiting_after = self.config.limits.waiting_after;
        let (mut expired, mut waiting) = (Vec::new(), Vec::new());
        {
            let mut state = self.state.lock();
            let mut late = Vec::new();
            for (n, pending) in &mut state.pending {
                if pending.deadline <= now {
                    late.push(*n);
                } else if pending.session.is_some()
                    && !pending.is_waiting_reported
                    && now - pending.since >= waiting_after
                {
                    pending.is_waiting_reported = true;
                    waiting.push(pending.reply.clone());
                }
            }
            for n in late {
                // A cancelled request has already been announced to the instance.
                let is_cancelled = state
                    .pending
                    .get(&n)
                    .is_some_and(|pending| pending.is_cancelled);
                expired.extend(if is_cancelled {
                    state.take_pending(n)
                } else {
                    self.cancel(&mut state, n, "the request timed out")
                });
            }
        }
        for reply in waiting {
            reply.waiting();
        }
        if expired.is_empty() {
            return;
        }
        self.wake_writer();
        for pending in expired {
            let error = if pending.is_cancelled {
                CallError::Cancelled
            } else {
                CallError::TimedOut {
                    after: now - pending.since,
                }
            };
            pending.reply.finish(Reply::Failed(error));
        }
        self.notify_if_idle();
    }
}
