//! The metrics: where they are counted, who sets what, and their text.
//!
//! Requests are counted through atomics. What other rooms know is set here as a whole and rendered at the next scrape. Series of
//! an instance come and go with it, because they are made from the fleet's latest view each time.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use prometheus::{Histogram, HistogramOpts};
use router_core::{ErrorKind, InstanceId, Now, view::FleetView};

use crate::{
    alerts::AlertMeters,
    count::Count,
    figures::{DatabaseFigures, PluginFigures, SpoolFigures},
    meter::{FleetMeter, InstanceMeter, MeterCounts, Outcome},
    meters::Meters,
    tools::{ToolFigures, ToolMeters},
    window::Figures,
};

/// Boundaries of `mcp_request_duration_seconds`. The fast end resolves a router in front of a fast tool, the slow end the
/// `REQUEST_TIMEOUT` of five minutes; 0.5 is the runbook's.
const DURATION_BOUNDARIES_S: [f64; 17] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0, 300.0,
];

/// Boundaries of the driver's lag: a round takes microseconds, and from a second on something is badly wrong.
const LAG_BOUNDARIES_S: [f64; 6] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0];

/// Policies whose refused plans are counted. Past it those are forgotten that are no plugins any more.
const REFUSED_PLANS_MAX: usize = 256;

