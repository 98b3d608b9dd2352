//! The metrics with what they are rendered from: the clock, and the state of the rooms that count for themselves.

use router_core::{ErrorKind, InstanceId};
use router_proxy::{FinishedRequest, Proxy, ProxyCount, ProxyObserver};
use router_store::Store;
use router_telemetry::{
    Count, DatabaseFigures, Figures, LogControl, Metrics, Outcome, PluginFigures, SpoolFigures,
    ToolFigures,
};

use crate::clock::Clock;

/// See the module.
pub(crate) struct RouterMeters {
    /// Where everything is counted.
    pub(crate) metrics: Metrics,
    clock: Clock,
    logs: LogControl,
}

impl RouterMeters {
    /// Meters that start at 0.
    pub(crate) fn new(clock: Clock, logs: LogControl) -> Self {
        Self {
            metrics: Metrics::new(),
            clock,
            logs,
        }
    }

    /// Figures over the last 5 minutes.
    pub(crate) fn figures(&self, instance: Option<&InstanceId>) -> Figures {
        self.metrics.figures(instance, self.clock.now())
    }

    /// The same of its tools, of the `busiest_max` busiest apart.
    pub(crate) fn tool_figures(&self, instance: &InstanceId, busiest_max: usize) -> ToolFigures {
        self.metrics
            .tool_figures(instance, self.clock.now(), busiest_max)
    }

    /// Everything as Prometheus text, with the fleet as it was set last.
    pub(crate) fn render(
        &self,
        store: &Store,
        plugins: Vec<PluginFigures>,
        proxy: &Proxy,
    ) -> String {
        let pool = store.pool();
        self.metrics.set_database(DatabaseFigures {
            connected: store.state().borrow().is_connected(),
            active: pool.in_use,
            idle: pool.idle,
            max: pool.max,
        });
        let kept = store.counters();
        self.metrics.set_errors(ErrorKind::Database, kept.errors);
        self.metrics.set_spool(SpoolFigures {
            rows: kept.waiting,
            lost: kept.lost,
            rejected: kept.rejected,
            left_out: kept.left_out,
        });
        let open = proxy.open();
        self.metrics.set_sessions(open.sessions, open.streams);
        self.metrics.set_plugins(plugins);
        self.metrics
            .set_log_lines_dropped(self.logs.lines_dropped());
        self.metrics.encode(self.clock.now())
    }
}

impl ProxyObserver for RouterMeters {
    fn finished(&self, finished: &FinishedRequest<'_>) {
        let outcome = match (finished.error, finished.is_instance_fault) {
            (None, _) => Outcome::Answered,
            (Some(ErrorKind::Breaker), _) => Outcome::Rejected,
            (Some(ErrorKind::Validation), _) => Outcome::ClientFault(ErrorKind::Validation),
            (Some(ErrorKind::Upstream), false) => Outcome::ClientFault(ErrorKind::Upstream),
            (Some(kind), _) => Outcome::Failed(kind),
        };
        let now = self.clock.now();
        let (instance, elapsed) = (finished.instance, finished.elapsed);
        match finished.tool {
            Some(tool) => self
                .metrics
                .observe_call((instance, tool), now, elapsed, outcome),
            None => self.metrics.observe(instance, now, elapsed, outcome),
        }
    }

    fn count(&self, what: ProxyCount) {
        self.metrics.count(match what {
            ProxyCount::DriverEventDropped => Count::DriverEventDropped,
            ProxyCount::SlowStreamClosed => Count::SlowStreamClosed,
            ProxyCount::StreamEventDropped => Count::StreamEventDropped,
            ProxyCount::SessionOpened => Count::SessionOpened,
            ProxyCount::SessionRevived => Count::SessionRevived,
            ProxyCount::SessionEnded => Count::SessionEnded,
            ProxyCount::SessionForgotten => Count::SessionForgotten,
            ProxyCount::StreamResumed => Count::StreamResumed,
        });
    }
}
