//! What `/api` can show and do, over the driver and the other rooms.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use router_access::is_signed;
use router_admin::{
    Definition, OperationError, Operations, ReloadReport, Result, RouterFacts, TestResult,
};
use router_alerts::{
    AlertEngine, AlertId, Severity,
    delivery::Schedule,
    event::{AlertDone, AlertVerb},
    link::AckLink,
};
use router_core::{
    InstanceId, SlotKey,
    action::Done,
    event::Verb,
    spec::Source,
    view::{FleetView, InstanceView},
};
use router_engine::Engine;
use router_proxy::Proxy;
use router_store::Store;
use router_supervisor::Supervisor;
use router_telemetry::{Count, Figures};
use router_values::{
    AlertPage, AlertQuery, AlertRow, AuditQuery, AuditRow, DeliveryRecord, EventPosition,
    HistoryQuery, HistoryRow,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{
    alerting::handle::AlertsHandle,
    announcer::Announcer,
    applier::ConfigApplier,
    clock::Clock,
    driver_handle::DriverHandle,
    error_chain::chain,
    evidence::EvidenceRecorder,
    instance_plan::InstancePlans,
    meters::RouterMeters,
    operation_errors as errors,
    webhook_refusals::WebhookRefusals,
    wiring::{engine, links::AckLinks},
};

/// The driver's loop runs at least once a second; after this long it is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct OperatorApi {
    pub(crate) facts: RouterFacts,
    pub(crate) clock: Clock,
    /// When the driver's loop last ran, by the clock.
    pub(crate) loop_ran_ms: Arc<AtomicU64>,
    pub(crate) driver: DriverHandle,
    pub(crate) plans: Arc<InstancePlans>,
    pub(crate) meters: Arc<RouterMeters>,
    pub(crate) supervisor: Arc<Supervisor>,
    pub(crate) store: Store,
    pub(crate) recorder: Arc<EvidenceRecorder>,
    pub(crate) engine: Engine,
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) alerts: AlertsHandle,
    pub(crate) links: Arc<AckLinks>,
    pub(crate) webhooks: WebhookRefusals,
    pub(crate) applier: Arc<ConfigApplier>,
}

impl Operations for OperatorApi {
    fn facts(&self) -> &RouterFacts {
        &self.facts
    }

    fn is_loop_alive(&self) -> bool {
        let ran_ms = self.loop_ran_ms.load(Ordering::Relaxed);
        let silent_ms = self.clock.now().mono_ms.saturating_sub(ran_ms);
        Duration::from_millis(silent_ms) < STUCK_AFTER
    }

    async fn view(&self) -> Result<Arc<FleetView>> {
        self.driver.view().await
    }

    async fn instance(&self, instance: InstanceId) -> Result<InstanceView> {
        let view = self.driver.instance(instance.clone()).await?;
        view.ok_or_else(|| errors::unknown(&instance))
    }

    fn figures(&self, instance: Option<&InstanceId>) -> Figures {
        self.meters.figures(instance)
    }

    fn definition(&self, instance: &InstanceId, source: Source) -> Option<Definition> {
        Some(self.plans.get(instance, source)?.definition.clone())
    }

    fn breaker_origins(&self, template: &str) -> Vec<(&'static str, String)> {
        self.applier.config().breaker_origins(template)
    }

    async fn command(&self, instance: InstanceId, verb: Verb) -> Result<Done> {
        let id = instance.clone();
        let Some(intention) = intention(verb) else {
            return self.carry_out(instance, verb).await;
        };
        self.instance(id.clone()).await?;
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
        let source = self.instance(instance.clone()).await?.source;
        self.applier.unregister(instance, source).await
    }

    async fn logs_tail(&self, instance: InstanceId, lines: usize) -> Result<Vec<String>> {
        let key = SlotKey::first(instance);
        let tail = self.supervisor.logs_tail(&key, lines).await;
        tail.map_err(|error| OperationError::Failed(chain(&error)))
    }

    async fn crashes(&self, instance: InstanceId) -> Result<Vec<Value>> {
        Ok(self.recorder.crashes(&instance).await)
    }

    fn plugins(&self) -> Value {
        json!({ "plugins": self.engine.list() })
    }

    fn plugin(&self, name: &str) -> Option<Value> {
        Some(json!(self.engine.show(name)?))
    }

    async fn confirm_plugin(&self, name: &str) -> Result<String> {
        let done = self.engine.confirm(name).await;
        done.map_err(|error| errors::of_decision(&error))
    }

    async fn reject_plugin(&self, name: &str) -> Result<String> {
        let done = self.engine.reject(name).await;
        done.map_err(|error| errors::of_decision(&error))
    }

