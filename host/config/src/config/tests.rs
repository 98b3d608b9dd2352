//! The shipped file, the examples, the environment, and what a definition by JSON makes of the same rules.

use std::{collections::BTreeSet, path::Path, time::Duration};

use router_core::{Role, spec::Source};

use crate::{
    Applies, Config, Environment, Faults, Setting, SettingOrigin, SinkName, load,
    parse_instance_json,
};

const SHIPPED: &str = include_str!("../../../../config/router.toml");
const NONE: [(&str, &str); 0] = [];

fn environment<'e>(variables: impl IntoIterator<Item = (&'e str, &'e str)>) -> Environment {
    Environment::new("/srv/router", variables)
}

fn read<'e>(
    text: &str,
    variables: impl IntoIterator<Item = (&'e str, &'e str)>,
) -> Result<Config, Faults> {
    load(text, Path::new("router.toml"), &environment(variables))
}

fn good(text: &str) -> Config {
    read(text, NONE).unwrap_or_else(|faults| panic!("{faults}"))
}

fn setting<'c>(config: &'c Config, key: &str) -> &'c Setting {
    let mut all = config.settings.iter();
    all.find(|setting| setting.key == key)
        .unwrap_or_else(|| panic!("{key}"))
}

/// The shipped file with its commented keys switched on, and what cannot stand beside another taken out.
fn shipped_with_everything() -> String {
    let switched_on = SHIPPED.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => key,
        _ => line,
    });
    switched_on.collect::<Vec<_>>().join("\n")
}

/// One section of each kind whose name or number is chosen.
const ONE_OF_EACH: &str = r#"
[[token]]
name = "a"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
roles = ["viewer"]
[template.one]
command = "true"
[[instance]]
id = "one"
template = "one"
[sink.one]
plugin = "slack"
[[alerts.route]]
sinks = ["one"]
escalation = "one"
[alerts.escalation.one]
steps = [{ after = "1m", sinks = ["one"] }]
[[alerts.maintenance]]
name = "one"
at = "Mon 02:00"
for = "1h"
"#;

/// What the sinks of the shipped file name.
const SECRETS: [(&str, &str); 3] = [
    ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x"),
    ("PAGERDUTY_ROUTING_KEY", "x"),
    ("PAGERDUTY_WEBHOOK_SECRET", "x"),
];

#[test]
fn the_shipped_file_documents_every_key() {
    let everything = shipped_with_everything();
    let (document, faults, _) = crate::node::from_toml(&everything);
    assert!(faults.is_empty(), "{faults:?}");
    let known = good(ONE_OF_EACH);
    let schema: BTreeSet<&str> = known
        .settings
        .iter()
        .map(|setting| setting.schema_key.as_str())
        // One place documents both.
        .filter(|key| !key.starts_with("template.NAME.breaker."))
        .collect();
    assert!(schema.len() > 120, "{}", schema.len());
    for key in schema {
        let parts: Vec<&str> = key.split('.').collect();
        let is_there = documents(&document, &parts);
        assert!(is_there, "{key} is not in config/router.toml");
    }
}

/// Whether a key is there: under `NAME`, and in a list, in one of those that are there.
fn documents(table: &crate::node::Table, parts: &[&str]) -> bool {
    use crate::node::Raw;
    let (part, rest) = parts.split_first().unwrap();
    let entries = table.entries.iter();
    let mut entries = entries.filter(|(name, _)| *part == "NAME" || part == name);
    entries.any(|(_, entry)| match &entry.node.raw {
        _ if rest.is_empty() => true,
        Raw::Table(inner) => documents(inner, rest),
        Raw::List(items) => items
            .iter()
            .any(|item| matches!(&item.raw, Raw::Table(inner) if documents(inner, rest))),
        _ => false,
    })
}

