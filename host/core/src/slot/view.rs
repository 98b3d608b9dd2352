//! How a slot appears to others: its lifecycle, its health, its route, its view.

use std::sync::Arc;

use super::{Phase, Slot, service::About};
use crate::{
    health::{Health, HealthFacts, builtin},
    id::Run,
    policy::PolicyNames,
    route::{Route, Unavailable, UnavailableKind},
    spec::InstanceSpec,
    step::{DesiredState, FleetPhase},
    view::{Lifecycle, SlotView},
};

impl Slot {
    pub(crate) fn lifecycle(&self, desired: DesiredState<'_>, phase: FleetPhase) -> Lifecycle {
        match &self.phase {
            Phase::Down if desired.stopped => Lifecycle::Stopped,
            Phase::Down if self.wanted && !desired.removed && phase != FleetPhase::ShuttingDown => {
                Lifecycle::Starting
            }
            Phase::Down => Lifecycle::Idle,
            Phase::Backoff { .. } => Lifecycle::Backoff,
            Phase::CrashLoop { .. } => Lifecycle::CrashLoop,
            Phase::Starting(..) => Lifecycle::Starting,
            Phase::Ready(..) => Lifecycle::Ready,
            Phase::Stopping(..) | Phase::Released(_) => Lifecycle::Draining,
        }
    }

    /// Health, when ready.
    pub(crate) fn health(&self) -> Option<Health> {
        match &self.phase {
            Phase::Ready(_, service) => Some(service.verdict.health),
            _ => None,
        }
    }

    /// Its present list of tools, when ready.
    pub(crate) fn tools(&self) -> Option<&Arc<[String]>> {
        match &self.phase {
            Phase::Ready(_, service) => Some(&service.tools),
            _ => None,
        }
    }

    /// Whether this run of it is ready and leaves pings unanswered.
    pub(crate) fn is_silent(&self, run: Run) -> bool {
        match &self.phase {
            Phase::Ready(process, service) => process.run == run && service.pings_failed > 0,
            _ => false,
        }
    }

    pub(super) fn health_reason(&self) -> &str {
        match &self.phase {
            Phase::Ready(_, service) => &service.verdict.reason,
            _ => "",
        }
    }

