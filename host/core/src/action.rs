//! Everything the core can decide, grouped by what it is about. The driver executes actions in the order given; none of them
//! fails inside the core.

use std::sync::Arc;

use crate::{
    classify::ClassTable,
    event::{Evidence, Exit},
    health::Health,
    id::{InstanceId, Run, SlotKey},
    permit::{BreakerSetting, BreakerState},
    policy::{Ask, PolicyAction, PolicyKind},
    route::Route,
    spec::Source,
    view::{Lifecycle, Readiness},
};

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Something about one run of one slot.
    Slot {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// What is to be done.
        action: SlotAction,
    },
    /// Ask policies.
    Ask(Ask),
    /// Another generation of a policy is to be in force, or held.
    Policy(PolicyAction),
    /// What requests read is to change.
    Routing(RoutingAction),
    /// What people see, or what is kept for them.
    Operator(OperatorAction),
    /// The shutdown is complete. Exactly once, and last.
    AllStopped,
}

/// What is done to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum SlotAction {
    /// Start its process. Answered by `Spawned` (or `SpawnFailed`), then `Ready` or `HandshakeFailed`.
    Spawn {
        /// The spec to launch, as [`crate::spec::InstanceSpec::digest`] names it.
        digest: u64,
        /// When it must be ready; past it the core stops it.
        deadline_ms: u64,
    },
    /// Send nothing new to it; report `Drained` once nothing is in flight. At `deadline_ms` the core goes on regardless.
    Drain {
        /// How long the core waits.
        deadline_ms: u64,
    },
    /// SIGTERM to the process group.
    Terminate,
    /// Kill the whole tree (and sweep what a lost shim had started), reap, then report `Exited`, in any case. Asked for again
    /// every [`crate::settings::Settings::kill_retry_ms`] until then.
    Kill,
    /// The router ends and this run stays: release it without harming it.
    Release,
    /// Send a `ping`. Answered by `PingAnswered` or `PingFailed`.
    Ping {
        /// How long the answer is waited for.
        deadline_ms: u64,
        /// A breaker lets callers in on the answer: of a server that does not know `ping` ask `tools/list` instead.
        for_breaker: bool,
    },
    /// Keep this tool list (sorted) with the run, as the one that it and later runs are compared with: a router that adopts the
    /// run gives it back in [`crate::event::Adopted::baseline`]. Comes with the `Spawn` where there is one already, and
    /// whenever another one is to be kept.
    KeepBaseline {
        /// The names.
        tools: Vec<String>,
    },
}

impl SlotAction {
    /// This, done to one run of one slot.
    #[must_use]
    pub fn on(self, key: SlotKey, run: Run) -> Action {
        Action::Slot {
            key,
            run,
            action: self,
        }
    }
}

/// What the hot path reads.
#[derive(Debug, Clone, PartialEq)]
pub enum RoutingAction {
    /// Apply to the instance's [`crate::permit::BreakerCell`], which is made with the first of these.
    SetBreaker {
        /// Whose cell.
        instance: InstanceId,
        /// What it is to hold.
        setting: BreakerSetting,
        /// Why it does not simply admit; `None`: it does.
        cause: Option<Arc<BreakerCause>>,
    },
    /// From now on the ends of requests mean this to the instance's breaker. Without one the built-in table holds.
    SetClasses {
        /// Whose breaker.
        instance: InstanceId,
        /// The table.
        classes: Arc<ClassTable>,
    },
    /// The tools of the instance that have breakers of their own from now on.
    SetTools {
        /// Whose.
        instance: InstanceId,
        /// All of them.
        tools: Vec<GuardedTool>,
    },
    /// One of them changed.
    SetTool {
        /// Whose.
        instance: InstanceId,
        /// Which, and how.
        tool: GuardedTool,
    },
    /// Calls of these tools are counted apart from now on, for the policy that plans the instance's breaker; none of them: no request
    /// is looked into for that.
    MeterTools {
        /// Whose.
        instance: InstanceId,
        /// Those of its last list.
        tools: Arc<[String]>,
    },
    /// Publish where requests go. `None`: the slot is no more.
    SetRoute {
        /// Which slot.
        key: SlotKey,
        /// Its route.
        route: Option<Route>,
    },
    /// The instance is gone for good: drop its cell, metric series and windows.
    RemoveInstance(InstanceId),
}

/// One tool that has a breaker of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardedTool {
    /// Its name.
    pub tool: Arc<str>,
    /// What the end of a call of it means for that breaker.
    pub classes: Arc<ClassTable>,
    /// What its cell is to hold.
    pub setting: BreakerSetting,
    /// Why it does not simply admit; `None`: it does.
    pub cause: Option<Arc<BreakerCause>>,
}

/// Why a breaker is not CLOSED, for those whose requests it rejects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerCause {
    /// What happened, for people and models.
    pub reason: Box<str>,
    /// When it was CLOSED last (same clock as [`crate::time::Now`]).
    pub since_ms: u64,
}

