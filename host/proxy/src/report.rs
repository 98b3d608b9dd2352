//! What metrics and log record of a request that ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use parking_lot::Mutex;
use router_core::{ErrorKind, InstanceId};
use router_values::{RateBudget, whole_ms};

use crate::{
    fault::RequestFault,
    observe::{FinishedRequest, ProxyObserver, RequestClass},
};

/// Refused requests and time-outs are logged this often per second at most, each.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// See the module.
pub(crate) struct RequestReporter {
    pub(crate) observer: Arc<dyn ProxyObserver>,
    validation_log: Mutex<RateBudget>,
    timeout_log: Mutex<RateBudget>,
}

impl RequestReporter {
    pub(crate) fn new(observer: Arc<dyn ProxyObserver>) -> Self {
        let budget = || Mutex::new(RateBudget::new(LOGGED_PER_SECOND_MAX, Instant::now()));
        Self {
            observer,
            validation_log: budget(),
            timeout_log: budget(),
        }
    }

    /// Records a request that ended without an answer of the instance, and makes the client's answer.
    pub(crate) fn refuse(
        &self,
        fault: &RequestFault,
        id: &str,
        class: RequestClass,
        begun: Instant,
    ) -> Response {
        self.record(fault, class, None, begun.elapsed());
        fault.response(id)
    }

    /// Records a fault; `tool` is that of [`FinishedRequest`].
    pub(crate) fn record(
        &self,
        fault: &RequestFault,
        class: RequestClass,
        tool: Option<&str>,
        elapsed: Duration,
    ) {
        let instance = fault.instance().map_or("", InstanceId::as_str);
        let kind = fault.error_kind();
        match kind {
            ErrorKind::Validation => {
                if let Some(suppressed) = self.validation_log.lock().spend(Instant::now()) {
                    tracing::warn!(instance, reason = %fault, suppressed, "VALIDATION: request refused");
                }
            }
            ErrorKind::Timeout => {
                if let Some(suppressed) = self.timeout_log.lock().spend(Instant::now()) {
                    tracing::warn!(
                        instance,
                        elapsed_ms = whole_ms(elapsed),
                        suppressed,
                        "TIMEOUT: the instance did not answer in time"
                    );
                }
            }
            _ => tracing::debug!(instance, kind = kind.as_str(), reason = %fault, "request failed"),
        }
        self.observer.finished(&FinishedRequest {
            instance,
            class,
            tool,
            elapsed,
            error: Some(kind),
            is_instance_fault: fault.is_instance_fault(),
        });
    }
}
