//! Which survivors of an earlier life are being connected again, and what was reported of them meanwhile.

use std::collections::HashMap;

use router_core::SlotKey;
use router_supervisor::SupervisorEvent;

/// Events of one survivor that may be held back while it is being connected again: the loss of its shim, its end, and one
/// to spare. Samples of its memory are not among them.
const HELD_BACK_MAX: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Survivors {
    /// Each with what was reported of it meanwhile, which the core would not understand yet.
    pending: HashMap<SlotKey, Vec<SupervisorEvent>>,
    all_found: bool,
    finished: bool,
}

impl Survivors {
    /// Whether runs of an earlier life may still be found.
    pub(super) fn is_under_way(&self) -> bool {
        !self.finished
    }

    /// Keeps an event of a survivor that the core does not know yet; gives back any other.
    pub(super) fn hold_back(&mut self, event: SupervisorEvent) -> Option<SupervisorEvent> {
        let (SupervisorEvent::Exited { key, .. } | SupervisorEvent::ShimLost { key, .. }) = &event
        else {
            return Some(event);
        };
        match self.pending.get_mut(key) {
            Some(held) if held.len() < HELD_BACK_MAX => held.push(event),
            Some(_) => {
                tracing::error!(instance = %key.instance, "more ends than runs were reported");
            }
            None => return Some(event),
        }
        None
    }

    /// A survivor is being connected: what is reported of it is held back.
    pub(super) fn connecting(&mut self, key: SlotKey) {
        self.pending.insert(key, Vec::new());
    }

    /// A survivor is connected, or cannot be. Returns what was held back.
    pub(super) fn connected(&mut self, key: &SlotKey) -> Vec<SupervisorEvent> {
        self.pending.remove(key).unwrap_or_default()
    }

    /// Every survivor was found.
    pub(super) fn found_all(&mut self) {
        self.all_found = true;
    }

    /// Whether the last of them has just been connected. True once.
    pub(super) fn finish(&mut self) -> bool {
        let finishes = !self.finished && self.all_found && self.pending.is_empty();
        self.finished |= finishes;
        finishes
    }
}
