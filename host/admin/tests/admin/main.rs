//! The routes of `/api` over a real core: what is shown is what `Fleet::view` says, and what is changed is audited.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test fails"
)]

mod ack;
mod alerts;
mod history;
mod hooks;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use router_admin::{
    Caller, Definition, OperationError, Operations, ReloadReport, Result, RouterFacts, TestResult,
    router,
};
use router_alerts::{
    AlertEngine, AlertId, Severity,
    delivery::Schedule,
    event::{AlertAction, AlertCommand, AlertDone, AlertEvent, AlertVerb},
    link::AckLink,
};
use router_core::{
    Fleet, InstanceId, Now,
    action::{Action, Done, OperatorAction, SlotAction},
    event::{Command, Event, FleetEvent, SlotEvent, Verb},
    settings::Settings,
    spec::{InstanceSpec, Source},
    view::{FleetView, InstanceView},
};
use router_telemetry::Figures;
use router_values::{
    AlertPage, AlertQuery, AlertRow, AuditQuery, AuditRow, DeliveryRecord, EventPosition,
    HistoryQuery, HistoryRow,
};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower::ServiceExt as _;

struct World {
    fleet: Mutex<Fleet>,
    audit: Mutex<Vec<AuditRow>>,
    facts: RouterFacts,
    is_loop_alive: bool,
    listeners: broadcast::Sender<Arc<HistoryRow>>,
    /// What is recorded; `None` while there is no database.
    history: Mutex<Option<Vec<HistoryRow>>>,
    alerts: Mutex<(AlertEngine, Schedule)>,
    is_disk_full: AtomicBool,
    /// The table of alerts, the latest last; `None` while there is no database.
    past: Mutex<Option<Vec<AlertRow>>>,
    figures: Figures,
}

fn away() -> OperationError {
    OperationError::Unavailable {
        reason: "the database is away".to_owned(),
        retry_after: None,
    }
}

impl World {
    /// Three instances that nobody has used: `42`, `demo`, and `off`, which an operator stopped.
    fn new() -> Self {
        let mut fleet = Fleet::new(Settings::default());
        let mut out = Vec::new();
        let specs = ["42", "demo", "off"].map(|id| InstanceSpec {
            stopped: id == "off",
            ..InstanceSpec::new(InstanceId::parse(id).unwrap(), Source::Config, 7)
        });
        for event in [
            Event::Fleet(FleetEvent::SpecsApplied {
                source: Source::Config,
                specs: specs.to_vec(),
            }),
            Event::Fleet(FleetEvent::Database(true)),
            Event::Fleet(FleetEvent::AdoptionFinished),
        ] {
            fleet.step(Now::at(1), event, &mut out);
        }
        Self {
            fleet: Mutex::new(fleet),
            audit: Mutex::default(),
            facts: RouterFacts {
                router_id: "east-1".into(),
                version: "0.0.0",
                kill_method: "cgroup",
                limit_method: "polling",
                started: Instant::now(),
            },
            is_loop_alive: true,
            listeners: broadcast::Sender::new(2),
            history: Mutex::new(Some(Vec::new())),
            alerts: Mutex::new(alerts::engine()),
            is_disk_full: AtomicBool::new(false),
            past: Mutex::new(Some(Vec::new())),
            figures: Figures::default(),
        }
    }

    fn recorded(&self) -> Result<Vec<HistoryRow>> {
        self.history.lock().clone().ok_or_else(away)
    }

    fn past(&self) -> Result<Vec<AlertRow>> {
        self.past.lock().clone().ok_or_else(away)
    }

    /// Steps the core, answering spawns at once: there is no process here.
    fn step(&self, event: impl Into<Event>) -> Vec<Action> {
        let mut fleet = self.fleet.lock();
        let mut all = Vec::new();
        let mut events = vec![event.into()];
        while let Some(event) = events.pop() {
            let mut actions = Vec::new();
            fleet.step(Now::at(2), event, &mut actions);
            for action in &actions {
                if let Action::Slot {
                    key,
                    run,
                    action: SlotAction::Spawn { .. },
                } = action
                {
                    events.push(SlotEvent::Spawned { pid: 4711 }.on(key.clone(), *run));
                }
            }
            all.extend(actions);
        }
        all
    }
}

impl Operations for World {
    fn facts(&self) -> &RouterFacts {
        &self.facts
    }

    fn is_loop_alive(&self) -> bool {
        self.is_loop_alive
    }

