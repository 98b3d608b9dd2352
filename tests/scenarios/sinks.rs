//! The bundled sinks, as they are built, against receivers that answer as the real ones do, over TLS: what arrives, what is tried again,
//! what never will, and who is believed.

use std::{sync::Arc, time::Duration};

use router_alerts::{
    Condition, Severity,
    notice::{DeliveryError, Notice, NoticeAlert, Occasion, Receipt},
};
use router_egress::EgressOptions;
use router_engine::{Engine, EngineEvent, EngineOptions, NoValues, PluginSettings, SinkDefinition};
use router_tests::{
    peers,
    receivers::{Authority, PagerDuty, Receiver, Reply, Slack},
};
use router_values::{Origin, Secret};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
const HOOK: &str = "/services/T0001/B0001/abcdefghijklmnop";
const KEY: &str = "0123456789abcdef0123456789abcdef";
const DEDUP_KEY: &str = "InstanceCrashLoop/demo#1";

/// An engine with one sink, on the bundled plugins.
struct Sink {
    engine: Engine,
    _data: tempfile::TempDir,
}

impl Sink {
    async fn start(plugin: &str, config: &str, egress: EgressOptions) -> Self {
        let data = tempfile::tempdir().unwrap();
        let sink = SinkDefinition {
            plugin: plugin.to_owned(),
            config: config.parse().unwrap(),
            egress,
        };
        let plugins = data.path().join("plugins");
        std::fs::create_dir(&plugins).unwrap();
        let file = format!("{plugin}.wasm");
        std::fs::copy(
            peers::repository().join("plugins/dist").join(&file),
            plugins.join(&file),
        )
        .unwrap();
        let (engine, mut events) = Engine::start(EngineOptions {
            plugins_dir: plugins,
            trials_dir: None,
            cache_dir: None,
            settings: PluginSettings {
                sinks: [("a".to_owned(), sink)].into(),
                ..PluginSettings::default()
            },
            policies: None,
            name_fault: |_| None,
            values: Arc::new(NoValues),
            reserve_address_space: false,
        })
        .unwrap();
        let serving = async {
            loop {
                let event = events.recv().await.expect("the engine lives");
                match event {
                    EngineEvent::Swapped { plugin, .. } if plugin == "sink.a" => return,
                    EngineEvent::Refused { reason, .. } => panic!("{reason}"),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(SOON, serving)
            .await
            .expect("loaded in time");
        Self {
            engine,
            _data: data,
        }
    }

    async fn deliver(&self, occasion: Occasion) -> Result<Option<Receipt>, DeliveryError> {
        let delivered = self.engine.deliver("a", notice(occasion)).await;
        delivered.expect("it is served").unwrap().delivered
    }

    /// Delivers what is to be tried again; why, and after how long.
    async fn is_tried_again(&self) -> (String, Option<u64>) {
        match self.deliver(Occasion::Firing).await {
            Err(DeliveryError::Retry { reason, after_ms }) => (reason, after_ms),
            other => panic!("not to be tried again: {other:?}"),
        }
    }

    async fn end(self) {
        let shown = serde_json::to_string(&self.engine.show("sink.a")).unwrap();
        for secret in [HOOK, KEY] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(
            shown.contains("\"failures\":0"),
            "a receiver is no fault of the sink: {shown}"
        );
        self.engine.shutdown().await;
    }
}

fn notice(occasion: Occasion) -> Notice {
    let condition = Condition {
        key: "InstanceCrashLoop/demo".to_owned(),
        name: "InstanceCrashLoop".to_owned(),
        severity: Severity::P2,
        summary: "demo is in a crash loop".to_owned(),
        remedy: "look at its last words".to_owned(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    };
    Notice {
        now_ms: 1_800_000_000_000,
        id: "d-1".to_owned(),
        occasion,
        group_key: DEDUP_KEY.to_owned(),
        alerts: vec![NoticeAlert {
            condition: Arc::new(condition),
            since_ms: 1_800_000_000_000,
            resolved_ms: None,
            acknowledged_by: None,
            attributes: Vec::new(),
        }],
        more: 0,
        changes: Vec::new(),
        links: Vec::new(),
        attempt: 1,
        // What hangs is given up by then.
        deadline_ms: 2_000,
        receipt: None,
        attributes: Vec::new(),
    }
}

fn egress(authority: &Authority, receiver: &Receiver, secrets: &[(&str, &str)]) -> EgressOptions {
    let secrets = secrets.iter();
    EgressOptions {
        allow: vec![Origin::parse_http(&receiver.url()).unwrap()],
        secrets: secrets
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect(),
        ca_file: Some(authority.ca_file()),
        ..EgressOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slack_takes_a_message_and_says_what_becomes_of_the_others() {
    let authority = Authority::new();
    let slack = Slack::at(HOOK);
    let receiver = Receiver::start(&authority, Arc::clone(&slack)).await;
    let hook = format!("{}{HOOK}", receiver.url());
    let sink = Sink::start(
        "slack",
        "",
        egress(&authority, &receiver, &[("webhook_url", &hook)]),
    )
    .await;

    slack.next_is(Reply::too_many(30));
    assert_eq!(sink.is_tried_again().await.1, Some(30_000));
    slack.next_is(Reply::text(500, "rollup_error"));
    assert!(sink.is_tried_again().await.0.contains("rollup_error"));
    slack.next_is(Reply::Hang);
    assert_eq!(sink.is_tried_again().await.0, "no answer in time");
    slack.next_is(Reply::Reset);
    let reason = sink.is_tried_again().await.0;
    assert!(!reason.contains("abcdefghijklmnop"), "{reason}");
    slack.next_is(Reply::text(404, format!("no_service at {hook}")));
    let gone = sink.deliver(Occasion::Firing).await.unwrap_err();
    assert_eq!(
        gone,
        DeliveryError::Gone("it answered 404: no_service at [redacted]".to_owned())
    );
    slack.next_is(Reply::text(400, "invalid_blocks"));
    let refused = sink.deliver(Occasion::Firing).await;
    assert!(
        matches!(refused, Err(DeliveryError::Refused(_))),
        "{refused:?}"
    );
    assert!(slack.messages().is_empty());

    assert_eq!(sink.deliver(Occasion::Firing).await, Ok(None));
    assert_eq!(sink.deliver(Occasion::Resolved).await, Ok(None));
    let messages = slack.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(
        messages[0]["text"],
        "P2 firing: InstanceCrashLoop: demo is in a crash loop"
    );
    sink.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagerduty_has_one_incident_through_its_life() {
    let authority = Authority::new();
    let pagerduty = PagerDuty::with_keys(&[KEY]);
    let receiver = Receiver::start(&authority, Arc::clone(&pagerduty)).await;
    let config = format!("url = '{}/v2/enqueue'", receiver.url());
    let key = |key| egress(&authority, &receiver, &[("routing_key", key)]);
    let sink = Sink::start("pagerduty", &config, key(KEY)).await;

    pagerduty.next_is(Reply::too_many(7));
    assert_eq!(sink.is_tried_again().await.1, Some(7_000));
    assert_eq!(pagerduty.incident(KEY, DEDUP_KEY), None);
    for (occasion, state) in [
        (Occasion::Firing, "triggered"),
        (Occasion::Reminder, "triggered"),
        (Occasion::Acknowledged("ann".to_owned()), "acknowledged"),
        (Occasion::Escalated, "acknowledged"),
        (Occasion::Resolved, "resolved"),
        // A duplicate is dropped there.
        (Occasion::Resolved, "resolved"),
        (Occasion::Test, "resolved"),
    ] {
        assert_eq!(sink.deliver(occasion.clone()).await, Ok(None));
        assert_eq!(
            pagerduty.incident(KEY, DEDUP_KEY),
            Some(state),
            "{occasion:?}"
        );
    }
    sink.end().await;

    let stranger = Sink::start(
        "pagerduty",
        &config,
        key("ffffffffffffffffffffffffffffffff"),
    )
    .await;
    let gone = stranger.deliver(Occasion::Firing).await;
    let Err(DeliveryError::Gone(reason)) = gone else {
        panic!("{gone:?}");
    };
    assert!(
        reason.contains("Invalid routing key") && !reason.contains("ffff"),
        "{reason}"
    );
    stranger.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_another_certificate_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let slack = Slack::at(HOOK);
    let mut receiver = Receiver::start(&other, Arc::clone(&slack)).await;
    let hook = format!("{}{HOOK}", receiver.url());
    let sink = Sink::start(
        "slack",
        "",
        egress(&authority, &receiver, &[("webhook_url", &hook)]),
    )
    .await;
    let (reason, _) = sink.is_tried_again().await;
    assert!(reason.contains("certificate"), "{reason}");
    assert!(receiver.is_quiet());
    sink.end().await;

    let trusting = egress(&other, &receiver, &[("webhook_url", &hook)]);
    let sink = Sink::start("slack", "", trusting).await;
    assert_eq!(sink.deliver(Occasion::Test).await, Ok(None));
    let request = receiver.next().await;
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", HOOK)
    );
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.json()["unfurl_links"], json!(false));
    sink.end().await;
}
