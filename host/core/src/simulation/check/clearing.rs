//! Clearing an instance's state: what of it people see must be gone at once; that the rest is, its later failures and lists show.

use crate::{
    InstanceId,
    permit::BreakerState,
    simulation::{property::Property, world::World},
    view::{FleetView, Lifecycle, SlotView},
};

impl World {
    /// Evidence and what is kept with runs is cleared, where somebody asked for it.
    pub(super) fn check_clear(&mut self, cleared: &InstanceId) {
        self.watched
            .kept
            .retain(|(key, _), _| key.instance != *cleared);
        match &mut self.watched.clearing {
            Some((id, is_done)) if id == cleared && !*is_done => *is_done = true,
            _ => self.fail(
                Property::StateCleared,
                format!("evidence of {cleared} is cleared, and nobody asked for that"),
            ),
        }
    }

    /// Nothing that was to be cleared is left.
    pub(super) fn check_cleared(&mut self, after: &FleetView) {
        let Some((id, evidence)) = self.watched.clearing.take() else {
            return;
        };
        self.saw("state cleared");
        let Some(view) = after.instance(&id) else {
            return;
        };
        let fails = |slot: &SlotView| {
            matches!(slot.lifecycle, Lifecycle::Backoff | Lifecycle::CrashLoop)
                || slot.last_error.is_some()
                || !slot.tools_missing.is_empty()
        };
        let trips = view.breaker.state != BreakerState::Closed || view.breaker.openings > 0;
        if !evidence || trips || view.slots.iter().any(fails) {
            self.fail(
                Property::StateCleared,
                format!("the state of {id} was cleared (evidence: {evidence}) and is {view:?}"),
            );
        }
    }
}
