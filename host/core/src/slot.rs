//! One slot: the place of one process, and the state machine that never puts two into it.
//!
//! The rule that everything here serves: a slot is `Down` (or waits in back-off) only after the end of its last run was reported.
//! So whatever goes wrong, the way to the next start leads through `Exited`, and a kill is asked for until it comes.
//! What the slot should do is not remembered as a plan but read from the intent (`wanted`, the desired state) at every step: commands,
//! reloads and failures that cross each other end in the state that the last of them asked for.

mod adoption;
mod ending;
mod reports;
mod service;
mod settle;
mod stop;
mod view;

use std::collections::VecDeque;

use crate::{
    action::SlotAction,
    failure_tally::FailureTally,
    health::Health,
    id::{Run, SlotKey},
    planted::Planted,
    route::Route,
    slot::{
        service::{Judged, Service},
        stop::Stop,
    },
    step::{DesiredState, FleetPhase, Step},
    time::Since,
    view::Lifecycle,
};

/// Starts after failures remembered for `restarts_recent`; crash-loop protection allows fewer within its window.
const FAILED_STARTS_MAX: usize = 32;
/// The window of `restarts_recent`.
const FAILED_STARTS_WINDOW_MS: u64 = 300_000;
/// Survivors beside the slot's own run that are killed and waited for. More than one is already a fault of ours.
const STRAYS_MAX: usize = 16;

/// Why a ready run is stopped for a manual restart.
const RESTARTED: &str = "restarted by an operator";

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    pub(crate) key: SlotKey,
    phase: Phase,
    /// Whether it is meant to run, unless the desired state forbids it.
    pub(crate) wanted: bool,
    tally: FailureTally,
    /// The spec that the tally and the baseline are about.
    digest: u64,
    baseline: Option<Vec<String>>,
    last_used_ms: u64,
    /// When it is stopped for lack of use, should it still be ready then.
    idle_at_ms: Option<u64>,
    last_recycle_ms: Option<u64>,
    /// A policy had it recycled, and it is not ready again yet.
    recycling: bool,
    /// Who had, although it serves by the built-in rule.
    recycled_by: Judged,
    /// The last run whose end was reported: what still comes of it or earlier ones is an echo.
    last_ended: Option<Run>,
    strays: Vec<Stray>,
    /// A survivor that is reported now is to be restarted: an operator asked for it before it was known.
    restarts_survivor: bool,
    /// When a client that waits for it is to be answered, while it is wanted and neither starting, ready nor failing.
    due_ms: Option<u64>,
    /// That moment has passed.
    overdue: bool,
    announced_overdue: bool,
    /// The next start follows an earlier run without an idle or stopped time between.
    is_rerun: bool,
    restarts: u64,
    failed_starts_ms: VecDeque<u64>,
    last_error: Option<String>,
    /// Why it is in this phase, and more of it.
    reason: String,
    detail: Option<String>,
    announced: Lifecycle,
    announced_health: Option<Health>,
    published: Option<Route>,
}

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Down,
    Backoff {
        until_ms: u64,
    },
    CrashLoop {
        since_ms: u64,
        /// Only an operator ends it, whatever the settings say.
        permanent: bool,
        retry_at_ms: Option<u64>,
    },
    Starting(Process, StartBy),
    Ready(Process, Box<Service>),
    Stopping(Process, Stop),
    /// Left running at shutdown.
    Released(Process),
}

/// When a start must have succeeded.
#[derive(Debug, Clone, Copy, PartialEq)]
struct StartBy(u64);

/// What is known of a run whatever its phase.
#[derive(Debug, Clone, PartialEq)]
struct Process {
    run: Run,
    pid: Option<u32>,
    digest: u64,
    spawned: Since,
    ready: Option<Since>,
    memory_bytes: Option<u64>,
    /// The baseline that is kept with it, for the router that adopts it.
    kept: Option<Vec<String>>,
}

impl Process {
    /// Time since it became ready; 0 before.
    fn uptime_ms(&self, now_ms: u64) -> u64 {
        self.ready.map_or(0, |ready| ready.elapsed_ms(now_ms))
    }

    /// Has the baseline kept with the run, so that a router that adopts it compares with the same one.
    fn keep_baseline(&mut self, step: &mut Step<'_>, key: &SlotKey, baseline: Option<&[String]>) {
        if let Some(tools) = baseline.filter(|tools| self.kept.as_deref() != Some(*tools)) {
            self.kept = Some(tools.to_vec());
            let tools = tools.to_vec();
            step.push_for(key, self.run, SlotAction::KeepBaseline { tools });
        }
    }
}

/// A run that lives although it is not the slot's.
#[derive(Debug, Clone, PartialEq)]
struct Stray {
    run: Run,
    kill_again_ms: u64,
}

impl Slot {
    pub(crate) fn new(key: SlotKey, digest: u64, now_ms: u64) -> Self {
        Self {
            key,
            phase: Phase::Down,
            wanted: false,
            tally: FailureTally::default(),
            digest,
            baseline: None,
            last_used_ms: now_ms,
            idle_at_ms: None,
            last_recycle_ms: None,
            recycling: false,
            recycled_by: Judged::default(),
            last_ended: None,
            strays: Vec::new(),
            due_ms: None,
            overdue: false,
            announced_overdue: false,
            restarts_survivor: false,
            is_rerun: false,
            restarts: 0,
            failed_starts_ms: VecDeque::new(),
            last_error: None,
            reason: String::new(),
            detail: None,
            announced: Lifecycle::Idle,
            announced_health: None,
            published: None,
        }
    }

