//! The whole: the summary partitions the total, and readiness follows its rule.

use crate::{
    health::Health,
    permit::BreakerState,
    simulation::{property::Property, world::World},
    view::{FleetView, InstanceView, Lifecycle, Readiness, SlotView, Status, Summary},
};

/// What readiness is judged by besides the instances.
#[derive(Debug, Default)]
pub(super) struct ReadinessModel {
    pub(super) database_lost: bool,
    pub(super) disk_share: f64,
    pub(super) journal_refused: bool,
    pub(super) quarantined: u32,
    pub(super) policy_faults: Vec<String>,
    /// Since when instances are wanted and all of them have plainly failed.
    failed_since_ms: Option<u64>,
    /// Since when instances are wanted and none of them plainly serves.
    unserved_since_ms: Option<u64>,
}

/// The one word that lifecycle and health make.
fn status(view: &InstanceView) -> Status {
    match view.lifecycle {
        Lifecycle::Ready => {
            let has = |health| view.slots.iter().any(|slot| slot.health == Some(health));
            let fails = |slot: &SlotView| {
                matches!(slot.lifecycle, Lifecycle::Backoff | Lifecycle::CrashLoop)
            };
            if has(Health::Unhealthy) {
                Status::Unhealthy
            } else if has(Health::Degraded) || view.slots.iter().any(fails) {
                Status::Degraded
            } else {
                Status::Healthy
            }
        }
        Lifecycle::Backoff | Lifecycle::CrashLoop => Status::Unhealthy,
        Lifecycle::Starting => Status::Starting,
        Lifecycle::Draining => Status::Draining,
        Lifecycle::Idle => Status::Idle,
        Lifecycle::Stopped => Status::Stopped,
    }
}

fn serves(view: &InstanceView) -> bool {
    view.breaker.state != BreakerState::Open
        && view.slots.iter().any(|slot| {
            slot.health
                .is_some_and(|health| health != Health::Unhealthy)
        })
}

fn has_failed(view: &InstanceView) -> bool {
    view.breaker.state == BreakerState::Open
        || view.slots.iter().filter(|slot| slot.wanted).all(|slot| {
            matches!(slot.lifecycle, Lifecycle::Backoff | Lifecycle::CrashLoop)
                || slot.health == Some(Health::Unhealthy)
        })
}

impl World {
    pub(super) fn check_summary(&mut self, after: &FleetView) {
        let mut counted = Summary::default();
        for view in &after.instances {
            if view.status != status(view) {
                self.fail(
                    Property::SummaryPartitions,
                    format!(
                        "{} is {:?} and {:?}: {:?}",
                        view.id, view.lifecycle, view.health, view.status
                    ),
                );
            }
            let part = match status(view) {
                Status::Healthy => &mut counted.healthy,
                Status::Degraded => &mut counted.degraded,
                Status::Unhealthy => &mut counted.unhealthy,
                Status::Starting => &mut counted.starting,
                Status::Idle => &mut counted.idle,
                Status::Stopped => &mut counted.stopped,
                Status::Draining => &mut counted.draining,
            };
            *part += 1;
            counted.total += 1;
            counted.crash_loop += u32::from(view.lifecycle == Lifecycle::CrashLoop);
        }
        let Summary {
            total,
            healthy,
            degraded,
            unhealthy,
            starting,
            idle,
            stopped,
            draining,
            crash_loop,
        } = after.summary;
        let sum = healthy + degraded + unhealthy + starting + idle + stopped + draining;
        if after.summary != counted || sum != total || crash_loop > unhealthy {
            self.fail(
                Property::SummaryPartitions,
                format!(
                    "the summary is {:?}, counted were {counted:?}",
                    after.summary
                ),
            );
        }
    }