/// All metrics of the router. Share it in an `Arc`.
pub struct Metrics {
    pub(crate) started: Instant,
    pub(crate) fleet: Arc<FleetMeter>,
    pub(crate) counts: [AtomicU64; Count::ALL.len()],
    pub(crate) loop_lag: Histogram,
    pub(crate) log_lines_dropped: AtomicU64,
    /// By policy and its kind.
    pub(crate) refused_plans: Mutex<BTreeMap<(String, &'static str), u64>>,
    pub(crate) meters: Meters,
    pub(crate) alerts: AlertMeters,
    pub(crate) reported: Mutex<Reported>,
}

/// What other rooms reported last.
#[derive(Clone, Default)]
pub(crate) struct Reported {
    pub(crate) fleet: Option<Arc<FleetView>>,
    pub(crate) plugins: Vec<PluginFigures>,
    pub(crate) database: Option<DatabaseFigures>,
    pub(crate) errors: [u64; ErrorKind::ALL.len()],
    pub(crate) spool: SpoolFigures,
    pub(crate) sessions_open: u64,
    pub(crate) streams_open: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that start now, at 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            fleet: Arc::new(FleetMeter {
                duration: histogram(
                    "mcp_request_duration_seconds",
                    "Time from the arrival of an MCP request to its answer. Rejections by a breaker are not in it.",
                    &DURATION_BOUNDARIES_S,
                ),
                errors: [const { AtomicU64::new(0) }; ErrorKind::ALL.len()],
                tally: MeterCounts::default(),
            }),
            counts: [const { AtomicU64::new(0) }; Count::ALL.len()],
            loop_lag: histogram(
                "mcp_router_loop_lag_seconds",
                "How late the loop that decides everything came to a round.",
                &LAG_BOUNDARIES_S,
            ),
            log_lines_dropped: AtomicU64::new(0),
            refused_plans: Mutex::default(),
            meters: Meters::default(),
            alerts: AlertMeters::new(),
            reported: Mutex::default(),
        }
    }

    /// What is counted of alerts.
    #[must_use]
    pub fn alerts(&self) -> &AlertMeters {
        &self.alerts
    }

    /// Counts a request to an instance, by name. An unknown name (a scan, or an instance just removed) counts for the fleet
    /// only, so that nobody can invent series. Lock-free, allocates nothing.
    pub fn observe(&self, instance: &str, now: Now, elapsed: Duration, outcome: Outcome) {
        let known = self
            .meters
            .with(instance, |meter| meter.observe(now, elapsed, outcome));
        if known.is_none() {
            self.fleet.observe(now, elapsed, outcome);
        }
    }

    /// Counts the call of a tool, by the tool's name too where [`Metrics::set_tools`] named it. Lock-free; allocates nothing but, once,
    /// the window of a tool that was never called before.
    pub fn observe_call(
        &self,
        (instance, tool): (&str, &str),
        now: Now,
        elapsed: Duration,
        outcome: Outcome,
    ) {
        let observe = |meter: &InstanceMeter| meter.observe_call(tool, now, elapsed, outcome);
        if self.meters.with(instance, observe).is_none() {
            self.fleet.observe(now, elapsed, outcome);
        }
    }

    /// The counters of an instance of the latest view, to be kept by the caller.
    #[must_use]
    pub fn meter(&self, instance: &InstanceId) -> Option<InstanceMeter> {
        self.meters.with(instance.as_str(), InstanceMeter::clone)
    }

    /// Counts an error that is no end of a request: of the database, a plugin, a start, the router itself.
    pub fn count_error(&self, kind: ErrorKind) {
        self.fleet.count_error(kind);
    }

    /// Counts something that happened.
    pub fn count(&self, what: Count) {
        self.count_many(what, 1);
    }

    /// Counts something that happened several times.
    pub fn count_many(&self, what: Count, times: u64) {
        self.counts[what as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// Counts a plan of a policy that was refused, by the policy's kind.
    pub fn count_refused_plan(&self, policy: &str, kind: &'static str) {
        let mut counts = self.refused_plans.lock();
        if counts.len() >= REFUSED_PLANS_MAX {
            let reported = self.reported.lock();
            let is_there = |name: &str| reported.plugins.iter().any(|plugin| plugin.name == name);
            counts.retain(|(policy, _), _| is_there(policy));
        }
        *counts.entry((policy.to_owned(), kind)).or_default() += 1;
    }

    /// Takes the lag of one round of the driver's loop.
    pub fn observe_loop_lag(&self, lag: Duration) {
        self.loop_lag.observe(lag.as_secs_f64());
    }

    /// Figures over the last five minutes: of an instance, or of the fleet. All zero for an instance that is not there.
    #[must_use]
    pub fn figures(&self, instance: Option<&InstanceId>, now: Now) -> Figures {
        match instance {
            None => self.fleet.tally.figures(now),
            Some(instance) => {
                let figures = |meter: &InstanceMeter| meter.figures(now);
                let figures = self.meters.with(instance.as_str(), figures);
                figures.unwrap_or_default()
            }
        }
    }

    /// Figures of an instance's tools over the last five minutes, of the `busiest_max` busiest apart.
    #[must_use]
    pub fn tool_figures(&self, instance: &InstanceId, now: Now, busiest_max: usize) -> ToolFigures {
        let figures = |meter: &InstanceMeter| {
            let tools = meter.tools.load();
            tools.as_ref().map(|tools| tools.figures(now, busiest_max))
        };
        let found = self.meters.with(instance.as_str(), figures);
        found.flatten().unwrap_or_default()
    }

    /// Calls of these tools of an instance are counted apart from now on; none: of no tool.
    pub fn set_tools(&self, instance: &InstanceId, tools: &[Arc<str>]) {
        let _one_writer = self.reported.lock();
        self.meters.with(instance.as_str(), |meter| {
            let before = meter.tools.load();
            let after =
                (!tools.is_empty()).then(|| Arc::new(ToolMeters::new(tools, before.as_deref())));
            meter.tools.store(after);
        });
    }

    /// Takes the latest view of the fleet. Instances that are new in it are counted from now on, the series of those that are
    /// gone vanish. Call it before routes to a new instance are published.
    pub fn set_fleet(&self, view: Arc<FleetView>) {
        // The lock also orders writers, so that the meters are those of the view.
        let mut reported = self.reported.lock();
        for instance in &view.instances {
            self.meters
                .add(&instance.id, || self.new_meter(&instance.id));
        }
        self.meters.retain(|id| view.instance(id).is_some());
        reported.fleet = Some(view);
    }

    /// Counts one instance more from now on, which the next view will have. Call it before a route to it is published.
    pub fn add_instance(&self, instance: &InstanceId) {
        let _one_writer = self.reported.lock();
        self.meters.add(instance, || self.new_meter(instance));
    }

    /// Drops the counters of an instance, which the next view will not have.
    pub fn remove_instance(&self, instance: &InstanceId) {
        let _one_writer = self.reported.lock();
        self.meters.remove(instance.as_str());
    }

    fn new_meter(&self, instance: &InstanceId) -> InstanceMeter {
        InstanceMeter {
            instance: instance.clone(),
            fleet: Arc::clone(&self.fleet),
            tally: Arc::default(),
            tools: Arc::default(),
        }
    }

    /// Takes the state of all plugins; those not named vanish.
    pub fn set_plugins(&self, plugins: Vec<PluginFigures>) {
        self.reported.lock().plugins = plugins;
    }

    /// Takes the state of the database.
    pub fn set_database(&self, database: DatabaseFigures) {
        self.reported.lock().database = Some(database);
    }

    /// Takes how many errors of a kind another room has counted since the start. They are added to those counted here: no error
    /// may be in both.
    pub fn set_errors(&self, kind: ErrorKind, total: u64) {
        self.reported.lock().errors[kind as usize] = total;
    }

    /// Takes what waits in the spool.
    pub fn set_spool(&self, spool: SpoolFigures) {
        self.reported.lock().spool = spool;
    }

    /// Takes how many client sessions and event streams are open.
    pub fn set_sessions(&self, sessions: u64, streams: u64) {
        let mut reported = self.reported.lock();
        reported.sessions_open = sessions;
        reported.streams_open = streams;
    }

    /// Takes how many log lines were dropped so far ([`crate::LogControl::lines_dropped`]).
    pub fn set_log_lines_dropped(&self, total: u64) {
        self.log_lines_dropped.store(total, Ordering::Relaxed);
    }
}

fn histogram(name: &str, help: &str, boundaries: &[f64]) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(boundaries.to_vec());
    Histogram::with_opts(options).expect("the name is valid and the boundaries ascend")
}

#[cfg(test)]
mod tests;
