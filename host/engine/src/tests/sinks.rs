//! Sinks: each is loaded, limited and quarantined for itself, and learns no secret, whatever it does.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use router_alerts::{
    Condition, Severity,
    notice::{DeliveryError, Notice, NoticeAlert, Occasion, Receipt},
};
use router_egress::EgressOptions;
use router_values::{Origin, Secret};

use super::world::{World, guest, named_for_health};
use crate::{
    CallFailure, Delivered, EngineEvent, ExchangeEnd, FailureKind, Limits, PluginSettings,
    SinkAnswer, SinkDefinition,
};

const HOSTILE: &str = "hostile-sink";
const SECRET: &str = "hunter2/hunter2";

/// A receiver that answers each request with its first line, after a while; and what it got.
pub(super) struct Receiver {
    address: SocketAddr,
    requests: mpsc::Receiver<String>,
}

impl Receiver {
    pub(super) fn start(after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, sender) = (stream.unwrap(), sender.clone());
                std::thread::spawn(move || {
                    let request = read_request(&mut stream);
                    let line = request.lines().next().unwrap_or_default().to_owned();
                    let _ = sender.send(request);
                    std::thread::sleep(after);
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", line.len());
                    let _ = stream.write_all(format!("{head}\r\n\r\n{line}").as_bytes());
                });
            }
        });
        Self { address, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn request(&self) -> String {
        self.requests.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    pub(super) fn is_untouched(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    loop {
        let mut bytes = [0; 16 * 1024];
        let read = stream.read(&mut bytes).unwrap();
        request.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        let length = request
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let body = request.split_once("\r\n\r\n").map(|(_, body)| body.len());
        if read == 0 || body.is_some_and(|body| body >= length) {
            return request;
        }
    }
}

fn sink(mode: &str, receiver: &str) -> SinkDefinition {
    let config = format!("mode = '{mode}'\nurl = '{receiver}'");
    SinkDefinition {
        plugin: HOSTILE.to_owned(),
        config: config.parse().unwrap(),
        egress: EgressOptions {
            allow: vec![Origin::parse_http(receiver).unwrap()],
            secrets: [("key".to_owned(), Secret::new(SECRET))].into(),
            ..EgressOptions::default()
        },
    }
}

pub(super) fn settings(
    sinks: impl IntoIterator<Item = (&'static str, SinkDefinition)>,
) -> PluginSettings {
    let sinks = sinks.into_iter();
    PluginSettings {
        sinks: sinks.map(|(name, sink)| (name.to_owned(), sink)).collect(),
        ..PluginSettings::default()
    }
}

pub(super) fn notice(id: &str) -> Notice {
    let condition = Condition {
        key: "crash-loop/demo".to_owned(),
        name: "crash-loop".to_owned(),
        severity: Severity::P2,
        summary: "demo is in a crash loop".to_owned(),
        remedy: String::new(),
        runbook_anchor: None,
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    };
    Notice {
        now_ms: 1_800_000_000_000,
        id: id.to_owned(),
        occasion: Occasion::Firing,
        group_key: "crash-loop/demo#1".to_owned(),
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
        deadline_ms: 30_000,
        receipt: None,
        attributes: Vec::new(),
    }
}

/// An engine that serves these sinks.
async fn world(sinks: Vec<(&'static str, SinkDefinition)>) -> World {
    let names: Vec<String> = sinks
        .iter()
        .map(|(name, _)| format!("sink.{name}"))
        .collect();
    let mut world = World::new(settings(sinks));
    world.put(HOSTILE, &guest(HOSTILE));
    // In whichever order. The first scan may have been over before the file was there.
    let mut serving = 0;
    while serving <= names.len() {
        match world.event().await {
            EngineEvent::Swapped { generation: 1, .. } => serving += 1,
            EngineEvent::Missing { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    for name in names {
        assert_eq!(world.view(&name).state, "serving");
    }
    world
}

async fn one(mode: &str, receiver: &str) -> World {
    world(vec![("a", sink(mode, receiver))]).await
}

async fn deliver(world: &World, sink: &str) -> Option<Result<SinkAnswer, CallFailure>> {
    world.engine.deliver(sink, notice("d-1")).await
}

async fn delivered(world: &World, sink: &str) -> Delivered {
    answered(world, sink).await.delivered
}

async fn answered(world: &World, sink: &str) -> SinkAnswer {
    deliver(world, sink).await.expect("it is served").unwrap()
}

fn receipt(text: &str) -> Delivered {
    Ok(Some(Receipt::new(text.to_owned()).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_sends_with_a_secret_that_it_never_sees() {
    let receiver = Receiver::start(Duration::ZERO);
    let world = one("send", &receiver.url()).await;
    // The receiver echoes the request.
    assert_eq!(
        delivered(&world, "a").await,
        receipt("200 GET /?key=[redacted] HTTP/1.1")
    );
    let sent = receiver.request();
    assert!(
        sent.starts_with("GET /?key=hunter2%2Fhunter2 HTTP/1.1\r\n"),
        "{sent}"
    );
    let view = world.view("sink.a");
    assert_eq!(
        (view.world, view.state, view.in_use),
        ("alert-sink", "serving", true)
    );
    assert_eq!(view.grants.http, [receiver.url()]);
    assert_eq!(view.grants.secrets, ["key"]);
    assert_eq!(view.secret_uses["key"], 1);
    let shown = serde_json::to_string(&world.view("sink.a")).unwrap();
    assert!(
        shown.contains("\"delivered\":true") && !shown.contains("hunter2"),
        "{shown}"
    );
    // The file is no sink.
    assert_eq!(world.view(HOSTILE).state, "serving");
    assert_eq!(deliver(&world, HOSTILE).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_found_out_or_brought_elsewhere() {
    let (receiver, elsewhere) = (
        Receiver::start(Duration::ZERO),
        Receiver::start(Duration::ZERO),
    );
    let mut steals = sink("steal", &receiver.url());
    steals
        .config
        .insert("elsewhere".to_owned(), elsewhere.url().into());
    let sinks = vec![
        ("steals", steals),
        ("hoards", sink("hoard", &receiver.url())),
        ("repeats", sink("repeat", &receiver.url())),
        ("signs", sink("sign", &receiver.url())),
        ("asks", sink("unknown", &receiver.url())),
    ];
    let world = world(sinks).await;
    let Err(DeliveryError::Refused(reason)) = delivered(&world, "steals").await else {
        panic!("it was sent");
    };
    assert!(
        reason.contains("Denied") && !reason.contains("hunter2"),
        "{reason}"
    );
    assert!(elsewhere.is_untouched());

    // A placeholder of one call is worth nothing in the next one.
    delivered(&world, "hoards").await.unwrap();
    assert!(receiver.request().contains("hunter2"));
    delivered(&world, "hoards").await.unwrap();
    let sent = receiver.request();
    assert!(
        !sent.contains("hunter2") && sent.contains("?key=secret"),
        "{sent}"
    );
    let old = sent
        .split(['=', ' '])
        .find(|part| part.starts_with("secret"))
        .unwrap()
        .to_owned();

    // What strangers wrote into an alert is no placeholder, whatever it says.
    let mut evil = notice("d-2");
    let summary = format!("key {{key}} {old} placeholder(key) SECRET-key");
    let condition = (*evil.alerts[0].condition).clone();
    evil.alerts[0].condition = Arc::new(Condition {
        summary: summary.clone(),
        ..condition
    });
    world
        .engine
        .deliver("repeats", evil)
        .await
        .unwrap()
        .unwrap()
        .delivered
        .unwrap();
    let sent = receiver.request();
    assert!(sent.ends_with(&format!("\"{summary}\"")), "{sent}");

    let Ok(Some(signed)) = delivered(&world, "signs").await else {
        panic!("it was signed");
    };
    assert!(signed.as_str().starts_with('['), "{signed:?}");
    assert_eq!(delivered(&world, "asks").await, receipt("true"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_is_a_strike_against_nobody_and_mutes_no_other() {
    let (slow, fast) = (
        Receiver::start(Duration::from_secs(60)),
        Receiver::start(Duration::ZERO),
    );
    let sinks = vec![
        ("slow", sink("send", &slow.url())),
        ("fast", sink("send", &fast.url())),
    ];
    let world = Arc::new(world(sinks).await);
    let short = Notice {
        deadline_ms: 400,
        ..notice("d-1")
    };
    let begun = Instant::now();
    let waits: Vec<_> = (0..4)
        .map(|_| {
            let (world, short) = (Arc::clone(&world), short.clone());
            tokio::spawn(async move { world.engine.deliver("slow", short).await })
        })
        .collect();
    delivered(&world, "fast").await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(350),
        "it waited for the other sink"
    );
    for wait in waits {
        let answer = wait.await.unwrap().unwrap().unwrap();
        assert!(
            matches!(answer.delivered, Err(DeliveryError::Retry { .. })),
            "{answer:?}"
        );
        assert_eq!(answer.last_exchange, Some(ExchangeEnd::TimedOut));
    }
    // All four waited at once.
    assert!(
        begun.elapsed() < Duration::from_millis(1_500),
        "one after the other"
    );
    let view = world.view("sink.slow");
    assert_eq!((view.state, view.calls, view.failures), ("serving", 4, 0));
}

/// Whatever the sink makes of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_router_knows_how_the_last_request_ended() {
    let receiver = Receiver::start(Duration::ZERO);
    let mut steals = sink("steal", &receiver.url());
    steals
        .config
        .insert("elsewhere".to_owned(), "http://127.0.0.1:9".into());
    let sinks = vec![
        ("sends", sink("send", &receiver.url())),
        // Nobody listens there.
        ("dials", sink("send", "http://127.0.0.1:1")),
        ("steals", steals),
        ("sleeps", sink("nothing", &receiver.url())),
    ];
    let world = world(sinks).await;
    for (name, end) in [
        ("sends", Some(ExchangeEnd::Answered(200))),
        ("dials", Some(ExchangeEnd::Failed)),
        ("steals", Some(ExchangeEnd::NotSent)),
        ("sleeps", None),
        ("sends", Some(ExchangeEnd::Answered(200))),
    ] {
        let answer = answered(&world, name).await;
        assert_eq!(answer.last_exchange, end, "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_fails_is_quarantined_alone() {
    let receiver = Receiver::start(Duration::ZERO);
    let sinks = vec![
        ("loops", sink("loop", &receiver.url())),
        ("traps", sink("trap", &receiver.url())),
        ("calls", sink("calls", &receiver.url())),
        ("works", sink("nothing", &receiver.url())),
    ];
    let mut world = world(sinks).await;
    for (name, kind, strikes) in [
        ("loops", FailureKind::Timeout, 1),
        ("traps", FailureKind::Trap, 3),
        ("calls", FailureKind::Limit, 1),
    ] {
        for _ in 0..strikes {
            let failure = deliver(&world, name).await.unwrap().unwrap_err();
            assert_eq!(failure.kind, kind, "{name}");
        }
        let event = world.event().await;
        let plugin = format!("sink.{name}");
        assert!(
            matches!(&event, EngineEvent::Quarantined { plugin: one, .. } if *one == plugin),
            "{event:?}"
        );
        assert_eq!(deliver(&world, name).await, None);
    }
    assert_eq!(delivered(&world, "works").await, receipt("d-1 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_sixteen_requests_and_a_receipt_has_its_bound() {
    let receiver = Receiver::start(Duration::ZERO);
    let sinks = vec![
        ("floods", sink("flood", &receiver.url())),
        ("receipts", sink("receipt", &receiver.url())),
        ("later", sink("retry", &receiver.url())),
        ("gone", sink("gone", &receiver.url())),
    ];
    let world = world(sinks).await;
    assert_eq!(delivered(&world, "floods").await, receipt("16"));
    assert_eq!(delivered(&world, "receipts").await, Ok(None));
    for _ in 0..5 {
        let later = DeliveryError::Retry {
            reason: "not now".to_owned(),
            after_ms: Some(1_500),
        };
        assert_eq!(delivered(&world, "later").await, Err(later));
        let gone = DeliveryError::Gone("nobody is there".to_owned());
        assert_eq!(delivered(&world, "gone").await, Err(gone));
    }
    assert_eq!(world.view("sink.later").state, "serving");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_sink_that_changes_is_loaded_anew() {
    let receiver = Receiver::start(Duration::ZERO);
    let (a, b) = (sink("send", &receiver.url()), sink("send", &receiver.url()));
    let world = world(vec![("a", a.clone()), ("b", b.clone())]).await;
    let mut other = a.clone();
    other.egress.secrets = BTreeMap::from([("key".to_owned(), Secret::new("another one"))]);
    let report = world
        .engine
        .reconfigure(settings([("a", other), ("b", b.clone())]))
        .await;
    assert_eq!(report.loaded, ["sink.a"]);
    assert_eq!(report.unchanged, [HOSTILE, "sink.b"]);
    delivered(&world, "a").await.unwrap();
    assert!(receiver.request().starts_with("GET /?key=another%20one "));
    // What is refused leaves the one before, and says which key.
    let refused = settings([("a", sink("refuses", &receiver.url())), ("b", b.clone())]);
    let report = world.engine.reconfigure(refused).await;
    let reason = &report.refused["sink.a"];
    assert!(reason.contains("sink.a.config.mode is refused"), "{reason}");
    delivered(&world, "a").await.unwrap();
    assert!(receiver.request().starts_with("GET /?key=another%20one "));
    // One that is configured no more is gone at once.
    let report = world.engine.reconfigure(settings([("b", b)])).await;
    assert_eq!(report.removed, ["sink.a"]);
    assert_eq!(deliver(&world, "a").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_and_no_secret_used_before_there_is_something_to_deliver() {
    let receiver = Receiver::start(Duration::ZERO);
    let mut world = World::new(settings([("a", sink("early", &receiver.url()))]));
    world.put(HOSTILE, &guest(HOSTILE));
    let reason = world.refused("sink.a").await;
    assert!(
        reason.contains("secrets are used in deliveries only"),
        "{reason}"
    );
    assert!(
        reason.contains("requests are sent in deliveries only"),
        "{reason}"
    );
    assert!(receiver.is_untouched());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_sink_is_said_with_its_reason() {
    let receiver = Receiver::start(Duration::ZERO);
    let policy = SinkDefinition {
        plugin: "default-health".to_owned(),
        ..sink("", &receiver.url())
    };
    let missing = SinkDefinition {
        plugin: "pigeon".to_owned(),
        ..sink("", &receiver.url())
    };
    let mut faulty = sink("", &receiver.url());
    faulty.egress.ca_file = Some("/nowhere/ca.pem".into());
    let sinks = settings([("faulty", faulty), ("missing", missing), ("policy", policy)]);
    let mut world = World::new(sinks);
    world
        .engine
        .use_policies(named_for_health(&["default-health"]));
    world.put("default-health", &guest("default-health"));
    world.put(HOSTILE, &guest(HOSTILE));
    world.swapped("default-health").await;
    world.swapped(HOSTILE).await;
    let report = world.engine.reload_now().await;
    let refused = |name: &str| report.refused[&format!("sink.{name}")].clone();
    assert!(refused("policy").contains("is a health-policy, which delivers nothing"));
    assert!(refused("faulty").contains("ca_file /nowhere/ca.pem"));
    assert!(report.missing.contains("sink.missing"));
    let view = world.view("sink.missing");
    let reason = view.reason.unwrap();
    assert!(
        reason.contains("[sink.missing] names the plugin pigeon"),
        "{reason}"
    );
    let conditions = world.engine.conditions().borrow().clone();
    let faults = conditions.faults.join("\n");
    for name in ["sink.faulty: ", "sink.missing: ", "sink.policy: "] {
        assert!(faults.contains(name), "{faults}");
    }
    assert!(conditions.unknown.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sinks_of_one_file_are_as_many_as_there_may_be() {
    let receiver = Receiver::start(Duration::ZERO);
    let names = (0..40).map(|n| format!("s{n:02}"));
    let sinks = names.map(|name| (name, sink("nothing", &receiver.url())));
    let settings = PluginSettings {
        sinks: sinks.collect(),
        limits: Limits::default(),
        ..PluginSettings::default()
    };
    let mut world = World::new(settings);
    world.put(HOSTILE, &guest(HOSTILE));
    world.swapped("sink.s31").await;
    let reason = world.refused("sink.s32").await;
    assert!(reason.contains("32 sinks already"), "{reason}");
    assert_eq!(delivered(&world, "s31").await, receipt("d-1 1"));
}
