//! Breakers: every change of state has its reason, and the cell that the hot path reads agrees.

use std::sync::Arc;

use crate::{
    InstanceId, Run, SlotKey,
    event::Event,
    permit::{BreakerSetting, BreakerState, Class, PERMITS_MAX, Report},
    settings::BreakerThresholds,
    simulation::{property::Property, world::World},
    view::{InstanceView, Lifecycle, SlotView},
};

/// One breaker as the model knows it.
#[derive(Debug)]
pub(super) struct BreakerWatch {
    state: BreakerState,
    generation: u32,
    since_ms: u64,
    /// When it left CLOSED.
    pub(super) tripped_ms: u64,
    until_ms: Option<u64>,
    openings: u32,
    in_a_row: u32,
    good: u32,
    bad: bool,
    /// In HALF_OPEN: it has answered something free, or become ready.
    answered: bool,
    died: Option<Run>,
    pub(super) permits: u32,
    pub(super) probe_ms: u64,
    /// In the step in progress: a verdict counted, …
    recorded: bool,
    /// … the window was counted, …
    pub(super) counted: bool,
    /// … an operator isolates it, …
    pub(super) isolates: bool,
    /// … or closes it.
    resets: bool,
}

impl BreakerWatch {
    pub(super) fn new(now_ms: u64) -> Self {
        Self {
            state: BreakerState::Closed,
            generation: BreakerSetting::default().generation,
            since_ms: now_ms,
            tripped_ms: 0,
            until_ms: None,
            openings: 0,
            in_a_row: 0,
            good: 0,
            bad: false,
            answered: false,
            died: None,
            permits: 0,
            probe_ms: 0,
            recorded: false,
            counted: false,
            isolates: false,
            resets: false,
        }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    pub(super) fn until_ms(&self) -> Option<u64> {
        self.until_ms
    }

    pub(super) fn begin_step(&mut self) {
        (self.recorded, self.counted) = (false, false);
        (self.isolates, self.resets) = (false, false);
    }

    pub(super) fn reset(&mut self) {
        (self.resets, self.openings, self.in_a_row) = (true, 0, 0);
        self.died = None;
    }

    pub(super) fn reset_unless_isolated(&mut self) {
        if self.state != BreakerState::Open || self.until_ms.is_some() {
            self.reset();
        }
    }

    /// The instance answers something that is no caller's request.
    fn answer(&mut self) {
        self.answered |= self.state == BreakerState::HalfOpen;
    }

    /// Whether the step gave a reason for this state after it.
    pub(super) fn explains(
        &self,
        now_ms: u64,
        thresholds: &BreakerThresholds,
        after: BreakerState,
        isolated: bool,
    ) -> bool {
        use BreakerState::{Closed, HalfOpen, Open};
        let enough_bad = self.in_a_row >= thresholds.consecutive_failures.max(1);
        let enough_good = self.good >= thresholds.successes.max(1);
        let is_over = self.until_ms.is_some_and(|at_ms| at_ms <= now_ms);
        match (self.state, after) {
            (Closed, Closed) => !(self.recorded && enough_bad) || self.resets,
            (Closed, Open) => (self.recorded && enough_bad) || self.counted || isolated,
            (Open, HalfOpen) => is_over,
            (Open, Open) => !is_over || isolated,
            (Open, Closed) => self.resets,
            (HalfOpen, Closed) => (self.recorded && enough_good) || self.resets,
            (HalfOpen, Open) => (self.recorded && self.bad) || isolated,
            (HalfOpen, HalfOpen) => true,
            (Closed, HalfOpen) => false,
        }
    }

    /// The step led to this state. True: another one than before.
    pub(super) fn enter(&mut self, now_ms: u64, state: BreakerState) -> bool {
        if self.state == state {
            return false;
        }
        if self.state == BreakerState::Closed {
            self.tripped_ms = now_ms;
        }
        (self.state, self.since_ms) = (state, now_ms);
        (self.good, self.bad, self.in_a_row) = (0, false, 0);
        (self.answered, self.died) = (false, None);
        true
    }

    /// What its cell is given.
    pub(super) fn note(&mut self, setting: &BreakerSetting) {
        self.generation = setting.generation;
        self.until_ms = setting.retry_at_ms;
    }

    /// A verdict reaches the core.
    pub(super) fn record(&mut self, run: Run, report: Report, upstream_died: bool) {
        if report.generation != self.generation {
            return;
        }
        match (self.state, report.class) {
            (BreakerState::Closed, Class::Failure) if upstream_died && self.died == Some(run) => {}
            (BreakerState::Closed, Class::Failure) => {
                self.in_a_row += 1;
                self.recorded = true;
                self.died = if upstream_died { Some(run) } else { self.died };
            }
            (BreakerState::Closed, Class::Success | Class::Slow) => self.in_a_row = 0,
            (BreakerState::HalfOpen, Class::Success) => {
                self.good += 1;
                self.recorded = true;
            }
            (BreakerState::HalfOpen, Class::Failure | Class::Slow) => {
                (self.bad, self.recorded) = (true, true);
            }
            (_, Class::Ignore) | (BreakerState::Open, _) => {}
        }
    }
}

impl World {
    /// The thresholds in force.
    fn thresholds(&self, id: &InstanceId) -> BreakerThresholds {
        let planned = self.held(id).and_then(|held| held.plan.thresholds());
        planned.map_or_else(|| self.configured(id), Clone::clone)
    }

