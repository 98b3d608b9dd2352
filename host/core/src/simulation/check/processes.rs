//! Processes, runs and routes: how many live, who lets them, who ends them, and where requests are sent.

use super::slot_in;
use crate::{
    InstanceId, Run, SlotKey,
    action::{Change, Transition},
    event::{Event, Sample, SlotEvent},
    route::{Route, UnavailableKind},
    simulation::{property::Property, world::World},
    view::{FleetView, Lifecycle, SlotView},
};

impl World {
    pub(super) fn check_spawn(&mut self, key: &SlotKey, run: Run, digest: u64, deadline_ms: u64) {
        self.note_admitted(key);
        let at = (key.clone(), run);
        if self.watched.run_max >= Some(run) {
            self.fail(
                Property::RunsGrow,
                format!("{key} is started as run {run} again"),
            );
        }
        self.watched.run_max = Some(run);
        if !self.watched.adoption_finished {
            self.fail(
                Property::AdoptionFirst,
                format!("{key} is started while survivors may still be reported"),
            );
        }
        let alive = self
            .procs
            .iter()
            .find(|((of, _), proc)| of == key && proc.alive);
        if let Some(((_, other), _)) = alive {
            let how = format!("{key} is started as run {run} while run {other} lives");
            self.fail(Property::OneProcess, how);
        }
        if !self.may_start(key) {
            self.fail(
                Property::StaysStopped,
                format!("{key} is started although nobody wants it, or something forbids it"),
            );
        }
        let spec = self
            .held(&key.instance)
            .map(|held| (held.spec.digest, held.spec.spawn_timeout_ms));
        let (wanted, timeout_ms) = spec.unwrap_or_default();
        if digest != wanted {
            self.fail(
                Property::ReloadExact,
                format!("{key} is started with digest {digest}, not {wanted}"),
            );
        }
        if deadline_ms != self.now_ms + timeout_ms {
            self.fail(
                Property::WaitersAnswered,
                format!("the start of {key} may take until {deadline_ms}"),
            );
        }
        self.watched
            .launched
            .insert(at.clone(), (digest, Some(deadline_ms)));
        self.reported.insert(at);
        let before = self.slot_before(key).map(|slot| slot.lifecycle);
        if before == Some(Lifecycle::CrashLoop) {
            self.saw("slow retry");
        }
    }

    pub(super) fn check_release(&mut self, key: &SlotKey, run: Run) {
        self.saw("released");
        self.check_drained(key, run);
        let at = (key.clone(), run);
        self.watched.ways_down.remove(&at);
        let was_to_be_kept = self.watched.keepers.remove(&at);
        let keeps = self
            .held(&key.instance)
            .is_some_and(|held| held.spec.keep_on_exit);
        if !(keeps || was_to_be_kept) || !self.watched.shutting_down {
            self.fail(
                Property::StoppedAtEnd,
                format!("{key} run {run} is released although it is not to be kept"),
            );
        }
    }

    pub(super) fn check_gone(&mut self, id: &InstanceId) {
        let procs = self.procs.iter();
        let alive = procs.filter(|((key, _), proc)| key.instance == *id && proc.alive);
        let mut alive = alive.filter(|(at, proc)| !proc.released && self.reported.contains(at));
        if let Some(((key, run), _)) = alive.next() {
            let how = format!("{key} run {run} lives although the instance is gone");
            self.fail(Property::StoppedAtEnd, how);
        }
        if self
            .watched
            .instances
            .remove(id)
            .is_none_or(|held| !held.removed)
        {
            self.fail(
                Property::NotLeftDown,
                format!("{id} is gone although it is defined"),
            );
        }
    }

    pub(super) fn check_transition(&mut self, transition: &Transition) {
        let (Change::Lifecycle { to, .. }, Some(key)) = (transition.change, &transition.key) else {
            return;
        };
        if transition.reason == "its definition changed" {
            let held = self.held(&key.instance).map(|held| held.spec.digest);
            let launched = transition
                .run
                .and_then(|run| self.watched.launched.get(&(key.clone(), run)));
            if launched.map(|(digest, _)| *digest) == held {
                self.fail(
                    Property::ReloadExact,
                    format!("{key} is stopped for a definition that did not change"),
                );
            }
        }
        if transition.reason.starts_with("recycled:") && to == Lifecycle::Draining {
            let (now_ms, every_ms) = (self.now_ms, self.settings.recycle_every_ms);
            let slot = self.watched.slots.get_mut(key);
            let before_ms = slot.and_then(|slot| slot.recycled_ms.replace(now_ms));
            self.saw("recycled");
            if before_ms.is_some_and(|at_ms| now_ms - at_ms < every_ms) {
                self.fail(
                    Property::RecycleBound,
                    format!("{key} is recycled at {before_ms:?} and again"),
                );
            }
            if !transition.reason.ends_with("memory are in use") {
                self.check_recycled_at_once(key);
            }
        }
    }

