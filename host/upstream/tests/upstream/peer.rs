//! A scripted instance, and clients that note what they get.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use router_core::{InstanceId, Run};
use router_upstream::{
    CallError, ClientCapabilities, Closed, Connection, Envelope, Handshake, IgnoreEvents, NotSent,
    Reply, ReplySink, SessionMemory, SessionSink, SessionSpec, Upstream, UpstreamConfig,
    UpstreamSessionId,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::unix::pipe,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// Long enough for a busy machine, short enough to fail loudly.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The instance's end of a connection.
pub(crate) struct Peer {
    reader: BufReader<pipe::Receiver>,
    /// Absent once it has been closed.
    writer: Option<pipe::Sender>,
}

impl Peer {
    pub(crate) async fn next_line(&mut self) -> String {
        let mut line = String::new();
        let read = soon("a line from the router", self.reader.read_line(&mut line)).await;
        assert!(read.unwrap() > 0, "the router closed the connection");
        line.trim_end_matches('\n').to_owned()
    }

    pub(crate) async fn next(&mut self) -> Value {
        let line = self.next_line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next message, which must be of this method.
    pub(crate) async fn expect(&mut self, method: &str) -> Value {
        let message = self.next().await;
        assert_eq!(message["method"], method, "{message}");
        message
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.send_raw(format!("{message}\n").as_bytes()).await;
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        let writer = self.writer.as_mut().expect("the output is open");
        soon("room in the pipe", writer.write_all(bytes))
            .await
            .unwrap();
    }

    pub(crate) async fn answer(&mut self, request: &Value, result: Value) {
        self.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
            .await;
    }

    /// Nothing may come before the answer to this ping of the instance's own, which the router answers by itself.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(json!({"jsonrpc": "2.0", "id": "probe", "method": "ping"}))
            .await;
        let message = self.next().await;
        assert_eq!(
            message,
            json!({"jsonrpc": "2.0", "id": "probe", "result": {}})
        );
    }

    pub(crate) fn close_output(&mut self) {
        self.writer = None;
    }
}

pub(crate) fn config() -> UpstreamConfig {
    UpstreamConfig::new(InstanceId::parse("demo").unwrap(), Run(7), "e1")
}

/// A connection to a scripted instance.
pub(crate) fn open(config: UpstreamConfig) -> (Arc<Upstream>, Connection, Peer) {
    let (stdin, reader) = pipe::pipe().unwrap();
    let (writer, stdout) = pipe::pipe().unwrap();
    let (upstream, connection) = Upstream::open_pipes(
        config,
        stdin.into_nonblocking_fd().unwrap(),
        stdout.into_nonblocking_fd().unwrap(),
        Arc::new(IgnoreEvents),
    )
    .unwrap();
    let peer = Peer {
        reader: BufReader::new(reader),
        writer: Some(writer),
    };
    (upstream, connection, peer)
}

/// A connection that is past its handshake.
pub(crate) fn ready(config: UpstreamConfig) -> (Arc<Upstream>, JoinHandle<Arc<Closed>>, Peer) {
    let (upstream, connection, peer) = open(config);
    let blob = json!({
        "layout": 1,
        "result": json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {}}).to_string(),
        "tools": [],
    });
    upstream.adopt(Handshake::from_blob(blob.to_string().as_bytes()).unwrap());
    (upstream, tokio::spawn(connection), peer)
}

/// What one client got.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Got {
    /// Through the request with this id.
    Through(String, Value),
    /// Through its session.
    Session(Value),
    /// The answer to the request with this id.
    Answer(String, Value),
    /// No answer to the request with this id.
    Failed(String, String),
    /// The request with this id goes on waiting.
    Waiting(String),
}

/// One client session.
pub(crate) struct Client {
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) key: UpstreamSessionId,
    pub(crate) memory: Arc<SessionMemory>,
    sender: mpsc::UnboundedSender<Got>,
    received: mpsc::UnboundedReceiver<Got>,
}

struct Sink {
    sender: mpsc::UnboundedSender<Got>,
}

