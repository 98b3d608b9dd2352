//! What clients send that they should not, or never finish sending: each gets a clear answer or loses its connection, no other notices, and
//! the router's memory is afterwards what it was before.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use reqwest::Method;
use router_tests::{Config, Load, Router, Session, load::Plan, mcp, peers, processes, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const SOON: Duration = Duration::from_secs(30);

/// Memory that a flood may leave behind.
const RESIDUE_BYTES_MAX: u64 = 20_000_000;

/// Connections that send nothing.
const SILENT: usize = 10_000;

/// A router with some load on it, and the memory that it takes then.
struct Beset {
    router: Router,
    load: Load,
    before: u64,
}

impl Beset {
    async fn begin() -> Self {
        let router = Router::start(&Config::new().server(peers::echo().autostart())).await;
        router.ready("echo").await;
        let plan = Plan::clients(4).paused(Duration::from_millis(2));
        let load = Load::start(router.address(), "/mcp/echo", &plan).await;
        load.further(200, SOON).await;
        let before = processes::resident_bytes(router.pid());
        Self {
            router,
            load,
            before,
        }
    }

    /// It serves new clients, the load has noticed nothing, and it takes no more memory than before.
    async fn end(self) {
        let mut session = self.router.session("echo").await;
        let answer = session.call("echo", &json!({"text": "still here"})).await;
        assert_eq!(answer, "still here");
        until("the router's memory to settle", SOON, async || {
            let after = processes::resident_bytes(self.router.pid());
            if after <= self.before + RESIDUE_BYTES_MAX {
                Ok(())
            } else {
                let before = self.before >> 20;
                Err(format!("{before} MiB before, {} MiB after", after >> 20))
            }
        })
        .await;
        self.load.further(200, SOON).await;
        self.load.stop().await.assert_clean(400);
        self.router.end().await;
    }
}

/// Sends bytes as they are and reads whatever comes until the other side ends it, goes quiet for a second after an answer, or takes
/// too long.
async fn raw(address: SocketAddr, parts: &[&[u8]], half_close: bool) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut sent = true;
    for part in parts {
        // A router that has answered already need not read the rest.
        sent &= stream.write_all(part).await.is_ok();
    }
    if half_close && sent {
        let _ = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let begun = Instant::now();
    let mut buffer = vec![0; 64 * 1024];
    while begun.elapsed() < SOON {
        match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
            Err(_) if answer.is_empty() => {}
            Err(_) => break,
        }
    }
    assert!(
        begun.elapsed() < SOON,
        "neither an answer nor an end within {SOON:?}"
    );
    String::from_utf8_lossy(&answer).into_owned()
}

fn status_of(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1).unwrap_or_default();
    word.parse().unwrap_or(0)
}

fn head(length: &str) -> String {
    format!(
        "POST /mcp/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{length}\r\n\r\n"
    )
}

