//! PagerDuty's webhook over a real engine: what it changes, what it is answered, and that saying it again changes nothing.

use std::sync::{Arc, atomic::Ordering};

use router_admin::router;
use router_alerts::{AlertId, Severity};
use router_values::{rfc3339_unix_ms, unix_ms_now};
use serde_json::{Value, json};

use super::{World, alerts, ask_with};

const KEY: &str = "Down:demo";

fn event(id: &str, kind: &str, key: &str, at_ms: u64) -> Value {
    json!({ "event": {
        "id": id, "event_type": kind, "occurred_at": rfc3339_unix_ms(at_ms.try_into().unwrap()),
        "agent": { "summary": "Ann", "type": "user_reference" },
        "data": { "incident_key": key },
    }})
}

fn state(world: &World) -> String {
    let alerts = world.alerts.lock();
    let alert = alerts.0.alert(AlertId::of(KEY)).unwrap();
    alert.state.as_str().to_owned()
}

struct Hook {
    world: Arc<World>,
    routes: axum::Router,
}

impl Hook {
    fn new() -> Self {
        let world = Arc::new(World::new());
        alerts::holds(&world, &[("Down", Severity::P1, "demo")]);
        let routes = router(Arc::clone(&world));
        Self { world, routes }
    }

    /// Sends an event that is signed; the status, and what is said of it.
    async fn send(&self, event: &Value) -> (u16, String) {
        let body = event.to_string();
        let signature = format!("v1={}", body.len());
        let headers = [("x-pagerduty-signature", signature.as_str())];
        self.send_with("console", &headers, &body).await
    }

    async fn send_with(&self, sink: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let path = format!("/api/hooks/pagerduty/{sink}");
        let answer = ask_with(&self.routes, "POST", &path, headers, body).await;
        let text = format!("{} {}", answer.kind, answer.text);
        (answer.status.as_u16(), text)
    }
}

#[tokio::test]
async fn what_somebody_does_at_the_service_is_done_here_once() {
    let hook = Hook::new();
    let now_ms = unix_ms_now();
    let key = format!("{KEY}#1");
    let at = |ms: u64| now_ms + ms;
    let acknowledged = event("1", "incident.acknowledged", &key, at(10));
    let (status, said) = hook.send(&acknowledged).await;
    assert!(status == 202 && said.contains("\"done\""), "{said}");
    assert_eq!(state(&hook.world), "acknowledged");
    let row = hook.world.audit.lock().last().unwrap().clone();
    assert_eq!(
        (row.actor.as_str(), row.role.as_str(), row.action.as_str()),
        ("Ann (console)", "webhook", "alert.acknowledge")
    );
    // Sent again; and our own acknowledgement comes back as another event.
    for event in [
        acknowledged.clone(),
        event("2", "incident.acknowledged", &key, at(20)),
    ] {
        let (status, said) = hook.send(&event).await;
        assert!(status == 202 && said.contains("ignored"), "{said}");
    }
    let released = event("3", "incident.unacknowledged", &key, at(30));
    assert_eq!(hook.send(&released).await.0, 202);
    assert_eq!(state(&hook.world), "firing");
    // An old one under another id, as nobody remembers it any more.
    let replayed = event("4", "incident.acknowledged", &key, at(10));
    let (status, said) = hook.send(&replayed).await;
    assert!(status == 202 && said.contains("ignored"), "{said}");
    assert_eq!(state(&hook.world), "firing");
    assert_eq!(hook.world.audit.lock().len(), 2);
    let resolved = event("5", "incident.resolved", &key, at(40));
    assert_eq!(hook.send(&resolved).await.0, 202);
    assert_eq!(state(&hook.world), "resolved");
    // What is over stays over.
    for kind in ["incident.acknowledged", "incident.resolved"] {
        let (status, said) = hook.send(&event(kind, kind, &key, at(50))).await;
        assert!(status == 202 && said.contains("ignored"), "{said}");
    }
    assert_eq!(state(&hook.world), "resolved");
}

#[tokio::test]
async fn what_is_about_nothing_here_is_taken_and_changes_nothing() {
    let hook = Hook::new();
    let kind = "incident.acknowledged";
    let now_ms = unix_ms_now();
    let keys = [
        "",
        "another",
        "another#1",
        "Down:demo",
        "Down:demo#2",
        "Down:demo#0",
    ];
    for (id, key) in keys.into_iter().enumerate() {
        let (status, said) = hook.send(&event(&id.to_string(), kind, key, now_ms)).await;
        assert!(status == 202 && said.contains("ignored"), "{key}: {said}");
    }
    let ping = json!({ "event": { "id": "p", "event_type": "pagey.ping", "occurred_at": "2026-01-01T00:00:00Z",
        "agent": null, "client": null, "data": { "message": "Hello from your friend Pagey!", "type": "ping" } } });
    assert_eq!(hook.send(&ping).await.0, 202);
    assert_eq!(hook.send(&json!("ping")).await.0, 202);
    assert_eq!(state(&hook.world), "firing");
    assert!(hook.world.audit.lock().is_empty());
}

#[tokio::test]
async fn only_what_is_signed_for_this_sink_is_taken() {
    let hook = Hook::new();
    let body = event("1", "incident.acknowledged", "Down:demo#1", unix_ms_now()).to_string();
    let right = format!("v1={}", body.len());
    for headers in [
        &[][..],
        &[("x-pagerduty-signature", "v1=1")],
        &[("x-pagerduty-signature", "")],
        &[("authorization", right.as_str())],
    ] {
        let (status, said) = hook.send_with("console", headers, &body).await;
        assert!(status == 403 && said.contains("webhook_secret"), "{said}");
    }
    let headers = [("x-pagerduty-signature", right.as_str())];
    let (status, said) = hook.send_with("nobody", &headers, &body).await;
    assert!(status == 404 && said.contains("problem+json"), "{said}");
    assert_eq!(state(&hook.world), "firing");
    assert_eq!(hook.send_with("console", &headers, &body).await.0, 202);
    assert_eq!(state(&hook.world), "acknowledged");
}

#[tokio::test]
async fn what_cannot_be_kept_is_sent_again() {
    let hook = Hook::new();
    let full = |is: bool| hook.world.is_disk_full.store(is, Ordering::Relaxed);
    let acknowledged = event("1", "incident.acknowledged", "Down:demo#1", unix_ms_now());
    full(true);
    for _ in 0..2 {
        let (status, said) = hook.send(&acknowledged).await;
        assert!(status == 503 && said.contains("journal"), "{said}");
    }
    full(false);
    assert_eq!(hook.send(&acknowledged).await.0, 202);
    assert_eq!(state(&hook.world), "acknowledged");
}
