//! Measures the hot path: `tools/call` over HTTP to a real child process, beside a handler that answers by itself.
//!
//! `cargo run --release -p router-proxy --example hot_path [seconds]`. One thread serves, another one asks; the child is
//! this program again, echoing.
//!
//! `… --example hot_path count PATH REQUESTS CONNECTIONS` only asks so often, for instruction counts: the difference between
//! `/mcp/echo` and `/bound` under `valgrind --tool=callgrind`, divided by the requests, is what the proxy itself costs. At `/mcp/metered`
//! calls are counted by tool.
//!
//! `… --example hot_path table` measures the routing table: what it costs to add an instance, to change its entry and to
//! read it, with 10 to 100,000 instances.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measuring tool: it prints, and fails by panicking"
)]

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, routing::post};
use parking_lot::Mutex;
use router_core::{InstanceId, Now, Run, SlotKey, route::Route};
use router_proxy::{
    McpPath, MeteredTools, Proxy, ProxyLimits, ProxyObserver, ProxyParts, RevocationStore,
    RevokedSession, RoutingEntry, RoutingTable, SessionClaims, SessionSeal,
};
use router_upstream::{IgnoreEvents, Upstream, UpstreamConfig};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
};

#[derive(Default)]
struct Seals(Mutex<HashMap<String, SessionClaims>>);

/// Revocations are good for this process only: no other one opens its ids.
impl RevocationStore for Seals {
    fn load(&self) -> Vec<RevokedSession> {
        Vec::new()
    }
    fn add(&self, _: RevokedSession) {}
}

impl ProxyObserver for Seals {}

impl SessionSeal for Seals {
    fn seal(&self, claims: &SessionClaims) -> String {
        let token = format!("{:032x}", u128::from_be_bytes(claims.nonce));
        self.0.lock().insert(token.clone(), claims.clone());
        token
    }
    fn open(&self, token: &str) -> Option<SessionClaims> {
        self.0.lock().get(token).cloned()
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["echo"] => echo(),
        ["table"] => measure_table(&[10, 1_000, 10_000, 100_000]),
        ["count", path, requests, connections] => {
            let until = Until::Requests(requests.parse().unwrap());
            measure(&[connections.parse().unwrap()], &[path], until);
        }
        [] => measure(
            &[1, 8, 32, 128],
            &["/bound", "/mcp/echo"],
            Until::seconds(3),
        ),
        [seconds] => {
            let until = Until::seconds(seconds.parse().unwrap());
            measure(&[1, 8, 32, 128], &["/bound", "/mcp/echo"], until);
        }
        _ => panic!("unknown arguments: {arguments:?}"),
    }
}

/// When a client has asked often enough.
#[derive(Clone, Copy)]
enum Until {
    Elapsed(Duration),
    /// Of each client.
    Requests(usize),
}

impl Until {
    fn seconds(seconds: u64) -> Self {
        Self::Elapsed(Duration::from_secs(seconds))
    }

    fn is_over(self, begun: Instant, done: usize) -> bool {
        match self {
            Self::Elapsed(duration) => begun.elapsed() >= duration,
            Self::Requests(requests) => done >= requests,
        }
    }
}

fn measure(connections: &[usize], paths: &[&str], until: Until) {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(sender));
    });
    let address = receiver.recv().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{:>12} {:>12} {:>10} {:>10} {:>10}",
        "", "connections", "req/s", "p50 us", "p99 us"
    );
    for connections in connections {
        for path in paths {
            let figures = runtime.block_on(load(address, path, *connections, until));
            println!(
                "{path:>12} {connections:>12} {:>10} {:>10} {:>10}",
                figures.0, figures.1, figures.2
            );
        }
    }
}

/// Nanoseconds of each operation on a routing table of so many instances.
fn measure_table(sizes: &[usize]) {
    let entry = |id: &InstanceId| {
        let route = Route::Startable { wait_ms: 1 };
        RoutingEntry::new(SlotKey::first(id.clone()), route, None, Arc::default())
    };
    println!(
        "{:>10} {:>10} {:>10} {:>10}",
        "instances", "add ns", "set ns", "get ns"
    );
    for size in sizes {
        let names = (0..*size).map(|n| format!("project-{n}"));
        let ids: Vec<InstanceId> = names
            .map(|name| InstanceId::parse(&name).unwrap())
            .collect();
        let table = RoutingTable::new();
        let nanos = |operation: &dyn Fn(&InstanceId)| {
            let rounds = 100_000 / size;
            let begun = Instant::now();
            for id in ids.iter().cycle().take(rounds * size) {
                operation(id);
            }
            begun.elapsed().as_nanos() / (rounds * size) as u128
        };
        let begun = Instant::now();
        for id in &ids {
            table.set(entry(id));
        }
        let add = begun.elapsed().as_nanos() / *size as u128;
        let set = nanos(&|id| table.set(entry(id)));
        let get = nanos(&|id| assert!(table.get(id.as_str()).is_some()));
        println!("{size:>10} {add:>10} {set:>10} {get:>10}");
    }
}

