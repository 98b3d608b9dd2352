//! The operators' desk: what `/api` can show and do, over the driver and the other rooms.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use router_admin::{
    AuditEntry, AuditQuery, Definition, Figures, OperationError, Operations, ReloadReport, Result,
    RouterFacts, StateChange,
};
use router_core::{
    InstanceId, SlotKey,
    action::{CommandError, Done},
    event::Verb,
    spec::Source,
    view::FleetView,
};
use router_engine::Engine;
use router_proxy::Proxy;
use router_store::{Store, StoreError};
use router_supervisor::Supervisor;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    announce::Announcer,
    apply::Applier,
    clock::Clock,
    driver::{Ask, chain},
    keeping::Keeping,
    launch::Plans,
    meters::Meters,
};

/// How long the driver may take to answer: it answers between two events, so this long means that it is stuck.
const DRIVER_WITHIN: Duration = Duration::from_secs(5);

/// How long a command may hold its caller: a stop drains, terminates and kills within this with the default waits.
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

/// The loop turns every second; past this it does not turn.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Desk {
    pub(crate) facts: RouterFacts,
    pub(crate) clock: Clock,
    pub(crate) turned_ms: Arc<AtomicU64>,
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) plans: Arc<Plans>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) store: Store,
    pub(crate) keeping: Arc<Keeping>,
    pub(crate) engine: Engine,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) applier: Arc<Applier>,
}

