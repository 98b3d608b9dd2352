//! Why a generation is held, in words.

use super::{Fleet, INSTANCES_MIN};
use crate::{
    SlotKey,
    capacity::{CapacityLoad, CapacityPlan, Measure},
    health::HealthVerdict,
    policy::{CHANGES_MAX, Holding, PolicyKind},
};

/// What of a policy's own reason is repeated in a line.
const REASON_CHARS_MAX: usize = 200;

/// What would be taken away, in one sentence.
pub(super) fn reason(kind: PolicyKind, serving: usize, taken: usize, instances: usize) -> String {
    match kind {
        PolicyKind::Breaker => {
            format!(
                "its thresholds would open the breakers of {taken} of {serving} instances that serve"
            )
        }
        _ => format!(
            "it would recycle, or call unhealthy, {taken} of {serving} slots that serve, of {instances} instances"
        ),
    }
}

/// A verdict that takes a slot away.
pub(super) fn describe_verdict(key: &SlotKey, verdict: &HealthVerdict) -> String {
    let recycle = if verdict.recycle { ", recycle" } else { "" };
    let reason: String = verdict.reason.chars().take(REASON_CHARS_MAX).collect();
    format!(
        "{}: {}{recycle}: {reason}",
        key.instance,
        verdict.health.as_str()
    )
}

/// Why a capacity plan is held, if it is: one of its limits lies so far below what is in use that more than half of the running
/// instances, and at least three, would have no place under it.
pub(in crate::fleet) fn of_capacity(plan: &CapacityPlan, load: &CapacityLoad) -> Option<Holding> {
    let running = u64::from(load.usage.running);
    let mut changes = Vec::new();
    for limit in &plan.limits {
        let (of, most) = (&limit.of, limit.most);
        let Some(used) = used(of, load) else {
            continue;
        };
        // Each of those that a limit is about uses as much of it as the others.
        let users = match of {
            Measure::RunningOfTemplate(_) => used,
            _ => running,
        };
        let over = u128::from(used.saturating_sub(most)) * u128::from(users);
        let without = over.checked_div(u128::from(used)).unwrap_or(0);
        if without * 2 > u128::from(running) && without >= INSTANCES_MIN as u128 {
            changes.push(format!(
                "{of}: {used} are in use, and {most} would be allowed"
            ));
        }
    }
    changes.truncate(CHANGES_MAX);
    let first = changes.first()?;
    Some(Holding {
        reason: format!(
            "its limits lie below what more than half of the {running} running instances use ({first})"
        ),
        changes,
    })
}

fn used(of: &Measure, load: &CapacityLoad) -> Option<u64> {
    match of {
        Measure::Running => Some(load.usage.running.into()),
        Measure::InFlight => Some(load.usage.in_flight.into()),
        Measure::MemoryBytes => Some(load.usage.memory_bytes),
        Measure::RunningOfTemplate(name) => {
            let mut templates = load.templates.iter();
            let template = templates.find(|template| template.name == *name)?;
            Some(template.running.into())
        }
        Measure::Other(_) => None,
    }
}

impl Fleet {
    /// Why the generation in force is held whose answers take away too much by now.
    pub(super) fn holding_in_force(&self, policy: &str, kind: PolicyKind) -> Holding {
        let count = self.index.judged_by(policy);
        let mut changes = Vec::new();
        for instance in self.instances.values() {
            if changes.len() < CHANGES_MAX {
                changes.extend(instance.taken_by(policy, kind));
            }
        }
        changes.truncate(CHANGES_MAX);
        Holding {
            reason: reason(kind, count.serving, count.taken, count.instances),
            changes,
        }
    }
}
