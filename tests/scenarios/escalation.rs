//! Who is notified after whom, through whole routers and real receivers: chains and acknowledgements, fallbacks and dead letters. What takes
//! longer than a test may, a repeat above all (five minutes at least), is the simulations' to show (`host/alerts`); here it is seen to
//! be planned.

use std::time::Duration;

use router_tests::{
    Config, Router,
    receivers::{Authority, Receiver, Reply, Slack},
    until,
};
use serde_json::{Value, json};

use crate::channels::{Channel, SOON, alert, config, ms, now_ms, reload, start, start_with, story};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_its_steps_as_it_was_until_somebody_is_on_it() {
    let authority = Authority::new();
    let (first, second, third) = (
        Channel::start(&authority, "first").await,
        Channel::start(&authority, "second").await,
        Channel::start(&authority, "third").await,
    );
    let with_chain = |steps: &str| {
        config(&["climbs = \"P1 Climbs\"", "taken = \"P1 Taken\""])
            .set("alerts", "repeat = \"5m\"")
            .set("alerts", "ack_ttl = \"1m\"")
            .set("alerts.escalation.default", &format!("steps = [{steps}]"))
            .tail(&first.section(""))
            .tail(&second.section(""))
            .tail(&third.section(""))
            .tail("[[alerts.route]]\nsinks = [\"first\"]\nescalation = \"default\"")
    };
    let router = start(&with_chain(
        "{ after = \"6s\", sinks = [\"first\", \"second\"] }, { after = \"3s\", sinks = [\"third\"] }",
    ))
    .await;
    first.has(&router, "climbs", &["firing"]).await;
    first.has(&router, "taken", &["firing"]).await;
    let taken = alert(&router, "taken", "that fires", |one| {
        one["state"] == "firing"
    })
    .await;
    let id = taken["id"].as_str().unwrap();
    router.post(&format!("/api/alerts/{id}/ack")).await;
    // What fires has its chain already.
    reload(
        &router,
        &with_chain("{ after = \"24h\", sinks = [\"first\"] }"),
    )
    .await;

    // The first step leaves out who knows already; the last one is planned to come again, and again.
    second.has(&router, "climbs", &["escalated"]).await;
    third.has(&router, "climbs", &["escalated"]).await;
    assert_eq!(first.service.about("climbs"), ["firing"]);
    let climbs = alert(&router, "climbs", "with a next step", |one| {
        one["nextEscalation"].is_string()
    })
    .await;
    let next_ms = ms(&climbs["nextEscalation"]) - now_ms();
    assert!((240_000..=300_000).contains(&next_ms), "{climbs}");
    let explained = story(&router, &climbs).await;
    for part in [
        "goes to first by route",
        "nobody acknowledged it: step 1",
        "first is not notified: it knows already",
        "nobody acknowledged it: step 2",
        "the next step of its escalation",
    ] {
        assert!(explained.contains(part), "no {part:?} in\n{explained}");
    }

    // Nobody was called about the one that somebody is on, until that expires: then it begins anew, by the chain that is there now.
    assert_eq!(second.service.about("taken"), [""; 0]);
    first
        .has_within(
            &router,
            "taken",
            &["firing", "acknowledged", "reminder"],
            Duration::from_secs(120),
        )
        .await;
    let taken = alert(&router, "taken", "that fires again", |one| {
        one["state"] == "firing"
    })
    .await;
    assert_eq!(taken["firing"], 1, "{taken}");
    let next_ms = ms(&taken["nextEscalation"]) - now_ms();
    assert!(next_ms > 80_000_000, "{taken}");
    let explained = story(&router, &taken).await;
    assert!(
        explained.contains("the acknowledgement of loopback expired: it escalates again"),
        "{explained}"
    );
    assert_eq!(second.service.about("taken"), [""; 0]);

    // Over: for everybody who heard of it.
    reload(
        &router,
        &config(&[])
            .tail(&first.section(""))
            .tail(&second.section(""))
            .tail(&third.section("")),
    )
    .await;
    first.has(&router, "climbs", &["firing", "resolved"]).await;
    second
        .has(&router, "climbs", &["escalated", "resolved"])
        .await;
    third
        .has(&router, "climbs", &["escalated", "resolved"])
        .await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_fails_is_replaced_by_its_fallback_and_takes_it_up_again() {
    let authority = Authority::new();
    let (main, reserve) = (
        Channel::start(&authority, "main").await,
        Channel::start(&authority, "reserve").await,
    );
    let with = |alerts: &[&str]| {
        config(alerts)
            .tail(&main.section("fallback = \"reserve\""))
            .tail(&reserve.section(""))
            .tail("[[alerts.route]]\nsinks = [\"main\"]")
    };
    main.service
        .always(Some(Reply::text(503, "closed for repairs")));
    let router = start(&with(&["urgent = \"P1 Urgent\"", "later = \"P2 Later\""])).await;

    // A P1 after the first failure, a P2 after a minute.
    reserve.has(&router, "urgent", &["firing"]).await;
    assert_eq!(reserve.service.about("later"), [""; 0]);
    let waiting = until("two failures of the sink", SOON, async || {
        let deliveries = router.get("/api/deliveries").await;
        let waiting = deliveries["waiting"].as_array().unwrap().iter();
        let failed = |one: &&Value| {
            let failure = one["lastFailure"].as_str().unwrap_or_default();
            one["sink"] == "main" && failure.contains("503: closed for repairs")
        };
        let waiting: Vec<Value> = waiting.filter(failed).cloned().collect();
        if waiting.len() == 2 {
            return Ok(waiting);
        }
        Err(format!("{deliveries}\n{}", router.tail()))
    })
    .await;
    for one in &waiting {
        assert_eq!(one["fellBack"], one["severity"] == "P1", "{one}");
    }
    reserve
        .has_within(&router, "later", &["firing"], Duration::from_secs(120))
        .await;
    let urgent = alert(&router, "urgent", "that fires", |one| {
        one["state"] == "firing"
    })
    .await;
    let explained = story(&router, &urgent).await;
    assert!(
        explained.contains("goes to the fallback reserve")
            && explained.contains("too: the first attempt failed"),
        "{explained}"
    );

    // Repaired: it gets what it missed, once, and both hear of the end.
    main.service.always(None);
    let id = waiting[0]["id"].as_str().unwrap();
    router.post(&format!("/api/deliveries/{id}/retry")).await;
    for key in ["urgent", "later"] {
        main.has_within(&router, key, &["firing"], Duration::from_secs(120))
            .await;
    }
    reload(&router, &with(&[])).await;
    for channel in [&main, &reserve] {
        for key in ["urgent", "later"] {
            channel.has(&router, key, &["firing", "resolved"]).await;
        }
    }
    until("nothing that waits", SOON, async || {
        let deliveries = router.get("/api/deliveries").await;
        if deliveries == json!({ "waiting": [], "deadLetters": [] }) {
            return Ok(());
        }
        Err(deliveries.to_string())
    })
    .await;
    router.end().await;
}

/// A room of Slack, whose address a file holds, with the channel as its fallback; what is said of sinks goes to the channel.
fn with_room(alerts: &[&str], room: &Receiver, authority: &Authority, channel: &Channel) -> Config {
    let (url, ca_file) = (room.url(), authority.ca_file());
    config(alerts)
        .set("alerts", "rules = [\"hostile-rule\", \"default-alerts\"]")
        .set("plugins.config.default-alerts", "disk_share = 1.0")
        .plugin("default-alerts.wasm")
        .plugin("slack.wasm")
        .tail(&format!(
            "[sink.room]\nplugin = \"slack\"\nsecrets = {{ webhook_url = \"HOOK\" }}\nallow = [\"{url}\"]\n\
             ca_file = {ca_file:?}\nfallback = \"{}\"\n",
            channel.name
        ))
        .tail(&channel.section(""))
        .tail("[[alerts.route]]\nname = [\"Own*\"]\nsinks = [\"room\"]\n")
        .tail("[[alerts.route]]\nsinks = [\"chat\"]\n")
}

async fn messages(router: &Router, slack: &Slack, count: usize) {
    until(
        &format!("{count} messages in the room"),
        SOON,
        async || match slack.messages() {
            messages if messages.len() == count => Ok(()),
            messages => Err(format!("{messages:#?}\n{}", router.tail())),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_gone_and_one_that_refuses_are_reported_through_another() {
    const HOOK: &str = "/services/T0001/B0001/abcdefghijklmnop";
    let authority = Authority::new();
    let chat = Channel::start(&authority, "chat").await;
    let slack = Slack::at(HOOK);
    let mut room = Receiver::start(&authority, slack.clone()).await;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        secret.path(),
        format!("{}/services/T0001/B0001/withdrawn", room.url()),
    )
    .unwrap();
    let with = |alerts: &[&str], room: &Receiver| with_room(alerts, room, &authority, &chat);
    let first = with(&["one = \"P2 OwnOne\""], &room);
    let router = start_with(&first, &[("HOOK_FILE", secret.path().to_str().unwrap())]).await;

    // Nobody is there any more: what is for it goes to the fallback at once, and nothing is sent there again.
    chat.has(&router, "one", &["firing"]).await;
    chat.has(&router, "SinkGone/room", &["firing"]).await;
    room.next().await;
    let two = with(&["one = \"P2 OwnOne\"", "two = \"P2 OwnTwo\""], &room);
    reload(&router, &two).await;
    chat.has(&router, "two", &["firing"]).await;
    assert!(room.is_quiet(), "something was sent to a sink that is gone");
    let one = alert(&router, "one", "that fires", |one| one["state"] == "firing").await;
    let explained = story(&router, &one).await;
    assert!(
        explained.contains("to room after 1 attempt(s) waits, ")
            && explained.contains("it answered 404: no_service"),
        "{explained}"
    );
    assert!(
        explained.contains("goes to the fallback chat"),
        "{explained}"
    );

    // Its secret is another one: what waited arrives.
    std::fs::write(secret.path(), format!("{}{HOOK}", room.url())).unwrap();
    router.post("/api/config/reload").await;
    messages(&router, &slack, 2).await;
    chat.has(&router, "SinkGone/room", &["firing", "resolved"])
        .await;

    // What it refuses is a dead letter, and the fallback has it.
    slack.next_is(Reply::text(400, "invalid_blocks"));
    let three = with(
        &[
            "one = \"P2 OwnOne\"",
            "two = \"P2 OwnTwo\"",
            "three = \"P2 OwnThree\"",
        ],
        &room,
    );
    reload(&router, &three).await;
    chat.has(&router, "three", &["firing"]).await;
    chat.has(&router, "DeadLetters/room", &["firing"]).await;
    let deliveries = router.get("/api/deliveries").await;
    let letter = &deliveries["deadLetters"][0];
    assert_eq!(
        (&letter["sink"], &letter["attempts"]),
        (&json!("room"), &json!(1)),
        "{letter}"
    );
    assert_eq!(
        letter["reason"], "refused: it answered 400: invalid_blocks",
        "{letter}"
    );

    // Sent again, it arrives, and the condition is over.
    let mut command = router.command();
    command
        .args(["deliveries", "retry", letter["id"].as_str().unwrap()])
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    assert!(command.status().await.unwrap().success());
    messages(&router, &slack, 3).await;
    chat.has(&router, "DeadLetters/room", &["firing", "resolved"])
        .await;
    let deliveries = router.get("/api/deliveries").await;
    assert_eq!(deliveries["deadLetters"], json!([]), "{deliveries}");
    router.end().await;
}
