//! Receivers of alerts that answer as the real ones do, over TLS with certificates of a test's own. What each service takes and says is in
//! a file of its own; here is the server, which also hangs and breaks off.

mod alertmanager;
mod authority;
mod pagerduty;
mod slack;
mod webhooks;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub use alertmanager::Alertmanager;
pub use authority::Authority;
pub use pagerduty::{PagerDuty, WebhookCall};
pub use slack::Slack;
pub use webhooks::Webhooks;

/// Longest wait for a request.
const SOON: Duration = Duration::from_secs(30);

/// A request that came.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// When its head was there.
    pub at: SystemTime,
}

impl Received {
    /// The body as JSON; null where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What a service does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status, headers and a body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Nothing, and the connection stays.
    Hang,
    /// The connection is reset.
    Reset,
}

impl Reply {
    /// A status and a body.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::Answer(status, Vec::new(), body.into())
    }

    /// That there were too many requests, and how long to wait.
    #[must_use]
    pub fn too_many(seconds: u32) -> Self {
        Self::Answer(
            429,
            vec![("Retry-After", seconds.to_string())],
            String::new(),
        )
    }
}

/// How far an exchange has come, as the receiver sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// There is a connection, and nothing was said.
    Connected,
    /// The first bytes of a request came.
    Begun,
    /// All of it came, and no answer was given.
    Whole,
    /// The answer was sent.
    Answered,
}

/// What stands behind a receiver.
pub trait Service: Send + Sync + 'static {
    /// Answers a request.
    fn reply(&self, request: &Received) -> Reply;

    /// Sees how far an exchange has come.
    fn reached(&self, _: Stage) {}

    /// Whether the next connection meets the receiver, and not somebody with another certificate in its place.
    fn is_genuine(&self) -> bool {
        true
    }
}

/// A receiver on a port of its own.
pub struct Receiver {
    address: SocketAddr,
    received: mpsc::UnboundedReceiver<Received>,
    // Ends with it.
    _task: JoinSet<()>,
}

impl Receiver {
    /// Starts one with a certificate for its address.
    pub async fn start(authority: &Authority, service: Arc<impl Service>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = authority.vouch(&["127.0.0.1"]);
        let impostor = Authority::new().vouch(&["127.0.0.1"]);
        let (sender, received) = mpsc::unbounded_channel();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let tls = if service.is_genuine() {
                    tls.clone()
                } else {
                    impostor.clone()
                };
                let (service, sender) = (Arc::clone(&service), sender.clone());
                connections.spawn(serve(stream, tls, service, sender));
            }
        });
        Self {
            address,
            received,
            _task: task,
        }
    }

    /// Its origin.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The next request.
    pub async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(SOON, self.received.recv()).await;
        next.expect("a request in time").unwrap()
    }

    /// What came and was not looked at.
    pub fn received(&mut self) -> Vec<Received> {
        std::iter::from_fn(|| self.received.try_recv().ok()).collect()
    }

    /// Whether nothing came that was not looked at.
    pub fn is_quiet(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    service: Arc<impl Service>,
    received: mpsc::UnboundedSender<Received>,
) {
    service.reached(Stage::Connected);
    // Who does not trust the certificate goes away here.
    let Ok(mut stream) = tls.accept(stream).await else {
        return;
    };
    let Some(request) = read(&mut stream, &*service).await else {
        return;
    };
    service.reached(Stage::Whole);
    let reply = service.reply(&request);
    let _ = received.send(request);
    match reply {
        Reply::Answer(status, headers, body) => {
            let headers = headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"));
            let headers: String = headers.collect();
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
            if stream.write_all(answer.as_bytes()).await.is_ok() {
                service.reached(Stage::Answered);
            }
            let _ = stream.shutdown().await;
        }
        Reply::Hang => std::future::pending().await,
        Reply::Reset => {
            let _ = stream.get_ref().0.set_zero_linger();
        }
    }
}

async fn read(stream: &mut TlsStream<TcpStream>, service: &impl Service) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut at = None;
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let at = *at.get_or_insert_with(SystemTime::now);
            let mut lines = head.lines();
            let mut first = lines.next()?.split(' ').map(str::to_owned);
            let headers: BTreeMap<String, String> = lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length = headers.get("content-length");
            let length = length.map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return Some(Received {
                    method: first.next()?,
                    path: first.next()?,
                    headers,
                    body: body.to_owned(),
                    at,
                });
            }
        }
        let is_first = bytes.is_empty();
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if is_first {
            service.reached(Stage::Begun);
        }
    }
}
