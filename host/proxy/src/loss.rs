//! The loss of an instance, in words for whoever waited: what happens next is the driver's to say, a moment after the loss.

use std::{sync::Arc, time::Duration};

use router_core::route::{Route, UnavailableKind};
use tokio::{
    sync::{futures::OwnedNotified, mpsc},
    time::{Instant, timeout_at},
};

use crate::{batch::Batch, events::StreamId, fault::RequestFault, proxy::Proxy, session::Session};

/// How long whoever waited for a lost instance goes on to wait for the driver's word on what happens next. The end of a
/// process is reported within milliseconds; one that only closed its output is given up by the driver after 500 ms.
pub(crate) const NEXT_ROUTE_WAIT: Duration = Duration::from_secs(1);

/// Most streams that wait for that word: what one instance can have in flight. Others are told what is known already.
pub(crate) const WAITING_MAX: usize = 4096;

/// Where the end of one request goes, once its client reads a stream.
pub(crate) struct StreamEnd {
    pub(crate) session: Arc<Session>,
    pub(crate) stream: StreamId,
    /// The batch that it came in, whose stream it is.
    pub(crate) batch: Option<Arc<Batch>>,
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

    fn fail(&self, fault: &RequestFault) {
        self.send(&fault.message(&self.id));
    }
}

/// A stream that ends with the loss of its instance.
pub(crate) struct Loss {
    end: StreamEnd,
    fault: RequestFault,
    /// When it is told, whatever is known then.
    until: Instant,
}

impl Proxy {
    /// Ends a stream with a fault. Where that is the loss of an instance about which the driver has not spoken yet, whoever
    /// polls [`Proxy::run`] does it, since the caller must not wait.
    pub(crate) fn fail_stream(&self, end: StreamEnd, fault: RequestFault) {
        if self.next_word(&fault).is_none() {
            return end.fail(&self.with_next(fault));
        }
        let until = Instant::now() + NEXT_ROUTE_WAIT;
        let loss = Loss { end, fault, until };
        let losses = self.losses.lock().clone();
        let left = match losses {
            Some(losses) => losses.try_send(loss).map_err(|error| error.into_inner()),
            None => Err(loss),
        };
        if let Err(Loss { end, fault, .. }) = left {
            end.fail(&self.with_next(fault));
        }
    }

    /// Tells one after the other, which keeps none waiting past its time: each waits for as long as the first, from its own
    /// loss on.
    pub(crate) async fn tell_losses(&self, mut losses: mpsc::Receiver<Loss>) {
        while let Some(Loss { end, fault, until }) = losses.recv().await {
            end.fail(&self.with_next_word(fault, until).await);
        }
    }

    /// Adds what happens next to the loss of an instance, waiting until then for the driver to know.
    pub(crate) async fn with_next_word(&self, fault: RequestFault, until: Instant) -> RequestFault {
        while let Some(changed) = self.next_word(&fault) {
            if timeout_at(until, changed).await.is_err() {
                break;
            }
        }
        self.with_next(fault)
    }

    /// The next change of the table, where an instance was lost and the table does not say so yet.
    fn next_word(&self, fault: &RequestFault) -> Option<OwnedNotified> {
        let instance = fault.instance().filter(|_| fault.is_loss())?;
        let (entry, changed) = self.parts.table.watch(instance.as_str())?;
        let is_unknown = matches!(entry.route, Route::Ready { .. }) && !entry.is_served();
        is_unknown.then_some(changed)
    }

    /// Adds what happens next to the loss of an instance, as far as it is known now.
    pub(crate) fn with_next(&self, fault: RequestFault) -> RequestFault {
        if !fault.is_loss() {
            return fault;
        }
        let Some(instance) = fault.instance().cloned() else {
            return fault;
        };
        let now_ms = self.now().mono_ms;
        let Some(entry) = self.parts.table.get(instance.as_str()) else {
            return fault.with_next("It was removed".to_owned());
        };
        let next = match &entry.route {
            Route::Unavailable(unavailable) => {
                match (unavailable.kind, unavailable.retry_after_ms(now_ms)) {
                    (UnavailableKind::Backoff, Some(ms)) => {
                        format!("It is being restarted. Retry in {ms}ms")
                    }
                    _ => unavailable.message(instance.as_str(), now_ms),
                }
            }
            Route::Starting { .. } => {
                "It is being restarted now. Retry at once: the request will wait".to_owned()
            }
            Route::Startable { .. } => "It is started again by the next request".to_owned(),
            Route::Ready { .. } if entry.is_served() => {
                "It is running again. Retry at once".to_owned()
            }
            Route::Ready { .. } => "It is being restarted. Retry in 1000ms".to_owned(),
        };
        fault.with_next(next)
    }
}