    async fn view(&self) -> Result<Arc<FleetView>> {
        Ok(Arc::new(self.fleet.lock().view(Now::at(3))))
    }

    async fn instance(&self, instance: InstanceId) -> Result<InstanceView> {
        let view = self.fleet.lock().view(Now::at(3));
        let found = view.instance(&instance).cloned();
        found.ok_or_else(|| {
            OperationError::NotFound(format!(
                "there is no instance {instance}; GET /api/instances lists those there are"
            ))
        })
    }

    fn figures(&self, _: Option<&InstanceId>) -> Figures {
        self.figures
    }

    fn definition(&self, _: &InstanceId, _: Source) -> Option<Definition> {
        None
    }

    fn breaker_origins(&self, _: &str) -> Vec<(&'static str, String)> {
        vec![("successes", "breaker".to_owned())]
    }

    async fn command(&self, instance: InstanceId, verb: Verb) -> Result<Done> {
        let command = Command {
            id: 1,
            instance,
            verb,
        };
        let done = self
            .step(command)
            .into_iter()
            .find_map(|action| match action {
                Action::Operator(OperatorAction::CommandDone { result, .. }) => Some(result),
                _ => None,
            });
        match done {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => Err(OperationError::NotFound(error.to_string())),
            None => Err(OperationError::UnderWay("it goes on".into())),
        }
    }

    async fn register(&self, definition: String) -> Result<InstanceId> {
        let definition: Value = serde_json::from_str(&definition).unwrap_or_default();
        let id = definition["id"].as_str().unwrap_or_default();
        let id = InstanceId::parse(id).map_err(|error| {
            OperationError::Invalid(vec![error.to_string(), "no template".to_owned()])
        })?;
        let spec = InstanceSpec::new(id.clone(), Source::Api, 1);
        self.step(FleetEvent::SpecAdded(Box::new(spec)));
        Ok(id)
    }

    async fn unregister(&self, instance: InstanceId) -> Result<()> {
        Err(OperationError::Conflict(format!(
            "{instance} is defined in the configuration file; remove it there"
        )))
    }

    async fn logs_tail(&self, _: InstanceId, lines: usize) -> Result<Vec<String>> {
        Ok((0..lines.min(3)).map(|n| format!("line {n}")).collect())
    }

    async fn crashes(&self, _: InstanceId) -> Result<Vec<Value>> {
        Ok(vec![json!({"exitCode": 1})])
    }

    fn plugins(&self) -> Value {
        json!({"plugins": []})
    }

    fn plugin(&self, _: &str) -> Option<Value> {
        None
    }

    async fn confirm_plugin(&self, name: &str) -> Result<String> {
        match name {
            "held" => Ok("generation 2 of held is in force".to_owned()),
            _ => Err(OperationError::NotFound(format!(
                "there is no plugin {name:?}"
            ))),
        }
    }

    async fn reject_plugin(&self, name: &str) -> Result<String> {
        Err(OperationError::Conflict(format!(
            "no generation of {name} is held"
        )))
    }

    async fn reload_plugins(&self) -> Result<Value> {
        Ok(json!({}))
    }

    async fn audit_page(&self, query: AuditQuery) -> Result<Vec<AuditRow>> {
        let newest_first = (1..query.before.unwrap_or(4)).rev();
        let rows = newest_first.map(|seq| AuditRow {
            seq,
            from_address: "127.0.0.1:4711".into(),
            router_id: "east-1".into(),
            ..AuditRow::by_router("instance.started", "demo", "ok", "")
        });
        Ok(rows.take(query.rows_max() as usize).collect())
    }

    fn audit(&self, row: AuditRow) {
        self.audit.lock().push(row);
    }

    async fn reload_config(&self) -> Result<ReloadReport> {
        Err(OperationError::Invalid(vec!["line 3: unknown key".into()]))
    }

    fn log_level(&self) -> String {
        "info".into()
    }

    fn set_log_level(&self, level: &str) -> Result<()> {
        match level {
            "debug" => Ok(()),
            _ => Err(OperationError::Invalid(vec![format!(
                "{level} is no level"
            )])),
        }
    }

    async fn metrics(&self) -> Result<String> {
        Ok("mcp_instances_total 3\n".into())
    }

    fn subscribe(&self) -> Option<broadcast::Receiver<Arc<HistoryRow>>> {
        Some(self.listeners.subscribe())
    }

