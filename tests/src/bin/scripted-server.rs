//! An MCP server that does on demand what real ones do when nobody wants it: crash, hang, flood, fork, ask back. One thread reads,
//! one per slow call writes. `--exit CODE` ends it at once, with words on stderr; `--tools N` leaves it N of its tools.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, Write as _},
    process::{Command, Stdio},
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

/// How long an asked client may take.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

const TOOLS: [&str; 13] = [
    "echo", "pid", "exit", "abort", "hang", "slow", "stderr", "fork", "ask", "progress", "grow",
    "big", "touch",
];

/// Questions to the client that wait for their answers, by id.
type Asked = Arc<Mutex<HashMap<String, Sender<Value>>>>;

struct Server {
    tools: usize,
    asked: Asked,
    kept: Mutex<Vec<Vec<u8>>>,
    subscriptions: Mutex<Vec<String>>,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<usize>().ok()
    };
    if let Some(code) = option("--exit") {
        complain("scripted-server: told to end before it begins");
        std::process::exit(i32::try_from(code).unwrap_or(1));
    }
    let server = Arc::new(Server {
        tools: option("--tools").unwrap_or(TOOLS.len()),
        asked: Asked::default(),
        kept: Mutex::default(),
        subscriptions: Mutex::default(),
    });
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        server.take(message);
    }
}

/// One line on stdout. A lost reader ends this process, as it would most servers.
fn say(message: &Value) {
    let mut line = message.to_string();
    line.push('\n');
    let mut output = io::stdout().lock();
    if output
        .write_all(line.as_bytes())
        .and_then(|()| output.flush())
        .is_err()
    {
        std::process::exit(0);
    }
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

impl Server {
    fn take(self: &Arc<Self>, message: Value) {
        let Some(method) = message["method"].as_str().map(str::to_owned) else {
            let id = message["id"].as_str().unwrap_or_default();
            if let Some(waiting) = self.asked.lock().remove(id) {
                let _ = waiting.send(message);
            }
            return;
        };
        if message.get("id").is_none() {
            return;
        }
        let server = Arc::clone(self);
        // Calls overlap, as a shared server's do.
        thread::spawn(move || {
            let answer = server.answer(&method, &message["params"]);
            let Some(answer) = answer else { return };
            let member = if answer.get("code").is_some() {
                "error"
            } else {
                "result"
            };
            say(&json!({"jsonrpc": "2.0", "id": message["id"], member: answer}));
        });
    }

    fn answer(&self, method: &str, params: &Value) -> Option<Value> {
        Some(match method {
            "initialize" => json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}},
                "serverInfo": {"name": "scripted-server", "version": "1.0.0"},
            }),
            "ping" | "logging/setLevel" => json!({}),
            "tools/list" => {
                let tool = |name: &&str| json!({"name": name, "inputSchema": {"type": "object"}});
                json!({"tools": TOOLS[..self.tools.min(TOOLS.len())].iter().map(tool).collect::<Vec<_>>()})
            }
            "resources/list" => {
                json!({"resources": [{"uri": "test://counter", "name": "counter"}]})
            }
            "resources/subscribe" => {
                self.subscriptions
                    .lock()
                    .push(params["uri"].as_str()?.to_owned());
                json!({})
            }
            "resources/unsubscribe" => {
                self.subscriptions
                    .lock()
                    .retain(|uri| params["uri"] != uri.as_str());
                json!({})
            }
            "tools/call" => {
                return self.call(params["name"].as_str()?, &params["arguments"], params);
            }
            _ => json!({"code": -32601, "message": "Method not found"}),
        })
    }

    /// `None`: it is never answered.
    fn call(&self, tool: &str, arguments: &Value, params: &Value) -> Option<Value> {
        let number = |name: &str| arguments[name].as_u64().unwrap_or(0);
        Some(match tool {
            "echo" => json!({"content": [{"type": "text", "text": arguments["text"]}]}),
            "pid" => text(getpid().as_raw_nonzero().to_string()),
            "exit" => {
                complain("scripted-server: told to end in the middle of a call");
                std::process::exit(i32::try_from(number("code")).unwrap_or(1));
            }
            "abort" => {
                let _ = kill_process(getpid(), Signal::SEGV);
                return None;
            }
            "hang" => return None,
            "slow" => {
                thread::sleep(Duration::from_millis(number("ms")));
                text("at last")
            }
            "stderr" => {
                for line in 0..number("lines") {
                    complain(&format!("line {line} of a flood {}", "x".repeat(100)));
                }
                text("flooded")
            }
            "fork" => text(fork()),
            "ask" => self.ask(arguments["method"].as_str()?, &arguments["params"]),
            "progress" => progress(number("steps"), &params["_meta"]["progressToken"]),
            "grow" => {
                let bytes = usize::try_from(number("mb")).unwrap_or(0) * 1024 * 1024;
                self.kept.lock().push(vec![1; bytes]);
                text("grown")
            }
            "big" => text("x".repeat(usize::try_from(number("bytes")).unwrap_or(0))),
            "touch" => {
                for uri in self.subscriptions.lock().iter() {
                    say(
                        &json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}),
                    );
                }
                text("touched")
            }
            _ => json!({"code": -32602, "message": format!("Unknown tool: {tool}")}),
        })
    }

    /// Asks the client, and gives back what it said.
    fn ask(&self, method: &str, params: &Value) -> Value {
        let (sender, receiver) = channel();
        let id = format!("ask-{:p}", &raw const sender);
        self.asked.lock().insert(id.clone(), sender);
        say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        match receiver.recv_timeout(ASKED_WITHIN) {
            Ok(answer) => text(answer.to_string()),
            Err(_) => text("nobody answered"),
        }
    }
}

/// A child that leaves our session and our parentage, as a badly written server's helper does.
fn fork() -> String {
    // The inner shell tells its id and then holds on to nothing of ours but its environment; the outer one ends, and orphans it.
    let script = "setsid sh -c 'echo $$; exec sleep 1000 >/dev/null' &";
    let shell = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut shell) = shell else {
        return "0".to_owned();
    };
    let mut line = String::new();
    if let Some(output) = shell.stdout.take() {
        let _ = io::BufReader::new(output).read_line(&mut line);
    }
    let _ = shell.wait();
    line.trim().to_owned()
}

fn progress(steps: u64, token: &Value) -> Value {
    for step in 1..=steps {
        let params = json!({"progressToken": token, "progress": step, "total": steps});
        say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}));
    }
    text("progressed")
}
