//! Starts by use at a limit: who must wait, who may be admitted, and who is refused. The model decides by what people saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    InstanceId, SlotKey,
    capacity::Measure,
    route::Route,
    simulation::{property::Property, world::World},
    view::{FleetView, InstanceView, Lifecycle},
};

/// What the model remembers of it.
#[derive(Debug, Default)]
pub(super) struct AdmissionModel {
    waiting: BTreeMap<InstanceId, Waiting>,
    next_sequence: u64,
    /// Those of the waiting that the step in progress admits.
    admitted: BTreeSet<InstanceId>,
    /// It admitted some.
    pub(super) has_admitted: bool,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    slots: BTreeSet<u32>,
    until_ms: u64,
}

impl World {
    /// A request came for a slot. Whether it may start at once; otherwise it waits from now on.
    pub(super) fn may_start_by_use(&mut self, key: &SlotKey) -> bool {
        let id = &key.instance;
        let Some(held) = self.held(id) else {
            return true;
        };
        let template = Arc::clone(&held.spec.template);
        let wait_ms = held.spec.spawn_timeout_ms;
        let has_place = self
            .before
            .instance(id)
            .is_some_and(|view| self.has_place(view));
        let nobody = BTreeSet::new();
        if has_place || !self.is_reached(&self.before, &template, &nobody) {
            return true;
        }
        let until_ms = self.now_ms + wait_ms;
        let model = &mut self.watched.admission;
        let sequence = model.next_sequence;
        let waiting = model.waiting.entry(id.clone()).or_insert_with(|| Waiting {
            sequence,
            slots: BTreeSet::new(),
            until_ms,
        });
        if waiting.slots.insert(key.slot) {
            waiting.until_ms = until_ms;
        }
        model.next_sequence += 1;
        self.saw("start waited");
        false
    }

    /// The core wants a slot: where it waited for a place in the model, it was admitted.
    pub(super) fn note_admitted(&mut self, key: &SlotKey) {
        let (now_ms, watched) = (self.now_ms, &mut self.watched);
        let waiting = watched.admission.waiting.get(&key.instance);
        let is_it = waiting.is_some_and(|waiting| waiting.slots.contains(&key.slot));
        if let Some(slot) = watched.slots.get_mut(key)
            && is_it
            && !slot.wanted
        {
            slot.wanted = true;
            slot.last_used_ms = now_ms;
            watched.admission.admitted.insert(key.instance.clone());
        }
    }

    fn has_place(&self, view: &InstanceView) -> bool {
        let lives = view.slots.iter().any(|slot| match slot.lifecycle {
            Lifecycle::Starting => slot.run.is_some(),
            Lifecycle::Ready | Lifecycle::Draining => true,
            _ => false,
        });
        let strays = &self.watched.strays;
        view.wanted || lives || strays.iter().any(|(key, _)| key.instance == view.id)
    }

    /// Whether a limit that concerns instances of the template is reached, `without` these.
    fn is_reached(&self, view: &FleetView, template: &str, without: &BTreeSet<InstanceId>) -> bool {
        let Some(in_force) = &view.capacity.in_force else {
            return false;
        };
        let placed = view.instances.iter().filter(|one| self.has_place(one));
        let placed: Vec<_> = placed.filter(|one| !without.contains(&one.id)).collect();
        let known = placed.iter().filter_map(|one| one.memory_bytes);
        let known: Vec<u64> = known.filter(|bytes| *bytes > 0).collect();
        let (sum, count) = (known.iter().sum::<u64>(), known.len() as u64);
        let unknown = placed.len() as u64 - count;
        in_force.plan.limits.iter().any(|limit| {
            let used = match &limit.of {
                Measure::Running => placed.len() as u64,
                Measure::RunningOfTemplate(name) if **name == *template => {
                    let of_it = |one: &&&InstanceView| {
                        let held = self.held(&one.id);
                        held.is_some_and(|held| {
                            held.spec.template == *name && !held.removed && !held.unclaimed
                        })
                    };
                    placed.iter().filter(of_it).count() as u64
                }
                Measure::MemoryBytes => sum + unknown * sum.checked_div(count).unwrap_or(0),
                Measure::InFlight => view.capacity.usage.in_flight.into(),
                Measure::RunningOfTemplate(_) | Measure::Other(_) => return false,
            };
            used >= limit.most
        })
    }