    async fn read_alerts<T: Send + 'static>(
        &self,
        read: impl FnOnce(&AlertEngine, &Schedule) -> T + Send + 'static,
    ) -> Result<T> {
        let alerts = self.alerts.lock();
        Ok(read(&alerts.0, &alerts.1))
    }

    async fn alerts_page(&self, query: AlertQuery) -> Result<AlertPage> {
        let rows = self.past()?.into_iter().rev();
        let rows = rows.filter(|row| row.state == "resolved");
        let rows = rows
            .filter(|row| {
                query
                    .severity
                    .as_ref()
                    .is_none_or(|one| row.severity == *one)
            })
            .filter(|row| {
                query
                    .instance
                    .as_ref()
                    .is_none_or(|one| row.instance == *one)
            });
        let all: Vec<AlertRow> = rows.collect();
        let total = i64::try_from(all.len()).unwrap();
        let rows = all
            .into_iter()
            .filter(|row| query.before.is_none_or(|before| row.seq < before));
        Ok(AlertPage {
            rows: rows.take(query.rows_max as usize).collect(),
            total,
        })
    }

    async fn alert_row(&self, alert: AlertId, firing: Option<u32>) -> Result<Option<AlertRow>> {
        let mut rows = self.past()?.into_iter().rev();
        Ok(rows.find(|row| {
            row.alert == alert.to_string()
                && firing.is_none_or(|firing| row.firing == i64::from(firing))
        }))
    }

    async fn delivery_records(
        &self,
        _: (AlertId, u32),
        ids: Vec<String>,
    ) -> Result<Vec<DeliveryRecord>> {
        self.past()?;
        Ok(ids.into_iter().map(alerts::delivered).collect())
    }

    async fn alert_command(&self, by: String, verb: AlertVerb) -> Result<AlertDone> {
        let command = AlertCommand { id: 1, by, verb };
        let actions = alerts::step(&self.alerts, AlertEvent::Command(command));
        let done = actions.into_iter().find_map(|action| match action {
            AlertAction::CommandDone { result, .. } => Some(result),
            _ => None,
        });
        let result = done.expect("every command is answered");
        result.map_err(|error| OperationError::Conflict(error.to_string()))
    }

    async fn alert_command_kept(&self, by: String, verb: AlertVerb) -> Result<AlertDone> {
        let done = self.alert_command(by, verb).await;
        if self.is_disk_full.load(Ordering::Relaxed) {
            let reason = "the alert journal cannot be written".to_owned();
            return Err(OperationError::Unavailable {
                reason,
                retry_after: None,
            });
        }
        done
    }

    fn is_signed_webhook(
        &self,
        sink: &str,
        signatures: &str,
        body: &[u8],
        _from: SocketAddr,
    ) -> Option<bool> {
        // Signing itself is the access room's.
        (sink == "console").then(|| signatures == format!("v1={}", body.len()))
    }

    fn ack_link(&self, token: &str) -> Option<AckLink> {
        let digits: Vec<char> = token.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        AckLink::from_bytes(&bytes?)
    }

    async fn test_alert(
        &self,
        _by: String,
        _severity: Severity,
        sink: Option<String>,
    ) -> Result<Vec<TestResult>> {
        Ok(vec![TestResult {
            sink: sink.unwrap_or_else(|| "console".to_owned()),
            outcome: Err("no_service".to_owned()),
        }])
    }

    async fn retry_delivery(&self, id: String, _by: String) -> Result<()> {
        Err(OperationError::NotFound(format!("no delivery {id}")))
    }

    async fn history_page(&self, query: HistoryQuery) -> Result<Vec<HistoryRow>> {
        let rows = self.recorded()?.into_iter().rev();
        let rows = rows
            .filter(|row| query.before.is_none_or(|before| row.seq < before))
            .filter(|row| query.since_ms.is_none_or(|since| row.at_ms >= since))
            .filter(|row| query.axis.as_ref().is_none_or(|axis| row.axis == *axis))
            .filter(|row| query.instance.as_ref().is_none_or(|id| row.instance == *id));
        Ok(rows.take(query.rows_max() as usize).collect())
    }

    async fn history_after(
        &self,
        position: EventPosition,
        rows_max: u32,
    ) -> Result<Vec<HistoryRow>> {
        let rows = self.recorded()?.into_iter();
        let after = rows.filter(|row| row.position() > position);
        Ok(after.take(rows_max as usize).collect())
    }
}