#[test]
fn the_shipped_file_shows_every_default_as_it_is_built_in() {
    let shipped = good(SHIPPED);
    for setting in &shipped.settings {
        let Some(default) = &setting.default else {
            continue;
        };
        // These are the demo's.
        if ["template.godot.args", "template.godot.command"].contains(&setting.key.as_str()) {
            continue;
        }
        // What is inherited is not repeated.
        if setting.key.starts_with("template.godot.breaker.") {
            continue;
        }
        assert!(
            matches!(setting.origin, SettingOrigin::Line(_)),
            "{} is not set",
            setting.key
        );
        if setting.key == "storage.url" {
            // Shown absolute.
            assert_eq!(
                setting.value.as_deref(),
                Some("\"sqlite:///srv/router/data/router.db\"")
            );
            continue;
        }
        assert_eq!(setting.value.as_ref(), Some(default), "{}", setting.key);
    }
}

#[test]
fn no_file_at_all_means_the_same_as_the_shipped_one() {
    let (empty, shipped) = (good(""), good(SHIPPED));
    assert_eq!(empty.server, shipped.server);
    assert_eq!(empty.storage, shipped.storage);
    assert_eq!(empty.audit, shipped.audit);
    assert_eq!(empty.logging, shipped.logging);
    assert_eq!(empty.instances, shipped.instances);
    assert_eq!(empty.breaker, shipped.breaker);
    assert_eq!(empty.health, shipped.health);
    assert_eq!(empty.policies, shipped.policies);
    assert_eq!(empty.plugins.limits, shipped.plugins.limits);
    assert_eq!(empty.sinks, shipped.sinks);
    assert_eq!(empty.alerts, shipped.alerts);
    let core = shipped.core_settings(7, 9);
    assert_eq!(core.templates[..], ["godot".into()]);
    let without = router_core::settings::Settings {
        templates: [].into(),
        ..core
    };
    assert_eq!(empty.core_settings(7, 9), without);
    assert!(shipped.notices.is_empty(), "{:?}", shipped.notices);
}

/// The core has defaults of its own, for its tests; two truths would drift apart.
#[test]
fn the_defaults_are_those_of_the_core() {
    let core = router_core::settings::Settings {
        health_policies: ["default-health".into()].into(),
        breaker_policy: ["default-breaker".into()].into(),
        capacity_policy: Some("default-capacity".into()),
        seed: 7,
        first_run: 9,
        ..Default::default()
    };
    assert_eq!(good("").core_settings(7, 9), core);
    let config = good(SHIPPED);
    let spec = config
        .define(&config.instance[0], Source::Config)
        .unwrap()
        .spec;
    let id = config.instance[0].id.clone();
    let core = router_core::spec::InstanceSpec {
        autostart: true,
        keep_on_exit: true,
        template: "godot".into(),
        ..router_core::spec::InstanceSpec::new(id, Source::Config, spec.digest)
    };
    assert_eq!(spec, core);
}

#[test]
fn the_file_with_everything_switched_on_is_valid_but_for_what_excludes_another() {
    let everything = shipped_with_everything();
    let faults = read(&everything, SECRETS).unwrap_err();
    let keys: BTreeSet<&str> = faults
        .faults
        .iter()
        .map(|fault| fault.key.as_str())
        .collect();
    let excluded = [
        // What stands there says how to make one.
        "server.session_key",
        "server.session_key_file",
        "storage.password",
        "storage.password_file",
        "storage.url_file",
        "alerts.heartbeat_url_file",
        "sink.oncall.proxy_file",
    ];
    assert_eq!(keys, BTreeSet::from(excluded), "{faults}");
}

#[test]
fn the_examples_are_valid() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        // Their secrets come from where the example says; here, from the environment.
        let variables = [("DATABASE_PASSWORD", "x")];
        let config = load(&text, &path, &environment(variables)).unwrap_or_else(|e| panic!("{e}"));
        for instance in &config.instance {
            config.define(instance, Source::Config).unwrap();
        }
        seen += 1;
    }
    assert!(seen >= 2);
}

