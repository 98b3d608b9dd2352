//! A receiver on a real socket, which answers byte for byte what a test says.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

/// What a receiver does with a request.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Answers these bytes and closes.
    Answer(Vec<u8>),
    /// Answers the first bytes, and the second ones over and over.
    Flood(Vec<u8>, Vec<u8>),
    /// Answers the first bytes, and the second ones again after each pause.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Answers nothing, and keeps the connection.
    Hang,
    /// Answers nothing, and closes.
    Close,
}

/// A receiver, and the requests that it got.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
    // Ends with it.
    _task: tokio::task::JoinSet<()>,
}

/// An authority of the test's own, and what it vouches for.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A server's side of TLS, with a certificate for these names.
    pub(super) fn vouch(
        &self,
        names: &[&str],
        edit: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

impl Receiver {
    pub(super) async fn plain(behaviour: Behaviour) -> Self {
        Self::start(None, behaviour).await
    }

    pub(super) async fn answering(answer: &str) -> Self {
        Self::plain(Behaviour::Answer(answer.as_bytes().to_vec())).await
    }

    pub(super) async fn start(tls: Option<TlsAcceptor>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, behaviour, sender) = (tls.clone(), behaviour.clone(), sender.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, behaviour, sender).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, behaviour, sender).await,
                            Err(error) => drop(sender.send(format!("TLS: {error}"))),
                        },
                    }
                });
            }
        });
        Self {
            address,
            requests,
            _task: task,
        }
    }

    pub(super) fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn https(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The next request, whole.
    pub(super) async fn request(&mut self) -> String {
        let next = tokio::time::timeout(Duration::from_secs(10), self.requests.recv()).await;
        next.expect("a request within 10 s").unwrap()
    }

    /// Whether nothing came.
    pub(super) fn is_untouched(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: Behaviour,
    requests: mpsc::UnboundedSender<String>,
) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    let _ = requests.send(request);
    // A client that has had enough closes: no write is required to succeed.
    match behaviour {
        Behaviour::Answer(answer) => drop(stream.write_all(&answer).await),
        Behaviour::Flood(first, again) => {
            let mut written = stream.write_all(&first).await;
            while written.is_ok() {
                written = stream.write_all(&again).await;
            }
        }
        Behaviour::Drip(first, again, pause) => {
            let mut written = stream.write_all(&first).await;
            while written.is_ok() {
                let _ = stream.flush().await;
                tokio::time::sleep(pause).await;
                written = stream.write_all(&again).await;
            }
        }
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Close => {}
    }
    let _ = stream.shutdown().await;
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= head + 4 + length {
                return Some(String::from_utf8(bytes).unwrap());
            }
        }
        let is_tls = bytes.first() == Some(&0x16);
        if is_tls || stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A proxy that gives tunnels to one receiver, whatever is asked for.
pub(super) struct TunnelProxy {
    pub(super) address: SocketAddr,
    asked: mpsc::UnboundedReceiver<String>,
    _task: tokio::task::JoinSet<()>,
}

impl TunnelProxy {
    pub(super) async fn start(to: SocketAddr, answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::unbounded_channel();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let Some(request) = read_request(&mut stream).await else {
                    continue;
                };
                let _ = sender.send(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
                let mut receiver = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut receiver).await;
            }
        });
        Self {
            address,
            asked,
            _task: task,
        }
    }

    pub(super) async fn asked(&mut self) -> String {
        self.asked.recv().await.unwrap()
    }
}
