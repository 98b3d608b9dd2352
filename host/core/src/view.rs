//! What people and metrics see of a fleet: plain values, taken between two steps.

mod breaker;
mod capacity;

use crate::{
    health::Health,
    id::{InstanceId, Run, SlotKey},
    spec::Source,
};

pub use breaker::{BreakerView, ObservedPlanView, PlanView, RefusedPlanView, ToolBreakerView};
pub use capacity::{
    AdmissionView, CapacityView, PlanInForce, PlanRefused, StartRefused, Unanswered,
};

/// The lifecycle of a slot and, combined, of an instance. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lifecycle {
    /// Not running for lack of use; starts on use.
    Idle,
    /// Stopped by an operator; starts only by one.
    Stopped,
    /// A process is being started, or is about to be.
    Starting,
    /// Handshake answered, tools listed.
    Ready,
    /// Being stopped.
    Draining,
    /// Failed; waits for its next start.
    Backoff,
    /// Failed too often; waits for the slow retry or an operator.
    CrashLoop,
}

impl Lifecycle {
    /// The name shown in JSON, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Backoff => "backoff",
            Self::CrashLoop => "crash_loop",
        }
    }
}

/// The one word of `status`. Closed; the summary partitions by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Ready and healthy.
    Healthy,
    /// Ready and degraded.
    Degraded,
    /// Ready and unhealthy, or in back-off or crash loop.
    Unhealthy,
    /// See [`Lifecycle::Starting`].
    Starting,
    /// See [`Lifecycle::Idle`].
    Idle,
    /// See [`Lifecycle::Stopped`].
    Stopped,
    /// See [`Lifecycle::Draining`].
    Draining,
}

impl Status {
    /// The status that a lifecycle and (when ready) a health make.
    #[must_use]
    pub fn of(lifecycle: Lifecycle, health: Option<Health>) -> Self {
        match (lifecycle, health) {
            (Lifecycle::Ready, Some(Health::Degraded)) => Self::Degraded,
            (Lifecycle::Ready, Some(Health::Unhealthy))
            | (Lifecycle::Backoff | Lifecycle::CrashLoop, _) => Self::Unhealthy,
            (Lifecycle::Ready, Some(Health::Healthy) | None) => Self::Healthy,
            (Lifecycle::Starting, _) => Self::Starting,
            (Lifecycle::Idle, _) => Self::Idle,
            (Lifecycle::Stopped, _) => Self::Stopped,
            (Lifecycle::Draining, _) => Self::Draining,
        }
    }

    /// The name shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Draining => "draining",
        }
    }
}

/// The whole fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetView {
    /// Every instance, by id.
    pub instances: Vec<InstanceView>,
    /// Their counts.
    pub summary: Summary,
    /// Whether the router as a whole can serve.
    pub readiness: ReadinessView,
    /// How much is in use, needed and allowed.
    pub capacity: CapacityView,
    /// `Shutdown` was received.
    pub shutting_down: bool,
    /// `AdoptionFinished` was received.
    pub adoption_finished: bool,
}

impl FleetView {
    /// One instance, by id.
    #[must_use]
    pub fn instance(&self, id: &InstanceId) -> Option<&InstanceView> {
        let at = self
            .instances
            .binary_search_by(|view| view.id.cmp(id))
            .ok()?;
        self.instances.get(at)
    }
}

/// One instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Where it is defined.
    pub source: Source,
    /// One word for everything.
    pub status: Status,
    /// Combined over its slots.
    pub lifecycle: Lifecycle,
    /// The worst of its ready slots; `None` when none is ready.
    pub health: Option<Health>,
    /// Why it is not simply healthy or idle, for people; empty otherwise.
    pub reason: String,
    /// The process of its first living slot.
    pub pid: Option<u32>,
    /// The run of that slot.
    pub run: Option<Run>,
    /// Time since that slot became ready.
    pub uptime_ms: Option<u64>,
    /// The breaker.
    pub breaker: BreakerView,
    /// By which plan it goes; only where one instance is shown.
    pub plan: Option<Box<PlanView>>,
    /// Tools that have breakers of their own.
    pub tools_guarded: u32,
    /// Those of them that are not CLOSED, by name.
    pub tool_breakers: Vec<ToolBreakerView>,
    /// Milliseconds until the router tries again by itself: the next start in back-off and crash loop, else the end of OPEN.
    pub retry_after_ms: Option<u64>,
    /// `crashLoopDetected`: no slot serves or is about to, and one is in crash loop.
    pub crash_loop: bool,
    /// Starts that followed an earlier run without an idle or stopped time between, over the life of this router.
    pub restarts: u64,
    /// The last failure, for people.
    pub last_error: Option<String>,
    /// Resident memory of all its slots, where known.
    pub memory_bytes: Option<u64>,
    /// Requests in flight at the last sample.
    pub in_flight: u32,
    /// Whether the router means it to run.
    pub wanted: bool,
    /// Its slots.
    pub slots: Vec<SlotView>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotView {
    /// Which.
    pub key: SlotKey,
    /// The lifecycle.
    pub lifecycle: Lifecycle,
    /// The health, when ready.
    pub health: Option<Health>,
    /// Why, for people.
    pub reason: String,
    /// The living (or starting) run.
    pub run: Option<Run>,
    /// Its process.
    pub pid: Option<u32>,
    /// Time since it became ready.
    pub uptime_ms: Option<u64>,
    /// Until the next start by itself.
    pub retry_after_ms: Option<u64>,
    /// See [`InstanceView::restarts`].
    pub restarts: u64,
    /// Starts after a failure over the last 5 minutes.
    pub restarts_recent: u32,
    /// How long ago it last answered anything; `None` when it is not ready.
    pub heartbeat_age_ms: Option<u64>,
    /// The last failure.
    pub last_error: Option<String>,
    /// Resident memory of the tree at the last sample.
    pub memory_bytes: Option<u64>,
    /// What it may take, where that is bounded.
    pub memory_limit_bytes: Option<u64>,
    /// Processes in the tree at the last sample.
    pub processes: u32,
    /// Requests in flight at the last sample.
    pub in_flight: u32,
    /// Tools in its present list.
    pub tools_count: u32,
    /// Tools that the baseline has and the present list lacks.
    pub tools_missing: Vec<String>,
    /// Whether the router means it to run.
    pub wanted: bool,
}

