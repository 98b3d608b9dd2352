//! At PagerDuty: what somebody does there is done here, and only what it signed.

use router_tests::{
    Config, peers,
    receivers::{Authority, Receiver, WebhookCall},
    until,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{KEY, SECRET, SOON, World};
use crate::alerts::with_sinks;

/// With a webhook of the pager, whose incidents escalate to the channel.
fn with_webhook(
    config: Config,
    chat: &Receiver,
    pager: &Receiver,
    authority: &Authority,
) -> Config {
    with_sinks(config, chat, pager, authority).tail(
        "webhook_secret = \"WEBHOOK\"\n\
         [[alerts.route]]\nsinks = [\"pager\"]\nescalation = \"default\"\n\
         [alerts.escalation.default]\nsteps = [{ after = \"30s\", sinks = [\"chat\"] }]",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_does_at_pagerduty_is_done_here() {
    let mut world = World::start(|config, chat, pager, authority| {
        let another = peers::scripted(&["--exit", "4"]).named("another");
        let config = config.server(another.autostart());
        with_webhook(config, chat, pager, authority)
    })
    .await;
    let (id, key) = world.incident("looping").await;
    let incident = (KEY, key.as_str());
    let acknowledged = world.pager_duty.act(incident, "acknowledged", &[SECRET]);
    let (status, said) = world.call("pager", &acknowledged).await;
    assert!(
        status == 202 && said.contains("\"done\""),
        "{status} {said}"
    );
    let shown = world.router.get(&format!("/api/alerts/{id}")).await;
    assert_eq!(shown["acknowledged"]["by"], "Ann Lee (pager)", "{shown}");
    assert_eq!(shown["nextEscalation"], Value::Null, "{shown}");

    // It is sent again, under whatever header, and our own acknowledgement comes back: nothing is done twice.
    let ours = world.pager_duty.act(incident, "acknowledged", &[SECRET]);
    for call in [&acknowledged, &ours] {
        let (status, said) = world.call("pager", call).await;
        assert!(status == 202 && said.contains("ignored"), "{status} {said}");
    }
    let audit = world
        .router
        .get("/api/audit?action=alert.acknowledge")
        .await;
    let rows = audit["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 1, "{audit}");
    assert_eq!(rows[0]["actor"], "Ann Lee (pager)", "{audit}");

    // The other one escalates to the channel; this one does not.
    let escalated = until("an escalation to the channel", SOON, async || {
        let messages = world.slack.messages();
        let first = messages.first().map(Value::to_string);
        first.ok_or_else(|| world.router.tail())
    })
    .await;
    assert!(escalated.contains("another"), "{escalated}");
    assert!(!escalated.contains("looping"), "{escalated}");

    // Nobody is on it any more, after a kill: it escalates, and an old event changes nothing.
    world.router.kill().await;
    world.router.start_again().await;
    let released = world.pager_duty.act(incident, "triggered", &[SECRET]);
    assert_eq!(world.call("pager", &released).await.0, 202);
    assert_eq!(world.state(&id).await, "firing");
    let (status, said) = world.call("pager", &acknowledged).await;
    assert!(
        status == 202 && said.contains("since then"),
        "{status} {said}"
    );
    assert_eq!(world.state(&id).await, "firing");
    until("the escalation of this one", SOON, async || {
        let messages = world.slack.messages();
        let found = messages
            .iter()
            .any(|one| one.to_string().contains("looping"));
        found.then_some(()).ok_or_else(|| format!("{messages:?}"))
    })
    .await;

    let resolved = world.pager_duty.act(incident, "resolved", &[SECRET]);
    assert_eq!(world.call("pager", &resolved).await.0, 202);
    assert_eq!(world.state(&id).await, "resolved");
    let (status, said) = world.call("pager", &released).await;
    assert!(status == 202 && said.contains("ignored"), "{status} {said}");
    assert_eq!(world.state(&id).await, "resolved");
    assert!(
        !world.router.log().contains(SECRET),
        "{}",
        world.router.log()
    );
    world.router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_cannot_be_kept_is_to_be_sent_again() {
    let journal = "data/alerts";
    let mut world = World::start_after(with_webhook, |router| {
        // A file where the journal's folder should be: it cannot be written until somebody sees to that.
        std::fs::write(router.path(journal), "").unwrap();
    })
    .await;
    let (id, key) = world.incident("looping").await;
    let acknowledged = world.pager_duty.act((KEY, &key), "acknowledged", &[SECRET]);
    for _ in 0..2 {
        let (status, said) = world.call("pager", &acknowledged).await;
        assert!(status == 503 && said.contains("journal"), "{status} {said}");
    }
    std::fs::remove_file(world.router.path(journal)).unwrap();
    let (status, said) = world.call("pager", &acknowledged).await;
    assert_eq!(status, 202, "{said}");
    world.router.kill().await;
    world.router.start_again().await;
    assert_eq!(world.state(&id).await, "acknowledged");
    world.router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_pagerduty_did_not_sign_is_refused_loudly() {
    let world = World::start(|_, chat, pager, authority| {
        let config = Config::new().server(peers::echo());
        let config = config.set("server", "body_timeout = \"2s\"");
        with_webhook(config, chat, pager, authority)
    })
    .await;
    let ping = json!({ "event": {
        "id": "01PING", "event_type": "pagey.ping", "occurred_at": "2026-11-30T18:45:22.169Z",
        "agent": null, "client": null, "data": { "message": "Hello from your friend Pagey!", "type": "ping" },
    }});
    let signed = |secrets: &[&str]| WebhookCall::signed(&ping, secrets);
    let status = async |call: &WebhookCall| world.call("pager", call).await.0;
    assert_eq!(status(&signed(&[SECRET])).await, 202);
    assert_eq!(status(&signed(&["another", SECRET])).await, 202);
    let right = signed(&[SECRET]);
    for forged in [
        signed(&[]),
        signed(&["another"]),
        WebhookCall {
            body: right.body.replace("01PING", "02PING"),
            ..right.clone()
        },
        WebhookCall {
            signature: right.signature[..40].to_owned(),
            ..right.clone()
        },
    ] {
        assert_eq!(status(&forged).await, 403, "{forged:?}");
    }
    let line = world
        .router
        .logged(&["ERROR", "webhook refused", "pager"], SOON)
        .await;
    assert!(!line.contains(SECRET), "{line}");
    for sink in ["chat", "console", "nobody"] {
        assert_eq!(world.call(sink, &right).await.0, 404, "{sink}");
    }

    // Too large, and too slow; others are served meanwhile.
    let large = WebhookCall::signed(&json!("x".repeat(300 * 1024)), &[SECRET]);
    assert_eq!(status(&large).await, 413);
    let head =
        "POST /api/hooks/pagerduty/pager HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{";
    let mut slow = Vec::new();
    for _ in 0..15 {
        let mut stream = tokio::net::TcpStream::connect(world.router.address())
            .await
            .unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(status(&right).await, 202);
    let mut last = tokio::net::TcpStream::connect(world.router.address())
        .await
        .unwrap();
    last.write_all(head.as_bytes()).await.unwrap();
    until("too many slow ones", SOON, async || {
        match status(&right).await {
            503 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    world.router.get("/api/alerts").await;
    let mut answer = vec![0; 12];
    slow[0].read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    until("others after the slow ones", SOON, async || {
        match status(&right).await {
            202 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;

    // The secret is replaced while PagerDuty signs with both.
    let both = signed(&[SECRET, "replaced"]);
    std::fs::write(world.router.path("webhook-secret"), "replaced").unwrap();
    assert_eq!(status(&both).await, 202);
    let report = world.router.post("/api/config/reload").await;
    assert!(report.to_string().contains("sink.pager"), "{report}");
    assert_eq!(status(&both).await, 202);
    assert_eq!(status(&signed(&["replaced"])).await, 202);
    assert_eq!(status(&signed(&[SECRET])).await, 403);
    world.router.end().await;
}
