//! The way down of each run: what is in flight may end, SIGTERM may be obeyed, and only then comes the kill.

use crate::{
    Run, SlotKey,
    simulation::{property::Property, world::World},
    view::Lifecycle,
};

/// How far a run is on its way down.
#[derive(Debug, Default)]
pub(super) struct WayDown {
    /// When the next step is due.
    due_ms: Option<u64>,
    /// From when on nothing need be waited for that is in flight, once that is known.
    drained_from_ms: Option<u64>,
    /// From when on it may be killed, once that is known.
    kill_from_ms: Option<u64>,
}

impl WayDown {
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }
}

impl World {
    fn way_down(&mut self, key: &SlotKey, run: Run) -> &mut WayDown {
        let at = (key.clone(), run);
        self.watched.ways_down.entry(at).or_default()
    }

    /// A run on its way down is asked to let its requests end.
    pub(super) fn check_drain(&mut self, key: &SlotKey, run: Run, deadline_ms: u64) {
        let drain_ms = self.held(&key.instance).map(|held| held.spec.drain_ms);
        if drain_ms.is_none_or(|ms| deadline_ms != self.now_ms + ms) {
            self.fail(
                Property::StopInOrder,
                format!("what is in flight on {key} run {run} has until {deadline_ms}"),
            );
        }
        let way = self.way_down(key, run);
        (way.due_ms, way.drained_from_ms) = (Some(deadline_ms), Some(deadline_ms));
    }

    /// Nothing is in flight on a run any more.
    pub(super) fn nothing_in_flight(&mut self, key: &SlotKey, run: Run) {
        let now_ms = self.now_ms;
        if !self.watched.ended.contains(&(key.clone(), run)) {
            self.way_down(key, run).drained_from_ms = Some(now_ms);
        }
    }

    /// Its shim was lost, or it is past a limit: whatever it was kept for, its processes may be killed at once.
    pub(super) fn may_be_killed(&mut self, key: &SlotKey, run: Run) {
        let (now_ms, at) = (self.now_ms, (key.clone(), run));
        self.watched.keepers.remove(&at);
        if !self.watched.ended.contains(&at) {
            self.way_down(key, run).kill_from_ms = Some(now_ms);
        }
    }

    pub(super) fn check_terminate(&mut self, key: &SlotKey, run: Run) {
        let due_ms = self.now_ms + self.settings.term_ms;
        self.check_drained(key, run);
        let way = self.way_down(key, run);
        (way.due_ms, way.kill_from_ms) = (Some(due_ms), Some(due_ms));
        self.check_harm(key, run);
    }

    /// What was in flight on a run has ended, or has had its time.
    pub(super) fn check_drained(&mut self, key: &SlotKey, run: Run) {
        let now_ms = self.now_ms;
        let before = self.slot_before(key).filter(|slot| slot.run == Some(run));
        let served = before.is_some_and(|slot| slot.lifecycle == Lifecycle::Ready);
        match self.way_down(key, run).drained_from_ms {
            Some(from_ms) if from_ms <= now_ms => {}
            None if !served => {}
            from_ms => {
                let how = format!("requests on {key} run {run} have until {from_ms:?}");
                self.fail(Property::StopInOrder, how);
            }
        }
    }

    pub(super) fn check_kill(&mut self, key: &SlotKey, run: Run) {
        let (now_ms, at) = (self.now_ms, (key.clone(), run));
        let again_ms = now_ms + self.settings.kill_retry_ms.max(1);
        // What is not its slot's run should not be there at all.
        let is_stray = self.slot_before(key).and_then(|slot| slot.run) != Some(run);
        // A released run whose instance has gone may still be reported: it is killed once, and nobody keeps a list of it.
        let is_known = self.held(&key.instance).is_some();
        if !self.watched.ended.contains(&at) {
            let way = self.way_down(key, run);
            way.due_ms = is_known.then_some(again_ms);
            match way.kill_from_ms {
                Some(from_ms) if from_ms <= now_ms => {}
                None if is_stray => {}
                from_ms => {
                    let how = format!("{key} run {run} is killed; SIGTERM has until {from_ms:?}");
                    self.fail(Property::StopInOrder, how);
                }
            }
        }
        self.check_harm(key, run);
        self.watched.killed.insert(at);
    }

    /// A signal goes to a run.
    fn check_harm(&mut self, key: &SlotKey, run: Run) {
        if self.watched.keepers.contains(&(key.clone(), run)) {
            self.fail(
                Property::Kept,
                format!("{key} run {run} is ended although it is to outlive the router"),
            );
        }
    }
}
