//! `serve_stdio` in a real process: this program runs itself again as an instance.
//!
//! Without libtest, whose own output would stand between the lines of JSON-RPC. Fails by panicking.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says that it passed"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// The argument that makes this program an instance.
const AS_INSTANCE: &str = "--as-instance";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) == Some(AS_INSTANCE) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(router_godot::serve_stdio(&arguments[2]))?;
        return Ok(());
    }
    answers_and_ends_with_its_input();
    ends_without_a_word_when_nothing_is_asked();
    works_over_a_file_instead_of_a_pipe();
    refuses_what_is_no_project();
    println!("stdio: 4 passed");
    Ok(())
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/godot/demo")
}

fn instance(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command
        .arg(AS_INSTANCE)
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
        .expect("piped")
        .read_to_string(&mut errors)
        .expect("stderr is text");
    (child.wait().expect("it can be waited for").code(), errors)
}

fn answers_and_ends_with_its_input() {
    let mut child = instance(&demo()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut lines = Vec::new();
    for request in requests() {
        writeln!(input, "{request}").expect("it reads");
        if request.get("id").is_some() {
            let mut line = String::new();
            output.read_line(&mut line).expect("it answers");
            lines.push(serde_json::from_str(&line).expect("a line of JSON"));
        }
    }
    check_answers(child.id(), &lines);
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("stdout is text");
    assert_eq!(rest, "");
    let (code, errors) = finish(child);
    assert_eq!(code, Some(0), "{errors}");
}

fn ends_without_a_word_when_nothing_is_asked() {
    let output = instance(&demo())
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

fn works_over_a_file_instead_of_a_pipe() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("requests");
    let text: String = requests()
        .iter()
        .map(|request| format!("{request}\n"))
        .collect();
    std::fs::write(&path, text).expect("it can be written");
    let input = std::fs::File::open(&path).expect("it is there");
    let child = instance(&demo()).stdin(input).spawn().expect("it starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    let lines = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(&line.expect("text")).expect("a line of JSON"));
    check_answers(pid, &lines.collect::<Vec<Value>>());
    assert_eq!(output.status.code(), Some(0));
}

fn refuses_what_is_no_project() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = instance(folder.path()).output().expect("it runs");
    assert_ne!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty(), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("NotAProject"), "{errors}");
}