    /// Whether anything of it may live, for which this router is answerable.
    pub(crate) fn is_over(&self) -> bool {
        let over = match self.phase {
            Phase::Starting(..) | Phase::Ready(..) | Phase::Stopping(..) => false,
            Phase::Down | Phase::Backoff { .. } | Phase::CrashLoop { .. } | Phase::Released(_) => {
                true
            }
        };
        over && self.strays.is_empty()
    }

    /// Whether a run of its own lives, or may.
    pub(crate) fn has_run(&self) -> bool {
        self.process().is_some()
    }

    /// A request came while it was idle.
    pub(crate) fn demand(&mut self, now_ms: u64) {
        self.wanted = true;
        self.used(now_ms);
    }

    pub(crate) fn used(&mut self, now_ms: u64) {
        self.last_used_ms = self.last_used_ms.max(now_ms);
    }

    /// An operator starts it: failures are forgotten, no limiter holds it.
    pub(crate) fn start_by_hand(&mut self, now_ms: u64) {
        self.demand(now_ms);
        self.due_ms = None;
        self.forgive();
    }

    /// An operator restarts it. A start already under way is that restart.
    pub(crate) fn restart_by_hand(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        self.demand(step.now_ms);
        self.due_ms = None;
        if step.bugs.has(Planted::RestartLimited) {
            self.tally.forget();
        } else {
            self.forgive();
        }
        // Before adoption is finished, a survivor may still be found that this restart is about.
        self.restarts_survivor = step.phase == FleetPhase::Adopting;
        if matches!(self.phase, Phase::Ready(..)) {
            self.stop(step, desired, None, RESTARTED.to_owned());
        }
    }

    /// An operator clears its state.
    pub(crate) fn clear_state(&mut self, step: &Step<'_>) {
        let is_held_up = matches!(self.phase, Phase::Backoff { .. } | Phase::CrashLoop { .. });
        if is_held_up && step.bugs.has(Planted::ClearKeepsBackoff) {
            self.tally.forget();
        } else {
            self.forgive();
        }
        self.baseline = None;
        if let Some(process) = self.process_mut() {
            // `OperatorAction::ClearState` clears what is kept with the run.
            process.kept = None;
        }
        self.last_error = None;
        self.failed_starts_ms.clear();
        if let Phase::Ready(_, service) = &mut self.phase
            && !step.bugs.has(Planted::ClearKeepsMissing)
        {
            service.clear_missing(step.now_ms);
        }
    }

    /// Its policy changed: it is judged again at once.
    pub(crate) fn judge_again(&mut self, now_ms: u64) {
        self.recycled_by.taken_by.clear();
        if let Phase::Ready(_, service) = &mut self.phase {
            service.judge_anew(now_ms);
        }
    }

    /// Its breaker asks whether it answers: at once, where it is ready.
    pub(crate) fn ask_at(&mut self, now_ms: u64) {
        if let Phase::Ready(_, service) = &mut self.phase {
            service.ask_at(now_ms);
        }
    }

    /// Forgets failures, so that only the desired state and `wanted` decide about the next start.
    fn forgive(&mut self) {
        self.tally.forget();
        match &mut self.phase {
            Phase::Backoff { .. } | Phase::CrashLoop { .. } => {
                self.phase = Phase::Down;
                self.set_reason(String::new(), None);
            }
            Phase::Stopping(_, stop) => stop.forgiven = true,
            Phase::Down | Phase::Starting(..) | Phase::Ready(..) | Phase::Released(_) => {}
        }
    }

    /// The present run, dead or alive, while the slot is answerable for it.
    fn process(&self) -> Option<&Process> {
        match &self.phase {
            Phase::Starting(process, _)
            | Phase::Ready(process, _)
            | Phase::Stopping(process, _)
            | Phase::Released(process) => Some(process),
            Phase::Down | Phase::Backoff { .. } | Phase::CrashLoop { .. } => None,
        }
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.phase {
            Phase::Starting(process, _)
            | Phase::Ready(process, _)
            | Phase::Stopping(process, _)
            | Phase::Released(process) => Some(process),
            Phase::Down | Phase::Backoff { .. } | Phase::CrashLoop { .. } => None,
        }
    }

    fn is_current(&self, run: Run) -> bool {
        self.process().is_some_and(|process| process.run == run)
    }

    fn restarts_recent(&self, now_ms: u64) -> u32 {
        let recent = |at_ms: &&u64| at_ms.saturating_add(FAILED_STARTS_WINDOW_MS) > now_ms;
        self.failed_starts_ms.iter().filter(recent).count() as u32
    }

    /// Whether it is meant to run and is neither running nor failing, for longer than any start or stop takes.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue
    }

    /// Whether it has failed and is not back yet, also while another try is under way.
    pub(crate) fn is_retrying(&self) -> bool {
        self.wanted && !self.tally.is_clean() && !matches!(self.phase, Phase::Ready(..))
    }

    /// Whether a policy had it recycled, and it is wanted and not ready again yet.
    pub(crate) fn is_recycling(&self) -> bool {
        self.wanted && self.recycling
    }

    fn set_reason(&mut self, reason: String, detail: Option<String>) {
        self.reason = reason;
        self.detail = detail;
    }
}
