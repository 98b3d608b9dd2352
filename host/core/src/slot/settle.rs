//! What a slot does by itself at the end of every step: apply the intent, check its deadlines, start when it should, and publish.

use super::{FAILED_STARTS_MAX, Phase, Process, Slot, StartBy, service::About};
use crate::{
    action::{Change, OperatorAction, RoutingAction, SlotAction, Transition},
    failure::Failure,
    planted::Planted,
    step::{DesiredState, FleetPhase, Step},
    time::{Since, earlier},
    view::Lifecycle,
};

impl Slot {
    pub(crate) fn settle(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        self.note_definition(step, desired);
        self.kill_strays(step);
        self.apply_intent(step, desired);
        self.check_deadlines(step, desired);
        self.start_if_due(step, desired);
        self.note_due(step, desired);
        if matches!(self.phase, Phase::Down) && !(self.wanted && desired.permits_running()) {
            self.is_rerun = false;
        }
        self.publish(step, desired);
    }

    /// When [`Slot::settle`] must be called at the latest.
    pub(crate) fn next_wake(&self, phase: FleetPhase, bugs: crate::planted::Bugs) -> Option<u64> {
        let may_start = phase == FleetPhase::Running && self.strays.is_empty();
        let own = match &self.phase {
            Phase::Down | Phase::Released(_) => None,
            Phase::Backoff { until_ms } => may_start.then_some(*until_ms),
            Phase::CrashLoop { retry_at_ms, .. } => retry_at_ms.filter(|_| may_start),
            Phase::Starting(_, StartBy(by_ms)) => Some(*by_ms),
            Phase::Ready(_, service) => earlier(service.next_wake(), self.idle_at_ms),
            Phase::Stopping(_, stop) => {
                let missed = bugs.has(Planted::WakeMissed)
                    && matches!(stop.at, super::stop::At::Terminating { .. });
                (!missed).then(|| stop.at.deadline_ms())
            }
        };
        let strays = self.strays.iter().map(|stray| stray.kill_again_ms).min();
        let due = self.due_ms.filter(|_| !self.overdue);
        earlier(earlier(own, due), strays)
    }

    /// A changed definition is a new beginning: what failed or shrank before says nothing about it.
    fn note_definition(&mut self, step: &Step<'_>, desired: DesiredState<'_>) {
        if self.digest != desired.spec.digest {
            self.digest = desired.spec.digest;
            self.baseline = None;
            self.forgive();
        }
        if let Phase::CrashLoop {
            since_ms,
            permanent: false,
            retry_at_ms,
        } = &mut self.phase
        {
            // The settings may have changed since, and decide whether and when it is retried.
            let retry_ms = step.settings.crash_loop.slow_retry_ms;
            *retry_at_ms = retry_ms.map(|ms| since_ms.saturating_add(ms));
        }
        self.idle_at_ms = desired
            .spec
            .idle_stop_ms
            .map(|ms| self.last_used_ms.saturating_add(ms));
    }

    fn kill_strays(&mut self, step: &mut Step<'_>) {
        for stray in &mut self.strays {
            if stray.kill_again_ms <= step.now_ms {
                stray.kill_again_ms = step
                    .now_ms
                    .saturating_add(step.settings.kill_retry_ms.max(1));
                step.push_for(&self.key, stray.run, SlotAction::Kill);
            }
        }
    }

    fn apply_intent(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let is_ending = step.phase == FleetPhase::ShuttingDown;
        let digest = match &self.phase {
            Phase::Starting(process, _) | Phase::Ready(process, _) => process.digest,
            Phase::Backoff { .. } | Phase::CrashLoop { .. } => desired.spec.digest,
            Phase::Down | Phase::Stopping(..) | Phase::Released(_) => return,
        };
        let reason = if desired.removed {
            "its source no longer defines it"
        } else if desired.stopped {
            "stopped by an operator"
        } else if !self.wanted {
            "it is not wanted"
        } else if is_ending {
            return self.end_with_router(step, desired);
        } else if digest != desired.spec.digest && !step.bugs.has(Planted::ReloadIgnored) {
            "its definition changed"
        } else {
            return;
        };
        self.stop(step, desired, None, reason.to_owned());
    }

