use router_plugin_sdk::{
    Settings, Value,
    alert_sink::{
        Alert, AlertSink as _, Delivered, Delivery, DeliveryError, Later, Link, LinkTarget,
        Occasion, Severity,
        egress::{EgressError, FakeEgress, Request, Response},
    },
};
use serde_json::Value as Json;

use super::{BODY_BYTES_MAX, Webhook};

const URL: &str = "https://hooks.example/alerts";

fn settings(signature: Option<&str>) -> Settings {
    let text = |text: &str| Value::Text(text.to_owned());
    let signature = signature.map(|one| ("signature", text(one)));
    Settings::of([("url", text(URL))].into_iter().chain(signature))
}

/// A delivery with everything that one may have.
fn whole() -> Delivery {
    let link = |target, path: &str| Link {
        target,
        url: format!("https://router.example/{path}"),
    };
    Delivery {
        changes: vec!["configuration reloaded 3 min ago".to_owned()],
        links: vec![
            link(LinkTarget::Acknowledge, "ack/x"),
            link(LinkTarget::Runbook, "runbook#crash-loop"),
            link(LinkTarget::Other("dashboard".to_owned()), "d"),
        ],
        more: 2,
        ..Delivery::default()
    }
}

fn deliver(receiver: &FakeEgress, delivery: &Delivery) -> (Delivered, Request) {
    let delivered = Webhook::deliver(delivery, &settings(None));
    (delivered, receiver.requests().pop().unwrap())
}

#[test]
fn an_event_is_as_the_golden_one() {
    let receiver = FakeEgress::with_secrets(&["secret"]);
    receiver.answers(204, "");
    let (delivered, request) = deliver(&receiver, &whole());
    assert_eq!(delivered, Ok(None));
    let sent: Json = serde_json::from_slice(&request.body).unwrap();
    let golden: Json = serde_json::from_str(include_str!("../golden/firing.json")).unwrap();
    assert_eq!(sent, golden, "{sent:#}");
    let body = String::from_utf8(request.body).unwrap();
    assert_eq!(
        (request.method.as_str(), request.url.as_str()),
        ("POST", URL)
    );
    let header = |name: &str| {
        let mut headers = request.headers.iter();
        headers.find(|(one, _)| one == name).unwrap().1.clone()
    };
    assert_eq!(header("webhook-id"), "d-1");
    assert_eq!(header("webhook-timestamp"), "1800000060");
    let signed = format!("hmac-sha256 by secret: d-1.1800000060.{body}");
    let signature = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, signed);
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
}

#[test]
fn each_occasion_is_a_type_of_its_own() {
    for (occasion, kind, field) in [
        (Occasion::MoreFiring, "more_firing", None),
        (Occasion::Escalated, "escalated", None),
        (Occasion::Reminder, "reminder", None),
        (Occasion::Resolved, "resolved", None),
        (Occasion::Test, "test", None),
        (
            Occasion::Acknowledged("ann".to_owned()),
            "acknowledged",
            Some(("acknowledged_by", "ann")),
        ),
        (
            Occasion::SeverityChanged(Severity::P3),
            "severity_changed",
            Some(("severity_before", "P3")),
        ),
        (
            Occasion::Other("new".to_owned()),
            "other",
            Some(("occasion", "new")),
        ),
    ] {
        let receiver = FakeEgress::with_secrets(&["secret"]);
        let delivery = Delivery {
            occasion,
            ..whole()
        };
        let (_, request) = deliver(&receiver, &delivery);
        let sent: Json = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(sent["type"], format!("alert.{kind}"));
        if let Some((name, value)) = field {
            assert_eq!(sent["data"][name], value);
        }
    }
}