async fn posted(session: &Session, body: impl Into<reqwest::Body>) -> (u16, Value, String) {
    let request = session
        .request(Method::POST)
        .header("content-type", "application/json");
    let answer = request.body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or_default(),
        text,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_is_refused_with_a_message() {
    let beset = Beset::begin().await;
    let router = &beset.router;
    let session = router.session("echo").await;
    let check = async |what: &str, body: Vec<u8>, status: u16, code: i64| {
        let (got, answer, text) = posted(&session, body).await;
        assert_eq!(got, status, "{what}: {text}");
        assert_eq!(answer["error"]["code"], code, "{what}: {text}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.len() > 5, "{what}: no message in {text}");
    };
    let nested = |opening: &str, closing: &str| {
        (opening.repeat(10_000) + &closing.repeat(10_000)).into_bytes()
    };
    check("nothing", Vec::new(), 400, -32700).await;
    check("no JSON", b"hello".to_vec(), 400, -32700).await;
    check(
        "half of JSON",
        br#"{"jsonrpc":"2.0","id":1,"#.to_vec(),
        400,
        -32700,
    )
    .await;
    check(
        "invalid UTF-8",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}".to_vec(),
        400,
        -32700,
    )
    .await;
    check("a number", b"42".to_vec(), 400, -32600).await;
    check(
        "a batch",
        br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#.to_vec(),
        400,
        -32600,
    )
    .await;
    check(
        "no method",
        br#"{"jsonrpc":"2.0","id":1}"#.to_vec(),
        400,
        -32600,
    )
    .await;
    check(
        "another version",
        br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#.to_vec(),
        400,
        -32600,
    )
    .await;
    let (status, _, text) = posted(&session, nested("[", "]")).await;
    assert_eq!(status, 400, "10,000 arrays: {text}");
    let (status, _, text) = posted(&session, nested("{\"a\":", "}")).await;
    assert_eq!(status, 400, "10,000 objects around nothing: {text}");

    // Deep inside its arguments it is the server's business: it comes back, or the server's own error does.
    let mut deep = br#"{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"echo","arguments":{"text":"#.to_vec();
    deep.extend(nested("[", "]"));
    deep.extend(b"}}}");
    let (status, _, text) = posted(&session, deep).await;
    assert!(
        matches!(status, 200 | 400),
        "10,000-deep arguments: {status} {text}"
    );

    // Answers to questions that nobody asked, and cancellations of what does not run, are taken and forgotten.
    for message in [
        json!({"jsonrpc": "2.0", "id": "nobody-asked", "result": {}}),
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4711}}),
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "x", "progress": 1}}),
    ] {
        let answer = session.post(&message).await;
        assert!(
            answer.status == 202 || answer.status == 400,
            "{message}: {} {}",
            answer.status,
            answer.text
        );
    }

    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let elsewhere = Session::new(&router.mcp_url("nobody"));
    let answer = elsewhere.post(&mcp::initialize(1)).await;
    assert_eq!(answer.status, 404, "an unknown instance: {}", answer.text);
    assert!(answer.text.contains("nobody"), "{}", answer.text);
    let mut stranger = session.clone();
    for wrong in ["", "x", "..", "0123456789abcdef0123456789abcdef", "\u{e4}"] {
        stranger.id = None;
        let request = stranger
            .request(Method::POST)
            .header("mcp-session-id", wrong);
        let answer = request.json(&ping).send().await.unwrap();
        let status = answer.status().as_u16();
        assert!(matches!(status, 400 | 404), "session {wrong:?}: {status}");
    }
    // One character of a good id changed: sealed ids are not to be guessed.
    let mut forged = session.id.clone().unwrap().into_bytes();
    let middle = forged.len() / 2;
    forged[middle] = if forged[middle] == b'a' { b'b' } else { b'a' };
    stranger.id = Some(String::from_utf8(forged).unwrap());
    assert_eq!(stranger.post(&ping).await.status, 404, "a forged session");
    stranger.id = None;
    assert_eq!(stranger.post(&ping).await.status, 400, "no session");

    router.logged(&["VALIDATION"], SOON).await;
    beset.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_end_and_cost_nobody_else_anything() {
    let beset = Beset::begin().await;
    let address = beset.router.address();
    let garbage: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let answer = raw(address, &[&garbage], true).await;
    assert!(
        matches!(status_of(&answer), 0 | 400 | 431),
        "garbage: {answer}"
    );
    let answer = raw(
        address,
        &[b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
        true,
    )
    .await;
    assert!(matches!(status_of(&answer), 0 | 400), "TLS: {answer}");

    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "x".repeat(300_000)
    );
    let answer = raw(address, &[long.as_bytes()], true).await;
    assert!(
        matches!(status_of(&answer), 0 | 400 | 414 | 431),
        "a long path: {answer:.100}"
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n{}\r\n",
        "X-Y: z\r\n".repeat(20_000)
    );
    let answer = raw(address, &[many.as_bytes()], true).await;
    assert!(
        matches!(status_of(&answer), 0 | 400 | 431),
        "20,000 headers: {answer:.100}"
    );

    let body = mcp::initialize(1).to_string();
    let both = head(&format!(
        "Content-Length: {}\r\nTransfer-Encoding: chunked",
        body.len()
    ));
    let answer = raw(address, &[both.as_bytes(), body.as_bytes()], true).await;
    assert!(
        matches!(status_of(&answer), 0 | 400),
        "two lengths: {answer}"
    );

    // A client that has said everything and closes its side still gets its answer.
    let whole = head(&format!("Content-Length: {}", body.len()));
    let answer = raw(address, &[whole.as_bytes(), body.as_bytes()], true).await;
    assert_eq!(
        status_of(&answer),
        200,
        "half-closed after a whole request: {answer}"
    );
    assert!(answer.contains("\"protocolVersion\""), "{answer}");
    // One that closes in the middle gets a refusal or nothing, at once.
    let answer = raw(address, &[whole.as_bytes(), &body.as_bytes()[..20]], true).await;
    assert!(
        matches!(status_of(&answer), 0 | 400 | 408),
        "half a body: {answer}"
    );
    let answer = raw(address, &[&whole.as_bytes()[..30]], true).await;
    assert!(
        matches!(status_of(&answer), 0 | 400 | 408),
        "half a head: {answer}"
    );

    beset.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_megabytes_are_refused_and_forgotten() {
    let beset = Beset::begin().await;
    let address = beset.router.address();
    let total = 100 * 1024 * 1024;
    let piece = vec![b'x'; 1024 * 1024];
    for round in 0..4 {
        let (announced, framed) = if round % 2 == 0 {
            (head(&format!("Content-Length: {total}")), piece.clone())
        } else {
            let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
            chunk.extend_from_slice(&piece);
            chunk.extend_from_slice(b"\r\n");
            (head("Transfer-Encoding: chunked"), chunk)
        };
        let mut parts: Vec<&[u8]> = vec![announced.as_bytes()];
        parts.extend(std::iter::repeat_n(framed.as_slice(), 100));
        let answer = raw(address, &parts, false).await;
        // A router that closes while we still write may have its answer thrown away by the kernel: what it says is asked below.
        assert!(
            matches!(status_of(&answer), 0 | 413),
            "round {round}: {answer}"
        );
    }
    let session = Session::new(&beset.router.mcp_url("echo"));
    let big = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":\"{}\"}}",
        "x".repeat(total)
    );
    let request = session
        .request(Method::POST)
        .header("content-type", "application/json")
        .body(big);
    if let Ok(answer) = request.header("expect", "100-continue").send().await {
        assert_eq!(answer.status(), 413);
    }
    // Announced and not sent: the answer cannot be lost, and comes before the first byte.
    let announced = head(&format!("Content-Length: {total}"));
    let answer = raw(address, &[announced.as_bytes()], false).await;
    assert_eq!(status_of(&answer), 413, "{answer}");
    assert!(answer.contains("\"error\""), "no words: {answer}");
    beset.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_that_send_nothing_keep_nobody_out() {
    let needed = u64::try_from(SILENT).unwrap() + 1_000;
    let limit = getrlimit(Resource::Nofile);
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "this test needs {needed} open files and may have {:?}: raise the hard limit (`ulimit -Hn`)",
        limit.maximum
    );
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();

    // The router inherits the limit.
    let beset = Beset::begin().await;
    let router = &beset.router;
    let mut silent = Vec::with_capacity(SILENT);
    for number in 0..SILENT {
        match TcpStream::connect(router.address()).await {
            Ok(stream) => silent.push(stream),
            Err(error) => panic!("connection {number}: {error}\n{}", router.tail()),
        }
    }
    // Who is there already is served on; who comes new gets in, at the latest when the silent ones are shown the door.
    beset.load.further(200, SOON).await;
    until(
        "a new client to get in",
        Duration::from_secs(60),
        async || {
            let mut session = Session::new(&router.mcp_url("echo"));
            match session.try_post(&mcp::initialize(1)).await {
                Ok(answer) if answer.status == 200 => {
                    session.initialize().await;
                    Ok(())
                }
                Ok(answer) => Err(format!("{} {}", answer.status, answer.text)),
                Err(error) => Err(format!("{error:?}")),
            }
        },
    )
    .await;
    assert_eq!(router.get("/api/health/liveness").await["status"], "alive");
    drop(silent);
    beset.end().await;
}
