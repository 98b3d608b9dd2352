//! Alerts over a real engine: what is shown of them, and what is done to them.

use std::sync::Arc;

use axum::http::StatusCode;
use parking_lot::Mutex;
use router_alerts::{
    AlertEngine, Condition, Severity,
    delivery::{Schedule, ScheduleLimits, SinkTable},
    event::{AlertAction, AlertEvent, RuleAnswer},
    facts::FleetPage,
    settings::{AlertSettings, SinkSettings},
};
use router_core::InstanceId;
use router_values::unix_ms_now;
use serde_json::{Value, json};

use super::{World, ask};

/// An engine with one sink, `console`, that has read its journal.
pub(crate) fn engine() -> (AlertEngine, Schedule) {
    let settings = AlertSettings {
        rules: vec!["rule".into()],
        sinks: [("console".into(), SinkSettings::default())].into(),
        ..AlertSettings::default()
    };
    let now_ms = unix_ms_now();
    let mut engine = AlertEngine::new(settings, now_ms);
    engine.step(now_ms, AlertEvent::JournalRead(Vec::new()), &mut Vec::new());
    let limits = ScheduleLimits::default();
    let (schedule, _) = Schedule::new(now_ms, &SinkTable::default(), limits, 1, []);
    (engine, schedule)
}

pub(crate) fn step(alerts: &Mutex<(AlertEngine, Schedule)>, event: AlertEvent) -> Vec<AlertAction> {
    let mut actions = Vec::new();
    alerts.lock().0.step(unix_ms_now(), event, &mut actions);
    actions
}

/// The rule names these conditions: name, severity and instance.
pub(crate) fn holds(world: &World, conditions: &[(&str, Severity, &str)]) {
    let condition = |(name, severity, instance): &(&str, Severity, &str)| Condition {
        key: format!("{name}:{instance}"),
        name: (*name).to_owned(),
        severity: *severity,
        summary: format!("{instance} is in trouble"),
        remedy: "look at its log".to_owned(),
        runbook_anchor: Some("trouble".to_owned()),
        instance: Some(InstanceId::parse(instance).unwrap()),
        for_ms: 0,
        attributes: vec![("share".to_owned(), "0.5".to_owned())],
    };
    answered(world, conditions.iter().map(condition).collect());
}

/// The rule names one condition, a P1, in this text.
pub(crate) fn holds_saying(world: &World, key: &str, text: &str) {
    let text = text.to_owned();
    let condition = Condition {
        key: key.to_owned(),
        name: text.chars().take(64).collect(),
        severity: Severity::P1,
        summary: text.clone(),
        remedy: text,
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    };
    answered(world, vec![condition]);
}

fn answered(world: &World, conditions: Vec<Condition>) {
    step(
        &world.alerts,
        AlertEvent::Answered(RuleAnswer {
            rule: "rule".into(),
            round: 1,
            page: FleetPage::ONLY,
            conditions,
        }),
    );
}