    /// How long a slot that is wanted, and neither runs nor fails, may go on so: as long as its way down and up takes.
    pub(super) fn waits_ms(&self, view: &SlotView) -> Option<u64> {
        let (settings, spec) = (&self.settings, &self.held(&view.key.instance)?.spec);
        if !view.wanted || self.watched.shutting_down {
            return None;
        }
        let down_ms = spec.drain_ms + settings.term_ms + settings.kill_retry_ms;
        match view.lifecycle {
            Lifecycle::Draining => Some(down_ms + spec.spawn_timeout_ms),
            Lifecycle::Starting if view.run.is_none() => Some(spec.spawn_timeout_ms),
            _ => None,
        }
    }

    /// Whether a slot has gone on so for longer.
    fn is_stuck(&self, view: &InstanceView) -> bool {
        view.slots.iter().any(|slot| {
            let watch = self.watched.slots.get(&slot.key);
            let due_ms = watch.and_then(|watch| watch.due_ms);
            due_ms.is_some_and(|at_ms| at_ms <= self.now_ms)
        })
    }

    /// Whether a slot has failed and is not back, whatever it is trying at the moment.
    fn retries(&self, view: &InstanceView) -> bool {
        view.slots.iter().any(|slot| {
            let watch = self.watched.slots.get(&slot.key);
            slot.wanted
                && slot.lifecycle != Lifecycle::Ready
                && watch.is_some_and(|watch| watch.tally.has_failed())
        })
    }

    pub(super) fn check_readiness(&mut self, after: &FleetView) {
        let now_ms = self.now_ms;
        let wanted: Vec<&InstanceView> =
            after.instances.iter().filter(|view| view.wanted).collect();
        let failed = !wanted.is_empty() && wanted.iter().all(|view| has_failed(view));
        let unserved = !wanted.is_empty() && !wanted.iter().any(|view| serves(view));
        let readiness = &mut self.watched.readiness;
        let since = |holds: bool, since_ms: Option<u64>| holds.then(|| since_ms.unwrap_or(now_ms));
        readiness.failed_since_ms = since(failed, readiness.failed_since_ms);
        readiness.unserved_since_ms = since(unserved, readiness.unserved_since_ms);
        let shutting_down = self.watched.shutting_down;
        let unable_ms = self.settings.unable_ms;
        let lasts =
            |since_ms: Option<u64>| since_ms.is_some_and(|at_ms| now_ms - at_ms >= unable_ms);
        let must = shutting_down || lasts(readiness.failed_since_ms);
        let may = shutting_down || lasts(readiness.unserved_since_ms);
        let troubled = |view: &&InstanceView| {
            matches!(view.status, Status::Unhealthy | Status::Degraded)
                || self.is_stuck(view)
                || self.retries(view)
        };
        let stuck = wanted.iter().any(|view| self.is_stuck(view));
        let readiness = &self.watched.readiness;
        let degraded = readiness.database_lost
            || readiness.journal_refused
            || readiness.quarantined > 0
            || !readiness.policy_faults.is_empty()
            || !self.held_generations().is_empty()
            || readiness.disk_share > self.settings.disk_degraded_share
            || wanted.iter().any(troubled)
            || self.watched.one_cause.holds();
        let status = after.readiness.status;
        let is_true = match status {
            Readiness::Down => may,
            Readiness::Degraded => !must && degraded,
            Readiness::Healthy => !must && !degraded,
        };
        if stuck {
            self.saw("stuck");
        }
        if status == Readiness::Down && !shutting_down {
            self.saw("readiness down");
        }
        if !is_true {
            let how = format!(
                "readiness is {:?} (must be down: {must}, may be: {may}, degraded: {degraded})",
                after.readiness
            );
            self.fail(Property::ReadinessRule, how);
        }
        let faults = &self.watched.readiness.policy_faults;
        let unsaid: Vec<&String> = faults
            .iter()
            .filter(|fault| !after.readiness.reasons.contains(fault))
            .collect();
        if !unsaid.is_empty() {
            let how = format!("readiness does not say {unsaid:?}");
            self.fail(Property::ReadinessRule, how);
        }
        if (status == Readiness::Healthy) != after.readiness.reasons.is_empty() {
            let how = format!(
                "readiness without a reason, or with one too many: {:?}",
                after.readiness
            );
            self.fail(Property::ReadinessRule, how);
        }
    }
}