    /// A policy has a slot recycled: how many are by now, of those that were meant to run.
    fn check_recycled_at_once(&mut self, key: &SlotKey) {
        if let Some(slot) = self.watched.slots.get_mut(key) {
            slot.recycling = true;
        }
        let slots = self.before.instances.iter().flat_map(|view| &view.slots);
        let (mut wanted, mut recycling) = (0_usize, 0_usize);
        for slot in slots.filter(|slot| slot.wanted) {
            let watch = self.watched.slots.get(&slot.key);
            wanted += 1;
            recycling += usize::from(watch.is_some_and(|slot| slot.recycling));
        }
        let most = (wanted as f64 * self.settings.max_recycling).max(1.0) as usize;
        if recycling == most {
            self.saw("recycled as many as may be");
        } else if recycling > most {
            let how = format!("{recycling} of {wanted} are recycled at once, with {key}");
            self.fail(Property::RecycleBound, how);
        }
    }

    pub(super) fn expect_shutdown(&mut self) {
        self.watched.shutting_down = true;
        let slots = self.before.instances.iter().flat_map(|view| &view.slots);
        for slot in slots {
            let runs = matches!(slot.lifecycle, Lifecycle::Starting | Lifecycle::Ready);
            let keeps = self
                .held(&slot.key.instance)
                .is_some_and(|held| held.spec.keep_on_exit);
            if let Some(run) = slot.run
                && runs
                && keeps
                && slot.wanted
            {
                self.watched.keepers.insert((slot.key.clone(), run));
            }
        }
    }

    pub(super) fn check_all_stopped(&mut self) {
        self.watched.all_stopped = true;
        let mut procs = self.procs.iter();
        let left =
            procs.find(|(at, proc)| proc.alive && !proc.released && self.reported.contains(at));
        if let Some(((key, run), _)) = left {
            let how = format!("the router ends while {key} run {run} lives");
            self.fail(Property::StoppedAtEnd, how);
        }
        if !self.watched.shutting_down {
            self.fail(
                Property::EndsWhenAsked,
                "the router ends although nobody asked it to",
            );
        }
        if let Some((id, order)) = self.watched.orders.first_key_value() {
            let how = format!("the router ends and command {id} was never answered: {order:?}");
            self.fail(Property::OrdersAnsweredAtEnd, how);
        }
    }

    /// The story is over: so must the router be.
    pub(in crate::simulation) fn the_end(&mut self) {
        if !self.watched.all_stopped {
            let how = format!("the shutdown never ended: {:?}", self.before.instances);
            self.fail(Property::StoppedAtEnd, how);
        }
    }

    /// Runs that are killed although they are not their slot's hold it up until their end is reported (again: a report that comes
    /// late may look like one of a run that lives).
    pub(super) fn note_strays(&mut self, after: &FleetView) {
        let is_known = |(key, _): &(SlotKey, Run)| slot_in(after, key).is_some();
        self.watched.killed.retain(is_known);
        self.watched.strays.retain(is_known);
        let killed = self.watched.killed.iter();
        let strays = killed
            .filter(|(key, run)| slot_in(after, key).is_some_and(|slot| slot.run != Some(*run)));
        let strays: Vec<_> = strays.cloned().collect();
        for stray in strays {
            if self.watched.strays.insert(stray) {
                self.saw("stray");
            }
        }
    }

    /// A slot becomes ready by what its own run reports, although another one may have answered its handshake too.
    pub(super) fn check_becoming_ready(&mut self, event: &Event, after: &FleetView) {
        let Event::Slot {
            key,
            run,
            event: SlotEvent::Ready { .. },
        } = event
        else {
            return;
        };
        let lifecycle = |slot: Option<&SlotView>| slot.map(|slot| slot.lifecycle);
        let was = lifecycle(self.slot_before(key));
        let is = slot_in(after, key).filter(|slot| slot.lifecycle == Lifecycle::Ready);
        if let Some(slot) = is
            && was != Some(Lifecycle::Ready)
            && slot.run != Some(*run)
        {
            let how = format!("{key} run {:?} is called ready by run {run}", slot.run);
            self.fail(Property::ReadyIsReal, how);
        }
    }

    pub(super) fn check_phase(&mut self, view: &SlotView) {
        let key = &view.key;
        let launched = view
            .run
            .and_then(|run| self.watched.launched.get(&(key.clone(), run)));
        let digest = launched.map(|(digest, _)| *digest);
        let wanted = self.held(&key.instance).map(|held| held.spec.digest);
        let runs = matches!(view.lifecycle, Lifecycle::Starting | Lifecycle::Ready);
        if runs && view.run.is_some() && digest != wanted && !self.watched.shutting_down {
            self.fail(
                Property::ReloadExact,
                format!("{key} runs with digest {digest:?}, its definition is {wanted:?}"),
            );
        }
        if let (Lifecycle::Ready, Some(run)) = (view.lifecycle, view.run) {
            let proc = self.procs.get(&(key.clone(), run));
            if !proc.is_some_and(|proc| proc.handshook) {
                self.fail(
                    Property::ReadyIsReal,
                    format!("{key} run {run} is called ready and never answered its handshake"),
                );
            }
        }
        let may_start = self.may_start(key);
        let due = view.retry_after_ms == Some(0);
        let permanent = self
            .watched
            .slots
            .get(key)
            .is_some_and(|slot| slot.permanent);
        let slow_retry = self.settings.crash_loop.slow_retry_ms.is_some();
        let is_left = match view.lifecycle {
            Lifecycle::Idle | Lifecycle::Stopped => true,
            Lifecycle::Starting => view.run.is_none(),
            Lifecycle::Backoff => due || view.retry_after_ms.is_none(),
            Lifecycle::CrashLoop => {
                due || (view.retry_after_ms.is_none() && slow_retry && !permanent)
            }
            Lifecycle::Ready | Lifecycle::Draining => false,
        };
        if may_start && is_left {
            self.fail(
                Property::NotLeftDown,
                format!(
                    "{key} is wanted, may start, and is left {:?}",
                    view.lifecycle
                ),
            );
        }
    }

