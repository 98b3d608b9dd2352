use router_plugin_sdk::{
    Settings, Value,
    alert_sink::{
        Alert, AlertSink as _, Delivered, Delivery, DeliveryError, Later, Link, LinkTarget,
        Occasion, Severity,
        egress::{FakeEgress, Response},
    },
};
use serde_json::{Value as Json, json};

use super::PagerDuty;

fn receiver() -> FakeEgress {
    FakeEgress::with_secrets(&["routing_key"])
}

fn whole() -> Delivery {
    let link = |target, path: &str| Link {
        target,
        url: format!("https://router.example/{path}"),
    };
    let mut delivery = Delivery {
        changes: vec!["configuration reloaded 3 min ago".to_owned()],
        links: vec![
            link(LinkTarget::Acknowledge, "ack/x"),
            link(LinkTarget::Runbook, "runbook#crash-loop"),
            link(LinkTarget::Alert, "alerts/a"),
        ],
        ..Delivery::default()
    };
    let restarts = ("restarts".to_owned(), "5".to_owned());
    delivery.alerts[0].condition.attributes.push(restarts);
    delivery
}

/// Delivers, and what was sent.
fn deliver(
    delivery: &Delivery,
    settings: &Settings,
    answers: &[(u16, &str)],
) -> (Delivered, Vec<Json>) {
    let receiver = receiver();
    for (status, body) in answers {
        receiver.answers(*status, body);
    }
    let delivered = PagerDuty::deliver(delivery, settings);
    let requests = receiver.requests().into_iter();
    let sent = requests.map(|request| serde_json::from_slice(&request.body).unwrap());
    (delivered, sent.collect())
}

const TAKEN: (u16, &str) = (
    202,
    r#"{"status":"success","message":"Event processed","dedup_key":"x"}"#,
);

#[test]
fn an_event_is_as_the_golden_one() {
    let (delivered, sent) = deliver(&whole(), &Settings::default(), &[TAKEN]);
    assert_eq!(delivered, Ok(None));
    let golden: Json = serde_json::from_str(include_str!("../golden/trigger.json")).unwrap();
    assert_eq!(sent, [golden], "{:#}", sent[0]);
    let request = receiver();
    request.answers(202, "");
    PagerDuty::deliver(&whole(), &Settings::default()).unwrap();
    assert_eq!(
        request.requests()[0].url,
        "https://events.pagerduty.com/v2/enqueue"
    );
}

#[test]
fn what_is_over_before_anything_was_sent_is_opened_and_closed() {
    let over = Delivery {
        occasion: Occasion::Resolved,
        attributes: vec![("fired_and_resolved".to_owned(), "true".to_owned())],
        ..whole()
    };
    let (delivered, sent) = deliver(&over, &Settings::default(), &[TAKEN, TAKEN]);
    assert_eq!(delivered, Ok(None));
    let actions: Vec<&Json> = sent.iter().map(|event| &event["event_action"]).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(sent[0]["dedup_key"], sent[1]["dedup_key"]);
    // It is tried again whole: what PagerDuty knows already it drops by the key.
    let (delivered, sent) = deliver(&over, &Settings::default(), &[TAKEN, (500, "")]);
    assert!(
        matches!(delivered, Err(DeliveryError::Retry(_))),
        "{delivered:?}"
    );
    assert_eq!(sent.len(), 2);
}

#[test]
fn an_incident_goes_through_its_life_by_one_key() {
    let key = "instance-crash-loop/demo#1";
    for (occasion, actions) in [
        (Occasion::Firing, &["trigger"][..]),
        (Occasion::Escalated, &["trigger"]),
        (Occasion::Reminder, &["trigger"]),
        (Occasion::Acknowledged("ann".to_owned()), &["acknowledge"]),
        (Occasion::Resolved, &["resolve"]),
        (Occasion::Test, &["trigger", "resolve"]),
    ] {
        let delivery = Delivery {
            occasion,
            ..whole()
        };
        let (delivered, sent) = deliver(&delivery, &Settings::default(), &[TAKEN, TAKEN]);
        assert_eq!(delivered, Ok(None));
        let actions_sent: Vec<&str> = sent
            .iter()
            .map(|one| one["event_action"].as_str().unwrap())
            .collect();
        assert_eq!(actions_sent, actions);
        assert!(sent.iter().all(|one| one["dedup_key"] == key));
        assert!(
            sent.iter()
                .all(|one| one["routing_key"] == "SECRET-routing_key")
        );
    }
}

