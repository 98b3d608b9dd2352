//! No input makes the reader panic, hang or exhaust the stack: not random bytes, not the shipped file with parts exchanged, not
//! documents that are deep, long or hostile.

use std::path::Path;

use proptest::prelude::*;
use router_config::{Environment, Place, load, load_file, parse_instance_json};

const SHIPPED: &str = include_str!("../../../config/router.toml");

/// Secrets in every form that TOML has for them.
const SECRETS: &str = r#"
[server]
session_key = """
hunter2hunter2hunter2==
hunter2+hunter2"""
[storage]
url = "postgres://app:hunter2@db/games"
[template.t]
command = "c"
env = { A = "hunter2", B = 'hunter2' }
[[instance]]
id = "a"
template = "t"
[instance.env]
C = "hunter2"
[alerts]
heartbeat_url = "https://hunter2 "
[sink.s]
plugin = "slack"
secrets = { webhook_url = "https://hunter2/" }
proxy = "hunter2"
[plugins.config.slack]
keys = [
  "hunter2",
  'hunter2==',
]
"#;

fn environment(variables: Vec<(String, String)>) -> Environment {
    Environment::new("/srv", variables)
}

/// Reads it; what is wrong must be said with a place that exists.
fn survives(text: &str, variables: Vec<(String, String)>) {
    let Err(faults) = load(text, Path::new("router.toml"), &environment(variables)) else {
        return;
    };
    assert!(!faults.faults.is_empty());
    let lines = text.matches('\n').count() + 1;
    for fault in &faults.faults {
        assert!(
            !fault.what.is_empty() && !fault.remedy.is_empty(),
            "{fault:?}"
        );
        if let Place::Line { line, column } = fault.place {
            assert!((1..=lines).contains(&line) && column >= 1, "{fault:?}");
        }
    }
    assert!(!faults.to_string().is_empty());
}

/// Pieces of which faulty documents are made.
fn piece() -> impl Strategy<Value = String> {
    let lines: Vec<String> = SHIPPED
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line).to_owned())
        .collect();
    let values = prop::sample::select(vec![
        "1",
        "-1",
        "1.5",
        "nan",
        "inf",
        "true",
        "\"\"",
        "\"x\"",
        "\"off\"",
        "\"5s\"",
        "[]",
        "{}",
        "[[]]",
        "2026-01-01",
        "99999999999999999999",
        "\"{\"",
        "\"\\u0000\"",
        "[1, \"a\", {}]",
        "{ a = 1 }",
        "'''\n'''",
    ]);
    let keys = prop::sample::select(lines.clone());
    prop_oneof![
        3 => prop::sample::select(lines),
        3 => (keys, values).prop_map(|(line, value)| match line.split_once('=') {
            Some((key, _)) => format!("{key}= {value}"),
            None => line,
        }),
        1 => "[\\[\\]a-z.\"= {}#,\\n-]{0,20}",
        1 => any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        survives(&text, Vec::new());
    }

    #[test]
    fn any_mixture_of_known_keys_is_read_or_refused(pieces in prop::collection::vec(piece(), 0..60)) {
        survives(&pieces.join("\n"), Vec::new());
    }

    #[test]
    fn the_shipped_file_cut_anywhere_is_read_or_refused(at in 0..SHIPPED.len(), more in any::<String>()) {
        let at = (0..=at).rev().find(|at| SHIPPED.is_char_boundary(*at)).unwrap();
        survives(&format!("{}{more}", &SHIPPED[..at]), Vec::new());
    }

    /// Whatever a slip of the fingers does to a document with secrets in it: they are in no message.
    #[test]
    fn no_slip_makes_a_message_show_a_secret(at in 0..SECRETS.len(), length in 0_usize..3, typed in "[\"'=\\[\\]{},\n# a]{0,3}") {
        let slipped = format!("{}{typed}{}", &SECRETS[..at], &SECRETS[(at + length).min(SECRETS.len())..]);
        if let Err(faults) = load(&slipped, Path::new("router.toml"), &environment(Vec::new())) {
            let said = format!("{faults} {faults:?}");
            prop_assert!(!said.contains("hunter2"), "{slipped}\n{said}");
        }
    }

    #[test]
    fn any_variable_is_read_or_refused(
        name in prop::sample::select(vec![
            "LISTEN", "DATABASE_URL", "DATABASE_PASSWORD_FILE", "DATABASE_POOL_SIZE", "SOCKET_TIMEOUT", "LOG_LEVEL",
            "CACHE_TTL", "GMR_SERVER__ALLOWED_HOSTS", "GMR_SERVER__ALLOWED_ORIGINS", "GMR_TEMPLATE__GODOT__ARGS",
            "GMR_BREAKER__FAILURE_SHARE", "GMR_X",
        ]),
        value in any::<String>(),
    ) {
        survives(SHIPPED, vec![(name.to_owned(), value)]);
    }

    #[test]
    fn any_definition_is_read_or_refused(body in "[\\[\\]{}\":,a-z0-9 ._-]{0,80}", text in any::<String>()) {
        let config = load(SHIPPED, Path::new("router.toml"), &environment(Vec::new())).unwrap();
        let id = serde_json::to_string(&text).unwrap();
        let whole = format!("{{\"id\": {id}, \"template\": \"godot\", \"vars\": {{\"project_path\": {id}}}}}");
        for body in [body, text, whole] {
            if let Ok(instance) = parse_instance_json(&body, &config) {
                config.define(&instance, router_core::spec::Source::Api).unwrap();
            }
        }
    }
}

