//! How an instance appears to others: one line for all its slots.

use super::Instance;
use crate::{
    health::Health,
    settings::Settings,
    slot::Slot,
    step::FleetPhase,
    view::{InstanceView, Lifecycle, PlanView, SlotView, Status},
};

impl Instance {
    /// The one word that its view shows.
    pub(crate) fn status(&self, phase: FleetPhase) -> Status {
        let desired = self.desired();
        let slots = self.slots.values();
        let slots = slots.map(|slot| (slot.lifecycle(desired, phase), Slot::health(slot)));
        let (lifecycle, health) = combined(slots);
        Status::of(lifecycle, health)
    }

    pub(crate) fn view(&self, phase: FleetPhase, settings: &Settings, now_ms: u64) -> InstanceView {
        let desired = self.desired();
        let slots = self.slots.values();
        let slots: Vec<_> = slots
            .map(|slot| slot.view(desired, phase, now_ms))
            .collect();
        let (lifecycle, health) = combined(slots.iter().map(|slot| (slot.lifecycle, slot.health)));
        let shown = shown(&slots, lifecycle, health);
        let breaker = self.breaker.view(now_ms, self.thresholds(settings));
        InstanceView {
            id: self.id().clone(),
            source: self.spec.source,
            status: Status::of(lifecycle, health),
            lifecycle,
            health,
            reason: reason(&slots, shown),
            pid: shown.and_then(|slot| slot.pid),
            run: shown.and_then(|slot| slot.run),
            uptime_ms: shown.and_then(|slot| slot.uptime_ms),
            retry_after_ms: shown
                .and_then(|slot| slot.retry_after_ms)
                .or(breaker.retry_after_ms),
            breaker,
            tools_guarded: u32::try_from(self.tools.count()).unwrap_or(u32::MAX),
            tool_breakers: self.tools.view(now_ms, self.thresholds(settings)),
            plan: None,
            crash_loop: lifecycle == Lifecycle::CrashLoop,
            restarts: slots.iter().map(|slot| slot.restarts).sum(),
            last_error: shown.and_then(|slot| slot.last_error.clone()),
            memory_bytes: slots
                .iter()
                .filter_map(|slot| slot.memory_bytes)
                .reduce(u64::saturating_add),
            in_flight: slots.iter().map(|slot| slot.in_flight).sum(),
            wanted: self.is_wanted(),
            slots,
        }
    }
}

impl Instance {
    /// The same with the plan that its breaker goes by.
    pub(crate) fn full_view(
        &self,
        phase: FleetPhase,
        settings: &Settings,
        now_ms: u64,
    ) -> InstanceView {
        InstanceView {
            plan: Some(Box::new(self.plan_view(now_ms, settings))),
            ..self.view(phase, settings, now_ms)
        }
    }

    pub(crate) fn plan_view(&self, now_ms: u64, settings: &Settings) -> PlanView {
        self.planning.view(now_ms, self.configured(settings))
    }
}

/// One lifecycle and health for several slots. What serves comes first, then what is on its way, then what is wrong; but an
/// instance of which one slot serves and another one fails is no healthy one.
fn combined(
    slots: impl Iterator<Item = (Lifecycle, Option<Health>)>,
) -> (Lifecycle, Option<Health>) {
    let rank = |lifecycle: Lifecycle| match lifecycle {
        Lifecycle::Ready => 0,
        Lifecycle::Starting => 1,
        Lifecycle::Draining => 2,
        Lifecycle::CrashLoop => 3,
        Lifecycle::Backoff => 4,
        Lifecycle::Stopped => 5,
        Lifecycle::Idle => 6,
    };
    let (mut first, mut worst, mut fails) = (Lifecycle::Idle, None, false);
    for (lifecycle, health) in slots {
        if rank(lifecycle) < rank(first) {
            first = lifecycle;
        }
        worst = worst.max(health);
        fails |= is_failing(lifecycle);
    }
    let least = if fails {
        Health::Degraded
    } else {
        Health::Healthy
    };
    (first, worst.map(|health| health.max(least)))
}

fn is_failing(lifecycle: Lifecycle) -> bool {
    matches!(lifecycle, Lifecycle::Backoff | Lifecycle::CrashLoop)
}

/// The slot that the instance's one line is about: the first of the combined lifecycle, and of those the least healthy.
fn shown(slots: &[SlotView], lifecycle: Lifecycle, health: Option<Health>) -> Option<&SlotView> {
    let of_this = || slots.iter().filter(|slot| slot.lifecycle == lifecycle);
    let worst = of_this().find(|slot| slot.health == health);
    worst.or_else(|| of_this().next()).or(slots.first())
}

/// Why that slot is as it is; where it is well, why another one is not.
fn reason(slots: &[SlotView], shown: Option<&SlotView>) -> String {
    let own = shown.map(|slot| slot.reason.as_str()).unwrap_or_default();
    let failing = slots.iter().find(|slot| is_failing(slot.lifecycle));
    match failing {
        Some(slot) if own.is_empty() => format!("slot {}: {}", slot.key.slot, slot.reason),
        _ => own.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::combined;
    use crate::{
        health::Health::{self, Degraded, Healthy, Unhealthy},
        view::{
            Lifecycle::{self, Backoff, CrashLoop, Draining, Idle, Ready, Starting, Stopped},
            Status,
        },
    };

    #[test]
    fn several_slots_make_one_line() {
        let check = |slots: &[(Lifecycle, Option<Health>)], lifecycle, status| {
            let (combined, health) = combined(slots.iter().copied());
            assert_eq!(
                (combined, Status::of(combined, health)),
                (lifecycle, status),
                "{slots:?}"
            );
        };
        let (well, ill) = (Some(Healthy), Some(Unhealthy));
        check(&[], Idle, Status::Idle);
        check(
            &[(Idle, None), (Starting, None)],
            Starting,
            Status::Starting,
        );
        check(
            &[(Stopped, None), (Draining, None)],
            Draining,
            Status::Draining,
        );
        check(&[(Ready, well), (Idle, None)], Ready, Status::Healthy);
        check(&[(Ready, well), (Ready, ill)], Ready, Status::Unhealthy);
        check(
            &[(Ready, Some(Degraded)), (Ready, well)],
            Ready,
            Status::Degraded,
        );
        check(
            &[(Idle, None), (CrashLoop, None), (Backoff, None)],
            CrashLoop,
            Status::Unhealthy,
        );
        check(&[(Ready, well), (CrashLoop, None)], Ready, Status::Degraded);
        check(&[(Ready, ill), (Backoff, None)], Ready, Status::Unhealthy);
        check(
            &[(Starting, None), (Backoff, None)],
            Starting,
            Status::Starting,
        );
    }
}
