//! What a step carries with it: the moment, the settings, the counters that must never go back, and the actions so far.

use crate::{
    action::{Action, SlotAction},
    id::{Run, SlotKey},
    instance::WaitingStart,
    jitter::Jitter,
    planted::Bugs,
    policy::QuestionId,
    settings::Settings,
    spec::InstanceSpec,
};

/// One step in progress.
pub(crate) struct Step<'a> {
    pub(crate) now_ms: u64,
    pub(crate) settings: &'a Settings,
    pub(crate) counters: &'a mut Counters,
    pub(crate) out: &'a mut Vec<Action>,
    pub(crate) phase: FleetPhase,
    /// Slots that may yet be recycled on a policy's word.
    pub(crate) recycles_left: u32,
    pub(crate) bugs: Bugs,
}

impl Step<'_> {
    /// Decides something.
    pub(crate) fn push(&mut self, action: impl Into<Action>) {
        self.out.push(action.into());
    }

    /// Decides something about one run of one slot.
    pub(crate) fn push_for(&mut self, key: &SlotKey, run: Run, action: SlotAction) {
        self.out.push(action.on(key.clone(), run));
    }
}

/// Whether the fleet as a whole lets slots start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FleetPhase {
    /// Survivors of an earlier router may still be reported.
    Adopting,
    /// Slots may start.
    Running,
    /// Slots stop.
    ShuttingDown,
}

/// What makes ids unique and jitter reproducible.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counters {
    next_run: u64,
    next_question: u64,
    pub(crate) jitter: Jitter,
}

impl Counters {
    pub(crate) fn new(seed: u64, first_run: u64) -> Self {
        Self {
            next_run: first_run,
            next_question: 1,
            jitter: Jitter::new(seed),
        }
    }

    pub(crate) fn run(&mut self) -> Run {
        let run = Run(self.next_run);
        self.next_run += 1;
        run
    }

    /// Notes a run that an earlier router handed out: later ones must be greater.
    pub(crate) fn skip_past(&mut self, run: Run) {
        self.next_run = self.next_run.max(run.0.saturating_add(1));
    }

    pub(crate) fn question(&mut self) -> QuestionId {
        let question = QuestionId(self.next_question);
        self.next_question += 1;
        question
    }
}

/// What an instance asks of its slots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DesiredState<'a> {
    pub(crate) spec: &'a InstanceSpec,
    /// An operator stopped it.
    pub(crate) stopped: bool,
    /// Its source no longer names it.
    pub(crate) removed: bool,
    /// See [`crate::instance::Instance::unclaimed`]: what is stopped could not be started again.
    pub(crate) unclaimed: bool,
    /// Its breaker waits for an answer: slots are asked something free until one comes.
    pub(crate) asks: bool,
    /// It waits for a place.
    pub(crate) waiting: Option<&'a WaitingStart>,
}

impl DesiredState<'_> {
    /// Whether slots may run at all.
    pub(crate) fn permits_running(&self) -> bool {
        !self.stopped && !self.removed
    }
}
