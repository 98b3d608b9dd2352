//! What is counted for each request: resolved once per instance, then atomics only.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use prometheus::Histogram;
use router_core::{ErrorKind, InstanceId, Now};

use crate::{
    tools::ToolMeters,
    window::{Figures, FineWindow, Mark},
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered; also with a tool's `isError`.
    Answered,
    /// It failed, and not through the client's fault.
    Failed(ErrorKind),
    /// It failed through the client's own fault: counted by kind, but no error of the instance or the fleet.
    ClientFault(ErrorKind),
    /// The breaker rejected it: counted as [`ErrorKind::Breaker`], apart from the requests and their durations.
    Rejected,
}

impl Outcome {
    fn kind(self) -> Option<ErrorKind> {
        match self {
            Self::Answered => None,
            Self::Failed(kind) | Self::ClientFault(kind) => Some(kind),
            Self::Rejected => Some(ErrorKind::Breaker),
        }
    }

    fn mark(self, elapsed: Duration) -> Mark {
        match self {
            Self::Rejected => Mark::Rejected,
            Self::Answered | Self::ClientFault(_) => Mark::Ended {
                elapsed,
                is_error: false,
            },
            Self::Failed(_) => Mark::Ended {
                elapsed,
                is_error: true,
            },
        }
    }
}

/// What is counted over the whole fleet.
#[derive(Debug)]
pub(crate) struct FleetMeter {
    pub(crate) duration: Histogram,
    pub(crate) errors: [AtomicU64; ErrorKind::ALL.len()],
    pub(crate) tally: MeterCounts,
}

impl FleetMeter {
    pub(crate) fn observe(&self, now: Now, elapsed: Duration, outcome: Outcome) {
        if let Some(kind) = outcome.kind() {
            self.count_error(kind);
        }
        if outcome != Outcome::Rejected {
            self.duration.observe(elapsed.as_secs_f64());
        }
        self.tally.record(now, elapsed, outcome);
    }

    pub(crate) fn count_error(&self, kind: ErrorKind) {
        self.errors[kind as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counters and a window: of one instance, or of the fleet.
#[derive(Debug, Default)]
pub(crate) struct MeterCounts {
    pub(crate) requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) rejections: AtomicU64,
    window: FineWindow,
}

impl MeterCounts {
    fn record(&self, now: Now, elapsed: Duration, outcome: Outcome) {
        let mark = outcome.mark(elapsed);
        match mark {
            Mark::Rejected => self.rejections.fetch_add(1, Ordering::Relaxed),
            Mark::Ended { is_error, .. } => {
                if is_error {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                }
                self.requests.fetch_add(1, Ordering::Relaxed)
            }
        };
        self.window.record(now, mark);
    }

    pub(crate) fn figures(&self, now: Now) -> Figures {
        self.window.figures(now)
    }
}

/// The counters of one instance. Cheap to clone; lock-free and without allocation to use. A clone that outlives its instance
/// still counts for the fleet, and for no series.
#[derive(Clone)]
pub struct InstanceMeter {
    pub(crate) instance: InstanceId,
    pub(crate) fleet: Arc<FleetMeter>,
    pub(crate) tally: Arc<MeterCounts>,
    /// Where calls are counted by tool too.
    pub(crate) tools: Arc<ArcSwapOption<ToolMeters>>,
}

impl InstanceMeter {
    /// Counts a request that ended `elapsed` after its arrival.
    pub fn observe(&self, now: Now, elapsed: Duration, outcome: Outcome) {
        self.fleet.observe(now, elapsed, outcome);
        self.tally.record(now, elapsed, outcome);
    }

    /// Counts the call of a tool. Without [`crate::Metrics::set_tools`] as [`InstanceMeter::observe`].
    pub fn observe_call(&self, tool: &str, now: Now, elapsed: Duration, outcome: Outcome) {
        self.observe(now, elapsed, outcome);
        if let Some(tools) = &*self.tools.load() {
            tools.record(tool, now, outcome.mark(elapsed));
        }
    }

    /// The figures of the instance over the last five minutes.
    #[must_use]
    pub fn figures(&self, now: Now) -> Figures {
        self.tally.figures(now)
    }
}

impl fmt::Debug for InstanceMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceMeter({})", self.instance)
    }
}
