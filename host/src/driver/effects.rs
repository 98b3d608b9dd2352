//! Performing what the core decided. Nothing here decides: an action that takes time becomes a task that reports back.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use futures_util::future::join_all;
use router_core::{
    InstanceId, Run, SlotKey,
    action::{Action, GuardedTool, OperatorAction, RoutingAction, SlotAction},
    classify::ClassTable,
    event::{Event, PolicyEvent, SlotEvent},
    policy::{Ask, NoAnswer, PolicyAnswer, PolicyKind},
    route::Route,
};
use router_proxy::{GuardedTools, MeteredTools, RoutingEntry, SharedBreaker};
use tokio::time::Instant;

use super::{live::InternalEvent, state::Driver};

/// How often a refused plan is logged.
const REFUSALS_LOGGED_EVERY: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Slot { key, run, action } => self.perform_on_run(key, run, action),
            Action::Ask(ask) => self.ask(&ask),
            Action::Policy(action) => self.parts.ports.carry_out(&action),
            Action::Routing(action) => self.perform_routing(action),
            Action::Operator(action) => self.perform_for_operators(action),
            Action::AllStopped => self.all_stopped = true,
        }
    }

    fn perform_on_run(&mut self, key: SlotKey, run: Run, action: SlotAction) {
        match action {
            SlotAction::Spawn {
                digest,
                deadline_ms,
            } => self.spawn(key, run, digest, deadline_ms),
            SlotAction::Drain { deadline_ms } => self.drain(key, run, deadline_ms),
            SlotAction::Terminate => {
                self.note_unwanted(&key, run);
                let grace = Duration::from_millis(self.fleet.settings().term_ms);
                self.parts.supervisor.stop(&key, run, grace);
            }
            SlotAction::Kill => {
                self.note_unwanted(&key, run);
                self.parts.supervisor.kill(&key, run);
            }
            SlotAction::Release => self.release(&key, run),
            SlotAction::Ping {
                deadline_ms,
                for_breaker,
            } => self.ping(key, run, deadline_ms, for_breaker),
            SlotAction::KeepBaseline { tools } => self.keep_baseline(&key, run, tools),
        }
    }

    fn perform_routing(&mut self, action: RoutingAction) {
        match action {
            RoutingAction::SetBreaker {
                instance,
                setting,
                cause,
            } => {
                self.breaker(instance).set(cause, &setting);
            }
            RoutingAction::SetTools { instance, tools } => self.set_tools(instance, tools),
            RoutingAction::SetTool { instance, tool } => {
                let tools = self.tools.get(&instance);
                if let Some(held) = tools.and_then(|tools| tools.get(&tool.tool)) {
                    held.breaker.set(tool.cause, &tool.setting);
                }
            }
            RoutingAction::SetClasses { instance, classes } => self.set_classes(instance, classes),
            RoutingAction::MeterTools { instance, tools } => self.meter_tools(instance, &tools),
            RoutingAction::SetRoute { key, route } => self.route(key, route),
            RoutingAction::RemoveInstance(instance) => {
                self.breakers.remove(&instance);
                self.tools.remove(&instance);
                self.metered.remove(&instance);
                self.classes.remove(&instance);
                self.parts.table.remove(&instance);
                self.parts.ports.instance_removed(&instance);
            }
        }
    }

    fn perform_for_operators(&mut self, action: OperatorAction) {
        match action {
            OperatorAction::Announce(transition) => self.parts.ports.announce(transition),
            OperatorAction::CommandDone { id, result } => self.command_done(id, result),
            OperatorAction::SpecRefused {
                instance,
                refused,
                holder,
            } => tracing::warn!(
                instance = %instance,
                source = refused.as_str(),
                reason = holder.as_str(),
                "instance refused: another source defines its id"
            ),
            OperatorAction::StartRefused { instance, reason } => tracing::warn!(
                instance = %instance,
                reason,
                "start refused: a limit of the capacity plan is reached"
            ),
            OperatorAction::PlanRefused {
                policy,
                kind,
                instance,
                reason,
                is_news,
            } => {
                self.parts.ports.count_refused_plan(&policy, kind);
                if is_news {
                    self.plan_refused(&policy, kind, instance.as_ref(), &reason);
                }
            }
            OperatorAction::RecordCrash(record) => self.parts.ports.keep_crash(*record),
            OperatorAction::ClearState(instance) => {
                self.parts.ports.forget_crashes(&instance);
                self.forget_baselines(&instance);
            }
        }
    }

    fn spawn(&mut self, key: SlotKey, run: Run, digest: u64, deadline_ms: u64) {
        let plan = self.plan(&key.instance);
        match plan.filter(|plan| plan.digest == digest) {
            Some(plan) => {
                self.begin(key.clone(), run, &plan, deadline_ms);
                self.parts.supervisor.launch(key, run, plan.launch.clone());
            }
            None => self.report(
                SlotEvent::SpawnFailed {
                    error: "its definition changed while it was being started".to_owned(),
                }
                .on(key, run),
            ),
        }
    }

    fn drain(&mut self, key: SlotKey, run: Run, deadline_ms: u64) {
        let Some(upstream) = self.upstream(&key, run) else {
            return self.report(SlotEvent::Drained.on(key, run));
        };
        let within = self.parts.clock.until(deadline_ms);
        let internal = self.internal.clone();
        self.tasks.spawn(async move {
            // In time or not: past its deadline the core goes on by itself.
            upstream.drain(within).await;
            let _ = internal
                .send(InternalEvent::Core(SlotEvent::Drained.on(key, run)))
                .await;
        });
    }

    /// Asks all policies at once: one that hangs costs the others nothing.
    fn ask(&self, ask: &Ask) {
        let within = self.parts.clock.until(ask.deadline_ms);
        let asked = ask.policies.iter().map(|policy| {
            let asking = self.parts.ports.ask(policy, ask);
            let policy = Arc::clone(policy);
            async move {
                let answer = tokio::time::timeout(within, asking).await;
                let answer = answer.unwrap_or(Err(NoAnswer::TimedOut));
                PolicyAnswer { policy, answer }
            }
        });
        let answers = join_all(asked);
        let (internal, question) = (self.internal.clone(), ask.id);
        self.tasks.spawn(async move {
            let answers = answers.await;
            let event = PolicyEvent::Answered { question, answers };
            let _ = internal.send(InternalEvent::Core(event.into())).await;
        });
    }

    fn ping(&self, key: SlotKey, run: Run, deadline_ms: u64, for_breaker: bool) {
        let Some(upstream) = self.upstream(&key, run) else {
            return self.report(SlotEvent::PingFailed.on(key, run));
        };
        let within = self.parts.clock.until(deadline_ms);
        let internal = self.internal.clone();
        self.tasks.spawn(async move {
            let answer = if for_breaker {
                upstream.ping_or_list(within).await
            } else {
                upstream.ping(within).await
            };
            let event = match answer {
                Ok(rtt) => SlotEvent::PingAnswered {
                    rtt_ms: rtt.as_secs_f64() * 1000.0,
                }
                .on(key, run),
                Err(_) => SlotEvent::PingFailed.on(key, run),
            };
            let _ = internal.send(InternalEvent::Core(event)).await;
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
        let classes = self.classes.get(&key.instance).cloned();
        let breaker = self.breaker(key.instance.clone());
        let tools = self.tools.get(&key.instance).cloned();
        let metered = self.metered.get(&key.instance).cloned();
        let entry = RoutingEntry::new(key, route, upstream, breaker)
            .with_tools(tools)
            .with_metered(metered);
        self.parts.table.set(match classes {
            Some(classes) => entry.with_classes(classes),
            None => entry,
        });
    }

    /// What the ends of requests mean that begin from now on.
    fn set_classes(&mut self, instance: InstanceId, classes: Arc<ClassTable>) {
        let entry = self.parts.table.get(instance.as_str());
        self.classes.insert(instance, classes);
        self.renew(entry);
    }

    /// The tools that have breakers of their own.
    fn set_tools(&mut self, instance: InstanceId, tools: Vec<GuardedTool>) {
        let entry = self.parts.table.get(instance.as_str());
        if tools.is_empty() {
            self.tools.remove(&instance);
        } else {
            let before = self.tools.get(&instance);
            let tools = GuardedTools::new(tools, before.map(|before| &**before));
            self.tools.insert(instance, Arc::new(tools));
        }
        self.renew(entry);
    }

    /// The tools whose calls are counted apart.
    fn meter_tools(&mut self, instance: InstanceId, tools: &[String]) {
        let tools: Vec<Arc<str>> = tools.iter().map(|tool| tool.as_str().into()).collect();
        self.parts.ports.meter_tools(&instance, &tools);
        let entry = self.parts.table.get(instance.as_str());
        if tools.is_empty() {
            self.metered.remove(&instance);
        } else {
            let metered = MeteredTools::new(tools);
            self.metered.insert(instance, Arc::new(metered));
        }
        self.renew(entry);
    }

    /// Puts an entry in the place of one, with what is known beside its route now.
    fn renew(&mut self, entry: Option<Arc<RoutingEntry>>) {
        if let Some(entry) = entry {
            self.route(entry.key.clone(), Some(entry.route.clone()));
        }
    }

    /// A breaker policy whose plans are out of bounds gives one to each instance: the log has one line in a while, the API has all.
    fn plan_refused(
        &mut self,
        policy: &str,
        kind: PolicyKind,
        instance: Option<&InstanceId>,
        reason: &str,
    ) {
        let is_quiet = |at: &Instant| at.elapsed() < REFUSALS_LOGGED_EVERY;
        if instance.is_some() && self.refusal_logged.as_ref().is_some_and(is_quiet) {
            return;
        }
        if instance.is_some() {
            self.refusal_logged = Some(Instant::now());
        }
        tracing::warn!(
            plugin = policy,
            kind = kind.as_str(),
            instance = instance.map(tracing::field::display),
            reason,
            "plan refused: the one before stays in force"
        );
    }

    /// The breaker of an instance, which is new where it has none.
    fn breaker(&mut self, instance: InstanceId) -> Arc<SharedBreaker> {
        match self.breakers.entry(instance) {
            Entry::Occupied(held) => Arc::clone(held.get()),
            Entry::Vacant(free) => {
                self.parts.ports.instance_added(free.key());
                Arc::clone(free.insert(Arc::default()))
            }
        }
    }

    /// Feeds an event back that is known while actions are being performed: it comes after those that wait already.
    pub(super) fn report(&self, event: Event) {
        let internal = self.internal.clone();
        self.tasks.spawn(async move {
            let _ = internal.send(InternalEvent::Core(event)).await;
        });
    }
}
