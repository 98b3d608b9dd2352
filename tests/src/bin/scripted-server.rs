//! An MCP server that does on demand what real ones do when nobody wants it: crash, hang, flood, fork, ask back. One thread reads
//! what a client says, one per call answers. `--exit CODE` ends it at once, with words on stderr; `--tools FILE` leaves it as many of
//! its tools as the file says; `--go-like` has it read messages as a server in Go does; `--socket` has it listen on `SOCKET_PATH`, where each connection is a session of its own.

use std::{
    collections::HashMap,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};

/// How long an asked client may take.
const ASKED_WITHIN: Duration = Duration::from_secs(30);

const TOOLS: [&str; 15] = [
    "echo", "pid", "exit", "abort", "hang", "release", "slow", "stderr", "fork", "ask", "progress",
    "grow", "big", "touch", "hanging",
];

/// What the whole process has in common.
struct Server {
    tools: usize,
    is_go_like: bool,
    kept: Mutex<Vec<Vec<u8>>>,
}

/// One client, and what is its own.
struct Client {
    server: Arc<Server>,
    output: Mutex<Box<dyn Write + Send>>,
    /// As real servers do, it answers nothing of substance to somebody who has not introduced himself.
    is_greeted: AtomicBool,
    /// Questions to the client that wait for their answers, by id.
    asked: Mutex<HashMap<String, Sender<Value>>>,
    /// Calls of `hang` that were neither released nor cancelled, by the request's id.
    hanging: Mutex<HashMap<String, Sender<()>>>,
    subscriptions: Mutex<Vec<String>>,
}

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let after = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)
    };
    if let Some(code) = after("--exit") {
        complain("scripted-server: asked to end before it begins");
        std::process::exit(code.parse().unwrap_or(1));
    }
    let tools = match after("--tools") {
        Some(file) => fs::read_to_string(file)?.trim().parse().ok(),
        None => None,
    };
    let server = Arc::new(Server {
        tools: tools.unwrap_or(TOOLS.len()),
        is_go_like: args.iter().any(|arg| arg == "--go-like"),
        kept: Mutex::default(),
    });
    if !args.iter().any(|arg| arg == "--socket") {
        Client::serve(&server, io::stdin().lock(), Box::new(io::stdout()));
        return Ok(());
    }
    let path = env::var_os("SOCKET_PATH").ok_or(io::ErrorKind::NotFound)?;
    for stream in UnixListener::bind(path)?.incoming() {
        let (server, output) = (Arc::clone(&server), stream?);
        let input = BufReader::new(output.try_clone()?);
        thread::spawn(move || Client::serve(&server, input, Box::new(output)));
    }
    Ok(())
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// As `encoding/json` fills a struct: names are compared without case, and an id that is no integer is none.
fn read_like_go(message: &mut Value) {
    const NAMES: [&str; 9] = [
        "jsonrpc",
        "id",
        "method",
        "params",
        "name",
        "arguments",
        "_meta",
        "progressToken",
        "requestId",
    ];
    let Some(members) = message.as_object_mut() else {
        return;
    };
    for (name, mut value) in std::mem::take(members) {
        if ["params", "_meta"].contains(&name.to_lowercase().as_str()) {
            read_like_go(&mut value);
        }
        let known = NAMES.iter().find(|known| known.eq_ignore_ascii_case(&name));
        if known != Some(&"id") || value.is_u64() {
            members.insert(known.map_or(name, ToString::to_string), value);
        }
    }
}

fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

impl Client {
    /// Takes what it says until it ends.
    fn serve(server: &Arc<Server>, input: impl BufRead, output: Box<dyn Write + Send>) {
        let client = Arc::new(Self {
            server: Arc::clone(server),
            output: Mutex::new(output),
            is_greeted: AtomicBool::new(false),
            asked: Mutex::default(),
            hanging: Mutex::default(),
            subscriptions: Mutex::default(),
        });
        for line in input.lines() {
            let Ok(line) = line else { return };
            let Ok(mut message) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            if server.is_go_like {
                read_like_go(&mut message);
            }
            client.take(message);
        }
    }

    /// One line to the client. Whether it is still there shows where its own lines end.
    fn say(&self, message: &Value) {
        let mut line = message.to_string();
        line.push('\n');
        let mut output = self.output.lock();
        let _ = output
            .write_all(line.as_bytes())
            .and_then(|()| output.flush());
    }