struct Answer {
    status: StatusCode,
    kind: String,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

async fn ask(world: &Arc<World>, method: &str, path: &str, body: &str) -> Answer {
    ask_with(&router(Arc::clone(world)), method, path, &[], body).await
}

async fn ask_with(
    routes: &Router,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body.to_owned())).unwrap();
    request.extensions_mut().insert(Caller {
        name: "alice".into(),
        role: "operator".into(),
        is_admin: false,
        from: "127.0.0.1:9".parse().unwrap(),
    });
    let response = routes.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let headers = response.headers().clone();
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or_else(String::new, |kind| kind.to_str().unwrap().to_owned());
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer {
        status,
        kind,
        headers,
        text,
    }
}

#[tokio::test]
async fn the_summary_partitions_the_total_and_ids_of_digits_are_numbers() {
    let world = Arc::new(World::new());
    let answer = ask(&world, "GET", "/api/health/mcp", "").await.json();
    let summary = &answer["summary"];
    let parts = [
        "healthy",
        "degraded",
        "unhealthy",
        "starting",
        "idle",
        "stopped",
        "draining",
    ];
    let sum: u64 = parts
        .iter()
        .map(|part| summary[format!("{part}Instances")].as_u64().unwrap())
        .sum();
    assert_eq!((sum, summary["totalInstances"].as_u64()), (3, Some(3)));
    assert_eq!(summary["errorRate"], Value::Null);
    let instances = answer["instances"].as_array().unwrap();
    assert_eq!(instances[0]["id"], json!(42));
    assert_eq!(instances[0]["versionId"], json!("42"));
    assert_eq!(instances[1]["id"], json!("demo"));
    assert_eq!(instances[2]["status"], json!("stopped"));
    assert_eq!(instances[0]["circuitBreakerState"], json!("CLOSED"));
    assert_eq!(instances[0]["crashLoopDetected"], json!(false));
}

#[tokio::test]
async fn nothing_registered_is_an_empty_list() {
    let world = Arc::new(World::new());
    let event = Event::Fleet(FleetEvent::SpecsApplied {
        source: Source::Config,
        specs: Vec::new(),
    });
    world.step(event);
    let answer = ask(&world, "GET", "/api/health/mcp", "").await.json();
    assert_eq!(answer["summary"]["totalInstances"], 0);
    assert_eq!(answer["instances"], json!([]));
}

