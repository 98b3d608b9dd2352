//! The harness itself: what it says of processes, and that its servers behave as the scenarios take for granted.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use router_tests::{mcp, peers, processes, router, until};
use serde_json::{Value, json};

struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(name: &str, args: &[&str]) -> Self {
        let mut child = Command::new(peers::program(name))
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.input, "{message}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn greet(&mut self) {
        self.say(&mcp::initialize(0));
        assert_eq!(self.hear()["id"], 0);
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.say(&json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}));
        self.hear()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_echo_gives_back_what_it_got_under_the_same_id() {
    let mut echo = Peer::start("echo-server", &[]);
    let text = "a \"quoted\" ä\u{2028}\u{0} text";
    let answer = echo.call("echo", &json!({"text": text}));
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["result"]["content"][0]["text"], text);
}

#[test]
fn the_scripted_server_asks_and_passes_on_the_answer() {
    let mut server = Peer::start("scripted-server", &[]);
    server.greet();
    server.say(
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
        {"name": "ask", "arguments": {"method": "roots/list", "params": {}}}}),
    );
    let question = server.hear();
    assert_eq!(question["method"], "roots/list");
    server.say(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}));
    let answer = server.hear();
    assert_eq!(answer["id"], 1);
    assert!(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains("roots")
    );
}

#[test]
fn the_scripted_server_ends_with_the_code_that_was_asked_for() {
    let mut server = Peer::start("scripted-server", &["--exit", "7"]);
    assert_eq!(server.child.wait().unwrap().code(), Some(7));
    let mut server = Peer::start("scripted-server", &[]);
    server.greet();
    server.say(
        &json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params":
        {"name": "exit", "arguments": {"code": 9}}}),
    );
    assert_eq!(server.child.wait().unwrap().code(), Some(9));
}

#[tokio::test]
async fn an_orphan_is_found_by_what_it_inherited() {
    let home = router::new_home();
    let socket = home.path().join("socket");
    let mut orphan = Command::new("sh");
    orphan
        .args(["-c", "setsid sleep 300 >/dev/null 2>&1 &"])
        .env("SOCKET_PATH", &socket);
    orphan.status().unwrap();
    let found = until("the orphan", Duration::from_secs(5), async || {
        let found = processes::touching(home.path());
        let sleeper = found.iter().find(|process| process.command == "sleep 300");
        sleeper.cloned().ok_or_else(|| format!("{found:?}"))
    })
    .await;
    assert!(processes::resident_bytes(found.pid) > 0);
    assert!(processes::private_bytes(found.pid) > 0);
    processes::kill(found.pid);
    until("its end", Duration::from_secs(5), async || {
        let left = processes::touching(home.path());
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}
