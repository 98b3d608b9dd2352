//! An MCP server that does what the arguments of its tools say, on the far end of a pair of pipes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use router_core::{InstanceId, Run};
use router_upstream::{Closed, IgnoreEvents, Upstream, UpstreamConfig};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    sync::{Notify, mpsc},
    task::JoinHandle,
};

use crate::client::soon;

/// One run of the instance, with the router's connection to it.
pub(crate) struct Instance {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) connection: JoinHandle<Arc<Closed>>,
    seen: Arc<Seen>,
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    Say(Value),
    Release,
    Die,
}

/// What the router has sent.
#[derive(Default)]
struct Seen {
    messages: Mutex<Vec<Value>>,
    news: Notify,
}

impl Instance {
    pub(crate) async fn start(
        id: &InstanceId,
        run: u64,
        adjust: impl FnOnce(&mut UpstreamConfig),
    ) -> Self {
        let mut config = UpstreamConfig::new(id.clone(), Run(run), format!("e{run}"));
        adjust(&mut config);
        let (stdin, theirs_in) = pipe::pipe().unwrap();
        let (theirs_out, stdout) = pipe::pipe().unwrap();
        let (stdin, stdout) = (
            stdin.into_nonblocking_fd().unwrap(),
            stdout.into_nonblocking_fd().unwrap(),
        );
        let (upstream, connection) =
            Upstream::open_pipes(config, stdin, stdout, Arc::new(IgnoreEvents)).unwrap();
        let connection = tokio::spawn(connection);
        let seen = Arc::new(Seen::default());
        let (orders, taken) = mpsc::unbounded_channel();
        tokio::spawn(serve((theirs_in, theirs_out), seen.clone(), taken));
        let patience = Duration::from_secs(10);
        let handshake = upstream.handshake(patience).await.unwrap();
        let tools = upstream.tools(patience).await.unwrap();
        assert_eq!(handshake.with_tools(tools).tools(), ["work"]);
        Self {
            upstream,
            connection,
            seen,
            orders,
        }
    }

    /// Makes the instance say something of its own.
    pub(crate) fn say(&self, message: Value) {
        self.orders.send(Order::Say(message)).unwrap();
    }

    /// Answers all requests that hold.
    pub(crate) fn release(&self) {
        self.orders.send(Order::Release).unwrap();
    }

    pub(crate) fn die(&self) {
        self.orders.send(Order::Die).unwrap();
    }

    /// Waits until the router has sent a message that `wanted` likes, and returns it.
    pub(crate) async fn saw(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let news = self.seen.news.notified();
                let found = self
                    .seen
                    .messages
                    .lock()
                    .iter()
                    .find(|message| wanted(message))
                    .cloned();
                if let Some(found) = found {
                    return found;
                }
                news.await;
            }
        };
        soon("the instance to be sent a message", wait).await
    }

    pub(crate) async fn saw_method(&self, method: &str) -> Value {
        self.saw(|message| message["method"] == method).await
    }

    /// How many messages of a method the router has sent so far.
    pub(crate) fn count(&self, method: &str) -> usize {
        let messages = self.seen.messages.lock();
        messages
            .iter()
            .filter(|message| message["method"] == method)
            .count()
    }
}

async fn serve(
    (reader, writer): (pipe::Receiver, pipe::Sender),
    seen: Arc<Seen>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut server = Server {
        lines: BufReader::new(reader),
        writer,
        seen,
        held: VecDeque::new(),
        asking: Vec::new(),
        next_id: 0,
    };
    let mut line = Vec::new();
    loop {
        tokio::select! {
            read = server.lines.read_until(b'\n', &mut line) => {
                if read.unwrap_or(0) == 0 {
                    return;
                }
                if line.ends_with(b"\n") {
                    let message: Value = serde_json::from_slice(&line).unwrap();
                    line.clear();
                    if server.take(message).await.is_break() {
                        return;
                    }
                }
            }
            order = orders.recv() => match order {
                Some(Order::Say(message)) => server.say(message).await,
                Some(Order::Release) => {
                    for id in std::mem::take(&mut server.held) {
                        server.answer(id, json!({"released": true})).await;
                    }
                }
                Some(Order::Die) | None => return,
            },
        }
    }
}

