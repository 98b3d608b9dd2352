//! By the links in messages: their button acknowledges, and nothing else does.

use reqwest::Method;
use router_access::{SealPurpose, Sealer};
use router_alerts::{
    AlertId, AlertRef,
    link::{AckLink, LINK_LIVES_MS},
};
use router_tests::{Config, peers, until};
use router_values::{SessionKey, unix_ms_now};
use serde_json::{Value, json};

use super::{KEY, PUBLIC, SESSION_KEY, SOON, World, link_in};
use crate::alerts::{alert, with_sinks};

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
