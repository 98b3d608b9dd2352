//! Requests of a sink's call: composed on the thread of guests, and sent on a runtime where no guest runs, so that what sending takes
//! of the processor is not counted as the guest's, and what a guest takes holds up nobody's request.

use std::time::Duration;

use router_egress::{Egress, EgressCall, EgressError, EgressRequest, EgressResponse};
use tokio::{runtime::Handle, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// How the last request of a delivery ended, as the router saw it: what the sink makes of it are words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// It was answered, with this HTTP status.
    Answered(u16),
    /// Nothing came before the deadline.
    TimedOut,
    /// No connection, or it broke.
    Failed,
    /// It was not sent: not allowed, or no request.
    NotSent,
}

/// What a store of a sink has beside that of other plugins.
pub(crate) struct Sending {
    egress: Egress,
    runtime: Handle,
    /// That of the delivery in progress; in other calls nothing is sent.
    call: Option<EgressCall>,
    /// Of the delivery in progress.
    last: Option<ExchangeEnd>,
}

impl ExchangeEnd {
    fn of(sent: &Result<EgressResponse, EgressError>) -> Self {
        match sent {
            Ok(response) => Self::Answered(response.status),
            Err(EgressError::TimedOut) => Self::TimedOut,
            Err(EgressError::Failed(_)) => Self::Failed,
            Err(
                EgressError::Denied(_) | EgressError::MisplacedSecret(_) | EgressError::Invalid(_),
            ) => Self::NotSent,
        }
    }
}

impl Sending {
    pub(crate) fn new(egress: Egress, runtime: Handle) -> Self {
        Self {
            egress,
            runtime,
            call: None,
            last: None,
        }
    }

    /// A delivery begins, whose requests have so much time together.
    pub(crate) fn begin(&mut self, within: Duration) {
        self.call = Some(self.egress.begin(Instant::now() + within));
        self.last = None;
    }

    /// How the last request of the delivery ended; `None`: there was none, or it has not ended.
    pub(crate) fn last(&self) -> Option<ExchangeEnd> {
        self.last
    }

    /// The egress of the delivery in progress.
    pub(crate) fn call(&mut self) -> Option<&mut EgressCall> {
        self.call.as_mut()
    }

    /// Sends a request, as long as this is polled.
    pub(crate) async fn send(
        &mut self,
        request: EgressRequest,
    ) -> Result<EgressResponse, EgressError> {
        let Some(call) = &mut self.call else {
            let reason = "requests are sent in deliveries only".to_owned();
            return Err(EgressError::Invalid(reason));
        };
        self.last = None;
        let sent = self.runtime.spawn(call.send(request));
        let sent = AbortOnDropHandle::new(sent).await;
        let sent = sent.unwrap_or_else(|error| Err(EgressError::Failed(error.to_string())));
        self.last = Some(ExchangeEnd::of(&sent));
        sent
    }
}