    /// Memory and requests in flight at the last sample.
    pub(crate) fn in_use(&self) -> (u64, u32) {
        let memory_bytes = self.process().and_then(|process| process.memory_bytes);
        let in_flight = match &self.phase {
            Phase::Ready(_, service) => service.sample.in_flight,
            _ => 0,
        };
        (memory_bytes.unwrap_or(0), in_flight)
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(..))
    }

    /// What a health policy is to judge it by, where it is ready and serves by the built-in rule.
    pub(crate) fn facts(&self, spec: &InstanceSpec, now_ms: u64) -> Option<HealthFacts> {
        let Phase::Ready(process, service) = &self.phase else {
            return None;
        };
        let facts = service.facts(
            now_ms,
            &About {
                key: &self.key,
                uptime_ms: process.uptime_ms(now_ms),
                memory_limit_bytes: spec.max_memory_bytes,
                restarts_recent: self.restarts_recent(now_ms),
            },
        );
        (!builtin(&facts).takes_away()).then_some(facts)
    }

    /// Who judges it, and which of them took it away, where it would serve by the built-in rule.
    pub(crate) fn judged(&self) -> Option<(&PolicyNames, &[Arc<str>])> {
        let judged = match &self.phase {
            Phase::Ready(_, service) => &service.judged,
            _ if self.is_recycling() => &self.recycled_by,
            _ => return None,
        };
        (!judged.is_unfit).then_some((&judged.by, judged.taken_by.as_slice()))
    }

    /// That it was taken away, for people.
    pub(crate) fn describe_taken(&self) -> String {
        let instance = &self.key.instance;
        match &self.phase {
            Phase::Ready(_, service) => {
                let verdict = &service.verdict;
                format!(
                    "{instance}: {}: {}",
                    verdict.health.as_str(),
                    verdict.reason
                )
            }
            _ => format!("{instance}: {}", self.reason),
        }
    }

    /// Whether a request would be served, if need be after a wait that nothing speaks against.
    pub(crate) fn can_serve(&self) -> bool {
        match &self.phase {
            Phase::Ready(_, service) => service.verdict.health != Health::Unhealthy,
            Phase::Down | Phase::Starting(..) => self.tally.is_clean() && !self.overdue,
            Phase::Stopping(_, stop) => {
                stop.failure.is_none() && self.tally.is_clean() && !self.overdue
            }
            Phase::Backoff { .. } | Phase::CrashLoop { .. } | Phase::Released(_) => false,
        }
    }

    /// The run that a start or restart brought, and its process, once it exists and is not on its way down.
    pub(crate) fn living(&self) -> Option<(Run, Option<u32>)> {
        match &self.phase {
            Phase::Starting(process, _) => Some((process.run, Some(process.pid?))),
            // The report of its process may have got lost; that it is ready says enough.
            Phase::Ready(process, _) => Some((process.run, process.pid)),
            _ => None,
        }
    }

    /// The run that a restart must be newer than.
    pub(crate) fn run_to_replace(&self) -> Option<Run> {
        match &self.phase {
            Phase::Ready(process, _) | Phase::Stopping(process, _) => Some(process.run),
            _ => None,
        }
    }

    /// Why it is not starting by itself right now, when it failed or cannot be started.
    pub(crate) fn failed(&self) -> Option<String> {
        match &self.phase {
            Phase::Backoff { .. } | Phase::CrashLoop { .. } => {
                Some(self.last_error.clone().unwrap_or_default())
            }
            _ if self.is_overdue() => Some(self.reason.clone()),
            _ => None,
        }
    }

    /// Clients wait for it, and it for a place.
    fn awaited(&self, desired: DesiredState<'_>) -> Option<Route> {
        let waiting = desired.waiting?;
        let is_awaited = !self.wanted && waiting.slots.contains(&self.key.slot);
        is_awaited.then(|| Route::Waiting {
            wait_ms: desired.spec.spawn_timeout_ms,
            refusal: waiting.refusal.clone(),
        })
    }

    /// It is meant to run, and will be started as soon as it may.
    fn expected(&self) -> Option<Route> {
        let deadline_ms = self.due_ms?;
        Some(Route::Starting { deadline_ms })
    }

    pub(crate) fn open_question(&self) -> Option<crate::policy::QuestionId> {
        match &self.phase {
            Phase::Ready(_, service) => service.open_question(),
            _ => None,
        }
    }

    pub(super) fn route(&self, desired: DesiredState<'_>, phase: FleetPhase) -> Option<Route> {
        let unavailable = |kind, reason: &str, retry_at_ms| {
            let reason = Arc::from(reason);
            Some(Route::Unavailable(Unavailable {
                kind,
                reason,
                retry_at_ms,
            }))
        };
        let error = self.last_error.as_deref().unwrap_or("it failed");
        let startable = Some(Route::Startable {
            wait_ms: desired.spec.spawn_timeout_ms,
        });
        match &self.phase {
            Phase::Ready(process, _) => Some(Route::Ready {
                key: self.key.clone(),
                run: process.run,
            }),
            _ if phase == FleetPhase::ShuttingDown => unavailable(
                UnavailableKind::ShuttingDown,
                "the router is shutting down",
                None,
            ),
            Phase::Starting(_, by) => Some(Route::Starting { deadline_ms: by.0 }),
            Phase::Down | Phase::Stopping(..) if desired.stopped => unavailable(
                UnavailableKind::Stopped,
                "it was stopped by an operator",
                None,
            ),
            Phase::Down if desired.removed => None,
            Phase::Down | Phase::Stopping(..) if self.overdue => {
                unavailable(UnavailableKind::Draining, &self.reason, None)
            }
            Phase::Down => self.expected().or(self.awaited(desired)).or(startable),
            Phase::Backoff { until_ms } => {
                unavailable(UnavailableKind::Backoff, error, Some(*until_ms))
            }
            Phase::CrashLoop { retry_at_ms, .. } => {
                let reason = format!("it is in crash loop protection; the last failure: {error}");
                unavailable(UnavailableKind::CrashLoop, &reason, *retry_at_ms)
            }
            Phase::Stopping(..) if desired.removed => {
                unavailable(UnavailableKind::Removing, "it is being removed", None)
            }
            Phase::Stopping(_, stop) => match &stop.failure {
                Some(failure) if !stop.forgiven => {
                    unavailable(UnavailableKind::Draining, &failure.describe(None), None)
                }
                _ => self.expected().or(startable),
            },
            Phase::Released(_) => unavailable(
                UnavailableKind::ShuttingDown,
                "the router is shutting down",
                None,
            ),
        }
    }

    pub(crate) fn view(
        &self,
        desired: DesiredState<'_>,
        phase: FleetPhase,
        now_ms: u64,
    ) -> SlotView {
        let lifecycle = self.lifecycle(desired, phase);
        let process = self.process();
        let until = |at_ms: u64| at_ms.saturating_sub(now_ms);
        let service = match &self.phase {
            Phase::Ready(_, service) => Some(service),
            _ => None,
        };
        let reason = match (service, &self.detail) {
            (Some(service), _) => service.verdict.reason.clone(),
            (None, Some(detail)) => format!("{} ({detail})", self.reason),
            (None, None) if lifecycle == Lifecycle::Idle => {
                desired.waiting.map_or_else(String::new, |waiting| {
                    format!("waits for a place: {}", waiting.refusal.reason)
                })
            }
            (None, None) => self.reason.clone(),
        };
        SlotView {
            key: self.key.clone(),
            lifecycle,
            health: self.health(),
            reason,
            run: process.map(|process| process.run),
            pid: process.and_then(|process| process.pid),
            uptime_ms: service
                .and(process)
                .map(|process| process.uptime_ms(now_ms)),
            retry_after_ms: match &self.phase {
                Phase::Backoff { until_ms } => Some(until(*until_ms)),
                Phase::CrashLoop { retry_at_ms, .. } => retry_at_ms.map(until),
                _ => None,
            },
            restarts: self.restarts,
            restarts_recent: self.restarts_recent(now_ms),
            heartbeat_age_ms: service.map(|service| service.heartbeat_age_ms(now_ms)),
            last_error: self.last_error.clone(),
            memory_bytes: process.and_then(|process| process.memory_bytes),
            memory_limit_bytes: desired.spec.max_memory_bytes,
            processes: service.map_or(0, |service| service.sample.processes),
            in_flight: service.map_or(0, |service| service.sample.in_flight),
            tools_count: service.map_or(0, |service| {
                u32::try_from(service.tools.len()).unwrap_or(u32::MAX)
            }),
            tools_missing: service
                .map(|service| service.missing.clone())
                .unwrap_or_default(),
            wanted: self.wanted && desired.permits_running(),
        }
    }
}
