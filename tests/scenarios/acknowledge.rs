//! Acknowledging from elsewhere, through whole routers: by the links in messages, and at PagerDuty; and the heartbeat.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, StatusCode};
use router_access::{SealPurpose, Sealer};
use router_alerts::{
    AlertId, AlertRef,
    link::{AckLink, LINK_LIVES_MS},
};
use router_tests::{
    Config, Router, peers,
    receivers::{Authority, PagerDuty, Received, Receiver, Reply, Service, Slack, WebhookCall},
    until,
};
use router_values::{SessionKey, unix_ms_now};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::alerts::{alert, config, with_sinks};

const SOON: Duration = Duration::from_secs(60);
const HOOK: &str = "/services/T0001/B0001/abcdefghijklmnop";
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// What the router seals links with.
const SESSION_KEY: &str = "4f1c9e3a7b2d8056e1f0a9c8b7d6e5f4";
/// What PagerDuty signs its calls with.
const SECRET: &str = "jnqPtOgGlvTRwWLqBZUv";
const PUBLIC: &str = "https://router.example";

/// A router with a channel and a pager, behind a proxy that people reach as `PUBLIC`.
struct World {
    router: Router,
    slack: Arc<Slack>,
    pager_duty: Arc<PagerDuty>,
    config: Config,
    // They end with it.
    _receivers: [Receiver; 2],
    _authority: Authority,
}

impl World {
    async fn start(
        settings: impl FnOnce(Config, &Receiver, &Receiver, &Authority) -> Config,
    ) -> Self {
        Self::start_after(settings, |_| ()).await
    }

    /// Its folder is made ready by `before`.
    async fn start_after(
        settings: impl FnOnce(Config, &Receiver, &Receiver, &Authority) -> Config,
        before: impl FnOnce(&Router),
    ) -> Self {
        let authority = Authority::new();
        let (slack, pager_duty) = (Slack::at(HOOK), PagerDuty::with_keys(&[KEY]));
        let chat = Receiver::start(&authority, slack.clone()).await;
        let pager = Receiver::start(&authority, pager_duty.clone()).await;
        let config = settings(config(), &chat, &pager, &authority)
            .set("server", &format!("session_key = {SESSION_KEY:?}"))
            .set("alerts", &format!("public_url = \"{PUBLIC}/\""));
        let hook = format!("{}{HOOK}", chat.url());
        let variables = [
            ("HOOK", hook.as_str()),
            ("KEY", KEY),
            ("WEBHOOK_FILE", "webhook-secret"),
        ];
        let mut router = Router::prepared(&config, &variables);
        std::fs::write(router.path("webhook-secret"), format!("{SECRET}\n")).unwrap();
        before(&router);
        router.start_again().await;
        Self {
            router,
            slack,
            pager_duty,
            config,
            _receivers: [chat, pager],
            _authority: authority,
        }
    }

    async fn state(&self, id: &str) -> Value {
        self.router.get(&format!("/api/alerts/{id}")).await["state"].clone()
    }

    /// The link of the channel's message of that number, from 0.
    async fn link(&self, number: usize, what: &str) -> String {
        let message = until(&format!("a message {what}"), SOON, async || {
            let messages = self.slack.messages();
            let found = messages.get(number).map(Value::to_string);
            found.ok_or_else(|| format!("{messages:?}\n{}", self.router.tail()))
        })
        .await;
        assert!(message.contains(what), "{message}");
        link_in(&message).unwrap_or_else(|| panic!("no link in {message}"))
    }

