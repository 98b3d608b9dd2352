//! Requests per second and latency through the router, through nginx to a unix socket, and through mcp-proxy, on the same echo and in
//! turn, so that a busy minute hits all; then what a router and its shims take of memory. `router-bench [SECONDS] [--without-peers]`.
//!
//! It asserts nothing: `tests/bench/run.sh` prints what it prints, and a person compares.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measuring tool: what it cannot do ends it, and its output is what it is for"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use router_tests::{Config, Router, mcp, peers, processes, until, wire::Wire};
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    process::{Child, Command},
    task::JoinSet,
};

const CONNECTIONS: [usize; 4] = [1, 8, 32, 128];
const FLEETS: [usize; 3] = [1, 20, 100];
const SECONDS_DEFAULT: u64 = 5;

/// Somebody who answers `tools/call` of an echo over HTTP.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    path: String,
    tool: &'static str,
    /// What has to live as long as it is asked.
    _held: Held,
}

#[derive(Default)]
struct Held {
    _router: Option<Router>,
    _child: Option<Child>,
    _folder: Option<TempDir>,
    _tasks: JoinSet<()>,
}

/// What one measurement saw.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    per_second: f64,
    p50_us: u32,
    p99_us: u32,
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let seconds = words.iter().find_map(|word| word.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(SECONDS_DEFAULT));
    let mut asked = vec![router().await];
    if !words.iter().any(|word| word == "--without-peers") {
        asked.push(nginx().await);
        asked.push(mcp_proxy().await);
    }
    let mut table: BTreeMap<(usize, &str), Seen> = BTreeMap::new();
    for connections in CONNECTIONS {
        for peer in &asked {
            measure(peer, connections, Duration::from_millis(500)).await;
            table.insert(
                (connections, peer.name),
                measure(peer, connections, time).await,
            );
        }
    }
    report(&table, &asked);
    drop(asked);
    memory().await;
}

fn report(table: &BTreeMap<(usize, &str), Seen>, asked: &[Peer]) {
    println!(
        "{:>11}  {:<10} {:>10} {:>9} {:>9}   router beside it",
        "connections", "", "req/s", "p50 us", "p99 us"
    );
    for connections in CONNECTIONS {
        let own = table[&(connections, "router")];
        for peer in asked {
            let seen = table[&(connections, peer.name)];
            let beside = if peer.name == "router" {
                String::new()
            } else {
                format!(
                    "{:.2}x throughput, {:.2}x p50, {:.2}x p99",
                    own.per_second / seen.per_second,
                    f64::from(own.p50_us) / f64::from(seen.p50_us.max(1)),
                    f64::from(own.p99_us) / f64::from(seen.p99_us.max(1)),
                )
            };
            println!(
                "{connections:>11}  {:<10} {:>10.0} {:>9} {:>9}   {beside}",
                peer.name, seen.per_second, seen.p50_us, seen.p99_us
            );
        }
    }
}