/// Every variable of the contract, with its unit.
#[test]
fn the_environment_wins_over_the_file() {
    let file = r#"
[server]
listen = "127.0.0.1:1"
[storage]
url = "sqlite://elsewhere.db"
pool_size = 3
[audit]
enabled = true
[logging]
level = "warn"
[instances]
socket_timeout = "1s"
"#;
    let config = read(
        file,
        [
            ("LISTEN", "[::1]:4000"),
            ("DATABASE_URL", "postgres://app@db/games"),
            ("DATABASE_PASSWORD", "hunter2"),
            ("DATABASE_POOL_SIZE", "15"),
            ("DATABASE_POOL_IDLE_TIMEOUT", "45000"),
            ("DB_QUERY_TIMEOUT", "12000"),
            ("SOCKET_TIMEOUT", "10000"),
            ("REQUEST_TIMEOUT", "60000"),
            ("CACHE_TTL", "60000"),
            ("ENABLE_AUDIT_LOG", "false"),
            ("MCP_IDLE_TIMEOUT", "1800500"),
            ("INSTANCE_SPAWN_TIMEOUT", "20s"),
            ("LOG_LEVEL", "DEBUG"),
            ("LOG_FORMAT", "json"),
            ("GMR_SERVER__LOOPBACK_ROLES", "viewer, admin"),
            ("GMR_SERVER__PUBLIC_METRICS", "1"),
            ("GMR_INSTANCES__RESTART__MAX", "2m"),
            ("GMR_INSTANCES__CRASH_LOOP__SLOW_RETRY", "off"),
            ("GMR_BREAKER__FAILURE_SHARE", "0.25"),
            ("GMR_SERVER__MAX_BODY_MB", ""),
        ],
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.server.listen.to_string(), "[::1]:4000");
    assert_eq!(config.storage.url.to_string(), "postgres://app@db/games");
    assert_eq!(config.storage.password.unwrap().expose(), "hunter2");
    assert_eq!(config.storage.pool_size, 15);
    assert_eq!(config.storage.pool_idle_timeout, Duration::from_secs(45));
    assert_eq!(config.storage.query_timeout, Duration::from_secs(12));
    assert_eq!(config.instances.socket_timeout, Duration::from_secs(10));
    assert_eq!(config.instances.request_timeout, Duration::from_secs(60));
    assert_eq!(config.instances.cache_ttl, Some(Duration::from_secs(60)));
    assert!(!config.audit.enabled);
    let idle = Some(Duration::from_millis(1_800_500));
    assert_eq!(config.instances.idle_timeout, idle);
    assert_eq!(config.instances.spawn_timeout, Duration::from_secs(20));
    assert_eq!(config.logging.level.as_str(), "debug");
    assert_eq!(config.logging.format, router_values::LogFormat::Json);
    assert_eq!(config.server.loopback_roles, [Role::Viewer, Role::Admin]);
    assert!(config.server.public_metrics);
    assert_eq!(config.instances.restart.max, Duration::from_secs(120));
    assert_eq!(config.instances.crash_loop.slow_retry, None);
    assert!((config.breaker.failure_share - 0.25).abs() < f64::EPSILON);
    assert_eq!(config.server.max_body_bytes, 16 << 20);
}

#[test]
fn templates_can_be_reached_from_the_environment_and_off_switches_off() {
    let variables = [
        ("GMR_TEMPLATE__GODOT__MAX_MEMORY_MB", "256"),
        ("GMR_TEMPLATE__GODOT__BREAKER__SUCCESSES", "5"),
        ("MCP_IDLE_TIMEOUT", "0"),
    ];
    let config = read(SHIPPED, variables).unwrap_or_else(|faults| panic!("{faults}"));
    let defined = config.define(&config.instance[0], Source::Config).unwrap();
    assert_eq!(defined.launch.max_memory_bytes, Some(256 << 20));
    assert_eq!(defined.spec.breaker.unwrap().successes, 5);
    assert_eq!(defined.spec.idle_stop_ms, None);
}

#[test]
fn database_url_and_postgres_url_are_one_and_secrets_may_stand_in_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let file = file.to_str().unwrap();
    let config = read(
        "",
        [
            ("POSTGRES_URL", "postgres://a/x"),
            ("DATABASE_URL", "postgres://a/x"),
            ("DATABASE_PASSWORD_FILE", file),
        ],
    )
    .unwrap();
    assert_eq!(config.storage.url.to_string(), "postgres://a/x");
    assert_eq!(config.storage.password.unwrap().expose(), "hunter2");
    let text = format!("[storage]\nurl = \"postgres://a/x\"\npassword_file = {file:?}");
    assert_eq!(good(&text).storage.password.unwrap().expose(), "hunter2");
    // The path of the configuration file plays no part in where relative paths lead.
    let here = Environment::new(dir.path(), NONE);
    let text = "[storage]\nurl = \"postgres://a/x\"\npassword_file = \"password\"";
    let config = load(text, Path::new("/etc/router/router.toml"), &here).unwrap();
    assert_eq!(config.storage.password.unwrap().expose(), "hunter2");
}

