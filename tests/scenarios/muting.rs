//! What keeps people from being notified, and until when, through whole routers: maintenance, silences, a fleet-wide P1, and how often a
//! receiver may be sent to. None of it loses anything: what fires still when it ends is sent then.

use std::time::Duration;

use reqwest::Method;
use router_tests::{receivers::Authority, until};
use serde_json::json;

use crate::channels::{Channel, alert, config, ms, now_ms, reload, start};

/// The beginning of a minute that has begun, and of how many minutes a window is that ends in 25 to 85 seconds.
fn open_window() -> (String, u32) {
    let now_ms = now_ms();
    let at = router_values::rfc3339_unix_ms(now_ms - now_ms % 60_000);
    let lasts = if now_ms % 60_000 > 35_000 { 2 } else { 1 };
    (at[..16].replace('T', " "), lasts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fires_in_a_window_or_under_a_silence_is_sent_when_that_ends() {
    let authority = Authority::new();
    let chat = Channel::start(&authority, "chat").await;
    let (at, lasts) = open_window();
    let config = config(&["moved = \"P2 Moved\"", "hushed = \"P2 Hushed\"", "heard = \"P2 Heard\""])
        .tail(&chat.section(""))
        .tail("[[alerts.route]]\nsinks = [\"chat\"]\n")
        .tail(&format!(
            "[[alerts.maintenance]]\nname = \"move\"\nat = \"{at}\"\nfor = \"{lasts}m\"\nmatch = {{ name = [\"Moved\"] }}"
        ));
    let router = start(&config).await;
    chat.has(&router, "heard", &["firing"]).await;
    let windows = router.get("/api/maintenance").await;
    assert_eq!(windows["windows"][0]["active"], true, "{windows}");
    let closes_ms = ms(&windows["windows"][0]["until"]);
    let moved = alert(&router, "moved", "that is muted", |one| {
        one["muted"]["by"] == "maintenance"
    })
    .await;
    assert_eq!(moved["muted"]["what"], "move", "{moved}");
    assert_eq!(moved["muted"]["until"], windows["windows"][0]["until"]);
    assert_eq!(chat.service.about("moved"), [""; 0]);

    // A preview changes nothing; a silence mutes until it ends by itself.
    let silence =
        |lasts: &str| json!({ "matcher": { "name": ["Heard"] }, "for": lasts, "reason": "known" });
    let (_, preview) = router
        .ask(
            Method::POST,
            "/api/silences?preview=true",
            Some(&silence("1h")),
        )
        .await;
    assert_eq!(
        preview["wouldMute"].as_array().unwrap().len(),
        1,
        "{preview}"
    );
    assert_eq!(preview["wouldMute"][0]["key"], "heard", "{preview}");
    assert_eq!(router.get("/api/silences").await["silences"], json!([]));

    let (status, made) = router
        .ask(Method::POST, "/api/silences", Some(&silence("8s")))
        .await;
    assert_eq!(status, 201, "{made}");
    alert(&router, "heard", "that is muted", |one| {
        one["muted"]["by"] == "silence"
    })
    .await;
    alert(&router, "heard", "that nothing mutes", |one| {
        one["muted"].is_null()
    })
    .await;
    assert!(now_ms() >= ms(&made["until"]), "{made}");
    assert_eq!(chat.service.about("heard"), ["firing"], "it knew already");

    chat.has_within(&router, "moved", &["firing"], Duration::from_secs(180))
        .await;
    assert!(
        now_ms() >= closes_ms,
        "it was sent while the window was open"
    );
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_wide_alert_mutes_those_of_its_instances_and_a_receiver_is_sent_to_as_often_as_it_takes()
 {
    let authority = Authority::new();
    let chat = Channel::start(&authority, "chat").await;
    let with = |alerts: &[&str]| {
        config(alerts)
            .tail(&chat.section("rate = \"6/m\""))
            .tail("[[alerts.route]]\nsinks = [\"chat\"]\n")
    };
    let down = "down = \"P1 Down\"";
    let router = start(&with(&[down])).await;
    chat.has(&router, "down", &["firing"]).await;

    let of_instances = [
        "one = \"P2 One echo\"",
        "two = \"P2 Two echo\"",
        "three = \"P2 Three echo\"",
    ];
    let all: Vec<&str> = of_instances.into_iter().chain([down]).collect();
    reload(&router, &with(&all)).await;
    for key in ["one", "two", "three"] {
        let muted = alert(&router, key, "that is muted", |one| {
            one["muted"]["by"] == "inhibition"
        })
        .await;
        assert_eq!(muted["muted"]["what"], "down", "{muted}");
    }
    // What it mutes is sent when it is over, one after the other: what waits says for what, and until when.
    reload(&router, &with(&of_instances)).await;
    let held = until(
        "a delivery that is held",
        Duration::from_secs(60),
        async || {
            let deliveries = router.get("/api/deliveries").await;
            let mut waiting = deliveries["waiting"].as_array().unwrap().iter();
            let held = waiting.find(|one| one["held"]["by"] == "rate limit");
            held.cloned()
                .ok_or_else(|| format!("{deliveries}\n{}", router.tail()))
        },
    )
    .await;
    let until_ms = ms(&held["held"]["until"]);
    assert!((1..=10_500).contains(&(until_ms - now_ms())), "{held}");
    let mut command = router.command();
    command
        .arg("deliveries")
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    let said = command.output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("held until ") && said.contains("rate limit"),
        "{said}"
    );
    let begun = std::time::Instant::now();
    for key in ["one", "two", "three"] {
        chat.has(&router, key, &["firing"]).await;
    }
    assert!(
        begun.elapsed() > Duration::from_secs(5),
        "they came at once"
    );
    router.end().await;
}