    fn end_with_router(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let keep = desired.spec.keep_on_exit && !step.bugs.has(Planted::KeepIgnored);
        match &self.phase {
            Phase::Ready(..) if keep => self.drain_and_release(step, desired),
            Phase::Starting(process, _) if keep => {
                step.push_for(&self.key, process.run, SlotAction::Release);
                self.phase = Phase::Released(process.clone());
            }
            Phase::Starting(..) if step.bugs.has(Planted::ShutdownForgetsStarting) => {
                self.phase = Phase::Down;
            }
            _ => self.stop(
                step,
                desired,
                None,
                "the router is shutting down".to_owned(),
            ),
        }
    }

    fn check_deadlines(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let now_ms = step.now_ms;
        match &self.phase {
            Phase::Starting(..) if step.bugs.has(Planted::StartUnbounded) => {}
            Phase::Starting(_, StartBy(by_ms)) if *by_ms <= now_ms => {
                let failure = Failure::StartTimeout(desired.spec.spawn_timeout_ms);
                let reason = failure.describe(None);
                self.stop(step, desired, Some(failure), reason);
            }
            Phase::Ready(..) => {
                self.serve(step, desired);
                self.stop_if_idle(step, desired);
            }
            Phase::Stopping(_, stop) if stop.at.deadline_ms() <= now_ms => self.stop_further(step),
            _ => {}
        }
    }

    fn serve(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let restarts_recent = self.restarts_recent(step.now_ms);
        if let Phase::Ready(process, service) = &mut self.phase {
            let about = About {
                key: &self.key,
                uptime_ms: process.uptime_ms(step.now_ms),
                memory_limit_bytes: desired.spec.max_memory_bytes,
                restarts_recent,
            };
            let own = desired.spec.health_policies.as_ref();
            let policies = own.unwrap_or(&step.settings.health_policies);
            service.hasten(step, desired.asks);
            service.ping(step, &self.key, process.run, desired.asks);
            service.judge(step, &about, policies);
        }
        self.apply_verdict(step, desired);
    }

    fn stop_if_idle(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let Phase::Ready(_, service) = &self.phase else {
            return;
        };
        let (Some(idle_ms), Some(at_ms)) = (desired.spec.idle_stop_ms, self.idle_at_ms) else {
            return;
        };
        if at_ms > step.now_ms {
            return;
        }
        if service.sample.in_flight > 0 {
            // A client that waits for an answer uses it.
            self.last_used_ms = step.now_ms;
            self.idle_at_ms = Some(step.now_ms.saturating_add(idle_ms.max(1)));
        } else if !step.bugs.has(Planted::IdleForgotten) {
            self.wanted = false;
            self.stop(
                step,
                desired,
                None,
                format!("not used for {} s", idle_ms / 1_000),
            );
        }
    }

    fn start_if_due(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let is_running = step.phase == FleetPhase::Running
            || (step.phase == FleetPhase::Adopting && step.bugs.has(Planted::StartBeforeAdoption));
        let may_start =
            is_running && self.wanted && desired.permits_running() && self.strays.is_empty();
        let is_due = match &self.phase {
            Phase::Down => true,
            Phase::Backoff { until_ms } => {
                *until_ms <= step.now_ms && !step.bugs.has(Planted::BackoffNeverEnds)
            }
            Phase::CrashLoop { retry_at_ms, .. } => {
                retry_at_ms.is_some_and(|at_ms| at_ms <= step.now_ms)
            }
            Phase::Stopping(_, stop) => {
                let is_killed = matches!(stop.at, super::stop::At::Killing { .. });
                is_killed && step.bugs.has(Planted::SpawnBeforeExit)
            }
            Phase::Starting(..) | Phase::Ready(..) | Phase::Released(_) => false,
        };
        if !may_start || !is_due {
            return;
        }
        self.restarts_survivor = false;
        if self.is_rerun {
            self.restarts += 1;
        }
        self.is_rerun = true;
        if !self.tally.is_clean() {
            self.failed_starts_ms.push_back(step.now_ms);
            if self.failed_starts_ms.len() > FAILED_STARTS_MAX {
                self.failed_starts_ms.pop_front();
            }
        }
        let run = match self.last_ended {
            Some(run) if step.bugs.has(Planted::RunReused) => run,
            _ => step.counters.run(),
        };
        let by_ms = step.now_ms.saturating_add(desired.spec.spawn_timeout_ms);
        let mut process = Process {
            run,
            pid: None,
            digest: desired.spec.digest,
            spawned: Since::ago(step.now_ms, 0),
            ready: None,
            memory_bytes: None,
            kept: None,
        };
        if step.bugs.has(Planted::BaselineNotKept) {
            process.kept.clone_from(&self.baseline);
        }
        self.set_reason(String::new(), None);
        let spawn = SlotAction::Spawn {
            digest: desired.spec.digest,
            deadline_ms: by_ms,
        };
        step.push_for(&self.key, run, spawn);
        process.keep_baseline(step, &self.key, self.baseline.as_deref());
        self.phase = Phase::Starting(process, StartBy(by_ms));
    }

