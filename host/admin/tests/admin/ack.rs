//! The page of a link over a real engine: what it shows, and that only its button changes anything.

use std::sync::Arc;

use axum::http::StatusCode;
use router_alerts::{
    AlertId, AlertRef, Severity,
    event::{AlertCommand, AlertEvent, AlertVerb},
    link::{AckLink, LINK_LIVES_MS},
};
use router_values::unix_ms_now;

use super::{Answer, World, alerts, ask};

const KEY: &str = "Down:demo";

/// Not sealed here: that is the access room's.
fn path(firing: u32, sent_ms: u64) -> String {
    let link = AckLink {
        about: AlertRef {
            alert: AlertId::of(KEY),
            firing,
        },
        sent_ms,
        sink: "oncall".into(),
    };
    let bytes = link.to_bytes().unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("/ack/{hex}")
}

fn firing() -> (Arc<World>, u64) {
    let world = Arc::new(World::new());
    alerts::holds(&world, &[("Down", Severity::P1, "demo")]);
    (world, unix_ms_now() + 1)
}

async fn expect(world: &Arc<World>, method: &str, path: &str, status: u16, part: &str) -> Answer {
    let answer = ask(world, method, path, "").await;
    assert_eq!(answer.status.as_u16(), status, "{method}: {}", answer.text);
    assert!(answer.text.contains(part), "{method}: {}", answer.text);
    answer
}

fn state(world: &World) -> String {
    let alerts = world.alerts.lock();
    let alert = alerts.0.alert(AlertId::of(KEY)).unwrap();
    format!("{:?}", alert.state)
}

fn command(world: &World, verb: AlertVerb) {
    let by = "ann".to_owned();
    let command = AlertCommand { id: 9, by, verb };
    alerts::step(&world.alerts, AlertEvent::Command(command));
}

#[tokio::test]
async fn looking_changes_nothing_and_the_button_acknowledges_once() {
    let (world, sent_ms) = firing();
    let link = path(1, sent_ms);
    let before = state(&world);
    for _ in 0..3 {
        let page = expect(&world, "GET", &link, 200, "<button>Acknowledge</button>").await;
        for part in [
            "P1 Down",
            "demo is in trouble",
            "look at its log",
            "<form method=\"post\">",
        ] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
        let head = ask(&world, "HEAD", &link, "").await;
        assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(ask(&world, method, &link, "").await.status, 405);
    }
    assert_eq!(state(&world), before);
    assert!(world.audit.lock().is_empty());

    expect(&world, "POST", &link, 200, "Acknowledged by oncall (link)").await;
    let acknowledged = state(&world);
    assert!(acknowledged.contains("oncall (link)"), "{acknowledged}");
    let row = world.audit.lock().last().unwrap().clone();
    assert_eq!(
        (row.actor.as_str(), row.role.as_str(), row.action.as_str()),
        ("oncall (link)", "link", "alert.acknowledge")
    );
    assert_eq!(row.target, AlertId::of(KEY).to_string());

    // Again, by this link or by another one: it says who is on it.
    let page = expect(&world, "POST", &link, 409, "Acknowledged by oncall (link)").await;
    assert!(!page.text.contains("<button>"), "{}", page.text);
    let other = path(1, sent_ms + 1);
    expect(&world, "POST", &other, 409, "Acknowledged by oncall (link)").await;
    expect(&world, "GET", &link, 200, "Acknowledged by oncall (link)").await;
    assert_eq!(state(&world), acknowledged);

    // Nobody is on it any more: the used link stays used.
    let alert = AlertId::of(KEY);
    command(&world, AlertVerb::Unacknowledge { alert });
    let unacknowledged = state(&world);
    for method in ["GET", "POST"] {
        expect(&world, method, &link, 410, "used up").await;
    }
    assert_eq!(state(&world), unacknowledged);
}

#[tokio::test]
async fn what_is_not_a_link_to_what_fires_now_does_nothing() {
    let (world, sent_ms) = firing();
    let before = state(&world);
    let link = path(1, sent_ms);
    for method in ["GET", "POST"] {
        for unknown in ["/ack/x", &link[..20], "/ack/%00%ff"] {
            let answer = ask(&world, method, unknown, "").await;
            assert!(answer.status.is_client_error(), "{unknown}");
        }
        expect(&world, method, "/ack/x", 404, "not valid").await;
        let old = path(1, unix_ms_now() - LINK_LIVES_MS);
        let page = expect(&world, method, &old, 410, "expired").await;
        assert!(!page.text.contains("demo"), "{}", page.text);
        expect(&world, method, &path(2, sent_ms), 410, "over").await;
        expect(&world, method, &path(AckLink::TEST, sent_ms), 200, "works").await;
    }
    assert_eq!(state(&world), before);
    assert!(world.audit.lock().is_empty());
    let alert = AlertId::of(KEY);
    command(&world, AlertVerb::Resolve { alert });
    for method in ["GET", "POST"] {
        expect(&world, method, &link, 410, "over").await;
    }
}

#[tokio::test]
async fn browsers_keep_and_run_nothing() {
    let (world, sent_ms) = firing();
    for path in [path(1, sent_ms), "/ack/x".to_owned()] {
        let answer = ask(&world, "GET", &path, "").await;
        assert_eq!(answer.kind, "text/html; charset=utf-8");
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("referrer-policy"), "same-origin");
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-robots-tag"), "noindex, nofollow");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!answer.text.contains("<script"), "{}", answer.text);
    }
}

#[tokio::test]
async fn what_an_alert_says_is_text() {
    let world = Arc::new(World::new());
    let hostile = "<img src=x onerror=alert(1)>";
    alerts::holds_saying(&world, KEY, hostile);
    let link = path(1, unix_ms_now() + 1);
    for (method, status) in [("GET", 200), ("POST", 200), ("GET", 200)] {
        let page = expect(&world, method, &link, status, "&lt;img src=x").await;
        assert!(!page.text.contains("<img"), "{}", page.text);
    }
}
