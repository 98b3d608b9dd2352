//! What is counted of alerts and their deliveries, and what their loop reported last. A loop that does not answer is seen by that, and
//! holds no scrape up: its last report is shown then.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus::{HistogramOpts, HistogramVec};
use router_alerts::{
    Severity,
    delivery::SinkHold,
    event::{Finding, Irregularity},
};
use router_values::unix_ms_now;

/// Boundaries of the time from a firing to its first delivery: a page takes milliseconds, retries seconds to minutes, and what waited
/// for an hour is a P3 that nobody looked after.
const FIRST_DELIVERY_BOUNDARIES_S: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Boundaries of the time that a rule takes for the whole fleet: some milliseconds for a thousand instances.
const EVALUATION_BOUNDARIES_S: [f64; 10] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// How an attempt at a delivery ended, by what the router itself saw. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptResult {
    /// The sink has it.
    Delivered,
    /// Answered 429.
    RateLimited,
    /// Answered 401 or 403.
    AuthError,
    /// Answered another 4xx.
    ClientError,
    /// Answered 5xx.
    ServerError,
    /// Nothing came in time.
    Timeout,
    /// No connection, or it broke: a name, a certificate, a port.
    Connection,
    /// The sink's configuration allows no such request.
    NotSent,
    /// The sink refuses this delivery, whatever was answered.
    Refused,
    /// The sink takes nothing any more, whatever was answered.
    Gone,
    /// The sink's plugin failed, or none serves it.
    Plugin,
    /// Something else; the sink says it in words.
    Other,
}

impl AttemptResult {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Delivered,
        Self::RateLimited,
        Self::AuthError,
        Self::ClientError,
        Self::ServerError,
        Self::Timeout,
        Self::Connection,
        Self::NotSent,
        Self::Refused,
        Self::Gone,
        Self::Plugin,
        Self::Other,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::RateLimited => "rate_limited",
            Self::AuthError => "auth_error",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::NotSent => "not_sent",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Plugin => "plugin",
            Self::Other => "other",
        }
    }
}

/// What became of a delivery in the end. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryOutcome {
    /// The sink has it.
    Delivered,
    /// It was given up, and is kept for an operator.
    DeadLetter,
    /// Somebody acknowledged before it was attempted.
    Cancelled,
    /// Another one said the same or more before it was attempted.
    Collapsed,
    /// A P3 or a P4 fired and was over before anything was attempted: nobody hears of it.
    Dropped,
}

impl DeliveryOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::DeadLetter,
        Self::Cancelled,
        Self::Collapsed,
        Self::Dropped,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::DeadLetter => "dead_letter",
            Self::Cancelled => "cancelled",
            Self::Collapsed => "collapsed",
            Self::Dropped => "dropped",
        }
    }
}

/// Alerts and sinks as their loop sees them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertFigures {
    /// Alerts, by severity and the name of their state.
    pub by_state: BTreeMap<(Severity, &'static str), u64>,
    /// Open ones that nobody acknowledged within the time of their severity.
    pub overdue: BTreeMap<Severity, u64>,
    /// Open ones whose rule does not answer.
    pub stale: u64,
    /// Open ones that come and go.
    pub flapping: u64,
    /// Open ones that nobody is notified of, by what mutes them.
    pub muted: BTreeMap<&'static str, u64>,
    /// Silences in force.
    pub silences: u64,
    /// When each rule answered last, or since when it is waited for, in milliseconds since 1970.
    pub rules_answered_ms: BTreeMap<String, u64>,
    /// Sinks, by name.
    pub sinks: BTreeMap<String, SinkFigures>,
}

/// One sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkFigures {
    /// Deliveries that wait or are under way.
    pub waiting: u64,
    /// Since when the oldest of them does, in milliseconds since 1970.
    pub oldest_ms: Option<u64>,
    /// Deliveries that were given up.
    pub dead_letters: u64,
    /// What keeps it from attempting anything.
    pub held: Option<SinkHold>,
}

/// The alert journal.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct JournalFigures {
    /// Whether its last write failed.
    pub is_refusing: bool,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Share in use of what it may hold, from 0 to 1.
    pub used_share: f64,
    /// Writes since the start.
    pub writes: u64,
    /// How long they took together.
    pub write_time: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct AlertMeters {
    pub(crate) first_delivery: HistogramVec,
    pub(crate) evaluation: HistogramVec,
    pub(crate) state: Mutex<AlertCounts>,
}

/// What a scrape copies.
#[derive(Debug, Clone, Default)]
pub(crate) struct AlertCounts {
    pub(crate) fired: [u64; Severity::ALL.len()],
    /// The sinks that are configured.
    pub(crate) sinks: BTreeMap<String, SinkCounts>,
    /// The rules that are configured.
    pub(crate) rules: BTreeSet<String>,
    pub(crate) audit: AuditFigures,
    pub(crate) figures: AlertFigures,
    pub(crate) journal: JournalFigures,
    pub(crate) is_answering: bool,
}