    pub(super) fn check_route(&mut self, view: &SlotView) {
        let route = self.routes.get(&view.key);
        let is_removed = self
            .held(&view.key.instance)
            .is_none_or(|held| held.removed);
        let kind = match route {
            Some(Route::Unavailable(unavailable)) => Some(unavailable.kind),
            _ => None,
        };
        let ending = self.watched.shutting_down && kind == Some(UnavailableKind::ShuttingDown);
        let is_true = match (view.lifecycle, route) {
            (Lifecycle::Ready, Some(Route::Ready { key, run })) => {
                *key == view.key && Some(*run) == view.run
            }
            (Lifecycle::Ready, _) | (_, Some(Route::Ready { .. })) => false,
            (Lifecycle::Backoff, _) => kind == Some(UnavailableKind::Backoff),
            (Lifecycle::CrashLoop, _) => kind == Some(UnavailableKind::CrashLoop),
            (Lifecycle::Stopped, _) => kind == Some(UnavailableKind::Stopped) || ending,
            (Lifecycle::Idle, Some(Route::Startable { .. } | Route::Waiting { .. })) => true,
            (Lifecycle::Idle, route) => ending || (is_removed && route.is_none()),
            (Lifecycle::Starting | Lifecycle::Draining, route) => route.is_some(),
        };
        if !is_true {
            let how = format!(
                "{} is {:?} and its route is {route:?}",
                view.key, view.lifecycle
            );
            self.fail(Property::RouteTruth, how);
        }
    }

    pub(in crate::simulation) fn memory_limit(&self, key: &SlotKey) -> Option<u64> {
        self.held(&key.instance)?.spec.max_memory_bytes
    }

    pub(in crate::simulation) fn process_limit(&self, key: &SlotKey) -> Option<u32> {
        self.held(&key.instance)?.spec.max_processes
    }

    pub(super) fn is_past_a_limit(&self, key: &SlotKey, sample: &Sample) -> bool {
        let memory = self.memory_limit(key);
        let processes = self.process_limit(key);
        memory.is_some_and(|limit| sample.memory_bytes.is_some_and(|bytes| bytes >= limit))
            || processes.is_some_and(|limit| sample.processes > limit)
    }

    /// What a sample says of a run's memory and processes has its consequence in the same step.
    pub(super) fn check_limits(&mut self, event: &Event, after: &FleetView) {
        let Event::Slot {
            key,
            run,
            event: SlotEvent::Sampled { sample },
        } = event
        else {
            return;
        };
        let at = (key.clone(), *run);
        let released = self.procs.get(&at).is_some_and(|proc| proc.released);
        let Some(before) = self.slot_before(key).filter(|slot| slot.run == Some(*run)) else {
            return;
        };
        let (was_ready, limit) = (before.lifecycle == Lifecycle::Ready, self.memory_limit(key));
        let has = |share: f64| {
            let (bytes, limit) = (sample.memory_bytes, limit);
            bytes
                .zip(limit)
                .is_some_and(|(bytes, limit)| bytes as f64 >= limit as f64 * share)
        };
        if self.is_past_a_limit(key, sample) && !released {
            self.saw(if has(1.0) {
                "memory kill"
            } else {
                "process kill"
            });
            if !self.watched.killed.contains(&at) && !self.watched.ended.contains(&at) {
                self.fail(
                    Property::LimitsHold,
                    format!("{key} run {run} is past a limit and lives: {sample:?}"),
                );
            }
            return;
        }
        let every_ms = self.settings.recycle_every_ms;
        let recycled_ms = self
            .watched
            .slots
            .get(key)
            .and_then(|slot| slot.recycled_ms);
        let is_ready = slot_in(after, key).is_some_and(|slot| slot.lifecycle == Lifecycle::Ready);
        let is_unclaimed = self.held(&key.instance).is_none_or(|held| held.unclaimed);
        if !was_ready || is_unclaimed || !has(self.settings.memory_recycle_share) {
            return;
        }
        if !is_ready {
            self.saw("memory recycled");
        } else if recycled_ms.is_none_or(|at_ms| self.now_ms - at_ms >= every_ms) {
            let how =
                format!("{key} was last recycled at {recycled_ms:?} and serves on: {sample:?}");
            self.fail(Property::MemoryRecycles, how);
        }
    }
}