struct Server {
    lines: BufReader<pipe::Receiver>,
    writer: pipe::Sender,
    seen: Arc<Seen>,
    held: VecDeque<Value>,
    /// Requests that wait for the answer to a question: the question's id and the request's.
    asking: Vec<(Value, Value)>,
    next_id: u64,
}

impl Server {
    async fn say(&mut self, message: Value) {
        // The router may have closed its end, which some tests are about.
        let _ = self
            .writer
            .write_all(format!("{message}\n").as_bytes())
            .await;
    }

    async fn answer(&mut self, id: Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result}))
            .await;
    }

    async fn take(&mut self, message: Value) -> std::ops::ControlFlow<()> {
        self.seen.messages.lock().push(message.clone());
        self.seen.news.notify_waiters();
        let id = message["id"].clone();
        let params = &message["params"];
        match message["method"].as_str() {
            None => {
                let at = self.asking.iter().position(|(question, _)| *question == id);
                if let Some(at) = at {
                    let (_, request) = self.asking.remove(at);
                    self.answer(request, json!({"reply": message})).await;
                }
            }
            Some("initialize") => {
                let result = json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {"tools": {"listChanged": true}, "logging": {}, "resources": {"subscribe": true}},
                    "serverInfo": {"name": "obedient", "version": "1.2.3"},
                    "instructions": "Do as the test says.",
                });
                self.answer(id, result).await;
            }
            Some("tools/list") => {
                let tools = json!({"tools": [{"name": "work", "inputSchema": {}}]});
                self.answer(id, tools).await;
            }
            Some("tools/call") => return self.work(id, params).await,
            Some(_) if id.is_null() => {}
            Some(_) => self.answer(id, json!({})).await,
        }
        std::ops::ControlFlow::Continue(())
    }

    async fn work(&mut self, id: Value, params: &Value) -> std::ops::ControlFlow<()> {
        let arguments = params["arguments"].clone();
        let amount = arguments["amount"].as_u64().unwrap_or(1);
        match arguments["do"].as_str().unwrap_or("echo") {
            "hold" => self.held.push_back(id),
            "die" => return std::ops::ControlFlow::Break(()),
            "error" => {
                let error = json!({"code": arguments["code"], "message": "as you wish"});
                self.say(json!({"jsonrpc": "2.0", "id": id, "error": error}))
                    .await;
            }
            "fail" => {
                let result = json!({"isError": true, "content": []});
                self.answer(id, result).await;
            }
            "progress" => {
                for n in 1..=amount {
                    let params =
                        json!({"progressToken": params["_meta"]["progressToken"], "progress": n});
                    self.say(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})).await;
                }
                if arguments["then"] == "hold" {
                    self.held.push_back(id);
                } else {
                    self.answer(id, json!({"done": amount})).await;
                }
            }
            "log" => {
                for n in 0..amount {
                    let params =
                        json!({"level": "info", "data": {"n": n, "pad": arguments["pad"]}});
                    self.say(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})).await;
                }
                self.answer(id, json!({"done": amount})).await;
            }
            "ask" => {
                self.next_id += 1;
                let question = json!(self.next_id);
                self.asking.push((question.clone(), id));
                let method = &arguments["method"];
                self.say(
                    json!({"jsonrpc": "2.0", "id": question, "method": method, "params": {"q": 1}}),
                )
                .await;
            }
            "big" => {
                let text = "x".repeat(usize::try_from(amount).unwrap());
                self.answer(id, json!({"text": text})).await;
            }
            _ => self.answer(id, json!({"echo": arguments})).await,
        }
        std::ops::ControlFlow::Continue(())
    }
}
