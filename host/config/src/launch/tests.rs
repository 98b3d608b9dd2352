//! Launch plans: levels, placeholders, and a digest that changes with what a process depends on and with nothing else.

use std::{collections::BTreeSet, path::Path};

use router_core::spec::Source;

use crate::{Config, Environment, InstanceDefinition, load};

const FILE: &str = r#"
[instances]
permanent_exit_codes = [1]
[template.t]
command = "server"
args = ["--id={id}", "--socket", "{socket_path}", "{who}", "{{literal}}"]
env = { WHO = "{who}", KEPT = "1", REPLACED = "1" }
pass_env = ["NODE_OPTIONS"]
cwd = "work/{who}"
transport = "socket"
max_memory_mb = 100
spawn_timeout = "1s"
cache_ttl = "1m"
idle_timeout = "off"
[[instance]]
id = "maze@1.0"
template = "t"
vars = { who = "me" }
env = { REPLACED = "2", OWN = "{id}" }
max_memory_mb = 200
cache_ttl = "off"
"#;

fn read(text: &str) -> Config {
    let environment = Environment::new("/srv", [("", ""); 0]);
    load(text, Path::new("router.toml"), &environment).unwrap_or_else(|faults| panic!("{faults}"))
}

fn define(text: &str) -> InstanceDefinition {
    let config = read(text);
    config
        .define(&config.instance[0], Source::Config)
        .unwrap_or_else(|faults| panic!("{faults}"))
}

#[test]
fn a_template_is_filled_in_and_the_instance_goes_before_it() {
    let InstanceDefinition {
        spec,
        launch,
        waits,
    } = define(FILE);
    let socket = "/tmp/godot-mcp-maze@1.0.sock";
    assert_eq!(
        launch.args,
        ["--id=maze@1.0", "--socket", socket, "me", "{literal}"]
    );
    let env: Vec<(&str, &str)> = launch
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose()))
        .collect();
    let expected = [
        ("KEPT", "1"),
        ("OWN", "maze@1.0"),
        ("REPLACED", "2"),
        ("WHO", "me"),
    ];
    assert_eq!(env, expected);
    assert_eq!(launch.command, "server");
    assert_eq!(launch.cwd.as_deref(), Some(Path::new("/srv/work/me")));
    assert_eq!(launch.socket_path, Path::new(socket));
    assert_eq!(launch.pass_env, ["NODE_OPTIONS"]);
    assert_eq!(launch.max_memory_bytes, Some(200 << 20));
    assert_eq!(spec.max_memory_bytes, Some(200 << 20));
    assert_eq!(spec.digest, launch.digest);
    assert_eq!(spec.spawn_timeout_ms, 1_000);
    assert_eq!(spec.idle_stop_ms, None);
    assert_eq!(spec.permanent_exit_codes, [1]);
    assert_eq!(spec.health_policies, None);
    assert!(waits.cache_ttl.is_zero());
    assert_eq!(waits.request.as_secs(), 300);
}

#[test]
fn the_digest_names_what_a_process_depends_on() {
    let mut seen = BTreeSet::from([define(FILE).launch.digest]);
    for (from, to) in [
        ("command = \"server\"", "command = \"other\""),
        ("\"{{literal}}\"", "\"{{literal}}\", \"\""),
        ("KEPT = \"1\"", "KEPT = \"2\""),
        ("KEPT = \"1\", ", ""),
        ("[\"NODE_OPTIONS\"]", "[]"),
        ("work/{who}", "work"),
        ("transport = \"socket\"", "transport = \"stdio\""),
        ("max_memory_mb = 200", "max_memory_mb = 201"),
        ("max_memory_mb = 200", "max_open_files = 201"),
        (
            "max_memory_mb = 200",
            "max_memory_mb = 200\non_router_exit = \"stop\"",
        ),
        ("who = \"me\"", "who = \"you\""),
        ("id = \"maze@1.0\"", "id = \"maze@1.1\""),
    ] {
        assert!(FILE.contains(from), "{from}");
        let digest = define(&FILE.replacen(from, to, 1)).launch.digest;
        assert!(seen.insert(digest), "{from} -> {to}");
    }
}

#[test]
fn what_a_process_does_not_depend_on_leaves_its_digest() {
    let digest = define(FILE).launch.digest;
    for (from, to) in [
        ("spawn_timeout = \"1s\"", "spawn_timeout = \"2s\""),
        ("cache_ttl = \"off\"", "autostart = true"),
        ("cache_ttl = \"off\"", "max_processes = 9"),
        (
            "[instances]",
            "[instances.stop]\nterm = \"1s\"\n[instances]",
        ),
        ("[instances]", "[breaker]\nopen = \"1s\"\n[instances]"),
        (
            "idle_timeout = \"off\"",
            "policy = { health = \"builtin\" }",
        ),
    ] {
        assert!(FILE.contains(from), "{from}");
        assert_eq!(
            define(&FILE.replacen(from, to, 1)).launch.digest,
            digest,
            "{to}"
        );
    }
    // Shims keep digests over upgrades: another value here restarts every instance of every user.
    assert_eq!(format!("{digest:016x}"), "5a74574e7341c372");
}

#[test]
fn neighbouring_texts_do_not_run_into_each_other() {
    let digest = |args: &str| {
        let text = format!(
            "[template.t]\ncommand = \"c\"\nargs = {args}\n[[instance]]\nid = \"a\"\ntemplate = \"t\""
        );
        define(&text).launch.digest
    };
    let all = [
        r#"["ab", "c"]"#,
        r#"["a", "bc"]"#,
        r#"["abc"]"#,
        r#"["abc", ""]"#,
        r#"["", "abc"]"#,
        "[]",
    ];
    let digests: BTreeSet<u64> = all.iter().map(|args| digest(args)).collect();
    assert_eq!(digests.len(), all.len());
}
