//! What happens when a request that was sent to an instance has ended: its permit goes back to the breaker, the driver, the
//! metrics and the log learn the outcome, and a stream that its client reads is closed.

use std::{sync::Arc, time::Instant};

use router_core::{
    ErrorKind, Run,
    classify::{CALLER_FAULT_CODES, OutcomeKind},
    event::TrafficEvent,
    permit::{Class, Permit},
};
use router_values::whole_ms;

use super::loss::Losses;
use crate::{
    driver_link::DriverLink,
    fault::RequestFault,
    observe::{FinishedRequest, RequestClass},
    report::Reporter,
    table::RoutingEntry,
};

/// See the module.
pub(crate) struct Completion {
    pub(crate) reporter: Reporter,
    pub(crate) driver: Arc<DriverLink>,
    pub(crate) losses: Losses,
}

/// A request that has ended.
pub(crate) struct EndedRequest<'a> {
    pub(crate) entry: &'a RoutingEntry,
    pub(crate) run: Run,
    pub(crate) class: RequestClass,
    pub(crate) begun: Instant,
    pub(crate) permit: Option<Permit>,
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
            permit,
        } = ended;
        let elapsed = begun.elapsed();
        let outcome = kind.map_or(Class::Ignore, |kind| {
            entry.classes.classify(kind, whole_ms(elapsed))
        });
        if let Some(report) = permit.and_then(|permit| permit.finish(outcome)) {
            self.driver.send(TrafficEvent::Outcome {
                instance: entry.key.instance.clone(),
                run,
                report,
                upstream_died: matches!(
                    kind,
                    Some(OutcomeKind::UpstreamDied | OutcomeKind::Socket)
                ),
            });
        }
        if let Some(fault) = fault.filter(|fault| fault.is_error()) {
            self.reporter.record(fault, class, elapsed);
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
            elapsed,
            error,
            is_instance_fault,
        });
    }
}
