//! The smallest wiring: one stdio server behind the proxy, without a driver, a supervisor or access rules.
//!
//! `cargo run -p router-proxy --example front -- COMMAND [ARGUMENT…]` prints the address and serves until the command ends.
//! For trying a client by hand; the daemon adds what is left out here.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "an example: it prints, and fails by panicking"
)]

use std::{
    collections::HashMap,
    future::IntoFuture as _,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use parking_lot::Mutex;
use router_core::{InstanceId, Now, Run, SlotKey, route::Route};
use router_proxy::{
    McpPath, Proxy, ProxyLimits, ProxyObserver, ProxyParts, RevocationStore, RevokedSession,
    RoutingEntry, RoutingTable, SessionClaims, SessionSeal,
};
use router_upstream::{IgnoreEvents, Upstream, UpstreamConfig};
use tokio::{net::TcpListener, sync::mpsc};

/// Ids that are only as good as this process's memory.
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

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().expect("a command to run");
    let mut child = Command::new(command)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    // An upstream from two descriptors: its future moves the bytes and has to be spawned.
    let id = InstanceId::parse("demo").unwrap();
    let stdin = OwnedFd::from(child.stdin.take().unwrap());
    let stdout = OwnedFd::from(child.stdout.take().unwrap());
    let config = UpstreamConfig::new(id.clone(), Run(1), "e1");
    let (upstream, connection) =
        Upstream::open_pipes(config, stdin, stdout, Arc::new(IgnoreEvents)).unwrap();
    let connection = tokio::spawn(connection);
    upstream.handshake(Duration::from_secs(60)).await.unwrap();
    let tools = upstream.tools(Duration::from_secs(60)).await.unwrap();

    // A routing table, which the driver writes whenever a route changes.
    let key = SlotKey::first(id);
    let (table, run) = (Arc::new(RoutingTable::new()), upstream.run());
    let route = Route::Ready {
        key: key.clone(),
        run,
    };
    table.set(RoutingEntry::new(
        key,
        route,
        Some(upstream),
        Arc::default(),
    ));
    let (events, mut to_driver) = mpsc::channel(1024);
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

    let (serving, housekeeping) = (proxy.clone(), proxy.run());
    let app = Router::new().fallback(async move |request| serve(&serving, request).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    println!("http://{address}/mcp/demo serves {} tools", tools.len());
    tokio::select! {
        closed = connection => println!("the connection ended: {}", closed.unwrap()),
        () = housekeeping => {}
        () = async { while to_driver.recv().await.is_some() {} } => {}
        served = axum::serve(listener, app).into_future() => served.unwrap(),
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn serve(proxy: &Proxy, request: Request) -> Response {
    match McpPath::parse(request.uri().path()) {
        Some(path) => proxy.answer(&path, request).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
