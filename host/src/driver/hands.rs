//! Performing what the core decided. Nothing here decides: an action that takes time becomes a task that reports back.

use std::{sync::Arc, time::Duration};

use router_core::{
    Run, SlotKey,
    action::Action,
    classify::ClassTable,
    event::{Event, NoAnswer, QuestionId},
    health::HealthFacts,
    route::Route,
};
use router_proxy::Entry;

use super::{Driver, connections::Inner};
use crate::clock::millis;

pub(super) fn perform(driver: &mut Driver, action: Action) {
    match action {
        Action::Spawn {
            key,
            run,
            digest,
            deadline_ms,
        } => driver.spawn(key, run, digest, deadline_ms),
        Action::Drain {
            key,
            run,
            deadline_ms,
        } => driver.drain(key, run, deadline_ms),
        Action::Terminate { key, run } => {
            driver.note_unwanted(&key, run);
            let grace = Duration::from_millis(driver.fleet.settings().term_ms);
            driver.parts.supervisor.stop(&key, run, grace);
        }
        Action::Kill { key, run } => {
            driver.note_unwanted(&key, run);
            driver.parts.supervisor.kill(&key, run);
        }
        Action::Release { key, run } => driver.release(&key, run),
        Action::Ask {
            question,
            key: _,
            policy,
            facts,
            deadline_ms,
        } => driver.judge(question, policy, facts, deadline_ms),
        Action::Ping {
            key,
            run,
            deadline_ms,
        } => driver.ping(key, run, deadline_ms),
        Action::SetBreaker { instance, setting } => {
            driver.cells.entry(instance).or_default().apply(&setting);
        }
        Action::RouteChanged { key, route } => driver.route(key, route),
        Action::InstanceGone(instance) => {
            driver.cells.remove(&instance);
            driver.parts.table.remove(&instance);
            driver.parts.rooms.let_go(&instance);
            driver.tell_instances();
        }
        Action::SpecRefused {
            instance,
            refused,
            holder,
        } => tracing::warn!(
            instance = %instance,
            source = refused.as_str(),
            reason = holder.as_str(),
            "an instance was refused because another source defines its id"
        ),
        Action::Announce(transition) => driver.parts.rooms.announce(transition),
        Action::CommandDone { id, result } => driver.command_done(id, result),
        Action::RecordCrash(record) => driver.parts.rooms.keep_crash(*record),
        Action::ClearState(instance) => {
            driver.parts.rooms.forget_crashes(&instance);
            driver.forget_baselines(&instance);
        }
        Action::KeepBaseline { key, tools } => driver.keep_baseline(&key, tools),
        Action::AllStopped => driver.all_stopped = true,
    }
}

impl Driver {
    fn spawn(&mut self, key: SlotKey, run: Run, digest: u64, deadline_ms: u64) {
        let plan = self.plan(&key.instance);
        match plan.filter(|plan| plan.digest == digest) {
            Some(plan) => {
                self.begin(key.clone(), run, &plan, deadline_ms);
                self.parts.supervisor.launch(key, run, plan.launch.clone());
            }
            None => self.report(Event::SpawnFailed {
                key,
                run,
                error: "its definition changed while it was being started".to_owned(),
            }),
        }
    }

    fn drain(&mut self, key: SlotKey, run: Run, deadline_ms: u64) {
        let Some(upstream) = self.upstream(&key, run) else {
            return self.report(Event::Drained { key, run });
        };
        let within = self.parts.clock.until(deadline_ms);
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            // In time or not: past its deadline the core goes on by itself.
            upstream.drain(within).await;
            let _ = inner.send(Inner::Core(Event::Drained { key, run })).await;
        });
    }

    fn judge(
        &self,
        question: QuestionId,
        policy: Arc<str>,
        facts: Box<HealthFacts>,
        deadline_ms: u64,
    ) {
        let within = self.parts.clock.until(deadline_ms);
        let judgement = self.parts.rooms.judge(policy, facts);
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            let answer = tokio::time::timeout(within, judgement).await;
            let event = match answer.unwrap_or(Err(NoAnswer::TimedOut)) {
                Ok(verdict) => Event::Answered { question, verdict },
                Err(why) => Event::Unanswered { question, why },
            };
            let _ = inner.send(Inner::Core(event)).await;
        });
    }

    fn ping(&self, key: SlotKey, run: Run, deadline_ms: u64) {
        let Some(upstream) = self.upstream(&key, run) else {
            return self.report(Event::PingFailed { key, run });
        };
        let within = self.parts.clock.until(deadline_ms);
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            let event = match upstream.ping(within).await {
                Ok(rtt) => Event::PingAnswered {
                    key,
                    run,
                    rtt_ms: rtt.as_secs_f64() * 1000.0,
                },
                Err(_) => Event::PingFailed { key, run },
            };
            let _ = inner.send(Inner::Core(event)).await;
        });
    }

    pub(super) fn route(&mut self, key: SlotKey, route: Option<Route>) {
        let Some(route) = route else {
            return self.parts.table.remove(&key.instance);
        };
        let upstream = match &route {
            Route::Ready { key, run } => self.upstream(key, *run),
            _ => None,
        };
        let slow_ms = self.waits(&key.instance).slow.map(millis);
        let classes = Arc::new(ClassTable::new(Vec::new(), slow_ms));
        let cell = self.cells.entry(key.instance.clone()).or_default();
        let entry = Entry::new(key, route, upstream, Arc::clone(cell));
        self.parts.table.set(entry.with_classes(classes));
    }

    /// Feeds an event back that is known while actions are being performed: it waits its turn like those of tasks.
    pub(super) fn report(&self, event: Event) {
        let inner = self.inner.clone();
        self.tasks.spawn(async move {
            let _ = inner.send(Inner::Core(event)).await;
        });
    }
}