    pub(super) fn check_admission(&mut self, after: &FleetView) {
        let admitted = std::mem::take(&mut self.watched.admission.admitted);
        self.watched.admission.has_admitted = !admitted.is_empty();
        for id in &admitted {
            self.check_admitted(id, &admitted, after);
        }
        self.watched
            .admission
            .waiting
            .retain(|id, _| !admitted.contains(id));
        let ids: Vec<InstanceId> = self.watched.admission.waiting.keys().cloned().collect();
        for id in ids {
            self.check_waiting(&id, after);
        }
        let stray = self.routes.iter().find(|(key, route)| {
            let waiting = self.watched.admission.waiting.get(&key.instance);
            let waits = waiting.is_some_and(|waiting| waiting.slots.contains(&key.slot));
            matches!(route, Route::Waiting { .. }) && !waits
        });
        if let Some((key, route)) = stray {
            let how = format!("{key} does not wait for a place: {route:?}");
            self.fail(Property::RefusedTriedAgain, how);
        }
    }

    fn check_admitted(
        &mut self,
        id: &InstanceId,
        admitted: &BTreeSet<InstanceId>,
        after: &FleetView,
    ) {
        let template = self.held(id).map(|held| Arc::clone(&held.spec.template));
        let template = template.unwrap_or_default();
        // It was admitted beside those that came before it, and before those that came after.
        let model = &self.watched.admission.waiting;
        let sequence = |id: &InstanceId| model.get(id).map(|waiting| waiting.sequence);
        let later = admitted
            .iter()
            .filter(|other| sequence(other) >= sequence(id));
        let without: BTreeSet<InstanceId> = later.cloned().collect();
        if self.is_reached(after, &template, &without) {
            let how = format!("{id} is admitted although a limit is reached: {after:?}");
            return self.fail(Property::LimitsKept, how);
        }
        self.saw("start admitted");
        let Some(waiting) = self.watched.admission.waiting.get(id) else {
            return;
        };
        let now_ms = self.now_ms;
        let others = self.watched.admission.waiting.iter();
        let overtaken = others.filter(|(other, its)| {
            let held = self.held(other);
            let is_same = held.is_some_and(|held| held.spec.template == template);
            is_same
                && its.sequence < waiting.sequence
                && its.until_ms > now_ms
                && !admitted.contains(*other)
                && after
                    .instance(other)
                    .is_some_and(|view| !self.has_place(view))
        });
        let overtaken: Vec<InstanceId> = overtaken.map(|(other, _)| other.clone()).collect();
        if !overtaken.is_empty() {
            let how = format!("{id} is admitted before {overtaken:?}");
            self.fail(Property::WaitsInOrder, how);
        }
    }

    /// One that waits does so for a limit, and not for ever.
    fn check_waiting(&mut self, id: &InstanceId, after: &FleetView) {
        let view = after.instance(id);
        let is_moot = view.is_none_or(|view| self.has_place(view))
            || self.watched.shutting_down
            || self.held(id).is_none_or(|held| !held.permits_running());
        let Some(waiting) = self.watched.admission.waiting.get(id) else {
            return;
        };
        if is_moot || waiting.until_ms <= self.now_ms {
            self.watched.admission.waiting.remove(id);
            if !is_moot {
                self.saw("start refused");
            }
            return;
        }
        let template = self.held(id).map(|held| Arc::clone(&held.spec.template));
        let nobody = BTreeSet::new();
        if !self.is_reached(after, &template.unwrap_or_default(), &nobody) {
            let how = format!("{id} waits, and no limit is reached: {after:?}");
            return self.fail(Property::RefusedForLimit, how);
        }
        for slot in waiting.slots.clone() {
            let key = SlotKey {
                instance: id.clone(),
                slot,
            };
            if !matches!(self.routes.get(&key), Some(Route::Waiting { .. })) {
                let how = format!("{key} waits for a place: {:?}", self.routes.get(&key));
                return self.fail(Property::RouteTruth, how);
            }
        }
    }
}