    fn take(self: &Arc<Self>, message: Value) {
        let Some(method) = message["method"].as_str().map(str::to_owned) else {
            let id = message["id"].as_str().unwrap_or_default();
            if let Some(waiting) = self.asked.lock().remove(id) {
                let _ = waiting.send(message);
            }
            return;
        };
        let Some(id) = message.get("id").cloned() else {
            if method == "notifications/cancelled" {
                let id = message["params"]["requestId"].to_string();
                self.hanging.lock().remove(&id);
            }
            return;
        };
        // Noted before anything else is read, so that a cancellation finds what it is about.
        let (sender, released) = channel();
        if message["params"]["name"] == "hang" {
            self.hanging.lock().insert(id.to_string(), sender);
        }
        let client = Arc::clone(self);
        let is_call = method == "tools/call";
        let answer = move || {
            let answer = client.answer(&method, &message["params"], &released);
            let Some(answer) = answer else { return };
            let member = if answer.get("code").is_some() {
                "error"
            } else {
                "result"
            };
            client.say(&json!({"jsonrpc": "2.0", "id": id, member: answer}));
        };
        // Calls overlap, as a shared server's do. What else is asked is done in its order: a subscription before the call that
        // comes after it.
        if is_call {
            thread::spawn(answer);
        } else {
            answer();
        }
    }

    fn answer(&self, method: &str, params: &Value, released: &Receiver<()>) -> Option<Value> {
        let is_greeting = method == "initialize";
        let was_greeted = self.is_greeted.fetch_or(is_greeting, Ordering::Relaxed);
        if !was_greeted && !is_greeting {
            return Some(json!({"code": -32600, "message": "It begins with initialize"}));
        }
        Some(match method {
            "initialize" => json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {"listChanged": true}, "resources": {"subscribe": true}, "logging": {}},
                "serverInfo": {"name": "scripted-server", "version": "1.0.0"},
            }),
            "ping" | "logging/setLevel" => json!({}),
            "tools/list" => {
                let tool = |name: &&str| json!({"name": name, "inputSchema": {"type": "object"}});
                let tools = &TOOLS[..self.server.tools.min(TOOLS.len())];
                json!({"tools": tools.iter().map(tool).collect::<Vec<_>>()})
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
            "tools/call" => return self.call(params["name"].as_str()?, params, released),
            _ => json!({"code": -32601, "message": "Method not found"}),
        })
    }

    /// `None`: it is never answered.
    fn call(&self, tool: &str, params: &Value, released: &Receiver<()>) -> Option<Value> {
        let arguments = &params["arguments"];
        let number = |name: &str| arguments[name].as_u64().unwrap_or(0);
        Some(match tool {
            "echo" => json!({"content": [{"type": "text", "text": arguments["text"]}]}),
            "pid" => text(getpid().as_raw_nonzero().to_string()),
            "exit" => {
                complain("scripted-server: asked to end in the middle of a call");
                std::process::exit(i32::try_from(number("code")).unwrap_or(1));
            }
            "abort" => {
                let _ = kill_process(getpid(), Signal::SEGV);
                return None;
            }
            // Until it is released; what is cancelled meanwhile is never answered.
            "hang" => return released.recv().ok().map(|()| text("released")),
            "release" => text(self.release().to_string()),
            "hanging" => text(Vec::from_iter(self.hanging.lock().keys().cloned()).join(" ")),
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
            "progress" => self.progress(number("steps"), &params["_meta"]["progressToken"]),
            "grow" => {
                let bytes = usize::try_from(number("mb")).unwrap_or(0) * 1024 * 1024;
                self.server.kept.lock().push(vec![1; bytes]);
                text("grown")
            }
            "big" => text("x".repeat(usize::try_from(number("bytes")).unwrap_or(0))),
            "touch" => {
                for uri in self.subscriptions.lock().iter() {
                    self.say(
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
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        match receiver.recv_timeout(ASKED_WITHIN) {
            Ok(answer) => text(answer.to_string()),
            Err(_) => text("nobody answered"),
        }
    }

    /// Answers every hanging call, and returns how many those were.
    fn release(&self) -> usize {
        let hanging = std::mem::take(&mut *self.hanging.lock());
        let sent = hanging.values().filter(|waiting| waiting.send(()).is_ok());
        sent.count()
    }

    fn progress(&self, steps: u64, token: &Value) -> Value {
        for step in 1..=steps {
            let params = json!({"progressToken": token, "progress": step, "total": steps});
            self.say(
                &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}),
            );
        }
        text("progressed")
    }
}

/// A child that leaves our session and our parentage, as a badly written server's helper does.
fn fork() -> String {
    // The inner shell prints its id and then holds on to nothing of ours but its environment; the outer one ends, and orphans it.
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
        let _ = BufReader::new(output).read_line(&mut line);
    }
    let _ = shell.wait();
    line.trim().to_owned()
}
