//! Use, and the lack of it: what nobody uses is stopped in time.

use crate::{
    Run, SlotKey,
    event::Sample,
    simulation::{property::Property, world::World},
    view::{Lifecycle, SlotView},
};

impl World {
    pub(super) fn note_use(&mut self, key: &SlotKey) {
        let now_ms = self.now_ms;
        if let Some(slot) = self.watched.slots.get_mut(key) {
            slot.last_used_ms = now_ms;
        }
    }

    /// When the slot will have been without use for as long as it may.
    pub(super) fn idles_at_ms(&self, key: &SlotKey) -> Option<u64> {
        let idle_ms = self.held(&key.instance)?.spec.idle_stop_ms?;
        Some(self.watched.slots.get(key)?.last_used_ms + idle_ms)
    }

    pub(super) fn idles(&self, key: &SlotKey) -> bool {
        self.idles_at_ms(key)
            .is_some_and(|at_ms| at_ms <= self.now_ms)
    }

    /// A ready slot is stopped as soon as it is idle; a client that waits for an answer uses it.
    pub(super) fn check_idle(&mut self, view: &SlotView) {
        let (now_ms, key) = (self.now_ms, &view.key);
        if view.lifecycle != Lifecycle::Ready || !self.idles(key) {
            return;
        }
        let Some(slot) = self.watched.slots.get_mut(key) else {
            return;
        };
        if slot.in_flight > 0 {
            slot.last_used_ms = now_ms;
        } else {
            let how = format!("{key} was last used at {} and serves on", slot.last_used_ms);
            self.fail(Property::IdleInTime, how);
        }
    }

    /// What a sample says of the requests in flight on a run.
    pub(super) fn note_sample(&mut self, key: &SlotKey, run: Run, sample: &Sample) {
        let before = self.slot_before(key);
        let serves =
            before.is_some_and(|slot| slot.run == Some(run) && slot.lifecycle == Lifecycle::Ready);
        if let Some(slot) = self.watched.slots.get_mut(key).filter(|_| serves) {
            slot.in_flight = sample.in_flight;
        }
    }
}