    /// Notes when a client that waits for it is to be answered, and says so when that moment has passed: what cannot be ended, or
    /// may not be started, must not wait in silence.
    fn note_due(&mut self, step: &Step<'_>, desired: DesiredState<'_>) {
        let now_ms = step.now_ms;
        let spec = desired.spec;
        let is_awaited =
            self.wanted && desired.permits_running() && step.phase != FleetPhase::ShuttingDown;
        let is_early = step.bugs.has(Planted::OverdueEarly);
        let drain_ms = if is_early { 0 } else { spec.drain_ms };
        let after = |parts: &[u64]| parts.iter().fold(now_ms, |sum, ms| sum.saturating_add(*ms));
        self.due_ms = match &self.phase {
            Phase::Down if is_awaited => self.due_ms.or(Some(after(&[spec.spawn_timeout_ms]))),
            Phase::Stopping(..) if is_awaited => self.due_ms.or(Some(after(&[
                drain_ms,
                step.settings.term_ms,
                step.settings.kill_retry_ms,
                spec.spawn_timeout_ms,
            ]))),
            // A start has a deadline of its own, and is a failure past it.
            _ => None,
        };
        let was_overdue = self.overdue;
        self.overdue = self.due_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if self.overdue && !was_overdue {
            let what = match &self.phase {
                Phase::Stopping(..) => "its processes do not end, however often they are killed",
                _ if step.phase == FleetPhase::Adopting => {
                    "survivors of an earlier router are still being looked for"
                }
                _ => "processes of an earlier run of it do not end, however often they are killed",
            };
            self.set_reason(what.to_owned(), None);
        }
    }

    /// Publishes what changed since it was last published.
    fn publish(&mut self, step: &mut Step<'_>, desired: DesiredState<'_>) {
        let lifecycle = self.lifecycle(desired, step.phase);
        let run = self.process().map(|process| process.run);
        let is_news = self.overdue && !self.announced_overdue;
        if lifecycle != self.announced || is_news {
            step.push(OperatorAction::Announce(Transition {
                key: Some(self.key.clone()),
                tool: None,
                run,
                change: Change::Lifecycle {
                    from: self.announced,
                    to: lifecycle,
                },
                reason: self.reason.clone(),
                detail: self.detail.clone(),
            }));
            self.announced = lifecycle;
        }
        self.announced_overdue = self.overdue;
        let health = self.health();
        if let Some(now) = health
            && health != self.announced_health
        {
            step.push(OperatorAction::Announce(Transition {
                key: Some(self.key.clone()),
                tool: None,
                run,
                change: Change::Health {
                    from: self.announced_health,
                    to: now,
                },
                reason: self.health_reason().to_owned(),
                detail: None,
            }));
        }
        self.announced_health = health;
        let route = self.route(desired, step.phase);
        let withheld = step.bugs.has(Planted::RouteOutlivesRun) && lifecycle == Lifecycle::Backoff;
        if route != self.published && !withheld {
            self.published.clone_from(&route);
            let key = self.key.clone();
            step.push(RoutingAction::SetRoute { key, route });
        }
    }

    /// The slot is no more: its route goes too.
    pub(crate) fn withdraw(&mut self, step: &mut Step<'_>) {
        if self.published.take().is_some() {
            let key = self.key.clone();
            step.push(RoutingAction::SetRoute { key, route: None });
        }
    }
}