    /// Those that were in force before the step in progress.
    pub(super) fn thresholds_before(&self, id: &InstanceId) -> BreakerThresholds {
        let planned = self.held(id).and_then(|held| held.plan.thresholds_before());
        planned.map_or_else(|| self.configured(id), Clone::clone)
    }

    fn configured(&self, id: &InstanceId) -> BreakerThresholds {
        let own = self.held(id).and_then(|held| held.spec.breaker.clone());
        own.unwrap_or_else(|| self.settings.breaker.clone())
    }

    pub(in crate::simulation) fn generation(&self, id: &InstanceId) -> u32 {
        self.held(id).map_or(0, |held| held.breaker.generation)
    }

    pub(super) fn note_setting(&mut self, id: &InstanceId, setting: &BreakerSetting) {
        self.settle_plan(id);
        let thresholds = self.thresholds(id);
        let Some(held) = self.watched.instances.get_mut(id) else {
            return;
        };
        let breaker = &mut held.breaker;
        if setting.generation != breaker.generation {
            let permits = thresholds.permits.clamp(1, PERMITS_MAX);
            breaker.permits = if breaker.answered { permits } else { 0 };
            breaker.probe_ms = thresholds.probe_ms.max(1);
            breaker.generation = setting.generation;
        }
        if setting.permits > 0 && !breaker.answered {
            let how = format!("callers may probe {id}, which has answered nothing: {setting:?}");
            self.fail(Property::AskedFirst, how);
        }
    }

    /// A run answers while its slot is in this lifecycle.
    pub(super) fn note_answer(&mut self, key: &SlotKey, run: Run, lifecycle: Lifecycle) {
        let slot = self.slot_before(key);
        if slot.is_none_or(|slot| slot.run != Some(run) || slot.lifecycle != lifecycle) {
            return;
        }
        let Some(held) = self.watched.instances.get_mut(&key.instance) else {
            return;
        };
        let is_news = held.breaker.state == BreakerState::HalfOpen && !held.breaker.answered;
        held.breaker.answer();
        if is_news && lifecycle == Lifecycle::Starting {
            self.saw("answered by a start");
        }
    }

    /// A slot is asked something on the breaker's behalf.
    pub(super) fn note_asking(&mut self, key: &SlotKey) {
        let now_ms = self.now_ms;
        let Some(slot) = self.watched.slots.get_mut(key) else {
            return;
        };
        let is_again = slot.unasked_since_ms.is_some_and(|at_ms| at_ms < now_ms);
        slot.asked_ms = Some(now_ms);
        slot.unasked_since_ms = slot.unasked_since_ms.and(Some(now_ms));
        if is_again {
            self.saw("asked again");
        }
    }

    /// While its breaker waits for an answer, a ready slot is asked for one: at once, and again every 5 s.
    pub(super) fn check_asking(&mut self, instance: &InstanceView, slot: &SlotView) {
        let now_ms = self.now_ms;
        let was_ready = self
            .slot_before(&slot.key)
            .is_some_and(|before| before.lifecycle == Lifecycle::Ready && before.run == slot.run);
        let breaker = self.held(&instance.id).map(|held| &held.breaker);
        let is_asking = slot.lifecycle == Lifecycle::Ready
            && instance.breaker.state == BreakerState::HalfOpen
            && breaker.is_some_and(|breaker| !breaker.answered);
        let Some(watch) = self.watched.slots.get_mut(&slot.key) else {
            return;
        };
        let begins = is_asking && watch.unasked_since_ms.is_none();
        watch.unasked_since_ms = is_asking.then(|| watch.unasked_since_ms.unwrap_or(now_ms));
        if begins && was_ready && watch.asked_ms != Some(now_ms) {
            let how = format!("{} is not asked although its breaker waits", slot.key);
            self.fail(Property::NoneStuck, how);
        }
    }

    /// Time is about to pass until `next_ms`: no slot that is to be asked may have been left alone for 5 s by then.
    pub(super) fn check_asked_before(&mut self, next_ms: u64) {
        let left_alone = self.watched.slots.iter().find(|(_, slot)| {
            let since_ms = slot.unasked_since_ms;
            since_ms.is_some_and(|at_ms| at_ms + 5_000 < next_ms)
        });
        if let Some((key, slot)) = left_alone {
            let how = format!(
                "{key} was asked last at {:?}, and is not again before {next_ms}",
                slot.asked_ms
            );
            self.fail(Property::NoneStuck, how);
        }
    }