/// Counts over the fleet: `total` is the sum of the seven statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// All instances.
    pub total: u32,
    /// By [`Status::Healthy`].
    pub healthy: u32,
    /// By [`Status::Degraded`].
    pub degraded: u32,
    /// By [`Status::Unhealthy`].
    pub unhealthy: u32,
    /// By [`Status::Starting`].
    pub starting: u32,
    /// By [`Status::Idle`].
    pub idle: u32,
    /// By [`Status::Stopped`].
    pub stopped: u32,
    /// By [`Status::Draining`].
    pub draining: u32,
    /// Those of `unhealthy` that are in crash loop.
    pub crash_loop: u32,
}

impl Summary {
    /// Counts one instance.
    pub fn count(&mut self, status: Status, crash_loop: bool) {
        self.total += 1;
        self.crash_loop += u32::from(crash_loop);
        *match status {
            Status::Healthy => &mut self.healthy,
            Status::Degraded => &mut self.degraded,
            Status::Unhealthy => &mut self.unhealthy,
            Status::Starting => &mut self.starting,
            Status::Idle => &mut self.idle,
            Status::Stopped => &mut self.stopped,
            Status::Draining => &mut self.draining,
        } += 1;
    }
}

/// Readiness of the router as a whole. Closed; ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Readiness {
    /// 200.
    Healthy,
    /// 200; somebody should know.
    Degraded,
    /// 503.
    Down,
}

impl Readiness {
    /// The name shown in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Readiness and what it was judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadinessView {
    /// The word.
    pub status: Readiness,
    /// Why it is not healthy, for people, worst first.
    pub reasons: Vec<String>,
    /// Whether the database is reached.
    pub database: bool,
    /// Whether what becomes of alerts is kept in their journal.
    pub alert_journal: bool,
    /// Instances meant to run.
    pub wanted: u32,
    /// Those of them that can serve.
    pub able: u32,
    /// Breakers that are in force.
    pub breakers: u32,
    /// Those of them that are OPEN or HALF_OPEN.
    pub breakers_open: u32,
    /// Those of them that opened within 10 s; once more than half did, as many as are not CLOSED again, until half are.
    pub breakers_opened_together: u32,
    /// Plugins in quarantine.
    pub plugins_quarantined: u32,
    /// Policies of which a generation is held.
    pub policies_held: u32,
    /// Policies that do not judge as they are configured, and why, for people.
    pub policy_faults: Vec<String>,
    /// Share in use of the fullest watched disk.
    pub disk_share: f64,
}

#[cfg(test)]
mod tests {
    use super::{Health, Lifecycle, Readiness, Status, Summary};

    #[test]
    fn the_names_are_those_that_scripts_search_for() {
        let lifecycles = [
            (Lifecycle::Idle, "idle"),
            (Lifecycle::Stopped, "stopped"),
            (Lifecycle::Starting, "starting"),
            (Lifecycle::Ready, "ready"),
            (Lifecycle::Draining, "draining"),
            (Lifecycle::Backoff, "backoff"),
            (Lifecycle::CrashLoop, "crash_loop"),
        ];
        for (lifecycle, word) in lifecycles {
            assert_eq!(lifecycle.as_str(), word);
        }
        for (readiness, word) in [
            (Readiness::Healthy, "healthy"),
            (Readiness::Degraded, "degraded"),
            (Readiness::Down, "down"),
        ] {
            assert_eq!(readiness.as_str(), word);
        }
    }

    #[test]
    fn one_word_says_health_when_ready_and_unhealthy_when_failing() {
        let cases = [
            (Lifecycle::Ready, Some(Health::Healthy), "healthy"),
            (Lifecycle::Ready, Some(Health::Degraded), "degraded"),
            (Lifecycle::Ready, Some(Health::Unhealthy), "unhealthy"),
            (Lifecycle::Backoff, None, "unhealthy"),
            (Lifecycle::CrashLoop, None, "unhealthy"),
            (Lifecycle::Starting, None, "starting"),
            (Lifecycle::Idle, None, "idle"),
            (Lifecycle::Stopped, None, "stopped"),
            (Lifecycle::Draining, None, "draining"),
        ];
        let mut summary = Summary::default();
        for (lifecycle, health, word) in cases {
            let status = Status::of(lifecycle, health);
            assert_eq!(status.as_str(), word);
            summary.count(status, lifecycle == Lifecycle::CrashLoop);
        }
        let expected = Summary {
            total: 9,
            healthy: 1,
            degraded: 1,
            unhealthy: 3,
            starting: 1,
            idle: 1,
            stopped: 1,
            draining: 1,
            crash_loop: 1,
        };
        assert_eq!(summary, expected);
    }
}