async fn fine(world: &Arc<World>, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let answer = ask(world, method, path, &body).await;
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn alerts_are_listed_worst_first_shown_with_their_story_and_acknowledged() {
    let world = Arc::new(World::new());
    let nothing = Value::Null;
    holds(
        &world,
        &[("Slow", Severity::P3, "demo"), ("Down", Severity::P1, "42")],
    );
    let all = fine(&world, "GET", "/api/alerts", &nothing).await;
    assert_eq!(
        (&all["total"], &all["alerts"][0]["name"]),
        (&json!(2), &json!("Down"))
    );
    let down = &all["alerts"][0];
    assert_eq!(
        (&down["state"], &down["versionId"]),
        (&json!("firing"), &json!("42"))
    );
    assert_eq!(down["attributes"]["share"], "0.5");
    let slow = fine(
        &world,
        "GET",
        "/api/alerts?severity=P3&instance=demo",
        &nothing,
    )
    .await;
    assert_eq!(
        (&slow["total"], &slow["alerts"][0]["name"]),
        (&json!(1), &json!("Slow"))
    );

    let id = down["id"].as_str().unwrap();
    let shown = fine(&world, "GET", &format!("/api/alerts/{id}"), &nothing).await;
    let story = shown["story"].to_string();
    for part in [
        "fires as P1, for the first time",
        "goes to console by route everything",
        "console is to be notified (firing)",
    ] {
        assert!(story.contains(part), "{story}");
    }
    let acknowledged = fine(&world, "POST", &format!("/api/alerts/{id}/ack"), &nothing).await;
    assert_eq!(
        acknowledged["acknowledged"]["by"], "alice",
        "{acknowledged}"
    );
    let open = fine(&world, "GET", "/api/alerts?state=acknowledged", &nothing).await;
    assert_eq!(open["total"], 1);
    let rows = world.audit.lock().clone();
    let row = rows.last().unwrap();
    assert_eq!(
        (
            row.action.as_str(),
            row.target.as_str(),
            row.result.as_str()
        ),
        ("alert.acknowledge", id, "ok")
    );
    let resolved = fine(
        &world,
        "POST",
        &format!("/api/alerts/{id}/resolve"),
        &nothing,
    )
    .await;
    assert_eq!(resolved["state"], "resolved");

    for (method, path, status) in [
        ("GET", "/api/alerts/0000000000000000", StatusCode::NOT_FOUND),
        ("GET", "/api/alerts/x", StatusCode::NOT_FOUND),
        (
            "POST",
            "/api/alerts/0000000000000000/ack",
            StatusCode::CONFLICT,
        ),
        (
            "GET",
            "/api/alerts?severity=P9",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("GET", "/api/alerts?sort=up", StatusCode::BAD_REQUEST),
        (
            "POST",
            &format!("/api/alerts/{id}/mute"),
            StatusCode::NOT_FOUND,
        ),
    ] {
        let answer = ask(&world, method, path, "").await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_silence_is_tried_made_listed_and_ended() {
    let world = Arc::new(World::new());
    let nothing = Value::Null;
    holds(
        &world,
        &[("Slow", Severity::P3, "demo"), ("Slow", Severity::P3, "42")],
    );
    let silence = json!({"matcher": {"instance": ["de*"]}, "for": "2h", "reason": "known"});
    let preview = fine(&world, "POST", "/api/silences?preview=true", &silence).await;
    assert_eq!(
        preview["wouldMute"].as_array().unwrap().len(),
        1,
        "{preview}"
    );
    assert_eq!(preview["wouldMute"][0]["versionId"], "demo");
    let made = fine(&world, "POST", "/api/silences", &silence).await;
    assert_eq!(
        (&made["author"], &made["reason"]),
        (&json!("alice"), &json!("known"))
    );
    let muted = fine(&world, "GET", "/api/alerts?instance=demo", &nothing).await;
    assert_eq!(muted["alerts"][0]["muted"]["by"], "silence", "{muted}");
    let listed = fine(&world, "GET", "/api/silences", &nothing).await;
    assert_eq!(listed["silences"][0]["id"], made["id"]);
    let path = format!("/api/silences/{}", made["id"]);
    assert_eq!(
        ask(&world, "DELETE", &path, "").await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(
        ask(&world, "DELETE", &path, "").await.status,
        StatusCode::CONFLICT
    );
    for wrong in [
        json!({"matcher": {}, "for": "2h", "reason": "known"}),
        json!({"matcher": {"instance": ["x"]}, "for": "2h", "reason": " "}),
        json!({"matcher": {"instance": ["x"]}, "reason": "no end"}),
        json!({"matcher": {"instance": ["x"]}, "for": "99d", "reason": "too long"}),
        json!({"matcher": {"instance": ["x"]}, "until": "2020-01-01T00:00:00Z", "reason": "over"}),
    ] {
        let answer = ask(&world, "POST", "/api/silences", &wrong.to_string()).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{wrong}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn where_an_alert_goes_and_what_waits_is_shown() {
    let world = Arc::new(World::new());
    let nothing = Value::Null;
    let route = fine(
        &world,
        "GET",
        "/api/alerts/route?severity=P2&name=Slow",
        &nothing,
    )
    .await;
    assert_eq!(
        route["sinks"][0],
        json!({"sink": "console", "route": "everything"})
    );
    assert_eq!(route["escalation"], Value::Null);
    let deliveries = fine(&world, "GET", "/api/deliveries", &nothing).await;
    assert_eq!(deliveries, json!({"waiting": [], "deadLetters": []}));
    assert_eq!(
        fine(&world, "GET", "/api/maintenance", &nothing).await,
        json!({"windows": []})
    );
    let tested = fine(
        &world,
        "POST",
        "/api/alerts/test",
        &json!({"sink": "oncall"}),
    )
    .await;
    assert_eq!(
        tested["results"][0],
        json!({"sink": "oncall", "delivered": false, "reason": "no_service"})
    );
    let answer = ask(&world, "POST", "/api/deliveries/x/retry", "").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}