#[test]
fn deep_and_long_documents_are_refused() {
    let dotted = vec!["a"; 100_000].join(".");
    for text in [
        format!("[{dotted}]"),
        format!("{dotted} = 1"),
        format!("a = {{ {dotted} = 1 }}"),
        format!("[template.{dotted}]\ncommand = \"x\""),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("a = {}", "{a = ".repeat(100_000)),
        format!("a = \"{}\"", "x".repeat(2_000_000)),
        "[[instance]]\n".repeat(50_000),
        "\u{0}".repeat(1_000),
        "\u{feff}[server]\nlisten = 1".to_owned(),
        "[server]\r\nlisten = 1\r\n".to_owned(),
        "[server]\rlisten = 1\r".to_owned(),
    ] {
        survives(&text, Vec::new());
    }
    let config = load(SHIPPED, Path::new("router.toml"), &environment(Vec::new())).unwrap();
    for body in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        format!("{{\"id\": \"{}\"}}", "x".repeat(2_000_000)),
    ] {
        parse_instance_json(&body, &config).unwrap_err();
    }
}

/// Long texts with many dots are no names.
#[test]
fn dots_in_values_and_comments_are_welcome() {
    let dots = ".".repeat(500);
    let text = format!(
        "# {dots}\n[template.x]\ncommand = \"x{dots}\" # {dots}\nargs = [\"{dots}\", '{dots}',\n\"{dots}\"]\n"
    );
    load(&text, Path::new("router.toml"), &environment(Vec::new()))
        .unwrap_or_else(|faults| panic!("{faults}"));
}

/// Names from a document reach terminals and logs.
#[test]
fn nothing_that_a_terminal_obeys_is_in_a_message() {
    let escape = "\"\\u001b[2J\\u0007\\u0085\"";
    for text in [
        format!("{escape} = 1"),
        format!("[server]\nlisten = {escape}\n{escape} = 1"),
        format!(
            "[template.{escape}]\ncommand = {escape}\nargs = [{escape}]\n[template.{escape}.breaker]\nx = 1"
        ),
        format!(
            "[template.t]\ncommand = \"c\"\n[[instance]]\nid = {escape}\ntemplate = {escape}\nvars = {{ {escape} = \"\" }}"
        ),
        format!("[[instance]]\nid = \"a\"\ntemplate = \"t\"\nenv = {{ {escape} = \"\" }}"),
        format!("[storage]\nurl = {escape}\nversions_table = {escape}"),
        format!(
            "[plugins.config.{escape}]\n[plugins.grants.x]\nsecrets = [{escape}]\nhttp = [{escape}]"
        ),
        format!(
            "[sink.{escape}]\nplugin = {escape}\nsecrets = {{ {escape} = {escape} }}\nallow = [{escape}]\nrate = {escape}\nfallback = {escape}"
        ),
        format!(
            "[[alerts.route]]\nid = {escape}\nseverity = [{escape}]\nsinks = [{escape}]\nescalation = {escape}\n[alerts.escalation.{escape}]\nsteps = [{escape}]"
        ),
        format!(
            "[alerts]\nrules = [{escape}]\nrunbook_url = {escape}\nheartbeat_url = {escape}\n[[alerts.maintenance]]\nname = {escape}\nat = {escape}\ntimezone = {escape}"
        ),
        "a = \u{1b}[2J".to_owned(),
    ] {
        let faults = load(&text, Path::new("router.toml"), &environment(Vec::new())).unwrap_err();
        let said = faults.to_string();
        let obeyed = said.chars().find(|sign| sign.is_control() && *sign != '\n');
        assert_eq!(obeyed, None, "{said:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("router.toml");
    let said = || {
        let faults = load_file(&path, &environment(Vec::new())).unwrap_err();
        faults
            .to_string()
            .replace(dir.path().to_str().unwrap(), "DIR")
    };
    assert!(
        said().starts_with("DIR/router.toml: cannot be read: No such file"),
        "{}",
        said()
    );
    std::fs::write(&path, b"# \xc3\xa4\n# \xc3\xa4\xff\n").unwrap();
    assert!(
        said().starts_with("DIR/router.toml:2:4: this is not UTF-8\n"),
        "{}",
        said()
    );
    std::fs::write(&path, "ä".repeat(600_000)).unwrap();
    assert!(said().contains("allowed are 1048576"), "{}", said());
    std::fs::write(&path, SHIPPED).unwrap();
    load_file(&path, &environment(Vec::new())).unwrap();
}
