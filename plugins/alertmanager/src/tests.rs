use router_plugin_sdk::{
    Settings, Value,
    alert_sink::{
        AlertSink as _, Delivered, Delivery, DeliveryError, Link, LinkTarget, Occasion, Severity,
        egress::FakeEgress,
    },
};
use serde_json::Value as Json;

use super::Alertmanager;

fn settings() -> Settings {
    Settings::of([("url", Value::Text("http://alertmanager:9093/".to_owned()))])
}

fn whole() -> Delivery {
    let link = |target, path: &str| Link {
        target,
        url: format!("https://router.example/{path}"),
    };
    Delivery {
        links: vec![
            link(LinkTarget::Acknowledge, "ack/x"),
            link(LinkTarget::Runbook, "runbook#crash-loop"),
            link(LinkTarget::Alert, "alerts/a"),
        ],
        ..Delivery::default()
    }
}

fn deliver(delivery: &Delivery, status: u16) -> (Delivered, Vec<Json>) {
    let receiver = FakeEgress::with_secrets(&[]);
    receiver.answers(status, "");
    let delivered = Alertmanager::deliver(delivery, &settings());
    let request = receiver.requests().pop().unwrap();
    assert_eq!(request.url, "http://alertmanager:9093/api/v2/alerts");
    (delivered, serde_json::from_slice(&request.body).unwrap())
}

#[test]
fn an_alert_is_as_the_golden_one() {
    let (delivered, sent) = deliver(&whole(), 200);
    assert_eq!(delivered, Ok(None));
    let golden: Vec<Json> = serde_json::from_str(include_str!("../golden/firing.json")).unwrap();
    assert_eq!(sent, golden, "{sent:#?}");
}

#[test]
fn what_is_over_ends_under_the_labels_that_it_had() {
    let (_, firing) = deliver(&whole(), 200);
    let mut over = whole();
    over.occasion = Occasion::Resolved;
    over.alerts[0].resolved_ms = Some(1_800_000_030_000);
    let (_, resolved) = deliver(&over, 200);
    assert_eq!(firing[0]["labels"], resolved[0]["labels"]);
    assert_eq!(firing[0]["startsAt"], resolved[0]["startsAt"]);
    assert_eq!(resolved[0]["endsAt"], "2027-01-15T08:00:30Z");
    // Under another severity it is another alert there; the one before is over.
    let changed = Delivery {
        occasion: Occasion::SeverityChanged(Severity::P3),
        ..whole()
    };
    let (_, changed) = deliver(&changed, 200);
    assert_eq!(
        (
            &changed[0]["labels"]["severity"],
            &changed[1]["labels"]["severity"]
        ),
        (&"P2".into(), &"P3".into())
    );
    assert_eq!(changed[1]["endsAt"], "2027-01-15T08:01:00Z");
    assert_eq!(changed[0]["endsAt"], firing[0]["endsAt"]);
    // A trial ends by itself and is none of the real ones.
    let test = Delivery {
        occasion: Occasion::Test,
        ..whole()
    };
    let (_, test) = deliver(&test, 200);
    assert_eq!(test[0]["labels"]["test"], "true");
    assert_eq!(test[0]["endsAt"], "2027-01-15T08:02:00Z");
    // What lasted less than a second ended after it began all the same.
    over.alerts[0].resolved_ms = Some(over.alerts[0].since_ms);
    assert_eq!(deliver(&over, 200).1[0]["endsAt"], "2027-01-15T08:00:01Z");
}

#[test]
fn what_is_answered_says_what_becomes_of_it() {
    assert!(matches!(
        deliver(&whole(), 400).0,
        Err(DeliveryError::Refused(_))
    ));
    for status in [302, 401, 404, 429, 500, 503] {
        assert!(
            matches!(deliver(&whole(), status).0, Err(DeliveryError::Retry(_))),
            "{status}"
        );
    }
    let receiver = FakeEgress::with_secrets(&["token"]);
    receiver.answers(200, "");
    Alertmanager::deliver(&whole(), &settings()).unwrap();
    let token = ("authorization".to_owned(), "Bearer SECRET-token".to_owned());
    assert!(receiver.requests()[0].headers.contains(&token));
}

#[test]
fn faults_of_the_settings_are_named() {
    let url = ("url", Value::Text("http://a:9093".to_owned()));
    let keys = |more: Option<(&'static str, Value)>, url: Option<(&'static str, Value)>| {
        let faults = Alertmanager::check(&Settings::of(url.into_iter().chain(more)));
        faults
            .into_iter()
            .map(|fault| fault.key)
            .collect::<Vec<_>>()
    };
    assert!(keys(Some(("hold_hours", Value::Whole(24))), Some(url.clone())).is_empty());
    assert_eq!(
        keys(Some(("hold_hours", Value::Whole(0))), Some(url.clone())),
        ["hold_hours"]
    );
    assert_eq!(keys(Some(("hold", Value::Whole(1))), Some(url)), ["hold"]);
    assert_eq!(keys(None, None), ["url"]);
}
