//! `godot-mcp-instance` as a process: lines of JSON-RPC on its stdout and nothing else, and how it ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests are tests too, which the lints cannot see outside of a test function"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/godot/demo")
}

fn instance(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godot-mcp-instance"));
    command
        .arg("--project")
        .arg(folder)
        .env("VERSION_ID", "lantern@v1");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn requests() -> Vec<Value> {
    let client = json!({"name": "test", "version": "0"});
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    vec![
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "ping", "arguments": {}}}),
        json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "get_project"}}),
    ]
}

fn check_answers(child_pid: u32, lines: &[Value]) {
    let answer = |id: u32| {
        let found = lines.iter().find(|line| line["id"] == id);
        found.unwrap_or_else(|| panic!("no answer to {id}: {lines:?}"))
    };
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(answer(1)["result"]["protocolVersion"], "2025-06-18");
    let ping = &answer(2)["result"]["structuredContent"];
    assert_eq!(ping["versionId"], "lantern@v1");
    assert_eq!(ping["pid"], child_pid);
    assert_eq!(
        answer(3)["result"]["structuredContent"]["name"],
        "Lantern Keeper"
    );
}

fn finish(mut child: Child) -> (Option<i32>, String) {
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    (child.wait().unwrap().code(), errors)
}

#[test]
fn answers_and_ends_with_its_input() {
    let mut child = instance(&demo()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    for request in requests() {
        writeln!(input, "{request}").unwrap();
        if request.get("id").is_some() {
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            lines.push(serde_json::from_str(&line).unwrap());
        }
    }
    check_answers(child.id(), &lines);
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    let (code, errors) = finish(child);
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn ends_silently_when_nothing_is_asked() {
    let output = instance(&demo()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn works_over_a_file_instead_of_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("requests");
    let text: String = requests()
        .iter()
        .map(|request| format!("{request}\n"))
        .collect();
    std::fs::write(&path, text).unwrap();
    let input = std::fs::File::open(&path).unwrap();
    let child = instance(&demo()).stdin(input).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let lines = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    check_answers(pid, &lines.collect::<Vec<Value>>());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn refuses_what_is_no_project() {
    let folder = tempfile::tempdir().unwrap();
    let output = instance(folder.path()).output().unwrap();
    assert_ne!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty(), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    let folder = folder.path().display().to_string();
    assert!(errors.starts_with("godot-mcp-instance: "), "{errors}");
    assert!(errors.contains(&folder), "{errors}");
}
