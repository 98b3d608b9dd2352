//! What the fleet's index holds about an instance.

use std::sync::Arc;

use super::Instance;
use crate::{
    capacity::Usage,
    planted::{Bugs, Planted},
    policy::QuestionId,
    slot::Slot,
    step::FleetPhase,
    view::Status,
};

/// See the module. It is kept with the instance, so that it can be taken out of the index again.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct IndexEntry {
    pub(crate) wake_ms: Option<u64>,
    /// Open questions, and the slots that they are about.
    pub(crate) questions: Vec<(QuestionId, u32)>,
    /// The open question for a plan of its breaker, …
    pub(crate) plan_question: Option<QuestionId>,
    /// … or since when one waits for its turn.
    pub(crate) plan_waits_since_ms: Option<u64>,
    /// A source defines it.
    pub(crate) defined: bool,
    /// Something of it may live, for which this router is answerable.
    pub(crate) alive: bool,
    /// It is meant to run, …
    pub(crate) wanted: bool,
    /// … and can serve, …
    pub(crate) able: bool,
    /// … and is not well.
    pub(crate) troubled: bool,
    /// Its slots that are meant to run, …
    pub(crate) slots_wanted: u32,
    /// … and those that a policy had recycled and that are not back yet.
    pub(crate) slots_recycling: u32,
    /// It is meant to run, and its breaker decides by itself, …
    pub(crate) enforced: bool,
    /// … and has not been CLOSED since then.
    pub(crate) tripped_ms: Option<u64>,
    /// The template that it is made from, where a source defines it.
    pub(crate) template: Option<Arc<str>>,
    /// It counts against the limits of what runs, …
    pub(crate) place: bool,
    /// … or waits for that: its place in the order, and until when.
    pub(crate) waiting: Option<(u64, u64)>,
    /// What it has in use.
    pub(crate) usage: Usage,
    /// What its policies judge of it.
    pub(crate) judged: Vec<JudgedBy>,
}

/// What one policy judges of an instance.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JudgedBy {
    pub(crate) policy: Arc<str>,
    /// What serves by the built-in rule: slots, or the instance.
    pub(crate) serving: u32,
    /// What of it the policy has taken away, or would.
    pub(crate) taken: u32,
}

impl Instance {
    /// What the index is to hold about it now.
    pub(crate) fn index_entry(&self, phase: FleetPhase, bugs: Bugs) -> IndexEntry {
        let slots = self.slots.iter();
        let questions = slots.filter_map(|(number, slot)| Some((slot.open_question()?, *number)));
        let wanted = self.is_wanted();
        let enforced = wanted && !self.breaker.isolated();
        let alive = self.lives();
        IndexEntry {
            wake_ms: self.next_wake(phase, bugs),
            questions: questions.collect(),
            plan_question: self.planning.open_question(),
            plan_waits_since_ms: self.planning.waits_since_ms(),
            defined: self.is_defined(),
            alive,
            wanted,
            able: wanted && self.can_serve(),
            troubled: wanted && self.is_troubled(phase, bugs),
            slots_wanted: self.count(|slot| slot.wanted),
            slots_recycling: self.count(Slot::is_recycling),
            enforced,
            tripped_ms: self.breaker.tripped_ms().filter(|_| enforced),
            template: self.is_defined().then(|| Arc::clone(&self.spec.template)),
            place: wanted || alive,
            waiting: self
                .waiting
                .as_ref()
                .map(|waiting| (waiting.sequence, waiting.until_ms)),
            usage: self.usage(alive, bugs),
            judged: self.judged(),
        }
    }

    fn usage(&self, alive: bool, bugs: Bugs) -> Usage {
        let mut usage = Usage {
            running: u32::from(alive),
            ..Usage::default()
        };
        for slot in self.slots.values().filter(|_| alive) {
            let (memory_bytes, in_flight) = slot.in_use();
            usage.memory_bytes = usage.memory_bytes.saturating_add(memory_bytes);
            usage.in_flight = usage.in_flight.saturating_add(in_flight);
        }
        if bugs.has(Planted::LoadForgetsMemory) {
            usage.memory_bytes = 0;
        }
        usage
    }

    fn count(&self, which: impl Fn(&Slot) -> bool) -> u32 {
        let runs = self.desired().permits_running();
        let slots = self.slots.values();
        slots.filter(|slot| runs && which(slot)).count() as u32
    }

    fn is_troubled(&self, phase: FleetPhase, bugs: Bugs) -> bool {
        matches!(self.status(phase), Status::Unhealthy | Status::Degraded)
            || self.is_overdue(bugs)
            || self.is_retrying(bugs)
    }
}