#[test]
fn relative_paths_start_where_the_router_is_started() {
    let text = format!(
        "{}\n{}",
        "[logging]\ndir = \"var/logs\"\n[plugins]\ndir = \"/opt/plugins\"\n[instances]\nsocket_dir = \"run\"",
        "[template.t]\ncommand = \"bin/server\"\ncwd = \"games/{id}\"\n[[instance]]\nid = \"a\"\ntemplate = \"t\""
    );
    let config = load(
        &text,
        Path::new("/etc/elsewhere/router.toml"),
        &environment(NONE),
    )
    .unwrap();
    assert_eq!(config.logging.dir, Path::new("/srv/router/var/logs"));
    assert_eq!(config.plugins.dir, Path::new("/opt/plugins"));
    assert_eq!(config.server.data_dir, Path::new("/srv/router/data"));
    let file = config.storage.url.file();
    assert_eq!(file, Some(Path::new("/srv/router/data/router.db")));
    let launch = config
        .define(&config.instance[0], Source::Config)
        .unwrap()
        .launch;
    assert_eq!(launch.command, "/srv/router/bin/server");
    assert_eq!(
        launch.cwd.as_deref(),
        Some(Path::new("/srv/router/games/a"))
    );
    assert_eq!(
        launch.socket_path,
        Path::new("/srv/router/run/godot-mcp-a.sock")
    );
}

