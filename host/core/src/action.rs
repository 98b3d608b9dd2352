//! Everything the core can decide. The driver executes actions in the order given; none of them fails inside the core.

use std::sync::Arc;

use crate::{
    event::{Evidence, Exit, QuestionId},
    health::HealthFacts,
    id::{InstanceId, Run, SlotKey},
    permit::BreakerSetting,
    route::Route,
    spec::Source,
};

/// Something to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start a process. Answered by `Spawned` (or `SpawnFailed`), then `Ready` or `HandshakeFailed`.
    Spawn {
        /// Which slot.
        key: SlotKey,
        /// The new run.
        run: Run,
        /// The spec to launch, as [`crate::spec::InstanceSpec::digest`] names it.
        digest: u64,
        /// When it must be ready; past it the core stops it.
        deadline_ms: u64,
    },
    /// Send nothing new to the run; say `Drained` once nothing is in flight. At `deadline_ms` the core goes on regardless.
    Drain {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// How long the core waits.
        deadline_ms: u64,
    },
    /// SIGTERM to the process group.
    Terminate {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },
    /// Kill the whole tree (and sweep what a lost shim had started), reap, then say `Exited`, in any case. Asked for again
    /// every [`crate::settings::Settings::kill_retry_ms`] until then.
    Kill {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },
    /// The router ends and this run stays: let go of it without harming it.
    Release {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
    },

    /// Ask a policy. Answered by `Answered` or `Unanswered`; past `deadline_ms` the built-in default answers. A slot has one
    /// question open at a time; after `PolicyChanged` the one before is void.
    Ask {
        /// Names the question.
        question: QuestionId,
        /// Which slot is judged.
        key: SlotKey,
        /// The policy's name.
        policy: Arc<str>,
        /// What it is to judge by.
        facts: Box<HealthFacts>,
        /// How long the answer is waited for.
        deadline_ms: u64,
    },
    /// Send a `ping`. Answered by `PingAnswered` or `PingFailed`.
    Ping {
        /// Which slot.
        key: SlotKey,
        /// Which start of it.
        run: Run,
        /// How long the answer is waited for.
        deadline_ms: u64,
    },

    /// Apply to the instance's [`crate::permit::BreakerCell`], which is made with the first of these.
    SetBreaker {
        /// Whose cell.
        instance: InstanceId,
        /// What it is to hold.
        setting: BreakerSetting,
    },
    /// Publish where requests go. `None`: the slot is no more.
    RouteChanged {
        /// Which slot.
        key: SlotKey,
        /// Its route.
        route: Option<Route>,
    },
    /// The instance is gone for good: drop its cell, metric series and windows.
    InstanceGone(InstanceId),
    /// A spec was refused because another source already defines that id.
    SpecRefused {
        /// The id.
        instance: InstanceId,
        /// Whose spec was refused.
        refused: Source,
        /// Who defines it.
        holder: Source,
    },

    /// Something changed that people should see: log it, count it, send it to `/api/events`.
    Announce(Transition),
    /// A command ended. Exactly one per command.
    CommandDone {
        /// The command's id.
        id: u64,
        /// How it ended.
        result: Result<Done, CommandError>,
    },
    /// Keep what a failed run left behind.
    RecordCrash(Box<CrashRecord>),
    /// Clear the kept crash evidence, the baseline in the shim's blob and the like. What a running run needs to be adopted stays.
    ClearState(InstanceId),
    /// Keep this tool list (sorted) with the slot's present run, as the one that it and later runs are compared with: whoever
    /// adopts the run gives it back in [`crate::event::Adopted::baseline`]. Comes with the `Spawn` where there is one already,
    /// and whenever another one is to be kept.
    KeepBaseline {
        /// Which slot.
        key: SlotKey,
        /// The names.
        tools: Vec<String>,
    },
    /// The shutdown is complete. Exactly once, and last.
    AllStopped,
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
    /// The word shown in JSON and logs.
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

/// A change of state. `from` and `to` are the same word where only the reason is news: a slot that can be neither ended nor
/// started for longer than any start or stop takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Which slot; `None` for readiness. The breaker's transitions name slot 0.
    pub key: Option<SlotKey>,
    /// The run concerned, where there is one.
    pub run: Option<Run>,
    /// Which list.
    pub axis: Axis,
    /// The word before.
    pub from: &'static str,
    /// The word after.
    pub to: &'static str,
    /// Why, for people.
    pub reason: String,
    /// More for people: for a crash loop what it was judged by and the last error.
    pub detail: Option<String>,
}

/// How a command ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// The process, for `Start` and `Restart`.
    pub pid: Option<u32>,
    /// Its run.
    pub run: Option<Run>,
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
