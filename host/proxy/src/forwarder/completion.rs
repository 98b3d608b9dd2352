//! What happens when a request that was sent to an instance has ended: its permit goes back to the breaker, the driver, the
//! metrics and the log learn the outcome, and a stream that its client reads is closed.

use std::{sync::Arc, time::Instant};

use router_core::{
    ErrorKind, Run,
    classify::{CALLER_FAULT_CODES, OutcomeKind},
    permit::Class,
};
use router_values::whole_ms;

use super::{
    loss::Losses,
    permits::{Permits, RequestEnd},
};
use crate::{
    driver_link::DriverLink,
    fault::RequestFault,
    observe::{FinishedRequest, RequestClass},
    report::RequestReporter,
    table::RoutingEntry,
};

/// See the module.
pub(crate) struct Completion {
    pub(crate) reporter: RequestReporter,
    pub(crate) driver: Arc<DriverLink>,
    pub(crate) losses: Losses,
}

/// A request that has ended.
pub(crate) struct EndedRequest<'a> {
    pub(crate) entry: &'a RoutingEntry,
    pub(crate) run: Run,
    pub(crate) class: RequestClass,
    pub(crate) begun: Instant,
    pub(crate) permits: Option<Permits>,
}

impl Completion {
    /// Accounts for the end of a request. `kind` is `None` where that says nothing about the instance; its permit then goes
    /// back without an outcome.
    pub(crate) fn account(
        &self,
        ended: EndedRequest<'_>,
        kind: Option<OutcomeKind>,
        fault: Option<&RequestFault>,
    ) {
        let EndedRequest {
            entry,
            run,
            class,
            begun,
            permits,
        } = ended;
        let elapsed = begun.elapsed();
        let elapsed_ms = whole_ms(elapsed);
        let mut called = None;
        if let Some(mut permits) = permits {
            called = permits.called.take();
            let class = kind.map_or(Class::Ignore, |kind| {
                entry.classes.classify(kind, elapsed_ms)
            });
            let end = RequestEnd {
                kind,
                class,
                elapsed_ms,
            };
            permits.finish(&self.driver, &entry.key.instance, run, end);
        }
        if let Some(fault) = fault.filter(|fault| fault.is_error()) {
            let tool = called.as_deref();
            self.reporter.record(fault, class, tool, elapsed);
            return;
        }
        let (error, is_instance_fault) = match kind {
            Some(OutcomeKind::RpcError(code)) if CALLER_FAULT_CODES.contains(&code) => {
                (Some(ErrorKind::Validation), false)
            }
            Some(OutcomeKind::RpcError(_)) => (Some(ErrorKind::Upstream), true),
            _ => (None, false),
        };
        self.reporter.observer.finished(&FinishedRequest {
            instance: entry.key.instance.as_str(),
            class,
            tool: called.as_deref(),
            elapsed,
            error,
            is_instance_fault,
        });
    }
}
