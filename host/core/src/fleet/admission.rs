//! Who may start while a limit of the capacity plan is reached.
//!
//! Limits concern starts by use of instances that have no place yet. What is wanted running, or lives, has one, and keeps it in
//! back-off and crash loop; an operator's start takes one whatever is reached. The others wait in the order in which they came, as
//! long as their start may take, and are then refused; the next request tries again. No limit stops anything.

use std::{collections::VecDeque, sync::Arc};

use super::Fleet;
use crate::{
    action::{Action, OperatorAction},
    capacity::{Limit, Measure},
    id::{InstanceId, SlotKey},
    planted::Planted,
    route::{Unavailable, UnavailableKind},
    step::FleetPhase,
    view::{AdmissionView, StartRefused},
};

/// When a client that was refused may try again: places become free when something idles out or ends, which takes minutes rather than
/// seconds, and each try waits again.
const RETRY_MS: u64 = 10_000;

/// Refusals are counted by the minute, over an hour.
const MINUTE_MS: u64 = 60_000;
const HOUR_MINUTES: u64 = 60;

/// What the fleet knows of it besides the instances that wait.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Admission {
    next_sequence: u64,
    /// Refused starts by minute, at most an hour of them.
    refused: VecDeque<(u64, u64)>,
    refused_total: u64,
    /// The last one: when, of which instance, and why.
    last: Option<(u64, InstanceId, String)>,
}

impl Admission {
    fn note_refused(&mut self, now_ms: u64, instance: InstanceId, reason: String) {
        let minute = now_ms / MINUTE_MS;
        self.refused_total += 1;
        match self.refused.back_mut() {
            Some((last, count)) if *last == minute => *count += 1,
            _ => self.refused.push_back((minute, 1)),
        }
        let is_old = |(at, _): &(u64, u64)| *at + HOUR_MINUTES <= minute;
        while self.refused.front().is_some_and(is_old) {
            self.refused.pop_front();
        }
        self.last = Some((now_ms, instance, reason));
    }

    pub(super) fn view(&self, now_ms: u64, waiting: usize) -> AdmissionView {
        let minute = now_ms / MINUTE_MS;
        let recent = self.refused.iter();
        let recent = recent.filter(|(at, _)| *at + HOUR_MINUTES > minute);
        AdmissionView {
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            refused_last_hour: recent.map(|(_, count)| count).sum(),
            refused_total: self.refused_total,
            last_refused: self
                .last
                .clone()
                .map(|(at_ms, instance, reason)| StartRefused {
                    instance,
                    reason,
                    ago_ms: now_ms.saturating_sub(at_ms),
                }),
        }
    }
}

impl Fleet {
    /// A request came for a slot that is not running.
    pub(super) fn demand(&mut self, key: &SlotKey) {
        let (now_ms, bugs) = (self.now_ms, self.bugs);
        let is_ending = self.phase == FleetPhase::ShuttingDown;
        let refusal = self.refusal(&key.instance);
        let sequence = self.admission.next_sequence;
        let Some(instance) = self.touch(&key.instance) else {
            return;
        };
        if bugs.has(Planted::DemandBeatsStop) && !instance.lives() {
            instance.stopped = false;
        }
        if !instance.desired().permits_running() || is_ending {
            return;
        }
        match refusal {
            Some(refusal) if !bugs.has(Planted::LimitIgnored) => {
                if instance.wait_for_place(key.slot, sequence, now_ms, refusal) {
                    self.admission.next_sequence += 1;
                }
            }
            _ => {
                if let Some(slot) = instance.slot(key.slot, now_ms) {
                    slot.demand(now_ms);
                }
            }
        }
    }

    /// Why the instance may not start now. `None`: it has a place, or there is one for it.
    fn refusal(&self, id: &InstanceId) -> Option<Unavailable> {
        let instance = self.instances.get(id)?;
        if instance.has_place() {
            return None;
        }
        let retry_ms = instance.spec.spawn_timeout_ms.saturating_add(RETRY_MS);
        Some(Unavailable {
            kind: UnavailableKind::Capacity,
            reason: self.reached(&instance.spec.template)?.into(),
            retry_at_ms: Some(self.now_ms.saturating_add(retry_ms)),
        })
    }

