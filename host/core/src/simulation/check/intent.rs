//! What people and sources want: definitions, commands, demand. The core's idea of it must be the same.

use super::{InstanceWatch, PlanWatch, SlotWatch, Waiter, slot_in};
use crate::{
    InstanceId, Run, SlotKey,
    action::{CommandError, Done},
    event::{Adopted, Command, Verb},
    permit::BreakerState,
    route::Route,
    simulation::{check::breakers::BreakerWatch, property::Property, world::World},
    spec::{InstanceSpec, Source},
    view::{FleetView, InstanceView, Lifecycle, SlotView},
};

/// A command that was given and not yet answered.
#[derive(Debug)]
pub(super) struct Order {
    instance: InstanceId,
    verb: Verb,
    /// The first slot's run that served when it was given.
    replaces: Option<Run>,
}

/// So many commands may wait for one instance at once.
const ORDERS_MAX: usize = 64;

impl World {
    pub(super) fn expect_specs(&mut self, source: Source, specs: &[InstanceSpec]) {
        let held = self.watched.instances.iter();
        let dropped = held.filter(|(id, held)| {
            held.spec.source == source
                && !held.unclaimed
                && !specs.iter().any(|spec| spec.id == **id)
        });
        let dropped: Vec<InstanceId> = dropped.map(|(id, _)| id.clone()).collect();
        for id in dropped {
            self.expect_removal(&id);
        }
        for spec in specs {
            self.expect_spec(spec);
        }
    }

    pub(super) fn expect_removal(&mut self, id: &InstanceId) {
        if let Some(held) = self.watched.instances.get_mut(id) {
            held.removed = true;
        }
        for (_, slot) in self.slots_of(id) {
            slot.restarting = false;
        }
    }

    pub(super) fn expect_spec(&mut self, spec: &InstanceSpec) {
        let now_ms = self.now_ms;
        let first = SlotKey::first(spec.id.clone());
        let Some(held) = self.watched.instances.get_mut(&spec.id) else {
            self.watched.instances.insert(
                spec.id.clone(),
                InstanceWatch {
                    stopped: spec.stopped,
                    removed: false,
                    unclaimed: false,
                    breaker: BreakerWatch::new(now_ms),
                    plan: PlanWatch::default(),
                    spec: spec.clone(),
                },
            );
            let slot = SlotWatch {
                wanted: spec.autostart,
                last_used_ms: now_ms,
                ..SlotWatch::default()
            };
            self.watched.slots.insert(first, slot);
            return;
        };
        if !held.removed && !held.unclaimed && held.spec.source != spec.source {
            return;
        }
        let comes_back = std::mem::take(&mut held.removed);
        let claimed = std::mem::take(&mut held.unclaimed);
        let newly_wanted = spec.autostart && (comes_back || claimed || !held.spec.autostart);
        let has_changed = held.spec.digest != spec.digest;
        held.spec = spec.clone();
        if comes_back || claimed {
            held.stopped = spec.stopped;
        }
        let draining = self.draining(&spec.id);
        for (key, slot) in self.slots_of(&spec.id) {
            if comes_back {
                slot.wanted = false;
            }
            if newly_wanted && key.slot == 0 {
                slot.wanted = true;
                slot.last_used_ms = now_ms;
            }
            if has_changed {
                slot.forgive(&draining, key);
                slot.tools.baseline = None;
            }
        }
    }

    pub(super) fn slots_of(
        &mut self,
        id: &InstanceId,
    ) -> impl Iterator<Item = (&SlotKey, &mut SlotWatch)> {
        let slots = self.watched.slots.iter_mut();
        slots.filter(move |(key, _)| key.instance == *id)
    }

    /// The runs of an instance that are on their way down.
    fn draining(&self, id: &InstanceId) -> Vec<(SlotKey, Run)> {
        let slots = self.before.instance(id).map(|view| view.slots.iter());
        let slots = slots.into_iter().flatten();
        slots
            .filter(|slot| slot.lifecycle == Lifecycle::Draining)
            .filter_map(|slot| Some((slot.key.clone(), slot.run?)))
            .collect()
    }

    pub(in crate::simulation) fn next_order(&mut self) -> u64 {
        self.watched.orders_given += 1;
        self.watched.orders_given
    }

