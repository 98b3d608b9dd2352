//! Everything that can happen to a fleet, as one closed list, grouped by what it is about. I/O rooms report it; only the driver
//! feeds it to the core.
//!
//! Events may come late, twice or never: whatever names a run that is not the slot's present one is dropped. Two promises the
//! supervisor does keep: after `Exited` nothing of that run lives any more, and every `Kill` is finally answered by `Exited`,
//! also when that run had never lived.

use std::sync::Arc;

use crate::{
    breaker::plan::CallFigures,
    capacity::LoadMeasure,
    id::{InstanceId, Run, SlotKey},
    permit::{BreakerTotals, Report},
    policy::{PolicyAnswer, PolicyGenerations, PolicyKind, QuestionId},
    settings::Settings,
    spec::{InstanceSpec, Source},
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Time has passed; sent when [`crate::fleet::Fleet::next_wake`] is reached.
    Tick,
    /// Something about the router as a whole.
    Fleet(FleetEvent),
    /// A report about one run of one slot.
    Slot {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// What is reported.
        event: SlotEvent,
    },
    /// Requests came, or ended.
    Traffic(TrafficEvent),
    /// Policies answered, or changed.
    Policy(PolicyEvent),
    /// A person or a program asks for something; answered by exactly one [`crate::action::OperatorAction::CommandDone`].
    Operator(Command),
}

/// What is defined, what is adopted, what the router stands on, and its end.
#[derive(Debug, Clone, PartialEq)]
pub enum FleetEvent {
    /// The whole set of instances of one source, at start and at each reload. What the source no longer names is removed.
    SpecsApplied {
        /// Whose set this is.
        source: Source,
        /// All that it defines now.
        specs: Vec<InstanceSpec>,
    },
    /// One instance was registered or changed.
    SpecAdded(Box<InstanceSpec>),
    /// One instance was taken away.
    SpecRemoved(InstanceId),
    /// The settings changed. `seed` and `first_run` are read only at the start.
    SettingsApplied(Box<Settings>),

    /// A process (or its shim) that outlived an earlier router was found. Comes after the specs, before `AdoptionFinished`. One
    /// that nobody defines is stopped; while the database is lost (`Database(false)`), which may define it, it is left alone.
    Adopted(Box<Adopted>),
    /// Every survivor has been reported: from now on slots may be started. What is wanted waits for this; it must come.
    AdoptionFinished,

    /// The database was reached (`true`) or lost (`false`). Before `true`, apply the specs that it holds: survivors that were
    /// left alone because only it could define them are then stopped where it does not.
    Database(bool),
    /// The fullest watched disk: share in use, from 0 to 1.
    Disk(f64),
    /// What becomes of alerts is kept in their journal (`true`), or the disk refuses it.
    AlertJournal(bool),
    /// What was measured of the machine, and the history of load: a minute apart at most. Capacity is not judged before the first.
    LoadMeasured(Box<LoadMeasure>),
    /// What is wrong with plugins now.
    Plugins {
        /// How many are in quarantine.
        quarantined: u32,
        /// Which policies that are named do not judge as they are configured, and why, for people. The sender bounds them.
        faults: Vec<String>,
    },

    /// The router is to end. Answered by one [`crate::action::Action::AllStopped`].
    Shutdown,
}

/// What became of a run, and what was measured on it.
#[derive(Debug, Clone, PartialEq)]
pub enum SlotEvent {
    /// Its process exists.
    Spawned {
        /// Its process id.
        pid: u32,
    },
    /// Its process could not be started; nothing of it lives.
    SpawnFailed {
        /// Why, for people.
        error: String,
    },
    /// The handshake was answered and the tool list read.
    Ready {
        /// The names of its tools.
        tools: Vec<String>,
    },
    /// The handshake or the reading of the tool list failed.
    HandshakeFailed {
        /// Why, for people.
        error: String,
    },
    /// The instance announced by itself that its tools changed, and this is the new list: it becomes the baseline.
    ToolsListed {
        /// The names of its tools.
        tools: Vec<String>,
    },
    /// The run ended: nothing of it lives.
    Exited {
        /// How.
        exit: Exit,
        /// What it left behind.
        evidence: Evidence,
    },
    /// Its shim is gone; what that had started may live. Answered by a `Kill`.
    ShimLost,
    /// The connection to the process broke although nobody reported its end.
    UpstreamLost {
        /// Why, for people.
        error: String,
    },
    /// Nothing is in flight on it any more, while it drains.
    Drained,
    /// What was measured on it.
    Sampled {
        /// The figures.
        sample: Sample,
    },
    /// A ping was answered, be it with an error such as −32601.
    PingAnswered {
        /// Round trip.
        rtt_ms: f64,
    },
    /// A ping was not answered in time, or could not be sent.
    PingFailed,
}

impl SlotEvent {
    /// This, reported about one run of one slot.
    #[must_use]
    pub fn on(self, key: SlotKey, run: Run) -> Event {
        Event::Slot {
            key,
            run,
            event: self,
        }
    }
}