    pub(super) fn check_breaker(&mut self, event: &Event, view: &InstanceView) {
        self.check_cell(view);
        self.check_change(view);
        let (now_ms, id) = (self.now_ms, &view.id);
        let until_ms = view.breaker.retry_after_ms.map(|ms| now_ms + ms);
        let Some(held) = self.watched.instances.get_mut(id) else {
            return;
        };
        let breaker = &mut held.breaker;
        let isolates = std::mem::take(&mut breaker.isolates);
        let is_new = breaker.enter(now_ms, view.breaker.state);
        if !is_new && breaker.until_ms != until_ms && !isolates {
            let how = format!(
                "OPEN of {id} was to end at {:?}, now at {until_ms:?}: {event:?}",
                breaker.until_ms
            );
            self.fail(Property::BreakerRule, how);
            return;
        }
        breaker.until_ms = until_ms;
    }

    /// What the hot path reads is what people see.
    fn check_cell(&mut self, view: &InstanceView) {
        let Some(cell) = self.cells.get(&view.id).map(Arc::clone) else {
            return self.fail(Property::CellAgrees, format!("{} has no cell", view.id));
        };
        let shown = (view.breaker.state, view.breaker.retry_after_ms);
        let reads = match cell.state() {
            BreakerState::Open => {
                let rejected = cell.try_acquire(self.now_ms).err();
                let retry_ms = rejected.and_then(|rejected| rejected.retry_after_ms);
                (BreakerState::Open, retry_ms)
            }
            state => (state, None),
        };
        if shown != reads {
            self.fail(
                Property::CellAgrees,
                format!(
                    "the breaker of {} is {shown:?} and its cell says {reads:?}",
                    view.id
                ),
            );
        }
    }

    fn check_change(&mut self, view: &InstanceView) {
        use BreakerState::{Closed, HalfOpen, Open};
        let (now_ms, id) = (self.now_ms, &view.id);
        let thresholds = self.thresholds_before(id);
        let Some(breaker) = self.watched.instances.get(id).map(|held| &held.breaker) else {
            return;
        };
        let enough_good = breaker.good >= thresholds.successes.max(1);
        let (before, after) = (breaker.state, view.breaker.state);
        let is_due = breaker.recorded && (enough_good || breaker.bad);
        let is_half_open = before == HalfOpen && after == HalfOpen && is_due && !breaker.resets;
        let is_shut =
            before == HalfOpen && after == HalfOpen && breaker.answered && breaker.permits == 0;
        let isolated = breaker.isolates && view.breaker.isolated;
        let is_explained = breaker.explains(now_ms, &thresholds, after, isolated);
        // Not made before it is needed: it would be a fifth of the whole simulation.
        let how = || format!("the breaker of {id} went from {before:?} to {after:?}: {breaker:?}");
        if is_shut {
            let how = format!("{id} has answered, and its breaker admits nobody: {breaker:?}");
            self.fail(Property::NoneStuck, how);
        } else if is_half_open {
            let how = how();
            self.fail(Property::HalfOpenEnds, how);
        } else if !is_explained {
            let how = how();
            self.fail(Property::BreakerRule, how);
        } else if before != after {
            match (before, after) {
                (_, Open) => self.saw("breaker opened"),
                (_, HalfOpen) => self.saw("half open"),
                (HalfOpen, Closed) => self.saw("breaker closed by probes"),
                _ => {}
            }
            if after == Open && !view.breaker.isolated {
                self.check_open(view, &thresholds);
            }
        }
    }

    /// How long OPEN is to last.
    fn check_open(&mut self, view: &InstanceView, thresholds: &BreakerThresholds) {
        let now_ms = self.now_ms;
        let Some(held) = self.watched.instances.get_mut(&view.id) else {
            return;
        };
        let breaker = &mut held.breaker;
        let quiet_ms = now_ms - breaker.since_ms;
        if breaker.state == BreakerState::Closed {
            let off = quiet_ms / thresholds.forget_after_ms;
            breaker.openings -= off.min(u64::from(breaker.openings)) as u32;
        }
        breaker.openings += 1;
        let openings = breaker.openings;
        let is_again = breaker.state == BreakerState::Closed && openings > 1;
        let max_ms = thresholds.open_max_ms;
        let nominal_ms = thresholds.open_first_ms << (openings - 1).min(20);
        let nominal_ms = nominal_ms.min(max_ms);
        let most_ms = if openings == 1 {
            // 30 s may become 34 s.
            nominal_ms * 34 / 30
        } else {
            nominal_ms * 11 / 10
        };
        let (least_ms, most_ms) = if most_ms > max_ms {
            (nominal_ms * 9 / 10, max_ms)
        } else {
            (nominal_ms, most_ms)
        };
        let open_ms = view.breaker.retry_after_ms;
        if is_again {
            self.saw("opened again before it was forgotten");
        }
        if !open_ms.is_some_and(|ms| (least_ms..=most_ms).contains(&ms)) {
            self.fail(
                Property::OpenBounds,
                format!("OPEN number {openings} of {} lasts {open_ms:?} ms, not {least_ms} to {most_ms}", view.id),
            );
        }
    }

    /// Probes and permits of a breaker's present generation: how many may be out, and how long each.
    pub(in crate::simulation) fn probing(&self, id: &InstanceId) -> (u32, u64) {
        self.held(id)
            .map_or((0, 0), |held| (held.breaker.permits, held.breaker.probe_ms))
    }
}