#[test]
fn severities_are_those_of_pagerduty_and_a_test_pages_as_information() {
    for (severity, level) in [
        (Severity::P1, "critical"),
        (Severity::P2, "error"),
        (Severity::P3, "warning"),
        (Severity::P4, "info"),
    ] {
        let mut delivery = whole();
        delivery.alerts[0].condition.severity = severity;
        let (_, sent) = deliver(&delivery, &Settings::default(), &[TAKEN]);
        assert_eq!(sent[0]["payload"]["severity"], level);
        delivery.occasion = Occasion::Test;
        let (_, sent) = deliver(&delivery, &Settings::default(), &[TAKEN, TAKEN]);
        assert_eq!(sent[0]["payload"]["severity"], "info");
        assert!(
            sent[0]["payload"]["summary"]
                .as_str()
                .unwrap()
                .starts_with("TEST [P")
        );
    }
}

#[test]
fn a_long_event_keeps_to_the_limits_and_its_severity() {
    let mut alert = Alert::default();
    alert.condition.summary = "\u{e9}".repeat(2_000);
    let delivery = Delivery {
        alerts: vec![alert; 100],
        more: 7,
        ..whole()
    };
    let (_, sent) = deliver(&delivery, &Settings::default(), &[TAKEN]);
    let payload = &sent[0]["payload"];
    let summary = payload["summary"].as_str().unwrap();
    assert_eq!(summary.chars().count(), 1_024);
    assert!(summary.starts_with("[P2] "));
    assert_eq!(
        payload["custom_details"]["others"]
            .as_array()
            .unwrap()
            .len(),
        20
    );
    assert_eq!(payload["custom_details"]["and more"], 86);
    assert!(sent[0].to_string().len() < 256 * 1024);
}

#[test]
fn what_is_answered_says_what_becomes_of_it() {
    let answer = |status, body: &str| deliver(&whole(), &Settings::default(), &[(status, body)]).0;
    let invalid = r#"{"status":"invalid event","message":"Event object is invalid","errors":["'payload.summary' is missing"]}"#;
    assert!(
        matches!(answer(400, invalid), Err(DeliveryError::Refused(reason)) if reason.contains("payload.summary"))
    );
    let key = r#"{"status":"invalid event","message":"Event object is invalid","errors":["Invalid routing key"]}"#;
    assert!(matches!(answer(400, key), Err(DeliveryError::Gone(_))));
    assert!(matches!(
        answer(500, ""),
        Err(DeliveryError::Retry(Later { after_ms: None, .. }))
    ));
    assert!(matches!(
        answer(429, ""),
        Err(DeliveryError::Retry(Later {
            after_ms: Some(60_000),
            ..
        }))
    ));
    let limited = receiver();
    limited.answers_with(Ok(Response {
        status: 429,
        headers: vec![("retry-after".to_owned(), "7".to_owned())],
        body: Vec::new(),
    }));
    let delivered = PagerDuty::deliver(&whole(), &Settings::default());
    assert!(matches!(
        delivered,
        Err(DeliveryError::Retry(Later {
            after_ms: Some(7_000),
            ..
        }))
    ));
    // A trial that is not taken leaves nothing to resolve.
    let delivery = Delivery {
        occasion: Occasion::Test,
        ..whole()
    };
    let (delivered, sent) = deliver(&delivery, &Settings::default(), &[(400, key)]);
    assert!(delivered.is_err() && sent.len() == 1);
    let _ = FakeEgress::with_secrets(&[]);
    let keyless = PagerDuty::deliver(&whole(), &Settings::default());
    assert!(
        matches!(keyless, Err(DeliveryError::Retry(later)) if later.reason.contains("routing_key"))
    );
}

#[test]
fn its_settings_are_an_address_and_a_source() {
    let text = |text: &str| Value::Text(text.to_owned());
    let eu = "https://events.eu.pagerduty.com/v2/enqueue";
    let settings = Settings::of([("url", text(eu)), ("source", text("router-1"))]);
    assert!(PagerDuty::check(&settings).is_empty());
    let receiver = receiver();
    receiver.answers(202, "");
    PagerDuty::deliver(&whole(), &settings).unwrap();
    let request = receiver.requests().pop().unwrap();
    assert_eq!(request.url, eu);
    let sent: Json = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(sent["payload"]["source"], json!("router-1"));
    let faulty = Settings::of([("url", Value::Whole(1)), ("key", text("x"))]);
    assert_eq!(PagerDuty::check(&faulty).len(), 2);
}
