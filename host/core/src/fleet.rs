//! The fleet: every instance, and the one entrance through which anything changes.

use crate::{action::Action, event::Event, settings::Settings, time::Now, view::FleetView};

/// See the module.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
}

impl Fleet {
    /// An empty fleet. Nothing is started before `AdoptionFinished`.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Takes in one event and appends what is to be done, in order. `now` must never run backwards.
    pub fn step(&mut self, _now: Now, _event: Event, _out: &mut Vec<Action>) {
        let _ = &self.settings;
    }

    /// When `Tick` must come at the latest (same clock as [`Now`]); `None`: only an event changes anything.
    #[must_use]
    pub fn next_wake(&self) -> Option<u64> {
        None
    }

    /// What people see now.
    #[must_use]
    pub fn view(&self, _now: Now) -> FleetView {
        unreachable!()
    }
}