    pub(super) fn expect_command(&mut self, command: &Command) {
        let (id, verb, now_ms) = (&command.instance, command.verb, self.now_ms);
        let first = SlotKey::first(id.clone());
        let before = self.slot_before(&first);
        let serving = before.filter(|slot| slot.lifecycle == Lifecycle::Ready);
        let replaces = serving.and_then(|slot| slot.run);
        let order = Order {
            instance: id.clone(),
            verb,
            replaces,
        };
        let waiting = self.watched.orders.values();
        let waiting = waiting.filter(|order| order.instance == *id).count();
        self.watched.orders.insert(command.id, order);
        let draining = self.draining(id);
        // A start already under way is the restart, also when its time is up in this very step.
        let before = self.before.instance(id).map(|view| view.slots.iter());
        let starting = before
            .into_iter()
            .flatten()
            .filter(|slot| slot.lifecycle == Lifecycle::Starting && slot.run.is_some());
        let starting: Vec<SlotKey> = starting.map(|slot| slot.key.clone()).collect();
        let shutting_down = self.watched.shutting_down;
        let Some(held) = self.watched.instances.get_mut(id) else {
            return;
        };
        let waits = matches!(verb, Verb::Start | Verb::Stop | Verb::Restart);
        let runs = matches!(verb, Verb::Start | Verb::Restart);
        if (held.unclaimed && runs)
            || held.removed
            || shutting_down
            || (waits && waiting >= ORDERS_MAX)
        {
            return;
        }
        match verb {
            Verb::Start | Verb::Restart => {
                held.stopped = false;
                held.breaker.reset_unless_isolated();
            }
            Verb::Stop => held.stopped = true,
            Verb::ClearState => {
                held.breaker.reset();
                self.watched.clearing = Some((id.clone(), false));
            }
            Verb::BreakerReset => held.breaker.reset(),
            Verb::BreakerIsolate => held.breaker.isolates = true,
        }
        if !matches!(verb, Verb::Stop | Verb::BreakerIsolate) {
            self.reset_tools(id);
        }
        for (key, slot) in self.slots_of(id) {
            let meant = key.slot == 0 || (verb == Verb::Restart && slot.wanted);
            match verb {
                Verb::Stop => (slot.wanted, slot.restarting) = (false, false),
                Verb::Start | Verb::Restart if meant => {
                    slot.wanted = true;
                    slot.last_used_ms = now_ms;
                    slot.restarting = verb == Verb::Restart && !starting.contains(key);
                    slot.due_ms = None;
                    slot.forgive(&draining, key);
                }
                Verb::ClearState => {
                    slot.forgive(&draining, key);
                    slot.tools.clear();
                }
                _ => {}
            }
        }
    }

    pub(super) fn check_done(&mut self, id: u64, result: &Result<Done, CommandError>) {
        let Some(order) = self.watched.orders.remove(&id) else {
            return self.fail(
                Property::CommandsAnswered,
                format!("command {id} was answered although nobody waits for it"),
            );
        };
        let first = SlotKey::first(order.instance.clone());
        let held = self.held(&order.instance);
        let wanted = self
            .watched
            .slots
            .get(&first)
            .is_some_and(|slot| slot.wanted);
        let runs = matches!(order.verb, Verb::Start | Verb::Restart);
        let is_true = match result {
            Err(CommandError::UnknownInstance) => held.is_none_or(|held| held.unclaimed && runs),
            Err(CommandError::Removed) => held.is_none_or(|held| held.removed),
            Err(CommandError::ShuttingDown) => self.watched.shutting_down,
            Err(CommandError::Busy) => {
                let orders = self.watched.orders.values();
                orders.filter(|at| at.instance == order.instance).count() >= ORDERS_MAX
            }
            Err(CommandError::StartFailed(_)) => runs,
            Err(CommandError::Superseded) if runs => {
                held.is_none_or(|held| held.stopped) || !wanted || self.idles(&first)
            }
            Err(CommandError::Superseded) => held.is_some_and(|held| !held.stopped),
            Ok(done) if runs => done.run.is_some_and(|run| {
                let is_newer = order.verb == Verb::Start || order.replaces < Some(run);
                is_newer && !self.watched.ended.contains(&(first.clone(), run))
            }),
            Ok(_) if order.verb == Verb::Stop => {
                let mut procs = self.procs.iter();
                !procs.any(|((key, run), proc)| {
                    key.instance == order.instance
                        && proc.alive
                        && !proc.released
                        && self.reported.contains(&(key.clone(), *run))
                })
            }
            Ok(_) => true,
        };
        if !is_true {
            self.fail(
                Property::CommandsAnswered,
                format!("{order:?} was answered with {result:?}"),
            );
        }
    }

    /// What a later command made impossible is answered at once, and so is what needs no process.
    pub(super) fn check_orders(&mut self) {
        if self.watched.shutting_down {
            return;
        }
        let mut orders = self.watched.orders.iter();
        let left = orders.find(|(_, order)| {
            let held = self.held(&order.instance);
            let is_removed = held.is_none_or(|held| held.removed);
            let is_stopped = held.is_some_and(|held| held.stopped);
            match order.verb {
                Verb::Start | Verb::Restart => is_removed || is_stopped,
                Verb::Stop => !is_removed && !is_stopped,
                Verb::ClearState | Verb::BreakerIsolate | Verb::BreakerReset => true,
            }
        });
        if let Some((id, order)) = left {
            let how = format!("command {id} is overtaken and was not answered: {order:?}");
            self.fail(Property::CommandsAnswered, how);
        }
    }

