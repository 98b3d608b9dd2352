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
use router_values::{AlertRow, DeliveryRecord, unix_ms_now};
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

/// A delivery as the database has it.
pub(crate) fn delivered(id: String) -> DeliveryRecord {
    DeliveryRecord {
        id,
        sink: "console".into(),
        occasion: "firing".into(),
        severity: "P1".into(),
        outcome: "delivered".into(),
        attempts: 2,
        first_attempt_ms: Some(1_000),
        last_attempt_ms: Some(2_000),
        answer: "503".into(),
        ..DeliveryRecord::default()
    }
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

/// A firing that is over, as the database has it.
fn past(seq: i64, alert: &str, firing: i64) -> AlertRow {
    AlertRow {
        seq,
        alert: alert.into(),
        firing,
        key: "Down:42".into(),
        rule: "rule".into(),
        name: "Down".into(),
        severity: if seq == 1 { "P3" } else { "P1" }.into(),
        instance: "42".into(),
        summary: "42 was in trouble".into(),
        attributes: r#"{"share":"0.5"}"#.into(),
        state: "resolved".into(),
        since_ms: 1_000,
        fired_ms: 2_000,
        resolved_ms: Some(3_000),
        resolved_because: "the condition is gone".into(),
        story: json!([
            {"at_ms": 2_000, "what": {"fired": {"firing": firing, "severity": "P1"}}},
            {"at_ms": 2_100, "what": {"of_a_later_version": 1}},
            {"at_ms": 2_200, "what": {"notified": {
                "sink": "console", "occasion": "firing", "delivery": format!("{alert}-1-1-00")
            }}},
        ])
        .to_string(),
        ..AlertRow::default()
    }
}

#[tokio::test]
async fn what_is_over_is_listed_and_shown_also_when_the_router_has_forgotten_it() {
    let world = Arc::new(World::new());
    let nothing = Value::Null;
    let id = "00112233aabbccdd";
    let rows = vec![
        past(1, "1111111111111111", 1),
        past(2, id, 1),
        past(5, id, 2),
    ];
    *world.past.lock() = Some(rows);
    // One is over, and not in the database yet.
    holds(&world, &[("Slow", Severity::P3, "demo")]);
    let slow = fine(&world, "GET", "/api/alerts", &nothing).await["alerts"][0].clone();
    let slow_path = format!("/api/alerts/{}", slow["id"].as_str().unwrap());
    fine(&world, "POST", &format!("{slow_path}/resolve"), &nothing).await;

    let page = fine(
        &world,
        "GET",
        "/api/alerts?state=resolved&limit=3",
        &nothing,
    )
    .await;
    let firings: Vec<&Value> = page["alerts"].as_array().unwrap().iter().collect();
    assert_eq!(page["total"], 4, "{page}");
    assert_eq!(firings.len(), 3);
    assert_eq!(
        (&firings[0]["name"], &firings[1]["firing"]),
        (&json!("Slow"), &json!(2))
    );
    assert_eq!(page["next"], 2);
    let next = "/api/alerts?state=resolved&limit=3&before=2";
    let next = fine(&world, "GET", next, &nothing).await;
    assert_eq!(next["alerts"][0]["id"], "1111111111111111");
    assert_eq!(
        (next["alerts"].as_array().unwrap().len(), &next["next"]),
        (1, &Value::Null)
    );
    let severe = fine(
        &world,
        "GET",
        "/api/alerts?state=resolved&severity=P1",
        &nothing,
    )
    .await;
    assert_eq!(severe["total"], 2, "{severe}");

    // What is over has the keys that what fires has.
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(firings[1]), keys(&slow));
    assert_eq!(firings[1]["attributes"]["share"], "0.5");
    assert_eq!(firings[1]["resolvedAt"], "1970-01-01T00:00:03.000Z");

    let shown = fine(&world, "GET", &format!("/api/alerts/{id}"), &nothing).await;
    assert_eq!(
        (&shown["firing"], &shown["state"]),
        (&json!(2), &json!("resolved"))
    );
    assert_eq!(shown["story"].as_array().unwrap().len(), 2, "{shown}");
    let ended = &shown["deliveries"]["ended"][0];
    assert_eq!(ended["id"], format!("{id}-1-1-00"), "{shown}");
    assert_eq!(
        (&ended["attempts"], &ended["lastFailure"]),
        (&json!(2), &json!("503"))
    );
    assert_eq!(ended["firstAttempt"], "1970-01-01T00:00:01.000Z");
    let first = fine(
        &world,
        "GET",
        &format!("/api/alerts/{id}?firing=1"),
        &nothing,
    )
    .await;
    assert_eq!(first["firing"], 1);

    // Without the database: what the router itself has.
    *world.past.lock() = None;
    let kept = fine(&world, "GET", "/api/alerts?state=resolved", &nothing).await;
    assert_eq!(
        (&kept["total"], &kept["alerts"][0]["name"]),
        (&json!(1), &json!("Slow"))
    );
    let kept = fine(&world, "GET", &slow_path, &nothing).await;
    assert_eq!(kept["deliveries"]["ended"], Value::Null, "{kept}");
    for (path, status) in [
        (format!("/api/alerts/{id}"), StatusCode::SERVICE_UNAVAILABLE),
        (
            "/api/alerts?state=resolved&before=9".to_owned(),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        (
            "/api/alerts?state=open&before=9".to_owned(),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let answer = ask(&world, "GET", &path, "").await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
    }
}
