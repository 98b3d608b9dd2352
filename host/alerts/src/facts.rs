//! What a rule is asked about: the record `fleet` of `wit/deps/alerts/rule.wit` and its parts.

use std::sync::Arc;

use router_core::InstanceId;

/// Most instances in one question; a fleet of more is asked about in pages.
pub const PAGE_INSTANCES_MAX: usize = 5_000;

/// The fleet as a rule sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetFacts {
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
    /// Which part of the instances follows. Everything else is in each page.
    pub page: FleetPage,
    /// Instances, ordered by id; at most [`PAGE_INSTANCES_MAX`].
    pub instances: Vec<InstanceFacts>,
    /// What is the same in each page, and for each rule that is asked at this moment.
    pub router: Arc<RouterState>,
}

/// Which part of the fleet a question is about. What held before and is not named any more is resolved when every page was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FleetPage {
    /// Which one, from 0.
    pub number: u32,
    /// How many there are, at least 1.
    pub count: u32,
}

impl FleetPage {
    /// The only page of a fleet of at most [`PAGE_INSTANCES_MAX`].
    pub const ONLY: Self = Self {
        number: 0,
        count: 1,
    };
}

/// One instance as a rule sees it; of one with a process per session: its worst process.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceFacts {
    /// Which.
    pub instance: InstanceId,
    /// The template that it is made from, where it is from one.
    pub template: Option<String>,
    /// The one word of `/api/health/mcp`.
    pub status: &'static str,
    /// `idle`, `stopped`, `starting`, `ready`, `draining`, `backoff` or `crash_loop`.
    pub lifecycle: &'static str,
    /// Why it is so, as an operator reads it.
    pub reason: String,
    /// `CLOSED`, `OPEN` or `HALF_OPEN`.
    pub breaker: &'static str,
    /// Times that its breaker opened in a row, without a successful probe between.
    pub openings: u32,
    /// Share of errors over the last 5 minutes, from 0 to 1; `None` under 20 requests.
    pub error_share: Option<f64>,
    /// 95th percentile of the duration of requests over the last 5 minutes, in milliseconds; `None` under 20 requests.
    pub p95_ms: Option<f64>,
    /// Starts after a failure over the last 5 minutes.
    pub restarts_recent: u32,
    /// Resident memory of the whole process tree, in bytes, where it could be read.
    pub memory_bytes: Option<u64>,
    /// What its template allows it, in bytes, where it does.
    pub memory_limit_bytes: Option<u64>,
    /// How long ago the instance last answered anything, in milliseconds; `None` when it does not run.
    pub heartbeat_age_ms: Option<u64>,
    /// Further facts about it.
    pub attributes: Vec<(String, String)>,
}

/// What a rule is shown beside the instances.
#[derive(Debug, Clone, PartialEq)]
pub struct RouterState {
    /// All instances together, those of other pages among them.
    pub totals: FleetTotals,
    /// Plugins, ordered by name.
    pub plugins: Vec<PluginFacts>,
    /// Alert sinks, ordered by name.
    pub sinks: Vec<SinkFacts>,
    /// `connected` or `disconnected`.
    pub database: &'static str,
    /// Share of the connection pool in use, from 0 to 1.
    pub pool_share: f64,
    /// Connections to the database, of whomever, by its own count; `None` where it has none.
    pub database_connections: Option<u32>,
    /// The disks that the router writes to.
    pub disks: Vec<DiskFacts>,
    /// Running instances that there should be room for, by the capacity policy.
    pub capacity_required: Option<u32>,
    /// The limits of the capacity plan in force.
    pub capacity_limits: Vec<LimitFacts>,
    /// The soonest limit that will be reached, and when, as an operator reads it.
    pub capacity_forecast: Option<String>,
    /// When that is, in milliseconds since 1970.
    pub capacity_forecast_ms: Option<u64>,
    /// How long the router has run, in milliseconds.
    pub uptime_ms: u64,
    /// Further facts about the fleet and the router.
    pub attributes: Vec<(String, String)>,
}

/// All instances together.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FleetTotals {
    /// How many there are.
    pub instances: u32,
    /// Those that are meant to run.
    pub wanted: u32,
    /// Those of them that can serve or are about to: neither unhealthy nor failing to start, and their breaker is not OPEN.
    pub able: u32,
    /// Breakers that are in force.
    pub breakers: u32,
    /// Those of them that are OPEN or HALF_OPEN.
    pub breakers_open: u32,
    /// Those of them that opened within 10 s: in the last 10 s; and once more than half did, as many as are not CLOSED again, until
    /// half are.
    pub breakers_opened_together: u32,
    /// Share of errors over the last 5 minutes, from 0 to 1; `None` under 20 requests.
    pub error_share: Option<f64>,
    /// 95th percentile of the duration of requests over the last 5 minutes, in milliseconds; `None` under 20 requests.
    pub p95_ms: Option<f64>,
}

/// A limit of the capacity plan in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitFacts {
    /// Of what, as an operator reads it.
    pub of: String,
    /// How much of it is in use.
    pub used: u64,
    /// How much may be.
    pub most: u64,
    /// Further facts about it.
    pub attributes: Vec<(String, String)>,
}

/// Why the newest file or settings of a plugin do not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginRefusal {
    /// `candidate.code` of `/api/plugins`.
    pub code: &'static str,
    /// The reason, as an operator reads it.
    pub reason: String,
}

/// One plugin as a rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFacts {
    /// Its name.
    pub name: String,
    /// The world that it is built for.
    pub world: String,
    /// The one word of `/api/plugins`.
    pub state: &'static str,
    /// Why it does not serve, as an operator reads it.
    pub reason: Option<String>,
    /// Whether the configuration names it.
    pub in_use: bool,
    /// Where its newest file or settings were refused, also while the generation before serves.
    pub refusal: Option<PluginRefusal>,
    /// Why its newest generation is held, while it is.
    pub held: Option<String>,
    /// Since when it is in quarantine, in milliseconds since 1970.
    pub quarantined_since_ms: Option<u64>,
    /// Questions that the built-in default answered in its place, since then.
    pub default_answers: u64,
    /// Further facts about it.
    pub attributes: Vec<(String, String)>,
}

/// One alert sink as a rule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkFacts {
    /// Its name: that of `[sink.NAME]`.
    pub name: String,
    /// Since when its deliveries fail, in milliseconds since 1970.
    pub failing_since_ms: Option<u64>,
    /// Why the last one failed, as an operator reads it.
    pub reason: Option<String>,
    /// Why nothing is delivered there any more, until its configuration or a secret changes or somebody tries again.
    pub gone: Option<String>,
    /// Deliveries that wait.
    pub waiting: u32,
    /// Deliveries that were refused and lie among the dead letters.
    pub dead_letters: u32,
    /// Further facts about it.
    pub attributes: Vec<(String, String)>,
}

/// One file system as a rule sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskFacts {
    /// A path on it that the router writes to.
    pub path: String,
    /// Share of it in use, from 0 to 1.
    pub used_share: f64,
    /// Further facts about it.
    pub attributes: Vec<(String, String)>,
}