#[test]
fn no_secret_is_in_what_can_be_printed() {
    let text = r#"
[server]
session_key = "hunter2hunter2hunter2hunter2hunter2"
[storage]
url = "postgres://app:hunter2@db/games"
[template.t]
command = "node"
env = { API_KEY = "hunter2" }
[[instance]]
id = "a"
template = "t"
env = { TOKEN = "hunter2" }
[sink.slack]
plugin = "slack"
secrets = { webhook_url = "SLACK_WEBHOOK_URL" }
allow = ["https://hooks.slack.com"]
proxy = "http://ann:hunter2@proxy.example:3128"
webhook_secret = "SIGNING"
[alerts]
heartbeat_url = "https://hc.example/hunter2"
"#;
    let config = read(
        text,
        [
            ("SLACK_WEBHOOK_URL", "https://hunter2"),
            ("SIGNING", "hunter2"),
            ("DATABASE_PASSWORD", "hunter2"),
        ],
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    assert!(!format!("{config:#?}").contains("hunter2"));
    let defined = config.define(&config.instance[0], Source::Config).unwrap();
    assert!(!format!("{defined:#?}").contains("hunter2"));
    assert_eq!(
        setting(&config, "storage.password").value.as_deref(),
        Some("[redacted]")
    );
    assert_eq!(
        setting(&config, "sink.slack.proxy").value.as_deref(),
        Some("\"http://proxy.example:3128\"")
    );
    let sink = &config.sinks[&SinkName::parse("slack").unwrap()];
    assert_eq!(sink.secrets["webhook_url"].expose(), "https://hunter2");
    assert_eq!(sink.webhook_secret.as_ref().unwrap().expose(), "hunter2");
}

#[test]
fn settings_say_where_each_value_comes_from() {
    let config = read(
        "[server]\nmax_sessions = 5\n[health]\ninterval = \"3s\"",
        [("GMR_HEALTH__INTERVAL", "4s")],
    )
    .unwrap();
    assert_eq!(
        setting(&config, "server.max_sessions").origin,
        SettingOrigin::Line(2)
    );
    assert_eq!(
        setting(&config, "server.listen").origin,
        SettingOrigin::Default
    );
    assert_eq!(setting(&config, "server.listen").applies, Applies::Restart);
    let interval = setting(&config, "health.interval");
    assert_eq!(
        interval.origin,
        SettingOrigin::Variable("GMR_HEALTH__INTERVAL".into())
    );
    assert_eq!(interval.value.as_deref(), Some("\"4s\""));
    assert_eq!(interval.default.as_deref(), Some("\"10s\""));
}

#[test]
fn what_is_not_wrong_but_may_not_be_meant_is_noticed() {
    let config = read(
        "[logging]\nretention_days = 30\n[sink.a]\nplugin = \"mine\"\n[alerts.escalation.b]\nsteps = [{ after = \"1m\", sinks = [\"a\"] }]",
        [
            ("GODOT_PROJECTS_PATH", "/srv/games"),
            ("PAGERDUTY_ROUTING_KEY", "k"),
            ("DATABASE_PASSWORD", "hunter2"),
        ],
    )
    .unwrap();
    let keys: BTreeSet<&str> = config
        .notices
        .iter()
        .map(|notice| notice.key.as_str())
        .collect();
    let expected = [
        "logging.retention_days",
        "alerts.escalation.b",
        "GODOT_PROJECTS_PATH",
        "PAGERDUTY_ROUTING_KEY",
        "storage.password",
    ];
    assert_eq!(keys, BTreeSet::from(expected));
}

#[test]
fn an_instance_in_json_is_judged_as_one_in_the_file() {
    let config = good(SHIPPED);
    let body = r#"{"id": 42, "template": "godot", "vars": {"project_path": "/g"}, "autostart": true, "policy": {"health": "builtin"}}"#;
    let instance = parse_instance_json(body, &config).unwrap_or_else(|faults| panic!("{faults}"));
    let defined = config.define(&instance, Source::Api).unwrap();
    assert_eq!(defined.spec.id.as_str(), "42");
    assert_eq!(defined.spec.health_policies.as_deref(), Some(&[][..]));
    assert_eq!(defined.launch.args, ["instance", "--project", "/g"]);
    let before = good("");
    let faults = before.define(&instance, Source::Api).unwrap_err();
    assert!(
        faults.to_string().contains("no [template.godot]"),
        "{faults}"
    );
}

/// What is wrong with a definition, as one text.
fn refused(body: &str) -> String {
    let config = good(SHIPPED);
    parse_instance_json(body, &config).unwrap_err().to_string()
}

#[test]
fn a_definition_that_is_nested_too_deep_is_refused_briefly() {
    for depth in [100, 5_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let body = format!(r#"{{"id": "deep", "template": "godot", "args": {open}1{close}}}"#);
            let said = refused(&body);
            assert!(
                said.starts_with("this is nested deeper than 64 levels"),
                "{depth}: {said}"
            );
            assert!(said.len() < 1_000, "{depth}: {said}");
        }
    }
}

#[test]
fn an_id_may_be_any_number_that_arrives_as_it_was_sent() {
    let config = good(SHIPPED);
    let body = |id: &str| {
        format!(r#"{{"id": {id}, "template": "godot", "vars": {{"project_path": "/g"}}}}"#)
    };
    for id in ["0", "42", "9223372036854775808", "18446744073709551615"] {
        let instance = parse_instance_json(&body(id), &config).unwrap();
        assert_eq!(instance.id.as_str(), id);
    }
    // Rounded on its way here, as in any program that reads JSON numbers as such.
    for id in [
        "18446744073709551616",
        "99999999999999999999999",
        "-9223372036854775809",
        "1e30",
    ] {
        let said = refused(&body(id));
        assert!(
            said.starts_with("id: this number is too large"),
            "{id}: {said}"
        );
        assert!(said.contains("write it in double quotes"), "{id}: {said}");
    }
    let said = refused(&body("1.5"));
    assert!(
        said.starts_with("id: expected a string, found a float"),
        "{said}"
    );
}

#[test]
fn a_name_that_is_given_twice_is_a_fault_wherever_it_stands() {
    let said = refused(
        r#"{"id": "a", "template": "godot", "id": "b", "vars": {"project_path": "/g", "project_path": "/h"}}"#,
    );
    assert_eq!(
        said,
        "id: this name was given before\n    remedy: keep one of the two\n\
         vars.project_path: this name was given before\n    remedy: keep one of the two"
    );
}

#[test]
fn what_no_process_can_be_started_with_is_refused_before_it_is_tried() {
    let config = good(
        "[template.t]\ncommand = \"c\"\nargs = [\"{a}{a}\", \"{b}\"]\nenv = { T = \"{b}\" }\n",
    );
    let define = |a: usize, b: usize, value: usize| {
        let (a, b, value) = ("a".repeat(a), "b".repeat(b), "v".repeat(value));
        let body = format!(
            r#"{{"id": "x", "template": "t", "vars": {{"a": "{a}", "b": "{b}"}}, "env": {{"E": "{value}"}}}}"#
        );
        parse_instance_json(&body, &config).map_err(|faults| faults.to_string())
    };
    const MOST: usize = 128 * 1024 - 1;
    define(1, 1, MOST - "E=".len()).unwrap();
    let said = define(1, 1, MOST - 1).unwrap_err();
    assert!(
        said.starts_with("env.E: the variable E has 131072 bytes"),
        "{said}"
    );
    define(MOST / 2, MOST - 2, 1).unwrap();
    let said = define(MOST / 2 + 1, 1, 1).unwrap_err();
    assert!(
        said.starts_with("template: argument 1 has 131072 bytes"),
        "{said}"
    );
    let said = define(1, MOST, 1).unwrap_err();
    assert!(
        said.starts_with("template: the variable T has 131073 bytes"),
        "{said}"
    );
    // However much a text is made to mean, it is counted and not made.
    let many = format!(
        r#"{{"id": "x", "template": "t", "vars": {{"a": "", "b": "{}"}}, "env": {{"E": "{}"}}}}"#,
        "b".repeat(500_000),
        "{b}".repeat(150_000)
    );
    let said = parse_instance_json(&many, &config).unwrap_err().to_string();
    assert!(
        said.contains("the variable E has 75000000002 bytes"),
        "{said}"
    );
    let parts: Vec<String> = (0..10)
        .map(|n| format!(r#""E{n}": "{}""#, "v".repeat(100_000)))
        .collect();
    let wide = format!(
        r#"{{"id": "x", "template": "t", "vars": {{"a": "", "b": "{}"}}, "env": {{{}}}}}"#,
        "b".repeat(30_000),
        parts.join(", ")
    );
    let said = parse_instance_json(&wide, &config).unwrap_err().to_string();
    assert!(
        said.starts_with("template: its arguments and variables have"),
        "{said}"
    );
}

#[test]
fn a_slow_call_and_the_most_processes_come_from_the_nearest_level() {
    let config = good(
        r#"
[breaker]
slow = "20s"
slow_share = 0.5
[template.plain]
command = "c"
[template.own]
command = "c"
max_processes = 64
[template.own.breaker]
slow = "1m"
[template.off]
command = "c"
breaker = { slow = "off" }
[[instance]]
id = "plain"
template = "plain"
[[instance]]
id = "own"
template = "own"
max_processes = 8
[[instance]]
id = "off"
template = "off"
"#,
    );
    let defined = |at: usize| config.define(&config.instance[at], Source::Config).unwrap();
    let all = config.core_settings(0, 1).breaker;
    let slow_ms = |at: usize| defined(at).spec.breaker.as_ref().unwrap_or(&all).slow_ms;
    assert_eq!(slow_ms(0), Some(20_000));
    assert_eq!(slow_ms(1), Some(60_000));
    assert_eq!(slow_ms(2), None);
    let origin = |template: &str, key: &str| {
        let origins = config.breaker_origins(template);
        let origin = origins.into_iter().find(|(name, _)| *name == key);
        origin.unwrap().1
    };
    assert_eq!(origin("plain", "slowMs"), "breaker");
    assert_eq!(origin("own", "slowMs"), "template.own.breaker");
    assert_eq!(origin("own", "slowShare"), "breaker");
    assert_eq!(origin("own", "windowMs"), "default");
    assert_eq!(origin("gone", "slowShare"), "breaker");
    assert_eq!(defined(0).launch.max_processes, None);
    assert_eq!(defined(1).launch.max_processes, Some(8));
    assert_eq!(defined(1).spec.max_processes, Some(8));
    assert_eq!(good(SHIPPED).breaker.slow, None);
}