/// So many clients, each as fast as it is answered. An answer that is none ends the bench: there is nothing to compare then.
async fn measure(peer: &Peer, connections: usize, time: Duration) -> Seen {
    let mut wires = Vec::new();
    for _ in 0..connections {
        let mut wire = Wire::connect(peer.address, &peer.path).await.unwrap();
        let opened = wire.post(mcp::initialize(0).to_string().as_bytes()).await;
        wire.session = opened
            .unwrap_or_else(|broken| panic!("{}: {broken}", peer.name))
            .session;
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        wire.post(done.to_string().as_bytes()).await.unwrap();
        wires.push(wire);
    }
    let text = "thirty-two bytes of an echo call";
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": peer.tool, "arguments": {"text": text}}});
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for mut wire in wires {
        let request = request.to_string();
        let name = peer.name;
        clients.spawn(async move {
            let mut latencies = Vec::new();
            while begun.elapsed() < time {
                let asked = Instant::now();
                let answer = wire.post(request.as_bytes()).await;
                let answer = answer.unwrap_or_else(|broken| panic!("{name}: {broken}"));
                let good = answer
                    .body
                    .windows(text.len())
                    .any(|window| window == text.as_bytes());
                assert!(
                    good,
                    "{name}: {} {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body)
                );
                latencies.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            latencies
        });
    }
    let mut latencies: Vec<u32> = clients.join_all().await.into_iter().flatten().collect();
    let elapsed = begun.elapsed();
    latencies.sort_unstable();
    let at = |percent: usize| {
        latencies
            .get(latencies.len() * percent / 100)
            .copied()
            .unwrap_or(0)
    };
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
    Seen {
        per_second,
        p50_us: at(50),
        p99_us: at(99),
    }
}

async fn router() -> Peer {
    let router = Router::start(&Config::new().server(peers::echo().autostart())).await;
    router.ready("echo").await;
    Peer {
        name: "router",
        address: router.address(),
        path: "/mcp/echo".to_owned(),
        tool: "echo",
        _held: Held {
            _router: Some(router),
            ..Held::default()
        },
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

async fn listening(name: &str, address: SocketAddr) {
    until(
        &format!("{name} to listen"),
        Duration::from_secs(20),
        async || {
            Wire::connect(address, "/")
                .await
                .map(|_| ())
                .map_err(|broken| broken.to_string())
        },
    )
    .await;
}

/// nginx as people put it in front of a service on a unix socket: kept-alive connections on both sides.
async fn nginx() -> Peer {
    let folder = tempfile::Builder::new()
        .prefix("gmr-nginx-")
        .tempdir()
        .unwrap();
    let home = folder.path().display();
    let port = free_port();
    let conf = format!(
        "daemon off; worker_processes 2; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {home}/a; proxy_temp_path {home}/b; fastcgi_temp_path {home}/c; uwsgi_temp_path {home}/d; scgi_temp_path {home}/e;
  keepalive_requests 100000000;
  upstream echo {{ server unix:{home}/echo.sock; keepalive 256; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}
}}\n"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, conf).unwrap();
    let mut tasks = JoinSet::new();
    let listener = UnixListener::bind(folder.path().join("echo.sock")).unwrap();
    fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    fs::set_permissions(
        folder.path().join("echo.sock"),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    tasks.spawn(async move {
        let mut clients = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            clients.spawn(upstream(stream));
        }
    });
    let program = if Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    };
    let child = Command::new(program)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}: run tests/bench/run.sh, which installs it")
        });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    listening("nginx", address).await;
    Peer {
        name: "nginx",
        address,
        path: "/".to_owned(),
        tool: "echo",
        _held: Held {
            _child: Some(child),
            _folder: Some(folder),
            _tasks: tasks,
            ..Held::default()
        },
    }
}

/// The service behind nginx: it answers as the echo does, without looking further than it must.
async fn upstream(stream: UnixStream) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            match read.read_line(&mut line).await {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => {
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                }
            }
        }
        let mut body = vec![0; length];
        if read.read_exact(&mut body).await.is_err() {
            return;
        }
        let answer = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"thirty-two bytes of an echo call\"}]}}";
        let whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if write.write_all(whole.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn mcp_proxy() -> Peer {
    let folder = tempfile::Builder::new()
        .prefix("gmr-proxy-")
        .tempdir()
        .unwrap();
    let port = free_port();
    let conf = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"/\"\n\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\n\
         [[backends]]\nname = \"echo\"\ntransport = \"stdio\"\ncommand = {:?}\nargs = []\n",
        peers::program("echo-server").display().to_string()
    );
    let file = folder.path().join("proxy.toml");
    fs::write(&file, conf).unwrap();
    let program = peers::repository().join(".tools/bin/mcp-proxy");
    let child = Command::new(&program)
        .arg("--config")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}: run tests/bench/run.sh, which builds it",
                program.display()
            )
        });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    listening("mcp-proxy", address).await;
    Peer {
        name: "mcp-proxy",
        address,
        path: "/".to_owned(),
        tool: "echo/echo",
        _held: Held {
            _child: Some(child),
            _folder: Some(folder),
            ..Held::default()
        },
    }
}

/// Memory that nobody shares: of the router, and of one shim on average.
async fn memory() {
    println!(
        "{:>11}  {:>12} {:>12}",
        "instances", "router KiB", "a shim KiB"
    );
    for count in FLEETS {
        let mut config = Config::new();
        for number in 0..count {
            config = config.server(peers::echo().named(&format!("echo-{number}")).autostart());
        }
        let router = Router::start(&config).await;
        let mut shims = Vec::new();
        for number in 0..count {
            let one = router.ready(&format!("echo-{number}")).await;
            let pid = i32::try_from(one["pid"].as_i64().unwrap()).unwrap();
            shims.push(processes::private_bytes(processes::parent(pid).unwrap()));
        }
        let shim = shims.iter().sum::<u64>() / shims.len() as u64;
        println!(
            "{count:>11}  {:>12} {:>12}",
            processes::private_bytes(router.pid()) / 1024,
            shim / 1024
        );
        router.end().await;
    }
}
