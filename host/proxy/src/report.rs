//! What metrics and log record of a request that ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::response::Response;
use parking_lot::Mutex;
use router_core::{ErrorKind, InstanceId};

use crate::{
    fault::RequestFault,
    observe::{FinishedRequest, ProxyObserver, RequestClass},
};

/// Refused requests and time-outs are logged this often per second at most, each.
const LOGGED_PER_SECOND_MAX: u32 = 10;

/// See the module.
pub(crate) struct Reporter {
    pub(crate) observer: Arc<dyn ProxyObserver>,
    validation_log: Mutex<LogBudget>,
    timeout_log: Mutex<LogBudget>,
}

impl Reporter {
    pub(crate) fn new(observer: Arc<dyn ProxyObserver>) -> Self {
        Self {
            observer,
            validation_log: Mutex::default(),
            timeout_log: Mutex::default(),
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
        self.record(fault, class, begun.elapsed());
        fault.response(id)
    }

    /// Records a fault.
    pub(crate) fn record(&self, fault: &RequestFault, class: RequestClass, elapsed: Duration) {
        let instance = fault.instance().map_or("", InstanceId::as_str);
        let kind = fault.error_kind();
        match kind {
            ErrorKind::Validation => {
                if let Some(suppressed) = self.validation_log.lock().spend() {
                    tracing::warn!(instance, reason = %fault, suppressed, "VALIDATION: request refused");
                }
            }
            ErrorKind::Timeout => {
                if let Some(suppressed) = self.timeout_log.lock().spend() {
                    let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(
                        instance,
                        elapsed_ms,
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
            elapsed,
            error: Some(kind),
            is_instance_fault: fault.is_instance_fault(),
        });
    }
}

/// Lets [`LOGGED_PER_SECOND_MAX`] lines through per second and counts the rest.
struct LogBudget {
    since: Instant,
    spent: u32,
    suppressed: u64,
}

impl Default for LogBudget {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            spent: 0,
            suppressed: 0,
        }
    }
}

impl LogBudget {
    /// How many lines were left out since the last one, where this one may be written.
    fn spend(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            self.since = Instant::now();
            self.spent = 0;
        }
        if self.spent >= LOGGED_PER_SECOND_MAX {
            self.suppressed += 1;
            return None;
        }
        self.spent += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}