/// Asks the driver, and waits a bounded time for its answer.
pub(crate) async fn ask<T>(
    asks: &mpsc::Sender<Ask>,
    within: Duration,
    question: impl FnOnce(oneshot::Sender<T>) -> Ask,
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    let ending = || OperationError::Unavailable {
        reason: "the router is shutting down".to_owned(),
        retry_after: None,
    };
    let exchange = async {
        asks.send(question(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())
    };
    match tokio::time::timeout(within, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(OperationError::UnderWay(format!(
            "it was not done within {} s; it goes on, and GET /api/health/mcp shows when it is done",
            within.as_secs()
        ))),
    }
}

impl Operations for Desk {
    fn facts(&self) -> &RouterFacts {
        &self.facts
    }

    fn is_turning(&self) -> bool {
        let turned_ms = self.turned_ms.load(Ordering::Relaxed);
        let silent_ms = self.clock.now().mono_ms.saturating_sub(turned_ms);
        Duration::from_millis(silent_ms) < STUCK_AFTER
    }

    async fn view(&self) -> Result<Arc<FleetView>> {
        ask(&self.asks, DRIVER_WITHIN, Ask::View).await
    }

    fn figures(&self, instance: Option<&InstanceId>) -> Figures {
        self.meters.figures(instance)
    }

    fn definition(&self, instance: &InstanceId, source: Source) -> Option<Definition> {
        Some(self.plans.get(instance, source)?.definition.clone())
    }

    async fn command(&self, instance: InstanceId, verb: Verb) -> Result<Done> {
        let id = instance.clone();
        let Some(intention) = intention(verb) else {
            return self.carry_out(instance, verb).await;
        };
        self.known(&id).await?;
        // Noted first: a router that dies while an instance is drained must not start it again.
        let before = self.applier.is_noted_stopped(&id);
        self.applier.note_stopped(&id, intention);
        let result = self.carry_out(instance, verb).await;
        let was_refused = matches!(
            result,
            Err(OperationError::NotFound(_)
                | OperationError::Conflict(_)
                | OperationError::Unavailable { .. })
        );
        if was_refused {
            self.applier.note_stopped(&id, before);
        }
        result
    }

    async fn register(&self, definition: String) -> Result<InstanceId> {
        self.applier.register(definition).await
    }

    async fn unregister(&self, instance: InstanceId) -> Result<()> {
        let source = self.known(&instance).await?;
        self.applier.unregister(instance, source).await
    }

    async fn logs_tail(&self, instance: InstanceId, lines: usize) -> Result<Vec<String>> {
        let key = SlotKey::first(instance);
        let tail = self.supervisor.logs_tail(&key, lines).await;
        tail.map_err(|error| OperationError::Failed(chain(&error)))
    }

    async fn crashes(&self, instance: InstanceId) -> Result<Vec<Value>> {
        Ok(self.keeping.crashes(&instance).await)
    }

    fn plugins(&self) -> Value {
        json!({ "plugins": self.engine.list() })
    }

    fn plugin(&self, name: &str) -> Option<Value> {
        Some(json!(self.engine.show(name)?))
    }

    async fn reload_plugins(&self) -> Result<Value> {
        Ok(json!(self.engine.reload_now().await))
    }

    async fn audit_page(&self, query: AuditQuery) -> Result<Value> {
        let limit = query.limit;
        let rows = self
            .store
            .audit_page(router_store::AuditQuery {
                before: query.before,
                limit,
                actor: query.actor,
                action: query.action,
                target: query.target,
                since_ms: None,
            })
            .await
            .map_err(store_error)?;
        let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = rows.last().filter(|_| is_full).map(|row| row.seq);
        Ok(json!({ "rows": rows, "next": next }))
    }

    fn audit(&self, entry: AuditEntry) {
        self.keeping.audit(entry);
    }

    async fn reload_config(&self) -> Result<ReloadReport> {
        let result = self.applier.reload().await;
        self.meters.reloaded(result.is_ok());
        let reloaded = result?;
        if reloaded.is_access_changed {
            // Whoever may still read them resumes at once.
            self.proxy.close_streams();
            self.announcer.close_streams();
        }
        Ok(reloaded.report)
    }

    fn log_level(&self) -> String {
        self.applier.log_level()
    }

    fn set_log_level(&self, level: &str) -> Result<()> {
        self.applier.set_log_level(level)
    }

    async fn metrics(&self) -> Result<String> {
        // The driver hands its view to the meters before it answers.
        self.view().await?;
        Ok(self.meters.render(&self.store, &self.engine, &self.proxy))
    }

    fn subscribe(&self) -> Option<broadcast::Receiver<Arc<StateChange>>> {
        self.announcer.subscribe()
    }
}

impl Desk {
    /// Which source an instance belongs to.
    async fn known(&self, instance: &InstanceId) -> Result<Source> {
        let view = self.view().await?;
        let known = view.instance(instance);
        known
            .map(|known| known.source)
            .ok_or_else(|| unknown(instance))
    }

    async fn carry_out(&self, instance: InstanceId, verb: Verb) -> Result<Done> {
        let id = instance.clone();
        let result = ask(&self.asks, COMMAND_WITHIN, |reply| Ask::Command {
            instance,
            verb,
            reply,
        })
        .await?;
        result.map_err(|error| command_error(&id, &error))
    }
}

/// Whether a command means that the instance is to stay stopped, where it means anything of the kind.
fn intention(verb: Verb) -> Option<bool> {
    match verb {
        Verb::Stop => Some(true),
        Verb::Start | Verb::Restart => Some(false),
        Verb::ClearState | Verb::BreakerIsolate | Verb::BreakerReset => None,
    }
}

fn unknown(instance: &InstanceId) -> OperationError {
    OperationError::NotFound(format!(
        "there is no instance {instance}; GET /api/instances lists those there are"
    ))
}

fn command_error(instance: &InstanceId, error: &CommandError) -> OperationError {
    match error {
        CommandError::UnknownInstance => unknown(instance),
        CommandError::Superseded | CommandError::Removed => {
            OperationError::Conflict(error.to_string())
        }
        CommandError::ShuttingDown | CommandError::Busy => OperationError::Unavailable {
            reason: error.to_string(),
            retry_after: Some(Duration::from_secs(5)),
        },
        CommandError::StartFailed(_) => OperationError::Failed(error.to_string()),
    }
}

/// What of the store's errors an operator can act on.
pub(crate) fn store_error(error: StoreError) -> OperationError {
    match error {
        StoreError::Invalid(reason) => OperationError::Invalid(vec![reason]),
        StoreError::AlreadyRegistered(_) => OperationError::Conflict(error.to_string()),
        StoreError::Disconnected { .. }
        | StoreError::Exhausted { .. }
        | StoreError::TimedOut { .. }
        | StoreError::Closed => OperationError::Unavailable {
            reason: error.to_string(),
            retry_after: Some(Duration::from_secs(5)),
        },
        other => OperationError::Failed(chain(&other)),
    }
}
