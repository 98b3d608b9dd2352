//! The place of an instance among those that run, which it has or waits for.

use std::collections::BTreeSet;

use super::Instance;
use crate::{
    planted::Planted,
    route::Unavailable,
    slot::Slot,
    step::{FleetPhase, Step},
};

/// An instance that waits for a place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WaitingStart {
    /// Its place in the order.
    pub(crate) sequence: u64,
    /// The slots that clients wait for.
    pub(crate) slots: BTreeSet<u32>,
    /// Until when it waits.
    pub(crate) until_ms: u64,
    /// What a client is answered whose time is up.
    pub(crate) refusal: Unavailable,
}

impl Instance {
    /// Whether anything of it may live.
    pub(crate) fn lives(&self) -> bool {
        !self.slots.values().all(Slot::is_over)
    }

    /// Whether it counts against the limits of what runs: it is wanted running, or lives.
    pub(crate) fn has_place(&self) -> bool {
        self.is_wanted() || self.lives()
    }

    /// Waits for a place, with one slot more. Whether it began to wait with it, and so took that number in the order.
    pub(crate) fn wait_for_place(
        &mut self,
        slot: u32,
        sequence: u64,
        now_ms: u64,
        refusal: Unavailable,
    ) -> bool {
        if self.slot(slot, now_ms).is_none() {
            return false;
        }
        let until_ms = now_ms.saturating_add(self.spec.spawn_timeout_ms);
        let is_new = self.waiting.is_none();
        let waiting = self.waiting.get_or_insert_with(|| WaitingStart {
            sequence,
            slots: BTreeSet::new(),
            until_ms,
            refusal: refusal.clone(),
        });
        // Each slot may wait as long as its start may take; there are only so many of them.
        if waiting.slots.insert(slot) {
            (waiting.until_ms, waiting.refusal) = (until_ms, refusal);
        }
        is_new
    }

    /// There is a place: what clients wait for is wanted.
    pub(crate) fn take_place(&mut self, now_ms: u64) {
        let waiting = self.waiting.take();
        for number in waiting.into_iter().flat_map(|waiting| waiting.slots) {
            if let Some(slot) = self.slot(number, now_ms) {
                slot.demand(now_ms);
            }
        }
    }

    /// What has a place by now, or may not run any more, waits for none.
    pub(super) fn settle_place(&mut self, step: &Step<'_>) {
        let is_moot = self.has_place()
            || !self.desired().permits_running()
            || step.phase == FleetPhase::ShuttingDown;
        if is_moot {
            self.waiting = None;
        }
        if let Some(waiting) = &mut self.waiting
            && step.bugs.has(Planted::RefusalStays)
        {
            waiting.until_ms = u64::MAX;
        }
    }
}