    pub(super) fn expect_demand(&mut self, key: &SlotKey) {
        let now_ms = self.now_ms;
        let shutting_down = self.watched.shutting_down;
        let known = self.watched.slots.contains_key(key);
        let accepted = self.held(&key.instance).is_some_and(|held| {
            held.permits_running() && !shutting_down && (known || key.slot < held.spec.max_slots)
        });
        if accepted {
            let starts = self.may_start_by_use(key);
            let slot = self.watched.slots.entry(key.clone()).or_default();
            if starts {
                slot.wanted = true;
                slot.last_used_ms = now_ms;
            }
        }
    }

    /// A client waits for the slot that it has just asked for.
    pub(in crate::simulation) fn wait_for_start(&mut self, key: SlotKey, wait_ms: u64) {
        let until_ms = self.now_ms + wait_ms;
        self.saw("demand waited");
        self.watched.waiters.push(Waiter { key, until_ms });
    }

    pub(super) fn check_waiters(&mut self) {
        let now_ms = self.now_ms;
        let mut late = None;
        for (key, route) in &self.routes {
            if let Route::Starting { deadline_ms } = route
                && *deadline_ms <= now_ms
            {
                late = Some(format!(
                    "{key} should have been ready or have failed by {deadline_ms}"
                ));
            }
        }
        let routes = &self.routes;
        self.watched
            .waiters
            .retain_mut(|waiter| match routes.get(&waiter.key) {
                // One that waits for a place gives up by itself.
                None
                | Some(Route::Ready { .. } | Route::Unavailable(_) | Route::Waiting { .. }) => {
                    false
                }
                Some(Route::Starting { deadline_ms }) => {
                    waiter.until_ms = *deadline_ms;
                    true
                }
                Some(Route::Startable { .. }) => {
                    if waiter.until_ms <= now_ms {
                        late = Some(format!(
                            "nobody starts {}, which a client waits for",
                            waiter.key
                        ));
                    }
                    true
                }
            });
        if let Some(late) = late {
            self.fail(Property::WaitersAnswered, late);
        }
    }

    /// A survivor is reported. Where nobody defines it, its place is made for it.
    pub(super) fn expect_adoption(&mut self, adopted: &Adopted) {
        let key = &adopted.key;
        let at = (key.clone(), adopted.run);
        self.reported.insert(at.clone());
        if let Some(tools) = &adopted.baseline {
            self.watched.kept.insert(at.clone(), tools.clone());
        }
        self.watched.adopting = Some(at);
        let now_ms = self.now_ms;
        let unclaimed = self.watched.readiness.database_lost && adopted.wanted;
        if unclaimed && !self.watched.instances.contains_key(&key.instance) {
            self.saw("unclaimed");
        }
        self.watched
            .instances
            .entry(key.instance.clone())
            .or_insert_with(|| InstanceWatch {
                spec: InstanceSpec {
                    keep_on_exit: true,
                    idle_stop_ms: None,
                    ..InstanceSpec::new(key.instance.clone(), Source::Config, adopted.digest)
                },
                stopped: false,
                removed: !unclaimed,
                unclaimed,
                breaker: BreakerWatch::new(now_ms),
                plan: PlanWatch::default(),
            });
        self.watched.slots.entry(key.clone()).or_default();
    }

    /// A survivor was taken over, or not.
    pub(super) fn note_adoption(&mut self, adopted: &Adopted, after: &FleetView) {
        let key = &adopted.key;
        let was = self.slot_before(key).and_then(|slot| slot.run);
        let is = slot_in(after, key).and_then(|slot| slot.run);
        let (now_ms, run) = (self.now_ms, adopted.run);
        self.watched.run_max = self.watched.run_max.max(Some(run));
        if is != Some(run) || was == Some(run) {
            return;
        }
        self.saw("adopted");
        let view = slot_in(after, key).and_then(|slot| slot.uptime_ms);
        if let Some(uptime_ms) = view
            && uptime_ms != adopted.age_ms
        {
            let how = format!(
                "{key} was ready for {} ms, now for {uptime_ms}",
                adopted.age_ms
            );
            self.fail(Property::ReadyIsReal, how);
        }
        let at = (key.clone(), run);
        self.watched.launched.insert(at, (adopted.digest, None));
        let same = self
            .held(&key.instance)
            .is_some_and(|held| held.spec.digest == adopted.digest);
        let slot = self.watched.slots.entry(key.clone()).or_default();
        if same {
            slot.tools.adopt(adopted);
        }
        slot.in_flight = 0;
        slot.wanted |= adopted.wanted;
        slot.last_used_ms = now_ms;
        slot.judged_ms = now_ms;
    }

