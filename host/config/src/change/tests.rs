//! What a reload changes, and what it leaves.

use std::{collections::BTreeSet, path::Path};

use super::ConfigChange;
use crate::{Config, Environment, load};

const BEFORE: &str = r#"
[server]
listen = "127.0.0.1:3002"
[storage]
url = "postgres://app:one@db/games"
[template.godot]
command = "godot-mcp-router"
args = ["{project_path}"]
[template.idle]
command = "true"
[[instance]]
id = "a"
template = "godot"
vars = { project_path = "/a" }
[[instance]]
id = "b"
template = "godot"
vars = { project_path = "/b" }
[plugins.config.default-health]
memory_degraded_mb = 500
"#;

fn read(text: &str) -> Config {
    let environment = Environment::new("/srv", [("TOKEN", "one")]);
    load(text, Path::new("router.toml"), &environment).unwrap_or_else(|faults| panic!("{faults}"))
}

fn change(edits: &[(&str, &str)]) -> ConfigChange {
    let after = edits.iter().fold(BEFORE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    read(BEFORE).diff(&read(&after))
}

fn names<T: ToString>(set: &BTreeSet<T>) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_changes_where_only_the_writing_does() {
    let edits = [
        ("[storage]", "# a comment\n[storage]"),
        (
            "listen = \"127.0.0.1:3002\"",
            "listen = '127.0.0.1:3002'\nmax_body_mb = 16",
        ),
    ];
    let none = change(&edits);
    assert!(none.is_empty(), "{none:?}");
}

/// Writing a default down is no change.
#[test]
fn nothing_changes_where_a_default_is_written_down() {
    let shipped = include_str!("../../../../config/router.toml");
    let found = read("").diff(&read(shipped));
    assert_eq!((found.live, found.restart), (Vec::new(), Vec::new()));
}

#[test]
fn keys_are_distinguished_by_when_they_take_effect() {
    let found = change(&[
        ("127.0.0.1:3002", "127.0.0.1:3003"),
        ("app:one@", "app:two@"),
        (
            "[template.idle]",
            "[logging]\nlevel = \"debug\"\n[breaker]\nopen = \"10s\"\n[template.idle]",
        ),
    ]);
    assert_eq!(found.restart, ["server.listen", "storage.url"]);
    assert_eq!(found.live, ["breaker.open", "logging.level"]);
    assert_eq!(found.instances, super::Named::default());
    assert!(found.adjusted.is_empty(), "{found:?}");
}

#[test]
fn only_instances_that_changed_are_named() {
    let found = change(&[("\"/a\" }", "\"/elsewhere\" }")]);
    assert_eq!(names(&found.instances.changed), ["a"]);
    assert!(found.instances.added.is_empty() && found.instances.removed.is_empty());
    assert!(
        found.live.is_empty() && found.restart.is_empty(),
        "{found:?}"
    );

    let found = change(&[("id = \"b\"", "id = \"c\"")]);
    assert_eq!(names(&found.instances.added), ["c"]);
    assert_eq!(names(&found.instances.removed), ["b"]);

    // What applies to a running process needs no restart of it.
    let found = change(&[("\"/a\" }", "\"/a\" }\nidle_timeout = \"1h\"")]);
    assert!(found.instances.changed.is_empty());
    assert_eq!(names(&found.adjusted), ["a"]);
}

#[test]
fn a_changed_template_changes_its_instances() {
    let found = change(&[("[\"{project_path}\"]", "[\"--project={project_path}\"]")]);
    assert_eq!(names(&found.templates.changed), ["godot"]);
    assert_eq!(names(&found.instances.changed), ["a", "b"]);

    let found = change(&[("command = \"true\"", "command = \"false\"")]);
    assert_eq!(names(&found.templates.changed), ["idle"]);
    assert!(found.instances.changed.is_empty() && found.adjusted.is_empty());
}

#[test]
fn a_default_that_changes_adjusts_all_who_follow_it() {
    let found = change(&[(
        "[template.idle]",
        "[instances]\nidle_timeout = \"off\"\n[template.idle]",
    )]);
    assert_eq!(found.live, ["instances.idle_timeout"]);
    assert_eq!(names(&found.adjusted), ["a", "b"]);
    assert!(found.instances.changed.is_empty());
    let found = change(&[(
        "[template.idle]",
        "[breaker]\nslow = \"10s\"\n[template.idle]",
    )]);
    assert_eq!(found.live, ["breaker.slow"]);
    assert_eq!(names(&found.adjusted), ["a", "b"]);
}

#[test]
fn plugins_and_tokens_are_compared_as_a_whole() {
    let found = change(&[(
        "memory_degraded_mb = 500",
        "memory_degraded_mb = 400\n[plugins.config.other]",
    )]);
    assert_eq!(names(&found.plugin_config), ["default-health", "other"]);
    assert!(found.live.is_empty() && !found.tokens, "{found:?}");
    let token = "[[token]]\nname = \"x\"\nroles = [\"viewer\"]\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\n[storage]";
    let found = change(&[("[storage]", token)]);
    assert!(found.tokens && found.live.is_empty() && found.restart.is_empty());
}

/// Alerts and sinks, with one secret in the environment.
const ALERTS: &str = r#"
[sink.a]
plugin = "slack"
secrets = { webhook_url = "SLACK" }
allow = ["https://hooks.slack.com"]
[sink.b]
plugin = "webhook"
fallback = "a"
[[alerts.route]]
sinks = ["a"]
escalation = "c"
[alerts.escalation.c]
steps = [{ after = "1m", sinks = ["b"] }]
[[alerts.maintenance]]
name = "weekly"
at = "Mon 02:00"
for = "1h"
"#;

fn alerts(text: &str, secret: &str) -> Config {
    let environment = Environment::new("/srv", [("SLACK", secret)]);
    load(text, Path::new("router.toml"), &environment).unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn a_changed_sink_is_named_and_no_other() {
    let edits = [
        ("\"https://hooks.slack.com\"", "\"http://127.0.0.1:9\""),
        ("fallback = \"a\"", "fallback = \"console\""),
        (
            "plugin = \"webhook\"",
            "plugin = \"webhook\"\nrate = \"1/m\"",
        ),
        (
            "plugin = \"webhook\"",
            "plugin = \"webhook\"\nconfig = { url = \"x\" }",
        ),
    ];
    for ((from, to), changed) in edits.into_iter().zip(["a", "b", "b", "b"]) {
        assert!(ALERTS.contains(from), "{from}");
        let found = alerts(ALERTS, "x").diff(&alerts(&ALERTS.replace(from, to), "x"));
        assert_eq!(names(&found.sinks.changed), [changed], "{to}");
        let of_sinks = ConfigChange {
            sinks: found.sinks.clone(),
            ..ConfigChange::default()
        };
        assert_eq!(found, of_sinks, "{to}");
    }
    // Its secret is another one, and nothing in the file is.
    let found = alerts(ALERTS, "x").diff(&alerts(ALERTS, "y"));
    assert_eq!(names(&found.sinks.changed), ["a"]);
    let renamed = ALERTS
        .replace("[sink.b]", "[sink.c]")
        .replace("[\"b\"]", "[\"c\"]");
    let found = alerts(ALERTS, "x").diff(&alerts(&renamed, "x"));
    assert_eq!(names(&found.sinks.added), ["c"]);
    assert_eq!(names(&found.sinks.removed), ["b"]);
    assert_eq!(found.live, ["alerts.escalation"]);
}

#[test]
fn routes_chains_and_windows_are_compared_each_as_a_whole_and_count_at_once() {
    for (from, to, key) in [
        ("sinks = [\"a\"]", "sinks = [\"a\", \"b\"]", "alerts.route"),
        ("escalation = \"c\"", "", "alerts.route"),
        ("\"1m\"", "\"2m\"", "alerts.escalation"),
        ("\"1h\"", "\"2h\"", "alerts.maintenance"),
        (
            "[sink.a]",
            "[alerts]\nresolve_after = \"1m\"\n[sink.a]",
            "alerts.resolve_after",
        ),
        (
            "[sink.a]",
            "[alerts]\nheartbeat_url = \"https://hc.example/x\"\n[sink.a]",
            "alerts.heartbeat_url",
        ),
    ] {
        assert!(ALERTS.contains(from), "{from}");
        let found = alerts(ALERTS, "x").diff(&alerts(&ALERTS.replace(from, to), "x"));
        assert_eq!(found.live, [key], "{to}");
        assert!(found.restart.is_empty(), "{to}");
        assert_eq!(found.sinks, super::Named::default(), "{to}");
    }
    let without = &ALERTS[..ALERTS.find("[[alerts.route]]").unwrap()];
    let found = alerts(ALERTS, "x").diff(&alerts(without, "x"));
    assert_eq!(
        found.live,
        ["alerts.escalation", "alerts.maintenance", "alerts.route"]
    );
}

#[test]
fn a_running_router_keeps_what_needs_a_restart() {
    let running = read(BEFORE);
    let edits = BEFORE
        .replace("127.0.0.1:3002", "127.0.0.1:3003")
        .replace("app:one@", "app:two@")
        .replace(
            "[template.idle]",
            "[instances]\nsocket_dir = \"/run\"\nmax_instances = 9\n[logging]\ndir = \"x\"\nlevel = \"debug\"\n[plugins]\ndir = \"y\"\n[audit]\nretention_days = 500\n[template.idle]",
        );
    let new = read(&edits);
    let needed = running.diff(&new).restart;
    assert!(needed.len() >= 6, "{needed:?}");
    let held = new.with_fixed_of(&running);
    let left = running.diff(&held);
    assert_eq!(left.restart, [""; 0]);
    assert_eq!(left.live, ["instances.max_instances", "logging.level"]);
    assert_eq!(held.server, running.server);
    assert_eq!(held.storage, running.storage);
    assert_eq!(held.instances.socket_dir, running.instances.socket_dir);
    assert_eq!(held.instances.max_instances, 9);
}

/// `with_fixed_of` and the keys' own marks are two lists of the same keys: every key that is marked must be kept by it.
#[test]
fn every_key_marked_for_a_restart_is_kept() {
    let running = read("");
    let marked: BTreeSet<&str> = running
        .settings
        .iter()
        .filter(|setting| setting.applies == crate::Applies::Restart)
        .map(|setting| setting.key.as_str())
        .collect();
    // Another value for each of them, checked to be complete below.
    let text = r#"
[server]
listen = "127.0.0.1:1"
data_dir = "x"
router_id = "x"
session_key = "0123456789abcdef0123456789abcdef"
session_ttl = "1h"
session_idle_timeout = "1h"
max_sessions = 1
max_connections = 1
max_body_mb = 1
head_timeout = "1s"
body_timeout = "1s"
[storage]
url = "postgres://x/y"
password = "x"
pool_size = 1
pool_idle_timeout = "1s"
acquire_timeout = "1s"
query_timeout = "1s"
versions_table = "x.y"
[audit]
enabled = false
retention_days = 0
[logging]
dir = "x"
format = "json"
max_file_mb = 1
retention_days = 1
max_total_mb = 1
[instances]
socket_dir = "x"
memory_interval = "1s"
router_exit_grace = "1s"
use_cgroup = false
[instances.logs]
max_file_mb = 1
max_files = 1
[plugins]
dir = "x"
"#;
    let new = read(text);
    let changed: BTreeSet<String> = running.diff(&new).restart.into_iter().collect();
    let marked: BTreeSet<String> = marked
        .into_iter()
        .filter(|key| !key.ends_with("_file"))
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(changed, marked);
    let held = new.with_fixed_of(&running);
    assert_eq!(held.server, running.server);
    assert_eq!(held.storage, running.storage);
    assert_eq!(held.audit, running.audit);
    assert_eq!(held.logging, running.logging);
    assert_eq!(held.instances, running.instances);
    assert_eq!(held.plugins, running.plugins);
}
