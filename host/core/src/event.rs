//! Everything that can happen to a fleet, as one closed list. I/O rooms report it; only the driver feeds it to the core.
//!
//! Events may come late, twice or never: whatever names a run that is not the slot's present one is dropped. Two promises the
//! supervisor does keep: after `Exited` nothing of that run lives any more, and every `Kill` is finally answered by `Exited`,
//! also when that run had never lived.

use crate::{
    health::HealthVerdict,
    id::{InstanceId, Run, SlotKey},
    permit::{BreakerTotals, Report},
    settings::Settings,
    spec::{InstanceSpec, Source},
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
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

    /// A person or a program asks for something; answered by exactly one [`crate::action::Action::CommandDone`].
    Command(Command),
    /// A request reached a slot whose route was `Startable`.
    Demand(SlotKey),
    /// The slot was used (coalesced by the sender: once a second is plenty).
    Used(SlotKey),

    /// A process (or its shim) that outlived an earlier router was found. Comes after the specs, before `AdoptionFinished`. One
    /// that nobody defines is stopped; while the database is lost (`Database(false)`), which may define it, it is left alone.
    Adopted(Box<Adopted>),
    /// Every survivor has been reported: from now on slots may be started. What is wanted waits for this; it must come.
    AdoptionFinished,

    /// The process of a run exists.
    Spawned {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// Its process id.
        pid: u32,
    },
    /// The process of a run could not be started; nothing of it lives.
    SpawnFailed {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// Why, for people.
        error: String,
    },
    /// The handshake was answered and the tool list read.
    Ready {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// The names of its tools.
        tools: Vec<String>,
    },
    /// The handshake or the reading of the tool list failed.
    HandshakeFailed {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// Why, for people.
        error: String,
    },
    /// The instance announced by itself that its tools changed, and this is the new list: it becomes the baseline.
    ToolsListed {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// The names of its tools.
        tools: Vec<String>,
    },
    /// The run ended: nothing of it lives.
    Exited {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// How.
        exit: Exit,
        /// What it left behind.
        evidence: Evidence,
    },
    /// The shim of a run is gone; what it had started may live. Answered by a `Kill`.
    ShimLost {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },
    /// The connection to the process broke although nobody reported its end.
    UpstreamLost {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// Why, for people.
        error: String,
    },
    /// Nothing is in flight on a draining run any more.
    Drained {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },

    /// What was measured on a run.
    Sampled {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// The figures.
        sample: Sample,
    },
    /// A ping was answered, be it with an error such as −32601.
    PingAnswered {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// Round trip.
        rtt_ms: f64,
    },
    /// A ping was not answered in time, or could not be sent.
    PingFailed {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },

    /// A request ended in a way that the breaker must hear of (see [`crate::permit::Permit::finish`]).
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
    Traffic {
        /// Whose cell.
        instance: InstanceId,
        /// Counters since the cell was made.
        totals: BreakerTotals,
    },

    /// A policy answered.
    Answered {
        /// Which question.
        question: QuestionId,
        /// What it answered.
        verdict: HealthVerdict,
    },
    /// A policy did not answer; the built-in default does.
    Unanswered {
        /// Which question.
        question: QuestionId,
        /// Why not.
        why: NoAnswer,
    },
    /// The policies of a kind were swapped or configured anew: what they judge is judged again at once.
    PolicyChanged(PolicyKind),

    /// The database was reached (`true`) or lost (`false`). Before `true`, apply the specs that it holds: survivors that were
    /// left alone because only it could define them are then stopped where it does not.
    Database(bool),
    /// The fullest watched disk: share in use, from 0 to 1.
    Disk(f64),
    /// How many plugins are in quarantine now.
    PluginsQuarantined(u32),

    /// Time has passed; sent when [`crate::fleet::Fleet::next_wake`] is reached.
    Tick,
    /// The router is to end. Answered by one [`crate::action::Action::AllStopped`].
    Shutdown,
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
    /// The word for audit rows and logs.
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
    /// 95th percentile over the last 5 minutes, absent under 20 requests.
    pub window_p95_ms: Option<f64>,
}

/// Names one question to a policy. Strictly increasing over the life of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuestionId(pub u64);

/// Why a policy did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Its time was up.
    TimedOut,
    /// It failed.
    Trapped,
    /// No such policy is loaded, or it is in quarantine.
    Absent,
}

/// The kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PolicyKind {
    /// Judges slots.
    Health,
    /// Gives breaker thresholds and the classification table.
    Breaker,
    /// Judges capacity.
    Capacity,
    /// Judges what deserves an alert.
    AlertRule,
}