    /// Slots that are no more had to go.
    pub(super) fn forget_slots(&mut self, after: &FleetView) {
        let gone = self.watched.slots.keys();
        let gone = gone.filter(|key| slot_in(after, key).is_none());
        let gone: Vec<SlotKey> = gone.cloned().collect();
        for key in gone {
            let stays = self
                .held(&key.instance)
                .is_some_and(|held| held.permits_running());
            let slot = self.watched.slots.remove(&key);
            if stays && slot.is_some_and(|slot| slot.wanted) {
                self.fail(
                    Property::NotLeftDown,
                    format!("{key} is wanted and has vanished"),
                );
            }
        }
    }

    /// The core wants what the model wants.
    pub(super) fn check_intent(&mut self, instance: &InstanceView, view: &SlotView) {
        let key = &view.key;
        let stopped = self.held(&key.instance).is_some_and(|held| held.stopped);
        let permitted = self
            .held(&key.instance)
            .is_some_and(|held| held.permits_running());
        let was_ready = self
            .slot_before(key)
            .is_some_and(|slot| slot.lifecycle == Lifecycle::Ready);
        let idles = was_ready && self.idles(key);
        if permitted && view.wanted {
            self.note_admitted(key);
        }
        let Some(slot) = self.watched.slots.get_mut(key) else {
            return self.fail(Property::NotLeftDown, format!("{key} came from nowhere"));
        };

        let idles = idles && slot.in_flight == 0;
        let wanted = slot.wanted && permitted;
        match (wanted, view.wanted) {
            (true, false) if idles => {
                slot.wanted = false;
                self.saw("idle stop");
            }
            (true, false) => self.fail(
                Property::NotLeftDown,
                format!("{key} is wanted, and the core has forgotten it"),
            ),
            (false, true) => self.fail(
                Property::StaysStopped,
                format!("{key} is wanted by nobody but the core"),
            ),
            _ => {}
        }
        let at_rest = matches!(view.lifecycle, Lifecycle::Stopped | Lifecycle::Draining);
        if stopped && permitted != stopped && !at_rest && !self.watched.shutting_down {
            let is_removed = self.held(&key.instance).is_some_and(|held| held.removed);
            if !is_removed {
                self.fail(
                    Property::StaysStopped,
                    format!(
                        "{key} was stopped by an operator and is {:?}",
                        view.lifecycle
                    ),
                );
            }
        }
        self.check_idle(view);
        if instance.wanted != instance.slots.iter().any(|slot| slot.wanted) {
            self.fail(
                Property::NotLeftDown,
                format!("{} is wanted, or is it not?", instance.id),
            );
        }
    }

    /// By now everything has had the time to come up.
    pub(in crate::simulation) fn calm_is_over(&mut self) {
        let now_ms = self.now_ms;
        let before = self.before.clone();
        for slot in before.instances.iter().flat_map(|view| &view.slots) {
            let Some(watch) = self.watched.slots.get(&slot.key) else {
                continue;
            };
            let since_ms = now_ms - watch.lifecycle_since_ms;
            let is_fine = match slot.lifecycle {
                Lifecycle::Ready => true,
                Lifecycle::Starting => since_ms <= 2_000,
                Lifecycle::Draining => since_ms <= 20_000,
                // Nobody but an operator ends this, and none was there.
                Lifecycle::CrashLoop => !self.watched.by_hand && slot.retry_after_ms.is_none(),
                Lifecycle::Idle | Lifecycle::Stopped | Lifecycle::Backoff => false,
            };
            if slot.wanted && !is_fine {
                self.fail(
                    Property::NotLeftDown,
                    format!(
                        "after a long calm {} is still {:?}",
                        slot.key, slot.lifecycle
                    ),
                );
            }
        }
        for view in &before.instances {
            let is_closed = view.breaker.state == BreakerState::Closed;
            let served = view.slots.iter().any(|slot| slot.uptime_ms > Some(400_000));
            if served && !is_closed && !view.breaker.isolated {
                self.fail(
                    Property::HalfOpenEnds,
                    format!(
                        "after a long calm the breaker of {} is {:?}",
                        view.id, view.breaker
                    ),
                );
            }
        }
        if let Some((id, order)) = self.watched.orders.first_key_value() {
            let how = format!("after a long calm command {id} still waits: {order:?}");
            self.fail(Property::CommandsAnswered, how);
        }
    }
}

impl SlotWatch {
    /// Failures are forgotten, also the one that the run on its way down may be stopped for.
    pub(super) fn forgive(&mut self, draining: &[(SlotKey, Run)], key: &SlotKey) {
        self.tally = super::SlotFailures::default();
        let run = draining.iter().find(|(at, _)| at == key);
        self.forgiven = run.map(|(_, run)| *run).or(self.forgiven);
    }
}
