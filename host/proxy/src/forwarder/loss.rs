//! The loss of an instance: the error about it says what happens next, which the driver decides a moment later.

use std::sync::Arc;

use parking_lot::Mutex;
use router_core::{
    loss::NEXT_ROUTE_WAIT,
    route::{Route, UnavailableKind},
};
use tokio::{
    sync::{futures::OwnedNotified, mpsc},
    time::{Instant, timeout_at},
};

use super::answer_stream::StreamEnd;
use crate::{driver_link::DriverLink, fault::RequestFault, table::RoutingTable};

/// Most streams that wait for that route: what one instance can have in flight. Others get what is known already.
const WAITING_MAX: usize = 4096;

/// A stream that ends with the loss of its instance.
struct Loss {
    end: StreamEnd,
    fault: RequestFault,
    /// When it ends, whatever is known then.
    until: Instant,
}

/// See the module.
pub(crate) struct Losses {
    table: Arc<RoutingTable>,
    driver: Arc<DriverLink>,
    /// To [`Losses::run`], while that is polled.
    queue: Mutex<Option<mpsc::Sender<Loss>>>,
}

impl Losses {
    pub(crate) fn new(table: Arc<RoutingTable>, driver: Arc<DriverLink>) -> Self {
        Self {
            table,
            driver,
            queue: Mutex::default(),
        }
    }

    /// Ends a stream with a fault. Where that is the loss of an instance whose next route is not known yet, [`Losses::run`]
    /// does it, since the caller must not wait.
    pub(crate) fn fail_stream(&self, end: StreamEnd, fault: RequestFault) {
        if self.next_route(&fault).is_none() {
            return end.fail(&self.with_next(fault));
        }
        let until = Instant::now() + NEXT_ROUTE_WAIT;
        let loss = Loss { end, fault, until };
        let queue = self.queue.lock().clone();
        let left = match queue {
            Some(queue) => queue.try_send(loss).map_err(|error| error.into_inner()),
            None => Err(loss),
        };
        if let Err(Loss { end, fault, .. }) = left {
            end.fail(&self.with_next(fault));
        }
    }

    /// Ends one stream after the other, which keeps none waiting past its time: each waits for as long as the first, from its
    /// own loss on. Runs until dropped.
    pub(crate) async fn run(&self) {
        let (sender, mut losses) = mpsc::channel(WAITING_MAX);
        *self.queue.lock() = Some(sender);
        while let Some(Loss { end, fault, until }) = losses.recv().await {
            end.fail(&self.with_next_route(fault, until).await);
        }
    }

    /// Adds what happens next to the loss of an instance, waiting until then for the driver to decide.
    pub(crate) async fn with_next_route(
        &self,
        fault: RequestFault,
        until: Instant,
    ) -> RequestFault {
        while let Some(changed) = self.next_route(&fault) {
            if timeout_at(until, changed).await.is_err() {
                break;
            }
        }
        self.with_next(fault)
    }

    /// The next change of the route, where an instance was lost and the table does not say so yet.
    fn next_route(&self, fault: &RequestFault) -> Option<OwnedNotified> {
        let instance = fault.instance().filter(|_| fault.is_loss())?;
        let (entry, changed) = self.table.watch(instance.as_str())?;
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
        let now_ms = self.driver.now_ms();
        let Some(entry) = self.table.get(instance.as_str()) else {
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
            Route::Waiting { refusal, .. } => format!("It waits for a place: {}", refusal.reason),
            Route::Startable { .. } => "It is started again by the next request".to_owned(),
            Route::Ready { .. } if entry.is_served() => {
                "It is running again. Retry at once".to_owned()
            }
            Route::Ready { .. } => "It is being restarted. Retry in 1000ms".to_owned(),
        };
        fault.with_next(next)
    }
}
