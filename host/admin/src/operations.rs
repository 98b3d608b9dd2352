//! What the app must be able to do for an operator: the one seam between this room and the rest of the router.

use std::{collections::BTreeMap, fmt, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use router_alerts::{
    AlertEngine, AlertId, Severity,
    delivery::Schedule,
    event::{AlertDone, AlertVerb},
    link::AckLink,
};
use router_core::{
    InstanceId,
    action::Done,
    event::Verb,
    spec::Source,
    view::{FleetView, InstanceView},
};
use router_telemetry::Figures;
use router_values::{
    AlertPage, AlertQuery, AlertRow, AuditQuery, AuditRow, DeliveryRecord, EventPosition,
    HistoryQuery, HistoryRow,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// What an operation ends in.
pub type Result<T> = std::result::Result<T, OperationError>;

/// Everything that the routes of this room ask for. Each call is bounded in time by its implementation.
pub trait Operations: Send + Sync + 'static {
    /// Who this router is. Does not change while it runs.
    fn facts(&self) -> &RouterFacts;

    /// Whether the driver's loop runs. Touches nothing else.
    fn is_loop_alive(&self) -> bool;

    /// The fleet as it is now.
    fn view(&self) -> impl Future<Output = Result<Arc<FleetView>>> + Send;

    /// One instance as it is now.
    fn instance(&self, instance: InstanceId) -> impl Future<Output = Result<InstanceView>> + Send;

    /// Figures over the last 5 minutes: of one instance, or of the fleet where none is named.
    fn figures(&self, instance: Option<&InstanceId>) -> Figures;

    /// How an instance is launched by the definition of that source, and where its files are.
    fn definition(&self, instance: &InstanceId, source: Source) -> Option<Definition>;

    /// Where each threshold of a template's breaker comes from by the configuration, by its name in JSON.
    fn breaker_origins(&self, template: &str) -> Vec<(&'static str, String)>;

    /// Does something to an instance. Answers when it is done.
    fn command(
        &self,
        instance: InstanceId,
        verb: Verb,
    ) -> impl Future<Output = Result<Done>> + Send;

    /// Registers an instance from its definition, the text of a JSON object, and returns its id.
    fn register(&self, definition: String) -> impl Future<Output = Result<InstanceId>> + Send;

    /// Removes an instance that was registered.
    fn unregister(&self, instance: InstanceId) -> impl Future<Output = Result<()>> + Send;

    /// The last lines that an instance wrote to its stderr, oldest first.
    fn logs_tail(
        &self,
        instance: InstanceId,
        lines: usize,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// The kept crash evidence of an instance, newest first.
    fn crashes(&self, instance: InstanceId) -> impl Future<Output = Result<Vec<Value>>> + Send;

    /// Every plugin: its generation, grants, calls, failures and refused candidate.
    fn plugins(&self) -> Value;

    /// One plugin, in full.
    fn plugin(&self, name: &str) -> Option<Value>;

    /// Scans the plugins directory now, and reports what came of it.
    fn reload_plugins(&self) -> impl Future<Output = Result<Value>> + Send;

    /// Puts the generation of a plugin in force that is held, tried or was rejected. What is in force then, in words.
    fn confirm_plugin(&self, name: &str) -> impl Future<Output = Result<String>> + Send;

    /// Does not take the generation that is held or tried, or returns to the one before that in force. What is in force then, in words.
    fn reject_plugin(&self, name: &str) -> impl Future<Output = Result<String>> + Send;

    /// Audit rows, newest first.
    fn audit_page(&self, query: AuditQuery) -> impl Future<Output = Result<Vec<AuditRow>>> + Send;

    /// Keeps an audit row. Never blocks, never loses it.
    fn audit(&self, row: AuditRow);

    /// Applies a changed configuration file.
    fn reload_config(&self) -> impl Future<Output = Result<ReloadReport>> + Send;

    /// The log level in force.
    fn log_level(&self) -> String;

    /// Changes the log level until the router ends.
    fn set_log_level(&self, level: &str) -> Result<()>;

    /// All metrics as Prometheus text.
    fn metrics(&self) -> impl Future<Output = Result<String>> + Send;

    /// Shows something of the alerts and their deliveries, between two steps.
    fn read_alerts<T: Send + 'static>(
        &self,
        read: impl FnOnce(&AlertEngine, &Schedule) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Firings of alerts that are over, the latest first, from the database.
    fn alerts_page(&self, query: AlertQuery) -> impl Future<Output = Result<AlertPage>> + Send;

    /// One firing of an alert, or its last one, from the database.
    fn alert_row(
        &self,
        alert: AlertId,
        firing: Option<u32>,
    ) -> impl Future<Output = Result<Option<AlertRow>>> + Send;

    /// Deliveries about a firing of an alert, and those of these ids, in the order in which they began, from the database.
    fn delivery_records(
        &self,
        about: (AlertId, u32),
        ids: Vec<String>,
    ) -> impl Future<Output = Result<Vec<DeliveryRecord>>> + Send;

    /// Does something to an alert or a silence, for somebody.
    fn alert_command(
        &self,
        by: String,
        verb: AlertVerb,
    ) -> impl Future<Output = Result<AlertDone>> + Send;

    /// The same, and it is on the disk when this returns.
    ///
    /// # Errors
    /// Also [`OperationError::Unavailable`]: it was done, but could not be written down, and a router that dies now forgets it.
    fn alert_command_kept(
        &self,
        by: String,
        verb: AlertVerb,
    ) -> impl Future<Output = Result<AlertDone>> + Send;

    /// Whether a call from there is signed with the `webhook_secret` of a sink; `None`: there is no sink that has one. What is not is
    /// logged and audited.
    fn is_signed_webhook(
        &self,
        sink: &str,
        signatures: &str,
        body: &[u8],
        from: SocketAddr,
    ) -> Option<bool>;

    /// What a link to acknowledge by says, where this router, or an earlier one with the same key, made it.
    fn ack_link(&self, token: &str) -> Option<AckLink>;

    /// Sends a marked test the way of an alert of a severity, or to one sink, and waits for the answers.
    fn test_alert(
        &self,
        by: String,
        severity: Severity,
        sink: Option<String>,
    ) -> impl Future<Output = Result<Vec<TestResult>>> + Send;

    /// Sends a delivery again, and tries its sink at once.
    fn retry_delivery(&self, id: String, by: String) -> impl Future<Output = Result<()>> + Send;

    /// Everything that happens from now on; `None` when too many listen already.
    fn subscribe(&self) -> Option<broadcast::Receiver<Arc<HistoryRow>>>;

    /// What happened, newest first.
    fn history_page(
        &self,
        query: HistoryQuery,
    ) -> impl Future<Output = Result<Vec<HistoryRow>>> + Send;

    /// What this router saw after an event of it, oldest first, at most so many rows.
    fn history_after(
        &self,
        position: EventPosition,
        rows_max: u32,
    ) -> impl Future<Output = Result<Vec<HistoryRow>>> + Send;
}

/// How a sink answered a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// Which sink.
    pub sink: String,
    /// It arrived, or why not, in the receiver's own words where it said some.
    pub outcome: std::result::Result<(), String>,
}

/// Who this router is.
#[derive(Debug, Clone)]
pub struct RouterFacts {
    /// Its name, the same over restarts.
    pub router_id: String,
    /// Its version.
    pub version: &'static str,
    /// How trees are killed here: `cgroup` or `process-tree`.
    pub kill_method: &'static str,
    /// How memory is limited here: `cgroup` or `polling`.
    pub limit_method: &'static str,
    /// When it started, on the process's own monotonic clock.
    pub started: std::time::Instant,
}

/// How an instance is launched, and where its files are. No environment values: they may be secrets.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Definition {
    /// The template it is made from.
    pub template: String,
    /// The program.
    pub command: String,
    /// Its arguments, placeholders filled in.
    pub args: Vec<String>,
    /// Names in its environment.
    pub env_names: Vec<String>,
    /// `stdio` or `socket`.
    pub transport: String,
    /// `shared` or `per-session`.
    pub sharing: String,
    /// Where it is reached.
    pub socket_path: String,
    /// Where its stderr goes.
    pub log_path: String,
}

/// Who is calling; put into each request by the layer that admitted it.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's name, or `loopback`.
    pub name: Arc<str>,
    /// Its roles, for the audit.
    pub role: Arc<str>,
    /// Whether it may do more than operate: define the environment of what runs.
    pub is_admin: bool,
    /// From where.
    pub from: SocketAddr,
}