#[test]
fn what_is_over_before_anything_was_sent_says_that_it_fired() {
    for fired_too in [false, true] {
        let receiver = FakeEgress::with_secrets(&["secret"]);
        let mark = ("fired_and_resolved".to_owned(), "true".to_owned());
        let delivery = Delivery {
            occasion: Occasion::Resolved,
            attributes: fired_too.then_some(mark).into_iter().collect(),
            ..whole()
        };
        let (_, request) = deliver(&receiver, &delivery);
        let sent: Json = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(sent["data"]["fired_and_resolved"] == true, fired_too);
    }
}

#[test]
fn while_secrets_are_changed_there_are_two_signatures() {
    let receiver = FakeEgress::with_secrets(&["secret", "secret_next"]);
    receiver.answers(200, "");
    Webhook::deliver(&whole(), &settings(Some("v1a"))).unwrap();
    let request = receiver.requests().pop().unwrap();
    let signature = &request
        .headers
        .iter()
        .find(|(name, _)| name == "webhook-signature")
        .unwrap()
        .1;
    let signatures: Vec<&str> = signature.split(' ').collect();
    assert!(signatures.len() == 2 && signatures.iter().all(|one| one.starts_with("v1a,")));
    assert_ne!(signatures[0], signatures[1]);
}

#[test]
fn what_is_answered_says_what_becomes_of_it() {
    let receiver = FakeEgress::with_secrets(&["secret"]);
    let retry = |reason: &str, after_ms| {
        Err(DeliveryError::Retry(Later {
            reason: reason.to_owned(),
            after_ms,
        }))
    };
    for (status, expected) in [
        (201, Ok(None)),
        (302, retry("it answered 302", None)),
        (400, retry("it answered 400", None)),
        (410, Err(DeliveryError::Gone("it answered 410".to_owned()))),
        (500, retry("it answered 500", None)),
    ] {
        receiver.answers(status, "");
        assert_eq!(deliver(&receiver, &whole()).0, expected);
    }
    let receiver = FakeEgress::with_secrets(&["secret"]);
    receiver.answers_with(Ok(Response {
        status: 429,
        headers: vec![("retry-after".to_owned(), "30".to_owned())],
        body: b"slow down".to_vec(),
    }));
    assert_eq!(
        deliver(&receiver, &whole()).0,
        retry("it answered 429: slow down", Some(30_000))
    );
    receiver.answers_with(Err(EgressError::TimedOut));
    assert_eq!(
        deliver(&receiver, &whole()).0,
        retry("no answer in time", None)
    );
    let _ = FakeEgress::with_secrets(&[]);
    let unsigned = Webhook::deliver(&whole(), &settings(None));
    assert!(
        matches!(unsigned, Err(DeliveryError::Retry(_))),
        "{unsigned:?}"
    );
}

#[test]
fn a_body_keeps_to_what_the_specification_asks_for() {
    let receiver = FakeEgress::with_secrets(&["secret"]);
    let mut alert = Alert::default();
    alert.condition.summary = "\"\u{e9}".repeat(300);
    let delivery = Delivery {
        alerts: vec![alert; 100],
        more: 7,
        ..whole()
    };
    let (_, request) = deliver(&receiver, &delivery);
    assert!(request.body.len() <= BODY_BYTES_MAX);
    let sent: Json = serde_json::from_slice(&request.body).unwrap();
    let listed = sent["data"]["alerts"].as_array().unwrap().len();
    assert!(listed > 1);
    assert_eq!(sent["data"]["more"], 107 - listed);
}

#[test]
fn faults_of_the_settings_are_named() {
    let faults = |settings: Settings| {
        let faults = Webhook::check(&settings).into_iter();
        faults.map(|fault| fault.key).collect::<Vec<_>>()
    };
    assert!(faults(settings(None)).is_empty());
    assert!(faults(settings(Some("v1a"))).is_empty());
    assert_eq!(faults(settings(Some("v2"))), ["signature"]);
    let unknown = [("uri", Value::Text(URL.to_owned()))];
    assert_eq!(faults(Settings::of(unknown)), ["url", "uri"]);
}