/// The child: answers every request, with one write for all that came with one read. It looks for the id as the router
/// writes it, so that what is measured is the router and not a parser.
fn echo() {
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let (mut input, mut output) = (Vec::new(), Vec::new());
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = stdin.read(&mut chunk).unwrap();
        if read == 0 {
            return;
        }
        input.extend_from_slice(&chunk[..read]);
        let mut from = 0;
        while let Some(end) = input[from..].iter().position(|byte| *byte == b'\n') {
            answer(
                std::str::from_utf8(&input[from..from + end]).unwrap(),
                &mut output,
            );
            from += end + 1;
        }
        input.drain(..from);
        stdout.write_all(&output).unwrap();
        stdout.flush().unwrap();
        output.clear();
    }
}

fn answer(line: &str, output: &mut Vec<u8>) {
    let Some((_, rest)) = line.split_once("\"id\":\"") else {
        return;
    };
    let (id, _) = rest.split_once('"').unwrap();
    let result = if line.contains("\"initialize\"") {
        r#"{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"echo","version":"1"}}"#
    } else {
        r#"{"content":[{"type":"text","text":"hello"}]}"#
    };
    writeln!(
        output,
        r#"{{"jsonrpc":"2.0","id":"{id}","result":{result}}}"#
    )
    .unwrap();
}

async fn serve(ready: std::sync::mpsc::Sender<SocketAddr>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It ends when its input does, with this process.
    let [id, metered] = ["echo", "metered"].map(|id| InstanceId::parse(id).unwrap());
    let config = UpstreamConfig::new(id.clone(), Run(1), "e1");
    let stdin = OwnedFd::from(child.stdin.take().unwrap());
    let stdout = OwnedFd::from(child.stdout.take().unwrap());
    thread::spawn(move || child.wait());
    let (upstream, connection) =
        Upstream::open_pipes(config, stdin, stdout, Arc::new(IgnoreEvents)).unwrap();
    tokio::spawn(connection);
    upstream.handshake(Duration::from_secs(10)).await.unwrap();
    let table = Arc::new(RoutingTable::new());
    let entry = |id: InstanceId| {
        let key = SlotKey::first(id);
        let route = Route::Ready {
            key: key.clone(),
            run: Run(1),
        };
        RoutingEntry::new(key, route, Some(upstream.clone()), Arc::default())
    };
    table.set(entry(id));
    // As many tools as a large server has.
    let tools = (0..100).map(|n| format!("echo-{n}").into());
    let tools = MeteredTools::new(tools.chain(["echo".into()]));
    table.set(entry(metered).with_metered(Some(Arc::new(tools))));
    let (events, mut taken) = mpsc::channel(1024);
    tokio::spawn(async move { while taken.recv().await.is_some() {} });
    let begun = Instant::now();
    let seals = Arc::new(Seals::default());
    let proxy = Proxy::new(ProxyParts {
        table,
        seal: seals.clone(),
        revocations: seals.clone(),
        observer: seals,
        events,
        clock: Arc::new(move || Now::at(u64::try_from(begun.elapsed().as_millis()).unwrap())),
        epoch: "e1".to_owned(),
        limits: ProxyLimits::default(),
    });
    let bound = post(async |_: bytes::Bytes| r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    let mcp = async move |request: Request| {
        let path = McpPath::parse(request.uri().path()).unwrap();
        proxy.answer(&path, request).await
    };
    let app = Router::new().route("/bound", bound).fallback(mcp);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    axum::serve(listener, app).await.unwrap();
}

/// Requests per second, and the median and 99th percentile in microseconds.
async fn load(
    address: SocketAddr,
    path: &str,
    connections: usize,
    until: Until,
) -> (u128, u128, u128) {
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(tokio::spawn(ask(address, path.to_owned(), until)));
    }
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.unwrap());
    }
    let elapsed_us = begun.elapsed().as_micros();
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_micros();
    (took.len() as u128 * 1_000_000 / elapsed_us, at(50), at(99))
}

/// One client: begins a session, then asks one request after another.
async fn ask(address: SocketAddr, path: String, until: Until) -> Vec<Duration> {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(4096);
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}});
    let start = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    exchange(
        &mut socket,
        &request(&path, "", &start.to_string()),
        &mut buffer,
    )
    .await;
    let head = String::from_utf8_lossy(&buffer).to_ascii_lowercase();
    let session = head
        .lines()
        .find_map(|line| line.strip_prefix("mcp-session-id: "));
    // In the order in which clients write it.
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}"#;
    let call = request(&path, session.unwrap_or(""), call);
    let (mut took, begun) = (Vec::new(), Instant::now());
    while !until.is_over(begun, took.len()) {
        let asked = Instant::now();
        exchange(&mut socket, &call, &mut buffer).await;
        took.push(asked.elapsed());
    }
    took
}

fn request(path: &str, session: &str, body: &str) -> Vec<u8> {
    let session = if session.is_empty() {
        String::new()
    } else {
        format!("mcp-session-id: {session}\r\nmcp-protocol-version: 2025-11-25\r\n")
    };
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n{session}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends a request and reads one answer with a length.
async fn exchange(socket: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
    socket.write_all(request).await.unwrap();
    buffer.clear();
    loop {
        assert!(
            socket.read_buf(buffer).await.unwrap() > 0,
            "the server hung up"
        );
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&buffer[..end]).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap();
        if buffer.len() >= end + 4 + length.parse::<usize>().unwrap() {
            return;
        }
    }
}