/// What a reload of the configuration did.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReloadReport {
    /// Ids of instances that are new.
    pub added: Vec<String>,
    /// Ids of instances that are gone.
    pub removed: Vec<String>,
    /// Ids of instances whose definition changed; those whose launch changed are started anew.
    pub changed: Vec<String>,
    /// Settings that are in force now.
    pub applied: Vec<String>,
    /// Settings that differ but take a restart of the router to apply.
    pub needs_restart: Vec<String>,
    /// Plugins whose new configuration or limits were refused, each with the reason; what served before serves on.
    pub refused_plugins: BTreeMap<String, String>,
}

/// As text, for the audit.
impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: Vec<String> = self.refused_plugins.keys().cloned().collect();
        let parts = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
            ("applied", &self.applied),
            ("needs a restart", &self.needs_restart),
            ("refused plugins", &refused),
        ];
        let changes = parts.iter().filter(|(_, names)| !names.is_empty());
        let changes: Vec<String> = changes
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        if changes.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&changes.join("; "))
    }
}

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// What it is about does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It contradicts what is.
    #[error("{0}")]
    Conflict(String),
    /// What was sent is not acceptable; every fault is listed.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// This caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be done now.
    #[error("{reason}")]
    Unavailable {
        /// Why, and what to do.
        reason: String,
        /// When to try again, where that is known.
        retry_after: Option<Duration>,
    },
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// It goes on, but not within the time that a request may take.
    #[error("{0}")]
    UnderWay(String),
}