    /// The limit that an operator's start of this instance would pass, in words.
    pub(super) fn passes(&self, id: &InstanceId) -> Option<String> {
        let instance = self.instances.get(id)?;
        if instance.has_place() {
            return None;
        }
        self.reached(&instance.spec.template)
    }

    /// The first limit that is reached for instances of this template, in words.
    fn reached(&self, template: &Arc<str>) -> Option<String> {
        let in_force = self.capacity.in_force()?;
        let limits = in_force.plan.limits.iter();
        let (limit, used) = limits
            .filter_map(|limit| Some((limit, self.counted(&limit.of, template)?)))
            .find(|(limit, used)| *used >= limit.most)?;
        let policy = in_force.policy.as_deref().unwrap_or_default();
        Some(describe(limit, used, policy))
    }

    /// What counts against a limit, where it concerns instances of this template.
    fn counted(&self, of: &Measure, template: &Arc<str>) -> Option<u64> {
        match of {
            Measure::Running => Some(self.index.places() as u64),
            Measure::RunningOfTemplate(name) => {
                (name == template).then(|| self.index.places_of(name))
            }
            Measure::MemoryBytes => Some(self.index.expected_memory_bytes()),
            Measure::InFlight => Some(self.index.usage().in_flight.into()),
            Measure::Other(_) => None,
        }
    }

    /// Refuses those whose time is up, and admits those for which there is a place again.
    pub(super) fn settle_admission(&mut self, out: &mut Vec<Action>) {
        while let Some(id) = self.index.wait_over(self.now_ms).cloned() {
            self.refuse_waiting(&id, out);
        }
        if self.bugs.has(Planted::AdmissionForgotten) {
            return;
        }
        while let Some(id) = self.next_admitted() {
            let now_ms = self.now_ms;
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.take_place(now_ms);
            }
            self.settle_one(&id, out);
        }
    }

    fn refuse_waiting(&mut self, id: &InstanceId, out: &mut Vec<Action>) {
        let now_ms = self.now_ms;
        let waiting = self
            .instances
            .get_mut(id)
            .and_then(|one| one.waiting.take());
        if let Some(waiting) = waiting {
            let reason = waiting.refusal.reason.to_string();
            let admission = &mut self.admission;
            admission.note_refused(now_ms, id.clone(), reason.clone());
            let instance = id.clone();
            out.push(OperatorAction::StartRefused { instance, reason }.into());
        }
        self.settle_one(id, out);
    }

    /// Of the instances for which there is a place, the one that came first.
    fn next_admitted(&self) -> Option<InstanceId> {
        let fronts = self.index.waiting_by_template(self.bugs);
        let open = fronts.filter(|(template, _, _)| self.reached(template).is_none());
        let first = open.min_by_key(|(_, sequence, _)| *sequence);
        first.map(|(_, _, id)| id.clone())
    }

    fn settle_one(&mut self, id: &InstanceId, out: &mut Vec<Action>) {
        let (instances, index, mut step) = self.parts(out);
        if let Some(instance) = instances.get_mut(id)
            && !index.settle(instance, &mut step)
        {
            instances.remove(id);
        }
    }
}

/// Which limit, what is used of it, and what would help.
fn describe(limit: &Limit, used: u64, policy: &str) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    let (used, most) = match limit.of {
        Measure::MemoryBytes => (mib(used), mib(limit.most)),
        _ => (used.to_string(), limit.most.to_string()),
    };
    let of = &limit.of;
    let help = limit.refusal.trim_end_matches('.');
    let help = if help.is_empty() {
        String::new()
    } else {
        format!(". {help}")
    };
    format!("{used} of {most} {of} are in use, the limit of the capacity policy {policy}{help}")
}