/// What operators are shown, answered, or have kept for them.
#[derive(Debug, Clone, PartialEq)]
pub enum OperatorAction {
    /// Something changed that people should see: log it, count it, send it to `/api/events`.
    Announce(Transition),
    /// A command ended. Exactly one per command.
    CommandDone {
        /// The command's id.
        id: u64,
        /// How it ended.
        result: Result<Done, CommandError>,
    },
    /// A spec was refused because another source already defines that id.
    SpecRefused {
        /// The id.
        instance: InstanceId,
        /// Whose spec was refused.
        refused: Source,
        /// Who defines it.
        holder: Source,
    },
    /// A start by use waited for a place as long as it may, and is refused for a limit.
    StartRefused {
        /// Of which instance.
        instance: InstanceId,
        /// For which limit, for people.
        reason: String,
    },
    /// A plan is not one: the one before stays.
    PlanRefused {
        /// The policy that gave it.
        policy: Arc<str>,
        /// Which kind of policy that is.
        kind: PolicyKind,
        /// Whose breaker it is for, where it is for one.
        instance: Option<InstanceId>,
        /// What is wrong with it.
        reason: String,
        /// The last one was not refused for the same reason.
        is_news: bool,
    },
    /// Keep what a failed run left behind.
    RecordCrash(Box<CrashRecord>),
    /// Clear the kept crash evidence, the baseline in the shim's blob and the like. What a running run needs to be adopted stays.
    ClearState(InstanceId),
}

impl From<RoutingAction> for Action {
    fn from(action: RoutingAction) -> Self {
        Self::Routing(action)
    }
}

impl From<OperatorAction> for Action {
    fn from(action: OperatorAction) -> Self {
        Self::Operator(action)
    }
}

/// Which of the closed lists a transition is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axis {
    /// `idle`, `stopped`, `starting`, `ready`, `draining`, `backoff`, `crash_loop`.
    Lifecycle,
    /// `healthy`, `degraded`, `unhealthy`; `unknown` before and after a slot is ready.
    Health,
    /// `CLOSED`, `OPEN`, `HALF_OPEN`.
    Breaker,
    /// `healthy`, `degraded`, `down`, of the router as a whole.
    Readiness,
}

impl Axis {
    /// The name shown in JSON and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Health => "health",
            Self::Breaker => "breaker",
            Self::Readiness => "readiness",
        }
    }
}

/// From which state to which. They are the same where only the reason is news: a slot that can be neither ended nor started for
/// longer than any start or stop takes, or breakers that opened together while readiness was `degraded` already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Of a slot.
    Lifecycle {
        /// Before.
        from: Lifecycle,
        /// After.
        to: Lifecycle,
    },
    /// Of a ready slot.
    Health {
        /// Before; `None`: it was not ready.
        from: Option<Health>,
        /// After.
        to: Health,
    },
    /// Of an instance.
    Breaker {
        /// Before.
        from: BreakerState,
        /// After.
        to: BreakerState,
    },
    /// Of the router as a whole.
    Readiness {
        /// Before.
        from: Readiness,
        /// After.
        to: Readiness,
    },
}

impl Change {
    /// Which list it is on.
    #[must_use]
    pub fn axis(self) -> Axis {
        match self {
            Self::Lifecycle { .. } => Axis::Lifecycle,
            Self::Health { .. } => Axis::Health,
            Self::Breaker { .. } => Axis::Breaker,
            Self::Readiness { .. } => Axis::Readiness,
        }
    }

    /// The states before and after, as JSON and logs show them.
    #[must_use]
    pub fn as_strs(self) -> (&'static str, &'static str) {
        match self {
            Self::Lifecycle { from, to } => (from.as_str(), to.as_str()),
            Self::Health { from, to } => (from.map_or("unknown", Health::as_str), to.as_str()),
            Self::Breaker { from, to } => (from.as_str(), to.as_str()),
            Self::Readiness { from, to } => (from.as_str(), to.as_str()),
        }
    }
}

/// A change of state that people should see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Which slot; `None` for readiness. The breaker's transitions name slot 0.
    pub key: Option<SlotKey>,
    /// Which tool, where its own breaker changed.
    pub tool: Option<Arc<str>>,
    /// The run concerned, where there is one.
    pub run: Option<Run>,
    /// What changed.
    pub change: Change,
    /// Why, for people.
    pub reason: String,
    /// More for people: for a crash loop what it was judged by and the last error.
    pub detail: Option<String>,
}

/// How a command ended well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// The process, for `Start` and `Restart`.
    pub pid: Option<u32>,
    /// Its run.
    pub run: Option<Run>,
    /// The limit of the capacity plan that the start passed, in words: an operator's is not held up.
    pub passed_limit: Option<String>,
}

/// Why a command did not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such instance.
    UnknownInstance,
    /// The router is ending.
    ShuttingDown,
    /// A later command asked for the opposite.
    Superseded,
    /// The instance was removed meanwhile.
    Removed,
    /// It could not be started; the reason is for people.
    StartFailed(String),
    /// Too many commands wait for this instance already.
    Busy,
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownInstance => f.write_str("there is no such instance"),
            Self::ShuttingDown => f.write_str("the router is shutting down"),
            Self::Superseded => f.write_str("a later command asked for the opposite"),
            Self::Removed => f.write_str("the instance was removed meanwhile"),
            Self::StartFailed(reason) => write!(f, "the instance could not be started: {reason}"),
            Self::Busy => {
                f.write_str("too many commands wait for this instance already; try again later")
            }
        }
    }
}

impl std::error::Error for CommandError {}

/// What is known of a run that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashRecord {
    /// Which slot.
    pub key: SlotKey,
    /// Which start of it.
    pub run: Run,
    /// What went wrong, for people.
    pub reason: String,
    /// How its process ended; `None`: it never had one.
    pub exit: Option<Exit>,
    /// Time from its spawn to its end.
    pub lived_ms: u64,
    /// Whether it had become ready.
    pub was_ready: bool,
    /// Whether this failure put the slot into crash loop (or kept it there).
    pub crash_loop: bool,
    /// What it left behind.
    pub evidence: Evidence,
}
