//! Alerts of a whole router: what fires, who is notified of it, what an operator does, and that a restart notifies nobody twice.

use std::time::Duration;

use reqwest::Method;
use router_tests::{
    Config, Router, blocks, peers,
    receivers::{Authority, PagerDuty, Receiver, Reply, Slack},
    shell::run,
    until,
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

/// An instance in its crash loop beside one that works.
pub(crate) fn config() -> Config {
    Config::new()
        .set("health", "disk_share = 1.0")
        // A developer's disk is none of these tests' business.
        .set("plugins.config.default-alerts", "disk_share = 1.0")
        .set("instances.restart", "initial = \"200ms\"")
        .set("alerts", "group_interval = \"1s\"")
        .bundled_alerts()
        .server(peers::echo().autostart())
        .server(
            peers::scripted(&["--exit", "3"])
                .named("looping")
                .autostart(),
        )
}

pub(crate) async fn alert(
    router: &Router,
    name: &str,
    what: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    until(&format!("an alert {name} {what}"), SOON, async || {
        let all = router.get("/api/alerts?state=all").await;
        let alerts = all["alerts"].as_array().unwrap();
        let found = alerts.iter().find(|one| one["name"] == name && wanted(one));
        found
            .cloned()
            .ok_or_else(|| format!("{all}\n{}", router.tail()))
    })
    .await
}

/// An operator's command on the running router.
async fn command(router: &Router, arguments: &[&str]) -> std::process::Output {
    let mut command = router.command();
    command
        .args(arguments)
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    command.output().await.unwrap()
}

fn count(router: &Router, parts: &[&str]) -> usize {
    let log = router.log();
    log.lines()
        .filter(|line| parts.iter().all(|part| line.contains(part)))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_is_notified_once_explained_acknowledged_and_over_when_it_is_over() {
    let mut router = Router::start(&config()).await;
    let firing = alert(&router, "InstanceCrashLoop", "that fires", |one| {
        one["state"] == "firing"
    })
    .await;
    assert_eq!(firing["versionId"], "looping", "{firing}");
    assert_eq!(firing["severity"], "P2", "{firing}");
    assert!(!firing["remedy"].as_str().unwrap().is_empty(), "{firing}");
    let id = firing["id"].as_str().unwrap().to_owned();
    let line = [
        "InstanceCrashLoop",
        "severity=P2",
        "version_id: looping",
        "state=firing",
    ];
    router.logged(&line, SOON).await;

    // Who was notified and why, in sentences.
    let said = command(&router, &["alerts", "explain", &id]).await;
    let said = String::from_utf8(said.stdout).unwrap();
    for part in [
        "P2 InstanceCrashLoop",
        "fires as P2, for the first time",
        "goes to console",
        "delivered with attempt 1",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let route = router.get("/api/alerts/route?severity=P1").await;
    assert_eq!(route["sinks"][0]["sink"], "console", "{route}");

    // Killed and started again: it is known, and nobody is notified twice.
    router.kill().await;
    router.start_again().await;
    router.ready("echo").await;
    let known = alert(&router, "InstanceCrashLoop", "that is known", |one| {
        one["state"] == "firing"
    })
    .await;
    assert_eq!((&known["id"], &known["firing"]), (&firing["id"], &json!(1)));
    assert_eq!(known["since"], firing["since"]);

    // Somebody is on it.
    let acknowledged = router.post(&format!("/api/alerts/{id}/ack")).await;
    assert_eq!(acknowledged["state"], "acknowledged", "{acknowledged}");
    assert_eq!(acknowledged["acknowledged"]["by"], "loopback");
    router
        .logged(&["alert acknowledged", "InstanceCrashLoop"], SOON)
        .await;
    assert_eq!(count(&router, &line), 1, "{}", router.log());

    // It is stopped: the condition is gone, and the alert half a minute later.
    router.post("/api/instances/looping/stop").await;
    let over = alert(&router, "InstanceCrashLoop", "that is over", |one| {
        one["state"] == "resolved"
    })
    .await;
    assert_eq!(over["id"], firing["id"]);
    router
        .logged(&["alert resolved", "InstanceCrashLoop"], SOON)
        .await;
    let history = router.get("/api/history?axis=alert").await;
    let states: Vec<&str> = history["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["versionId"] == "looping")
        .map(|row| row["to"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["resolved", "acknowledged", "firing"], "{history}");
    let audit = router.get("/api/audit?action=alert.acknowledge").await;
    assert_eq!(audit["rows"][0]["target"], id.as_str(), "{audit}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silence_says_what_it_mutes_and_mutes_that() {
    let router = Router::start(&config().set("alerts", "group_wait = \"1s\"")).await;
    let silence = json!({
        "matcher": { "instance": ["loop*"] }, "for": "1h", "reason": "known, being repaired"
    });
    let (status, made) = router
        .ask(Method::POST, "/api/silences", Some(&silence))
        .await;
    assert_eq!(status, 201, "{made}");
    let muted = alert(&router, "InstanceCrashLoop", "that is muted", |one| {
        one["state"] == "firing" && one["muted"]["by"] == "silence"
    })
    .await;
    assert_eq!(muted["notified"], json!([]), "{muted}");
    assert_eq!(
        count(&router, &["state=firing", "InstanceCrashLoop"]),
        0,
        "{}",
        router.log()
    );
    let (_, preview) = router
        .ask(Method::POST, "/api/silences?preview=true", Some(&silence))
        .await;
    assert!(
        preview.to_string().contains("InstanceCrashLoop"),
        "{preview}"
    );
    let (status, refused) = router
        .ask(
            Method::POST,
            "/api/silences",
            Some(&json!({"matcher": {}, "for": "1h", "reason": "x"})),
        )
        .await;
    assert_eq!(status, 400, "{refused}");

    // It ends, and who was to be notified is.
    let (status, _) = router
        .ask(
            Method::DELETE,
            &format!("/api/silences/{}", made["id"]),
            None,
        )
        .await;
    assert_eq!(status, 204);
    router
        .logged(&["InstanceCrashLoop", "state=firing"], SOON)
        .await;
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_says_for_each_sink_whether_it_arrived() {
    let router = Router::start(&Config::new().server(peers::echo())).await;
    let tested = command(&router, &["alerts", "test"]).await;
    let said = String::from_utf8(tested.stdout).unwrap();
    assert!(
        tested.status.success() && said.contains("console: arrived"),
        "{said}"
    );
    router.logged(&["alert test"], SOON).await;

    // The commands of the guide, as they stand in it.
    let blocks = blocks::read(&peers::repository().join("docs/alerts.md"));
    for (name, shown) in [
        ("alerts", "no alert is open"),
        ("alerts-past", "console  delivered"),
        ("alerts-test", "\"deadLetters\": []"),
    ] {
        let block = blocks.iter().find(|block| block.name == name).unwrap();
        let output = run(&router, &block.text, &[]).await.fine();
        assert!(output.stdout.contains(shown), "{output:?}");
    }
    let unknown = command(&router, &["alerts", "test", "--sink", "pager"]).await;
    assert!(!unknown.status.success());
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains("there is no such sink"), "{said}");
    router.end().await;
}

/// Slack and PagerDuty by their plugins, both behind receivers of the test's own.
pub(crate) fn with_sinks(
    config: Config,
    chat: &Receiver,
    pager: &Receiver,
    authority: &Authority,
) -> Config {
    let (chat, pager, ca_file) = (chat.url(), pager.url(), authority.ca_file());
    config
        .plugin("slack.wasm")
        .plugin("pagerduty.wasm")
        .tail(&format!(
            "[sink.chat]\nplugin = \"slack\"\nsecrets = {{ webhook_url = \"HOOK\" }}\nallow = [\"{chat}\"]\nca_file = {ca_file:?}\n\
             [sink.pager]\nplugin = \"pagerduty\"\nsecrets = {{ routing_key = \"KEY\" }}\n\
             config = {{ url = \"{pager}/v2/enqueue\" }}\nallow = [\"{pager}\"]\nca_file = {ca_file:?}"
        ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_before_a_kill_is_not_sent_again_and_what_failed_is() {
    const HOOK: &str = "/services/T0001/B0001/abcdefghijklmnop";
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let authority = Authority::new();
    let (slack, pager_duty) = (Slack::at(HOOK), PagerDuty::with_keys(&[KEY]));
    // PagerDuty takes nothing at first: its page is on its way when the router dies.
    pager_duty.next_is(Reply::text(503, "maintenance"));
    let chat = Receiver::start(&authority, slack.clone()).await;
    let pager = Receiver::start(&authority, pager_duty.clone()).await;
    let config = with_sinks(config(), &chat, &pager, &authority);
    let hook = format!("{}{HOOK}", chat.url());
    let mut router = Router::prepared(&config, &[("HOOK", hook.as_str()), ("KEY", KEY)]);
    router.start_again().await;
    let firing = alert(&router, "InstanceCrashLoop", "that fires", |one| {
        one["state"] == "firing"
    })
    .await;
    let key = format!("{}#1", firing["key"].as_str().unwrap());
    until("the message in the channel", SOON, async || {
        match slack.messages().len() {
            1 => Ok(()),
            count => Err(format!("{count} messages\n{}", router.tail())),
        }
    })
    .await;
    // The channel has it before the router knows that it does: killed in between, it may send it again.
    until("the message's end in the journal", SOON, async || {
        let deliveries = router.get("/api/deliveries").await;
        let waiting = deliveries["waiting"].as_array().unwrap();
        let is_kept = waiting.iter().all(|one| one["sink"] != "chat");
        is_kept.then_some(()).ok_or_else(|| deliveries.to_string())
    })
    .await;
    assert_eq!(pager_duty.incident(KEY, &key), None);
    router.kill().await;
    router.start_again().await;
    until("the page", SOON, async || {
        match pager_duty.incident(KEY, &key) {
            Some("triggered") => Ok(()),
            other => Err(format!("{other:?}\n{}", router.tail())),
        }
    })
    .await;
    router.post("/api/instances/looping/stop").await;
    until("the end of the incident", SOON, async || {
        match pager_duty.incident(KEY, &key) {
            Some("resolved") => Ok(()),
            other => Err(format!("{other:?}\n{}", router.tail())),
        }
    })
    .await;
    until("the end in the channel", SOON, async || {
        match slack.messages().len() {
            2 => Ok(()),
            count => Err(format!("{count} messages\n{}", router.tail())),
        }
    })
    .await;
    let messages: Vec<String> = slack
        .messages()
        .iter()
        .map(|message| message["text"].to_string())
        .collect();
    assert!(
        messages[0].contains("firing") && messages[1].contains("resolved"),
        "{messages:?}"
    );
    for secret in ["abcdefghijklmnop", KEY] {
        assert!(!router.log().contains(secret), "{}", router.log());
    }
    router.end().await;
}