/// What happened to the deliveries of one sink since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SinkCounts {
    pub(crate) attempts: [u64; AttemptResult::ALL.len()],
    pub(crate) outcomes: [u64; DeliveryOutcome::ALL.len()],
}

/// What the auditor found when it last went over all alerts; nothing at the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AuditFigures {
    pub(crate) at_ms: u64,
    pub(crate) findings: [u64; Irregularity::ALL.len()],
}

impl AlertMeters {
    pub(crate) fn new() -> Self {
        let meters = Self {
            first_delivery: histograms(
                "mcp_alert_first_delivery_seconds",
                "From the firing of an alert, which nobody had muted, until the first sink has it, the log apart: are people reached in time?",
                "severity",
                &FIRST_DELIVERY_BOUNDARIES_S,
            ),
            evaluation: histograms(
                "mcp_alert_rule_evaluation_seconds",
                "Time that a rule takes to answer about the whole fleet: does a rule become too slow?",
                "rule",
                &EVALUATION_BOUNDARIES_S,
            ),
            state: Mutex::default(),
        };
        meters.set_audit(unix_ms_now(), &[]);
        for severity in Severity::ALL {
            meters
                .first_delivery
                .with_label_values(&[severity.as_str()]);
        }
        meters
    }

    /// The rules and sinks that are configured from now on: each has its series at once, and those of others vanish.
    pub fn set_names<'a>(
        &self,
        rules: impl Iterator<Item = &'a str>,
        sinks: impl Iterator<Item = &'a str>,
    ) {
        let mut state = self.state.lock();
        let before = std::mem::take(&mut state.sinks);
        let kept = |sink: &str| before.get(sink).copied().unwrap_or_default();
        state.sinks = sinks.map(|sink| (sink.to_owned(), kept(sink))).collect();
        let rules: BTreeSet<String> = rules.map(str::to_owned).collect();
        for gone in state.rules.difference(&rules) {
            // An error means that it was never there.
            let _ = self.evaluation.remove_label_values(&[gone]);
        }
        for rule in &rules {
            self.evaluation.with_label_values(&[rule]);
        }
        state.rules = rules;
    }

    /// Counts a firing.
    pub fn count_fired(&self, severity: Severity) {
        self.state.lock().fired[severity as usize] += 1;
    }

    /// Counts an attempt at a delivery to a sink that is configured.
    pub fn count_attempt(&self, sink: &str, result: AttemptResult) {
        if let Some(counts) = self.state.lock().sinks.get_mut(sink) {
            counts.attempts[result as usize] += 1;
        }
    }

    /// Counts the end of a delivery to a sink that is configured.
    pub fn count_outcome(&self, sink: &str, outcome: DeliveryOutcome) {
        if let Some(counts) = self.state.lock().sinks.get_mut(sink) {
            counts.outcomes[outcome as usize] += 1;
        }
    }

    /// Takes how long the first delivery of a firing took.
    pub fn observe_first_delivery(&self, severity: Severity, took: Duration) {
        let histogram = self.first_delivery.with_label_values(&[severity.as_str()]);
        histogram.observe(took.as_secs_f64());
    }

    /// Takes how long a rule that is configured took to answer about every page.
    pub fn observe_evaluation(&self, rule: &str, took: Duration) {
        // Held, so that a rule that is taken out meanwhile does not come back.
        let state = self.state.lock();
        if state.rules.contains(rule) {
            let histogram = self.evaluation.with_label_values(&[rule]);
            histogram.observe(took.as_secs_f64());
        }
    }

    /// Takes what the auditor found, at a time in milliseconds since 1970.
    pub fn set_audit(&self, at_ms: u64, findings: &[Finding]) {
        let mut audit = AuditFigures {
            at_ms,
            findings: [0; Irregularity::ALL.len()],
        };
        for finding in findings {
            audit.findings[finding.what as usize] += 1;
        }
        self.state.lock().audit = audit;
    }

    /// Takes how the journal is, and what the loop answered; `None`: nothing in time.
    pub fn report(&self, journal: JournalFigures, figures: Option<AlertFigures>) {
        let mut state = self.state.lock();
        state.journal = journal;
        state.is_answering = figures.is_some();
        if let Some(figures) = figures {
            state.figures = figures;
        }
    }
}

fn histograms(name: &str, help: &str, label: &str, boundaries: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(boundaries.to_vec());
    HistogramVec::new(options, &[label]).expect("the names are valid and the boundaries ascend")
}