    /// As it comes from the proxy in front.
    async fn ask_outside(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut request = client
            .request(method, self.router.url(path))
            .header("host", "router.example")
            .header("x-forwarded-for", "203.0.113.7");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    /// PagerDuty calls.
    async fn call(&self, sink: &str, call: &WebhookCall) -> (u16, String) {
        let headers = [
            ("x-pagerduty-signature", call.signature.as_str()),
            ("x-webhook-id", "a-header-that-nothing-vouches-for"),
            ("host", "whatever.example"),
        ];
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let path = format!("/api/hooks/pagerduty/{sink}");
        let mut request = client.post(self.router.url(&path)).body(call.body.clone());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Waits for the incident of an instance's crash loop; the alert's id, and the incident's key.
    async fn incident(&self, instance: &str) -> (String, String) {
        let named = |one: &Value| one["versionId"] == instance && one["state"] == "firing";
        let shown = alert(&self.router, "InstanceCrashLoop", "that fires", named).await;
        let key = format!("{}#1", shown["key"].as_str().unwrap());
        until("the incident", SOON, async || {
            match self.pager_duty.incident(KEY, &key) {
                Some("triggered") => Ok(()),
                other => Err(format!("{other:?}\n{}", self.router.tail())),
            }
        })
        .await;
        (shown["id"].as_str().unwrap().to_owned(), key)
    }

    async fn expect(&self, method: Method, path: &str, status: u16, part: &str) -> String {
        let (got, text) = self.ask_outside(method.clone(), path, &[]).await;
        assert_eq!(got, status, "{method} {path}: {text}");
        assert!(text.contains(part), "{method} {path}: {text}");
        text
    }
}

/// What follows the public address, where it is a link to acknowledge by.
fn link_in(message: &str) -> Option<String> {
    let at = message.find(&format!("{PUBLIC}/ack/"))? + PUBLIC.len();
    let link = message[at..].split(['|', '"', '>', '\\']).next()?;
    Some(link.to_owned())
}

fn sealed(key: &str, purpose: SealPurpose, link: &AckLink) -> String {
    let key = SessionKey::parse(key).unwrap();
    let sealer = Sealer::new(purpose, &key, &[]);
    format!("/ack/{}", sealer.seal(&link.to_bytes().unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_acknowledges_by_its_button_and_by_nothing_else() {
    let mut world = World::start(with_sinks).await;
    let first = world.link(0, "firing: InstanceCrashLoop").await;
    let shown = alert(&world.router, "InstanceCrashLoop", "that fires", |one| {
        one["state"] == "firing"
    })
    .await;
    let id = shown["id"].as_str().unwrap().to_owned();

    // Scanners, previews and prefetching browsers.
    for headers in [
        &[][..],
        &[(
            "user-agent",
            "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        )],
        &[
            ("purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
        ],
        &[("x-moz", "prefetch"), ("origin", PUBLIC)],
    ] {
        let (status, page) = world.ask_outside(Method::GET, &first, headers).await;
        assert_eq!(status, 200, "{page}");
        assert!(page.contains("<button>Acknowledge</button>"), "{page}");
        let (status, page) = world.ask_outside(Method::HEAD, &first, headers).await;
        assert_eq!((status.as_u16(), page.as_str()), (200, ""));
    }
    // Pages of others, and pages that do not say whose they are.
    for origin in [
        "https://evil.example",
        "null",
        "https://router.example.evil.example",
    ] {
        let headers = [("origin", origin)];
        let (status, text) = world.ask_outside(Method::POST, &first, &headers).await;
        assert_eq!(status, 403, "{origin}: {text}");
    }
    assert_eq!(world.state(&id).await, "firing");

    // The form on the page.
    let headers = [
        ("origin", PUBLIC),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let (status, page) = world.ask_outside(Method::POST, &first, &headers).await;
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("Acknowledged by chat (link)"), "{page}");
    let shown = world.router.get(&format!("/api/alerts/{id}")).await;
    assert_eq!(shown["acknowledged"]["by"], "chat (link)", "{shown}");
    let audit = world
        .router
        .get("/api/audit?action=alert.acknowledge")
        .await;
    let row = &audit["rows"][0];
    assert_eq!(
        (&row["actor"], &row["target"], &row["result"]),
        (&json!("chat (link)"), &json!(id), &json!("ok")),
        "{audit}"
    );
    // Everybody who heard of it hears of that; the messages that say so carry no link.
    let key = format!("{}#1", shown["key"].as_str().unwrap());
    until("the acknowledgement at both", SOON, async || {
        let messages = world.slack.messages();
        let said = messages.get(1).map(Value::to_string).unwrap_or_default();
        let incident = world.pager_duty.incident(KEY, &key);
        if said.contains("acknowledged by chat (link)") && incident == Some("acknowledged") {
            assert_eq!(link_in(&said), None);
            return Ok(());
        }
        Err(format!("{said} {incident:?}\n{}", world.router.tail()))
    })
    .await;
    world
        .expect(Method::POST, &first, 409, "Acknowledged by chat (link)")
        .await;

    // Nobody is on it any more: who used the link once does not use it again. That of the newer message works, after a kill too.
    world.router.post(&format!("/api/alerts/{id}/unack")).await;
    let second = world.link(2, "InstanceCrashLoop").await;
    assert_ne!(first, second);
    world.expect(Method::POST, &first, 410, "used up").await;
    world.router.kill().await;
    world.router.start_again().await;
    world.expect(Method::POST, &first, 410, "used up").await;
    assert_eq!(world.state(&id).await, "firing");
    world
        .expect(Method::POST, &second, 200, "Acknowledged by chat (link)")
        .await;
    assert_eq!(world.state(&id).await, "acknowledged");

    // Over is over.
    world
        .router
        .post(&format!("/api/alerts/{id}/resolve"))
        .await;
    world.expect(Method::GET, &second, 410, "over").await;
    world.expect(Method::POST, &second, 410, "over").await;
    for link in [first, second] {
        let token = link.trim_start_matches("/ack/");
        assert!(
            !world.router.log().contains(token),
            "{}",
            world.router.log()
        );
    }
    world.router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_link_acknowledges_and_no_link_opens_anything_else() {
    let world = World::start(with_sinks).await;
    let good = world.link(0, "firing: InstanceCrashLoop").await;
    let shown = alert(&world.router, "InstanceCrashLoop", "that fires", |one| {
        one["state"] == "firing"
    })
    .await;
    let id = shown["id"].as_str().unwrap();
    let about = |firing| AlertRef {
        alert: AlertId::parse(id).unwrap(),
        firing,
    };
    let now_ms = unix_ms_now();
    let link = AckLink {
        about: about(1),
        sent_ms: now_ms,
        sink: "chat".into(),
    };
    let (links, another) = (SealPurpose::AckLink, "another-0123456789abcdef0123456789");
    // What this key seals rightly is a link: what follows is refused for what is wrong with it.
    let right = sealed(SESSION_KEY, links, &link);
    world.expect(Method::GET, &right, 200, "<button>").await;
    let mut flipped = good.clone().into_bytes();
    flipped[good.len() / 2] ^= 1;
    let flipped = String::from_utf8(flipped).unwrap();
    for (what, path) in [
        ("flipped", flipped),
        ("cut", good[..good.len() - 1].to_owned()),
        ("longer", format!("{good}A")),
        ("empty", "/ack/x".to_owned()),
        ("of another router", sealed(another, links, &link)),
        (
            "of a session",
            sealed(SESSION_KEY, SealPurpose::Session, &link),
        ),
    ] {
        for method in [Method::GET, Method::POST] {
            let page = world.expect(method, &path, 404, "not valid").await;
            assert!(!page.contains("looping"), "{what}: {page}");
        }
    }
    let gone = |about, sent_ms| AckLink {
        about,
        sent_ms,
        ..link.clone()
    };
    let other = AlertRef {
        alert: AlertId::of("another"),
        firing: 1,
    };
    for (what, link) in [
        ("expired", gone(about(1), now_ms - LINK_LIVES_MS)),
        ("over", gone(about(2), now_ms)),
        ("over", gone(other, now_ms)),
    ] {
        let path = sealed(SESSION_KEY, links, &link);
        world.expect(Method::POST, &path, 410, what).await;
    }
    assert_eq!(world.state(id).await, "firing");

    // The public name is the router's own, and opens nothing: all else takes a role, which who comes through the proxy has not.
    world.expect(Method::GET, "/api/alerts", 401, "token").await;
    world
        .expect(Method::POST, &format!("/api/alerts/{id}/ack"), 401, "token")
        .await;
    world.expect(Method::GET, "/ack", 401, "token").await;
    world
        .expect(Method::GET, "/ack/x/../../api/alerts", 401, "token")
        .await;
    world
        .expect(Method::GET, "/ack/x/api/alerts", 404, "nothing at")
        .await;
    assert_eq!(world.state(id).await, "firing");
    world.router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_address_is_allowed_as_long_as_it_is_configured() {
    let world = World::start(|_, chat, pager, authority| {
        with_sinks(Config::new().server(peers::echo()), chat, pager, authority)
    })
    .await;
    let test = json!({ "sink": "chat" });
    let tested = async || {
        until("a test that arrives", SOON, async || {
            let path = "/api/alerts/test";
            let (_, answer) = world.router.ask(Method::POST, path, Some(&test)).await;
            match answer["results"][0]["delivered"] == true {
                true => Ok(world.slack.messages().last().unwrap().to_string()),
                // Its plugin is compiled first.
                false => Err(format!("{answer}")),
            }
        })
        .await
    };
    // A test shows whether people reach the router.
    let link = link_in(&tested().await).unwrap();
    world
        .expect(Method::GET, &link, 200, "This link works")
        .await;
    world
        .expect(Method::POST, &link, 200, "This link works")
        .await;

    let from = async |host: &str, origin: &str| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.get(world.router.url("/api/alerts"));
        let request = request.header("host", host).header("origin", origin);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(from("router.example", PUBLIC).await, 200);
    assert_eq!(from("localhost", PUBLIC).await, 200);
    assert_eq!(from("localhost", "http://router.example").await, 403);
    assert_eq!(from("localhost", "https://router.example:444").await, 403);
    assert_eq!(from("other.example", "https://other.example").await, 403);

    let changed = world
        .config
        .clone()
        .set("alerts", "public_url = \"https://other.example/gmr\"");
    world.router.write_config(&changed);
    let report = world.router.post("/api/config/reload").await;
    assert!(report.to_string().contains("alerts.public_url"), "{report}");
    assert_eq!(from("other.example", "https://other.example").await, 200);
    assert_eq!(from("router.example", PUBLIC).await, 403);
    let message = tested().await;
    assert!(
        message.contains("https://other.example/gmr/ack/"),
        "{message}"
    );

    let without = world.config.clone().set("alerts", "public_url = \"\"");
    world.router.write_config(&without);
    let (status, answer) = world
        .router
        .ask(Method::POST, "/api/config/reload", None)
        .await;
    assert_eq!(status, 422, "{answer}");
    assert_eq!(from("other.example", "https://other.example").await, 200);
    world
        .router
        .write_config(&world.config.clone().unset("alerts", "public_url"));
    world.router.post("/api/config/reload").await;
    assert_eq!(from("other.example", "https://other.example").await, 403);
    let message = tested().await;
    assert!(!message.contains("/ack/"), "{message}");
    world.router.end().await;
}

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

/// Takes every call.
struct Waiting;

impl Service for Waiting {
    fn reply(&self, _: &Received) -> Reply {
        Reply::text(200, "OK")
    }
}

/// Audits are a minute apart: this waits for two of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_is_withheld_while_the_auditor_finds_something() {
    const PATH: &str = "/ping/5a1c-a-secret";
    let authority = Authority::new();
    let mut service = Receiver::start(&authority, Arc::new(Waiting)).await;
    let config = Config::new().server(peers::echo());
    let config = config.set("alerts", "rules = [\"default-alerts\"]");
    let url = format!("{}{PATH}", service.url());
    let variables = [("SSL_CERT_FILE", authority.ca_file())];
    let variables = variables.map(|(name, path)| (name, path.display().to_string()));
    let variables = variables
        .each_ref()
        .map(|(name, path)| (*name, path.as_str()));
    let mut router = Router::prepared(&config, &variables);
    std::fs::write(router.path("heartbeat-url"), url).unwrap();
    router.write_config(&config.set("alerts", "heartbeat_url_file = \"heartbeat-url\""));
    router.start_again().await;

    // Its only rule is missing: nothing is noticed, and the service that waits is not called.
    let two_minutes = Duration::from_secs(150);
    router
        .logged(&["ERROR", "heartbeat withheld"], two_minutes)
        .await;
    assert!(service.is_quiet());
    let plugin = peers::bundled_plugin("default-alerts.wasm");
    std::fs::copy(plugin, router.path("plugins/default-alerts.wasm")).unwrap();
    router.logged(&["heartbeat delivered"], two_minutes).await;
    let call = service.next().await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("GET", PATH));
    assert_eq!(call.body, "");
    let metrics = router.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("mcp_alert_heartbeats_total{result=\"delivered\"} 1"),
        "{metrics}"
    );
    assert!(!router.log().contains("a-secret"), "{}", router.log());
    router.end().await;
}