impl SessionSink for Sink {
    fn deliver(&self, message: &str) -> bool {
        let message = serde_json::from_str(message).unwrap();
        self.sender.send(Got::Session(message)).is_ok()
    }
}

struct Call {
    id: String,
    sender: mpsc::UnboundedSender<Got>,
    ended: Mutex<bool>,
}

impl ReplySink for Call {
    fn interleave(&self, message: &str) -> bool {
        assert!(!*self.ended.lock(), "a message after the answer");
        let message = serde_json::from_str(message).unwrap();
        self.sender
            .send(Got::Through(self.id.clone(), message))
            .is_ok()
    }

    fn waiting(&self) {
        let _ = self.sender.send(Got::Waiting(self.id.clone()));
    }

    fn finish(&self, reply: Reply) {
        assert!(
            !std::mem::replace(&mut *self.ended.lock(), true),
            "two answers"
        );
        let id = self.id.clone();
        let got = match reply {
            Reply::Answer { message, .. } => {
                Got::Answer(id, serde_json::from_slice(&message).unwrap())
            }
            Reply::Failed(error) => Got::Failed(id, error.to_string()),
        };
        let _ = self.sender.send(got);
    }
}

impl Client {
    pub(crate) fn attach(upstream: &Arc<Upstream>) -> Self {
        Self::attach_with(upstream, all_capabilities(), false, Arc::default())
    }

    pub(crate) fn attach_with(
        upstream: &Arc<Upstream>,
        capabilities: ClientCapabilities,
        is_inherited: bool,
        memory: Arc<SessionMemory>,
    ) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let spec = SessionSpec {
            capabilities,
            is_inherited,
            memory: memory.clone(),
            sink: Arc::new(Sink {
                sender: sender.clone(),
            }),
        };
        let key = upstream.attach(spec).unwrap();
        Self {
            upstream: upstream.clone(),
            key,
            memory,
            sender,
            received,
        }
    }

    pub(crate) fn call(&self, message: Value) -> Result<(), CallError> {
        let source = Bytes::from(message.to_string());
        let (_, envelope) = Envelope::parse(&source).unwrap();
        let call = Call {
            id: envelope.id.unwrap().to_owned(),
            sender: self.sender.clone(),
            ended: Mutex::new(false),
        };
        self.upstream
            .call(self.key, &source, &envelope, Arc::new(call))
    }

    /// Sends a request that must be taken.
    pub(crate) fn request(&self, id: impl Into<Value>, method: &str, params: Value) {
        self.call(json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params}))
            .unwrap();
    }

    pub(crate) fn notify(&self, method: &str, params: Value) {
        self.try_notify(method, params).unwrap();
    }

    pub(crate) fn try_notify(&self, method: &str, params: Value) -> Result<(), NotSent> {
        let text = json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string();
        let envelope = Envelope::parse_text(&text).unwrap();
        self.upstream.notify(self.key, &text, &envelope)
    }

    pub(crate) fn respond(&self, message: Value) -> bool {
        self.try_respond(message).is_ok()
    }

    pub(crate) fn try_respond(&self, message: Value) -> Result<(), NotSent> {
        let text = message.to_string();
        let envelope = Envelope::parse_text(&text).unwrap();
        self.upstream.respond(self.key, &text, &envelope)
    }

    pub(crate) async fn next(&mut self) -> Got {
        soon("something for the client", self.received.recv())
            .await
            .unwrap()
    }

    pub(crate) async fn answer(&mut self) -> Value {
        match self.next().await {
            Got::Answer(_, message) => message,
            got => panic!("not an answer: {got:?}"),
        }
    }

    pub(crate) async fn failure(&mut self) -> String {
        match self.next().await {
            Got::Failed(_, reason) => reason,
            got => panic!("not a failure: {got:?}"),
        }
    }

    /// What has come so far.
    pub(crate) fn pending(&mut self) -> Vec<Got> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }
}

pub(crate) fn all_capabilities() -> ClientCapabilities {
    ClientCapabilities {
        roots: true,
        sampling: true,
        elicitation: true,
    }
}