#[tokio::test]
async fn liveness_depends_only_on_the_loop() {
    let mut world = World::new();
    let alive = ask(&Arc::new(World::new()), "GET", "/api/health/liveness", "").await;
    assert_eq!(alive.status, StatusCode::OK);
    world.is_loop_alive = false;
    let stuck = ask(&Arc::new(world), "GET", "/api/health/liveness", "").await;
    assert_eq!(stuck.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn readiness_follows_the_core() {
    let world = Arc::new(World::new());
    let check = async |status: StatusCode, word: &str, database: &str| {
        let answer = ask(&world, "GET", "/api/health/readiness", "").await;
        let body = answer.json();
        assert_eq!(
            (answer.status, body["status"].as_str()),
            (status, Some(word))
        );
        assert_eq!(body["database"].as_str(), Some(database));
        assert!(body["uptime"].is_u64() && body["timestamp"].is_string());
        body
    };
    check(StatusCode::OK, "healthy", "connected").await;
    world.step(FleetEvent::Database(false));
    let body = check(StatusCode::OK, "degraded", "disconnected").await;
    assert_eq!(body["checks"]["database"]["status"], "degraded");
    world.step(FleetEvent::Shutdown);
    check(StatusCode::SERVICE_UNAVAILABLE, "down", "disconnected").await;
}

#[tokio::test]
async fn a_start_answers_with_the_pid_and_is_audited() {
    let world = Arc::new(World::new());
    let answer = ask(&world, "POST", "/api/instances/42/spawn", "").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["pid"], 4711);
    let audit = world.audit.lock();
    let row = audit.first().unwrap();
    assert_eq!((&*row.action, &*row.target), ("instance.start", "42"));
    assert_eq!((&*row.actor, &*row.result), ("alice", "ok"));
}

#[tokio::test]
async fn refusals_are_problems_that_say_what_to_do_and_are_audited() {
    let world = Arc::new(World::new());
    let check = async |method: &str, path: &str, body: &str, status: u16, word: &str| {
        let answer = ask(&world, method, path, body).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{method} {path}: {}",
            answer.text
        );
        assert_eq!(answer.kind, "application/problem+json", "{path}");
        assert!(answer.text.contains(word), "{path}: {}", answer.text);
        assert_eq!(answer.json()["status"], status);
    };
    check("GET", "/api/instances/%ff", "", 400, "UTF-8").await;
    check("GET", "/api/plugins/%ff", "", 400, "UTF-8").await;
    check(
        "GET",
        "/api/instances/none",
        "",
        404,
        "GET /api/instances lists",
    )
    .await;
    check("GET", "/api/instances/..", "", 400, "").await;
    check(
        "POST",
        "/api/instances/none/start",
        "",
        404,
        "no such instance",
    )
    .await;
    check(
        "POST",
        "/api/instances/demo/explode",
        "",
        404,
        "start, stop or restart",
    )
    .await;
    check(
        "DELETE",
        "/api/instances/demo",
        "",
        409,
        "configuration file",
    )
    .await;
    check("POST", "/api/instances", "{}", 422, "no template").await;
    check("POST", "/api/instances", "{", 400, "").await;
    check("POST", "/api/config/reload", "", 422, "line 3").await;
    check("PUT", "/api/log-level", r#"{"level":"loud"}"#, 422, "loud").await;
    check(
        "PUT",
        "/api/log-level",
        r#"{"volume":"loud"}"#,
        422,
        "volume",
    )
    .await;
    check("PATCH", "/api/instances/demo", "", 405, "PATCH").await;
    check("GET", "/api/nothing", "", 404, "/api/nothing").await;
    check("GET", "/api/plugins/none", "", 404, "none").await;
    check("POST", "/api/plugins/none/confirm", "", 404, "none").await;
    check("POST", "/api/plugins/held/reject", "", 409, "is held").await;
    check("GET", "/api/audit?limit=many", "", 400, "").await;
    check("GET", "/api/audit?size=1", "", 400, "size").await;
    let audit = world.audit.lock();
    let refused: Vec<_> = audit
        .iter()
        .map(|row| (&*row.action, &*row.result))
        .collect();
    let expected = [
        ("instance.start", "refused"),
        ("instance.remove", "refused"),
        ("instance.register", "refused"),
        ("config.reload", "refused"),
        ("log-level.set", "refused"),
        ("plugin.confirm", "refused"),
        ("plugin.reject", "refused"),
    ];
    assert_eq!(refused, expected);
}

#[tokio::test]
async fn the_audit_is_shown_page_by_page() {
    let world = Arc::new(World::new());
    let page = async |query: &str| {
        let answer = ask(&world, "GET", &format!("/api/audit{query}"), "")
            .await
            .json();
        let rows = answer["rows"].as_array().unwrap().clone();
        let numbers: Vec<i64> = rows
            .iter()
            .map(|row| row["seq"].as_i64().unwrap())
            .collect();
        (rows, numbers, answer["next"].clone())
    };
    let (rows, numbers, next) = page("").await;
    assert_eq!((numbers, next), (vec![3, 2, 1], Value::Null));
    assert_eq!(rows[0]["from"], "127.0.0.1:4711");
    assert_eq!(rows[0]["routerId"], "east-1");
    assert_eq!(rows[0]["at"], "1970-01-01T00:00:00.000Z");
    assert!(rows[0].get("from_address").is_none());
    let (_, numbers, next) = page("?limit=2").await;
    assert_eq!((numbers, next), (vec![3, 2], json!(2)));
    let (_, numbers, next) = page("?limit=2&before=2").await;
    assert_eq!((numbers, next), (vec![1], Value::Null));
}

#[tokio::test]
async fn a_registered_instance_has_an_address() {
    let world = Arc::new(World::new());
    let answer = ask(&world, "POST", "/api/instances", r#"{"id": "new"}"#).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.json()["source"], "api");
    let shown = ask(&world, "GET", "/api/instances/new", "").await;
    assert_eq!(shown.status, StatusCode::OK);
}

#[tokio::test]
async fn lists_are_paged_without_gaps() {
    let world = Arc::new(World::new());
    let mut after = String::new();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let path = format!("/api/instances?limit=2{after}");
        let page = ask(&world, "GET", &path, "").await.json();
        assert_eq!(page["total"], 3);
        let ids = page["instances"].as_array().unwrap().iter();
        seen.extend(ids.map(|one| one["versionId"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["42", "demo", "off"]);
}

#[tokio::test]
async fn logs_are_plain_text() {
    let world = Arc::new(World::new());
    let answer = ask(&world, "GET", "/api/instances/demo/logs?tail=2", "").await;
    assert_eq!(answer.text, "line 0\nline 1\n");
    assert!(answer.kind.starts_with("text/plain"));
}