/// What requests need, and what their ends say about an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum TrafficEvent {
    /// A request reached a slot whose route was `Startable`.
    Demand(SlotKey),
    /// The slot was used (coalesced by the sender: once a second is plenty).
    Used(SlotKey),
    /// A call of a tool that has a breaker of its own ended in a way that one of the two must know.
    ToolOutcome {
        /// Of which instance.
        instance: InstanceId,
        /// Whose breaker.
        tool: Arc<str>,
        /// The run that served it.
        run: Run,
        /// What the permit of the tool said; `None`: nothing.
        report: Option<Report>,
        /// See `Outcome`.
        upstream_died: bool,
        /// It was not answered in time; the generation of the instance's permit. Where pings of the run fail too, that is a failure
        /// of the instance.
        timed_out: Option<u32>,
    },
    /// The counters of tools' cells; see `Counted`.
    ToolsCounted {
        /// Of which instance.
        instance: InstanceId,
        /// By tool.
        totals: Vec<(Arc<str>, BreakerTotals)>,
    },
    /// A request ended in a way that the breaker must know (see [`crate::permit::Permit::finish`]).
    Outcome {
        /// Whose breaker.
        instance: InstanceId,
        /// The run that served it.
        run: Run,
        /// What the permit said.
        report: Report,
        /// The request failed because the process or its connection died. Many requests that die with one run are one failure.
        upstream_died: bool,
    },
    /// The breaker cell's counters, read every few seconds, after the outcomes already queued; the core keeps the window.
    Counted {
        /// Whose cell.
        instance: InstanceId,
        /// Counters since the cell was made.
        totals: BreakerTotals,
    },
}

/// What policies say.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyEvent {
    /// A question is over: what each policy that was asked answered, in any order. Where none answered, the built-in rule does.
    Answered {
        /// Which question.
        question: QuestionId,
        /// One entry for each policy; one that is missing did not answer.
        answers: Vec<PolicyAnswer>,
    },
    /// The policies of a kind were swapped or configured anew: what they judge is judged again at once.
    Changed(PolicyKind),
    /// All policies that are named and loaded, with their generations: at the start, and whenever that is other.
    Generations(Vec<PolicyGenerations>),
}

impl From<FleetEvent> for Event {
    fn from(event: FleetEvent) -> Self {
        Self::Fleet(event)
    }
}

impl From<TrafficEvent> for Event {
    fn from(event: TrafficEvent) -> Self {
        Self::Traffic(event)
    }
}

impl From<PolicyEvent> for Event {
    fn from(event: PolicyEvent) -> Self {
        Self::Policy(event)
    }
}

impl From<Command> for Event {
    fn from(command: Command) -> Self {
        Self::Operator(command)
    }
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Names the command in its `CommandDone`; chosen by the driver, unique.
    pub id: u64,
    /// Which instance.
    pub instance: InstanceId,
    /// What to do.
    pub verb: Verb,
}

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Run it (also when it had been stopped). Done when its process exists.
    Start,
    /// Stop it until somebody starts it. Done when nothing of it lives.
    Stop,
    /// Stop it and run it again: forgets failures, bypasses every limiter. Done when the new process exists.
    Restart,
    /// Forget failures, crash evidence, tool baseline, the shim's blob and the breaker's past. Done at once.
    ClearState,
    /// Open the breaker until it is reset by hand. Done at once.
    BreakerIsolate,
    /// Close the breaker and forget its past. Done at once.
    BreakerReset,
}

impl Verb {
    /// The name for audit rows and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::ClearState => "clear_state",
            Self::BreakerIsolate => "breaker_isolate",
            Self::BreakerReset => "breaker_reset",
        }
    }
}

/// A run that outlived an earlier router.
#[derive(Debug, Clone, PartialEq)]
pub struct Adopted {
    /// Which slot.
    pub key: SlotKey,
    /// Which start of it, from the shim's blob.
    pub run: Run,
    /// Its process id.
    pub pid: u32,
    /// The digest it was launched with.
    pub digest: u64,
    /// The tools it listed, when its handshake is known to have been answered. `None`: it is still starting.
    pub tools: Option<Vec<String>>,
    /// What was kept with it by [`crate::action::Action::KeepBaseline`].
    pub baseline: Option<Vec<String>>,
    /// How long ago it became ready (or was started, when it is not ready).
    pub age_ms: u64,
    /// Whether the earlier router wanted it running. `false`: it was stopping it, be it only to start it again; so that run is
    /// stopped, and whether another one starts depends on what is wanted now.
    pub wanted: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Nobody saw how.
    Unknown,
}

/// What a run left behind, for people. The sender bounds each part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The last lines of its stderr, oldest first.
    pub stderr_tail: Vec<String>,
    /// Methods of the requests that were waiting for it.
    pub in_flight: Vec<String>,
    /// Its last known resident memory.
    pub memory_bytes: Option<u64>,
}

/// What was measured on a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Resident memory of the tree, where it could be read.
    pub memory_bytes: Option<u64>,
    /// Processes in the tree.
    pub processes: u32,
    /// Requests waiting for an answer.
    pub in_flight: u32,
    /// How long ago the slot last answered anything; `None`: nothing since it became ready.
    pub answered_ago_ms: Option<u64>,
    /// Requests over the last 5 minutes.
    pub window_requests: u64,
    /// Errors among them.
    pub window_errors: u64,
    /// Half of them took at most this; absent under 20 requests.
    pub window_p50_ms: Option<f64>,
    /// 95th percentile over the last 5 minutes, absent under 20 requests.
    pub window_p95_ms: Option<f64>,
    /// 99th percentile, absent under 20 requests.
    pub window_p99_ms: Option<f64>,
}

impl Sample {
    /// What a breaker policy learns of it.
    pub(crate) fn call_figures(&self) -> CallFigures {
        let requests = self.window_requests as f64;
        let is_enough = self.window_requests >= REQUESTS_MIN;
        CallFigures {
            calls_per_minute: requests / WINDOW_MINUTES,
            p50_ms: self.window_p50_ms,
            p99_ms: self.window_p99_ms,
            error_share: is_enough.then(|| self.window_errors as f64 / requests),
        }
    }
}

/// What the window of a sample is over.
const WINDOW_MINUTES: f64 = 5.0;

/// Shares say nothing about fewer requests.
const REQUESTS_MIN: u64 = 20;