    async fn reload_plugins(&self) -> Result<Value> {
        Ok(json!(self.engine.reload_now().await))
    }

    async fn audit_page(&self, query: AuditQuery) -> Result<Vec<AuditRow>> {
        self.store.audit_page(query).await.map_err(errors::of_store)
    }

    fn audit(&self, row: AuditRow) {
        self.recorder.audit(row);
    }

    async fn reload_config(&self) -> Result<ReloadReport> {
        let result = self.applier.reload().await;
        let (count, to, reason) = match &result {
            Ok(reloaded) => (
                Count::ConfigReloaded,
                "applied",
                reloaded.report.to_string(),
            ),
            Err(error) => (Count::ConfigRefused, "refused", error.to_string()),
        };
        self.meters.metrics.count(count);
        self.announcer.publish(HistoryRow {
            axis: "config".to_owned(),
            to: to.to_owned(),
            reason,
            ..HistoryRow::default()
        });
        let reloaded = result?;
        // Of settings of plugins alone, each plugin's new generation is the change.
        if reloaded.report != ReloadReport::default() {
            self.alerts
                .changed(&format!("configuration reloaded ({})", reloaded.report));
        }
        if reloaded.is_access_changed {
            // Clients that may still read them resume at once.
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
        // The driver sets the fleet of the meters before it answers.
        self.view().await?;
        self.alerts.report(self.meters.metrics.alerts()).await;
        let plugins = engine::figures(&self.engine);
        Ok(self.meters.render(&self.store, plugins, &self.proxy))
    }

    async fn read_alerts<T: Send + 'static>(
        &self,
        read: impl FnOnce(&AlertEngine, &Schedule) -> T + Send + 'static,
    ) -> Result<T> {
        self.alerts.read(read).await
    }

    async fn alerts_page(&self, query: AlertQuery) -> Result<AlertPage> {
        let page = self.store.alerts_page(query).await;
        page.map_err(errors::of_store)
    }

    async fn alert_row(&self, alert: AlertId, firing: Option<u32>) -> Result<Option<AlertRow>> {
        let (alert, firing) = (alert.to_string(), firing.map(i64::from));
        let row = self.store.alert(&alert, firing).await;
        row.map_err(errors::of_store)
    }

    async fn delivery_records(
        &self,
        (alert, firing): (AlertId, u32),
        ids: Vec<String>,
    ) -> Result<Vec<DeliveryRecord>> {
        let (alert, firing) = (alert.to_string(), i64::from(firing));
        let records = self.store.deliveries((&alert, firing), &ids).await;
        records.map_err(errors::of_store)
    }

    async fn alert_command(&self, by: String, verb: AlertVerb) -> Result<AlertDone> {
        self.alerts.command(by, verb).await
    }

    async fn alert_command_kept(&self, by: String, verb: AlertVerb) -> Result<AlertDone> {
        self.alerts.command_kept(by, verb).await
    }

    fn is_signed_webhook(
        &self,
        sink: &str,
        signatures: &str,
        body: &[u8],
        from: SocketAddr,
    ) -> Option<bool> {
        let config = self.applier.config();
        let mut sinks = config.sinks.iter();
        let found = sinks.find(|(name, _)| name.as_str() == sink);
        let secret = found.and_then(|(_, sink)| sink.webhook_secret.as_ref());
        let is_signed = secret.map(|secret| is_signed(secret.expose(), signatures, body));
        if is_signed != Some(true) {
            self.webhooks.refused(sink, is_signed, from);
        }
        is_signed
    }

    fn ack_link(&self, token: &str) -> Option<AckLink> {
        self.links.open(token)
    }

    async fn test_alert(
        &self,
        by: String,
        severity: Severity,
        sink: Option<String>,
    ) -> Result<Vec<TestResult>> {
        self.alerts.test(by, severity, sink).await
    }

    async fn retry_delivery(&self, id: String, by: String) -> Result<()> {
        self.alerts.retry(id, by).await
    }

    fn subscribe(&self) -> Option<broadcast::Receiver<Arc<HistoryRow>>> {
        self.announcer.subscribe()
    }

    async fn history_page(&self, query: HistoryQuery) -> Result<Vec<HistoryRow>> {
        self.store
            .history_page(query)
            .await
            .map_err(errors::of_store)
    }

    async fn history_after(
        &self,
        position: EventPosition,
        rows_max: u32,
    ) -> Result<Vec<HistoryRow>> {
        let rows = self.store.history_after(position, rows_max).await;
        rows.map_err(errors::of_store)
    }
}

impl OperatorApi {
    async fn carry_out(&self, instance: InstanceId, verb: Verb) -> Result<Done> {
        let result = self.driver.command(instance.clone(), verb).await?;
        result.map_err(|error| errors::of_command(&instance, &error))
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
