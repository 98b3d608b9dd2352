//! A configuration that is wrong: everything that is wrong with it is said at once, by key and line, with exit code 64, before any
//! port is bound. Every message has its golden test beside the configuration; here it is the program that is asked.

use router_tests::{Config, Router, peers};

const FAULTY: &str = r#"[server]
listen = "127.0.0.1:0"
lissten = "typo"
max_connections = "many"

[logging]
level = "loud"

[instances]
spawn_timeout = "soon"

[template.one]
command = "true"
transport = "telepathy"

[[instance]]
id = "no spaces"
template = "one"

[[instance]]
id = "orphan"
template = "nowhere"

[[instance]]
id = "twin"
template = "one"

[[instance]]
id = "twin"
template = "one"
"#;

/// What is wrong, and on which line it stands.
const FAULTS: [(&str, &str); 8] = [
    ("lissten", "3"),
    ("max_connections", "4"),
    ("level", "7"),
    ("spawn_timeout", "10"),
    ("transport", "14"),
    ("no spaces", "17"),
    ("nowhere", "22"),
    ("twin", "29"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_faults_are_listed_with_key_and_line_before_a_port_is_bound() {
    let router = Router::prepared(&Config::new(), &[]);
    std::fs::write(router.config_path(), FAULTY).unwrap();
    for command in ["check", "serve"] {
        let output = router.run(&[command]).await;
        assert_eq!(output.status.code(), Some(64), "{command}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        for (key, line) in FAULTS {
            let named = said
                .lines()
                .any(|text| text.contains(key) && has_number(text, line));
            assert!(
                named,
                "{command}: {key} of line {line} is not named in:\n{said}"
            );
        }
    }
    assert!(!router.path("data/listen").exists(), "a port was bound");
}

fn has_number(text: &str, number: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit())
        .any(|word| word == number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_variable_is_named_and_a_secret_is_not_shown() {
    let environment = [
        ("DATABASE_POOL_SIZE", "plenty"),
        ("DATABASE_URL", "mysql://user:hunter2-secret@db/x"),
        ("GMR_SERVER__NO_SUCH_KEY", "1"),
    ];
    let router = Router::prepared(&Config::new(), &environment);
    let output = router.run(&["check"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    for name in [
        "DATABASE_POOL_SIZE",
        "DATABASE_URL",
        "GMR_SERVER__NO_SUCH_KEY",
    ] {
        assert!(said.contains(name), "{name} is not named in:\n{said}");
    }
    assert!(
        !said.contains("hunter2-secret"),
        "a password is shown:\n{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_path_that_is_too_long_is_refused_with_the_remedy() {
    let config = Config::new()
        .set(
            "instances",
            &format!("socket_dir = \"/tmp/{}\"", "d".repeat(90)),
        )
        .server(peers::echo());
    let router = Router::prepared(&config, &[]);
    let output = router.run(&["check"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("107") && said.contains("socket_dir"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_configuration_is_said_to_be_good() {
    let router = Router::prepared(&Config::new().server(peers::echo()), &[]);
    let output = router.run(&["check"]).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faulty_file_changes_nothing_of_a_running_router() {
    let config = Config::new().server(peers::echo().autostart());
    let router = Router::start(&config).await;
    let before = router.ready("echo").await;
    std::fs::write(router.config_path(), FAULTY).unwrap();
    let (status, problem) = router
        .ask(reqwest::Method::POST, "/api/config/reload", None)
        .await;
    assert_eq!(status, 422, "{problem}");
    let faults = problem["faults"].as_array().map_or(0, Vec::len);
    assert!(faults >= FAULTS.len(), "{problem}");
    assert_eq!(router.instance("echo").await["pid"], before["pid"]);

    // And a good one applies without a restart of what did not change.
    router.write_config(&config.server(peers::echo().named("second").autostart()));
    let report = router.post("/api/config/reload").await;
    assert_eq!(report["added"], serde_json::json!(["second"]), "{report}");
    router.ready("second").await;
    assert_eq!(router.instance("echo").await["pid"], before["pid"]);
    router.end().await;
}

/// Sinks that could deliver nothing, each with what is said of it. More of them than readiness names.
const SINKS: &str = r#"
[sink.lost]
plugin = "pigeon"

[sink.silent]
plugin = "pagerduty"
allow = ["https://events.pagerduty.com"]

[sink.vague]
plugin = "slack"
secrets = { webhok_url = "HOOK" }
allow = ["https://hooks.slack.com"]

[sink.nowhere]
plugin = "alertmanager"
allow = ["http://127.0.0.1:9093"]

[sink.judge]
plugin = "default-health"

[sink.distrustful]
plugin = "webhook"
config = { url = "https://example.org/hook" }
secrets = { secret = "HOOK" }
allow = ["https://example.org"]
ca_file = "/nowhere/ca.pem"
"#;

const SINK_FAULTS: [(&str, &str); 6] = [
    (
        "sink.lost",
        "holds no pigeon.wasm: put it there, or correct the name",
    ),
    (
        "sink.silent",
        "lacks routing_key, which the plugin pagerduty needs",
    ),
    (
        "sink.vague",
        "lacks webhook_url or bot_token, which the plugin slack needs (it does not use webhok_url)",
    ),
    ("sink.nowhere", "sink.nowhere.config.url is missing"),
    ("sink.judge", "is a health-policy, which delivers nothing"),
    ("sink.distrustful", "ca_file /nowhere/ca.pem cannot be read"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_that_could_deliver_nothing_are_refused_each_with_its_line() {
    let plugins = [
        "pagerduty.wasm",
        "slack.wasm",
        "alertmanager.wasm",
        "webhook.wasm",
        "default-health.wasm",
    ];
    let config = plugins
        .iter()
        .fold(Config::new(), |config, file| config.plugin(file));
    let secret = "hunter2-secret-of-a-hook";
    let router = Router::prepared(&config.clone().tail(SINKS), &[("HOOK", secret)]);
    let text = std::fs::read_to_string(router.config_path()).unwrap();
    let line_of = |sink: &str| {
        let at = text.lines().position(|line| line == format!("[{sink}]"));
        at.unwrap() + 1
    };
    for command in ["check", "doctor"] {
        let output = router.run(&[command]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let code = if command == "check" { 64 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{command}: {said}");
        for (sink, what) in SINK_FAULTS {
            // The plugin stands in the line below the name of the section.
            let place = format!("router.toml:{}: {sink}: ", line_of(sink) + 1);
            let said_of = said.lines().find(|line| line.contains(&place));
            let said_of = said_of.unwrap_or_else(|| panic!("{command}: no {place} in\n{said}"));
            assert!(said_of.contains(what), "{command}: {said_of}");
        }
        assert!(!said.contains(secret), "{command}: {said}");
        assert!(!said.contains("is fine: "), "{command}: {said}");
    }

    // What they lack is given.
    let good = r#"
[sink.silent]
plugin = "pagerduty"
secrets = { routing_key = "HOOK" }
allow = ["https://events.pagerduty.com"]

[sink.vague]
plugin = "slack"
secrets = { bot_token = "HOOK" }
config = { channel = "alerts" }
allow = ["https://slack.com"]

[sink.nowhere]
plugin = "alertmanager"
config = { url = "http://127.0.0.1:9093" }
allow = ["http://127.0.0.1:9093"]
"#;
    router.write_config(&config.tail(good));
    let output = router.run(&["check"]).await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_the_environment_makes_is_refused_by_its_variable_where_its_plugin_is_not_there()
 {
    let variables = [("PAGERDUTY_ROUTING_KEY", "0123456789abcdef0123456789abcdef")];
    let router = Router::prepared(&Config::new(), &variables);
    let output = router.run(&["check"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(
        said.contains("PAGERDUTY_ROUTING_KEY: sink.pagerduty: ")
            && said.contains("holds no pagerduty.wasm"),
        "{said}"
    );
}
