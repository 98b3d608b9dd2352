//! What `alerts test` says: one line for each sink, and of one that nothing arrives at why, in the words of the receiver.

use std::{sync::Arc, time::Duration};

use router_tests::{
    Config, Router, peers,
    receivers::{Authority, PagerDuty, Receiver, Reply, Slack},
};

const SOON: Duration = Duration::from_secs(60);
const HOOK: &str = "/services/T0001/B0001/abcdefghijklmnop";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// What the command says of each sink, in the order of their names; and whether it ended well.
async fn tested(router: &Router, arguments: &[&str]) -> (Vec<String>, bool) {
    let mut command = router.command();
    command
        .args(["alerts", "test"])
        .args(arguments)
        .env("GODOT_MCP_ROUTER_URL", router.url(""));
    let output = tokio::time::timeout(Duration::from_secs(90), command.output());
    let output = output.await.expect("it ends by itself").unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines = said.lines().map(str::to_owned).collect();
    (lines, output.status.success())
}

/// `chat` and `pager` have receivers of the test's own; of `lost` there is no plugin, and `dumb` is refused by its own.
fn config(chat: &Receiver, pager: &Receiver, authority: &Authority) -> Config {
    let (chat, pager, ca_file) = (chat.url(), pager.url(), authority.ca_file());
    Config::new()
        .plugin("slack.wasm")
        .plugin("pagerduty.wasm")
        .plugin("alertmanager.wasm")
        .server(peers::echo())
        .tail(&format!(
            "[sink.chat]\nplugin = \"slack\"\nsecrets = {{ webhook_url = \"HOOK\" }}\nallow = [\"{chat}\"]\nca_file = {ca_file:?}\n\
             [sink.dumb]\nplugin = \"alertmanager\"\n\
             [sink.lost]\nplugin = \"pigeon\"\n\
             [sink.pager]\nplugin = \"pagerduty\"\nsecrets = {{ routing_key = \"KEY\" }}\n\
             config = {{ url = \"{pager}/v2/enqueue\" }}\nallow = [\"{pager}\"]\nca_file = {ca_file:?}"
        ))
}

fn assert_line(lines: &[String], sink: &str, parts: &[&str]) {
    let of_sink: Vec<&String> = lines
        .iter()
        .filter(|line| line.starts_with(&format!("{sink}: ")))
        .collect();
    assert_eq!(of_sink.len(), 1, "of {sink} in {lines:#?}");
    for part in parts {
        assert!(of_sink[0].contains(part), "no {part:?} in {}", of_sink[0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sink_that_nothing_arrives_at_says_why_in_one_line() {
    let authority = Authority::new();
    let (slack, pager_duty) = (Slack::at(HOOK), PagerDuty::with_keys(&[KEY]));
    let chat = Receiver::start(&authority, Arc::clone(&slack)).await;
    let pager = Receiver::start(&authority, Arc::clone(&pager_duty)).await;
    let hook = format!("{}{HOOK}", chat.url());
    let config = config(&chat, &pager, &authority);
    let router = Router::start_with(&config, &[("HOOK", hook.as_str()), ("KEY", KEY)]).await;
    let directory = router.path("plugins").display().to_string();

    router
        .logged(
            &[
                "plugin of a sink not found: its deliveries wait",
                "sink.lost",
            ],
            SOON,
        )
        .await;
    // What a receiver answers is no line of its own, and no command for a terminal; its secrets are not shown.
    slack.next_is(Reply::text(
        503,
        format!("down\nlost: arrived\r\n\u{1b}[2Jat {hook}"),
    ));
    pager_duty.next_is(Reply::text(503, "busy"));
    let (lines, is_fine) = tested(&router, &[]).await;
    assert!(!is_fine, "{lines:#?}");
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert_line(
        &lines,
        "chat",
        &["did not arrive", "503: down lost: arrived"],
    );
    assert_line(&lines, "console", &["arrived"]);
    assert_line(
        &lines,
        "dumb",
        &[
            "did not arrive",
            "sink.dumb is refused",
            "config.url is missing",
        ],
    );
    assert_line(
        &lines,
        "lost",
        &[
            "did not arrive",
            "sink.lost is missing",
            "the plugin pigeon",
            &directory,
            "holds no pigeon.wasm",
        ],
    );
    assert_line(&lines, "pager", &["did not arrive", "503: busy"]);
    for secret in ["abcdefghijklmnop", KEY, "\u{1b}"] {
        assert!(!lines.concat().contains(secret), "{lines:#?}");
    }

    // It is gone: now, and when it is asked once more nothing is sent, and the same is said at once.
    slack.next_is(Reply::text(404, "no_service"));
    for _ in 0..2 {
        let (lines, is_fine) = tested(&router, &["--sink", "chat"]).await;
        assert!(!is_fine && lines.len() == 1, "{lines:#?}");
        assert_line(&lines, "chat", &["did not arrive", "404: no_service"]);
    }
    assert!(slack.messages().is_empty());

    // Its breaker is open: until when, and what the receiver said.
    for _ in 0..3 {
        pager_duty.next_is(Reply::text(500, "on fire"));
        tested(&router, &["--sink", "pager"]).await;
    }
    let (lines, _) = tested(&router, &["--sink", "pager"]).await;
    assert_line(
        &lines,
        "pager",
        &["did not arrive", "circuit breaker", "500: on fire"],
    );
    router.end().await;
}
