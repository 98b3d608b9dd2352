//! The bundled sinks as they are built, through the engine and egress to a receiver: each is loaded with its manifest's settings, delivers,
//! and has its secrets where its receiver expects them.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use router_alerts::notice::{Notice, Occasion};
use router_egress::EgressOptions;
use router_values::{Origin, Secret};
use serde_json::{Value, json};

use super::{
    sinks::{Receiver, notice, settings},
    world::{World, guest},
};
use crate::SinkDefinition;

/// A sink of a bundled plugin.
fn sink(
    plugin: &str,
    config: &str,
    receiver: &Receiver,
    secrets: &[(&str, &str)],
) -> SinkDefinition {
    let secrets = secrets.iter();
    let secrets = secrets.map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
    SinkDefinition {
        plugin: plugin.to_owned(),
        config: config.replace("URL", &receiver.url()).parse().unwrap(),
        egress: EgressOptions {
            allow: vec![Origin::parse_http(&receiver.url()).unwrap()],
            secrets: secrets.collect(),
            ..EgressOptions::default()
        },
    }
}

/// Delivers a firing and its end, and what the receiver got.
async fn delivered(sink: SinkDefinition, receiver: &Receiver) -> [(String, Value); 2] {
    let plugin = sink.plugin.clone();
    let mut world = World::new(settings([("a", sink)]));
    world.put(&plugin, &guest(&plugin));
    world.swapped("sink.a").await;
    let got = async |occasion| {
        let notice = Notice {
            occasion,
            ..notice("d-1")
        };
        let delivered = world.engine.deliver("a", notice).await;
        let answer = delivered.expect("it is served").unwrap();
        answer.delivered.unwrap();
        let request = receiver.request();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), serde_json::from_str(body).unwrap())
    };
    let both = [got(Occasion::Firing).await, got(Occasion::Resolved).await];
    assert_eq!(world.view("sink.a").failures, 0);
    both
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_gets_a_message_at_the_address_of_its_secret() {
    let receiver = Receiver::start(Duration::ZERO);
    let hook = format!("{}/services/T0/B0/x", receiver.url());
    let slack = sink("slack", "", &receiver, &[("webhook_url", &hook)]);
    let [(head, firing), (_, resolved)] = delivered(slack, &receiver).await;
    assert!(
        head.starts_with("POST /services/T0/B0/x HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(
        firing["text"]
            .as_str()
            .unwrap()
            .starts_with("P2 firing: crash-loop")
    );
    assert!(
        resolved["text"]
            .as_str()
            .unwrap()
            .starts_with("P2 resolved: crash-loop")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pagerduty_gets_events_with_its_key() {
    let receiver = Receiver::start(Duration::ZERO);
    let config = "url = 'URL/v2/enqueue'\nsource = 'router-1'";
    let key = "0123456789abcdef0123456789abcdef";
    let pagerduty = sink("pagerduty", config, &receiver, &[("routing_key", key)]);
    let [(head, trigger), (_, resolve)] = delivered(pagerduty, &receiver).await;
    assert!(head.starts_with("POST /v2/enqueue HTTP/1.1\r\n"), "{head}");
    assert_eq!(trigger["routing_key"], key);
    assert_eq!(trigger["payload"]["source"], "router-1");
    assert_eq!(resolve["event_action"], "resolve");
    assert_eq!(trigger["dedup_key"], resolve["dedup_key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alertmanager_gets_alerts_that_end() {
    let receiver = Receiver::start(Duration::ZERO);
    let alertmanager = sink(
        "alertmanager",
        "url = 'URL'",
        &receiver,
        &[("token", "hunter2")],
    );
    let [(head, firing), (_, resolved)] = delivered(alertmanager, &receiver).await;
    assert!(
        head.starts_with("POST /api/v2/alerts HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("authorization: Bearer hunter2"), "{head}");
    assert_eq!(firing[0]["labels"], resolved[0]["labels"]);
    assert!(firing[0]["endsAt"].as_str() > resolved[0]["endsAt"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_what_each_of_its_secrets_verifies() {
    let receiver = Receiver::start(Duration::ZERO);
    let secrets = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    ];
    let named = [("secret", secrets[0]), ("secret_next", secrets[1])];
    let webhook = sink("webhook", "url = 'URL/alerts'", &receiver, &named);
    let [(head, firing), _] = delivered(webhook, &receiver).await;
    assert_eq!(firing["type"], "alert.firing");
    let headers = head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "));
    let headers: serde_json::Map<String, Value> = headers
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    // Keys in their order: the body is the one that was signed.
    judge(&json!({ "headers": headers, "body": firing.to_string(), "secrets": secrets }));
}

/// What the package `standardwebhooks` says of a request.
fn judge(case: &Value) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("tests/.env/venv/bin/python");
    let mut judge = Command::new(&python)
        .arg(root.join("tests/python/judge_webhook.py"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make setup`", python.display()));
    let mut input = judge.stdin.take().unwrap();
    input.write_all(case.to_string().as_bytes()).unwrap();
    drop(input);
    let judged = judge.wait_with_output().unwrap();
    assert!(
        judged.status.success(),
        "{}",
        String::from_utf8_lossy(&judged.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_needs_nobody() {
    let receiver = Receiver::start(Duration::ZERO);
    let mut world = World::new(settings([("a", sink("console", "", &receiver, &[]))]));
    world.put("console", &guest("console"));
    world.swapped("sink.a").await;
    let delivered = world.engine.deliver("a", notice("d-1")).await;
    let answer = delivered.expect("it is served").unwrap();
    assert_eq!((answer.delivered, answer.last_exchange), (Ok(None), None));
    assert!(receiver.is_untouched());
}
