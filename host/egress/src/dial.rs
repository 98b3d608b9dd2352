//! Connections: a name is resolved once, every address that it has is checked, and one that was checked is dialled. Nobody resolves
//! the name a second time, so that an answer that changes changes nothing.
//!
//! Through a proxy the name is the proxy's to resolve, as the networks demand that have one: there the proxy, which the operator
//! chose, says what can be reached.

use std::{future::Future, io, net::SocketAddr, pin::Pin, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use router_values::{Host, Origin, Proxy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    allow::AllowList,
    message::EgressError,
    metered::{Metered, Stream},
    tls::Tls,
};

/// Most addresses of one name: a resolver's answer of more is none of a service that takes alerts.
const ADDRESSES_MAX: usize = 16;

/// Most addresses that are tried one after the other.
const TRIED_MAX: usize = 3;

/// How long one address may take to answer: three retransmissions of the first packet (RFC 6298: 1 s, doubling).
const CONNECT_WITHIN: Duration = Duration::from_secs(7);

/// Longest answer of a proxy to the wish for a tunnel, in bytes. It is read byte by byte.
const TUNNEL_HEAD_BYTES_MAX: usize = 8 * 1024;

/// The addresses of a name, or why there are none.
pub(crate) type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Who is asked for the addresses of a name.
pub(crate) trait Resolve: Send + Sync {
    fn resolve(&self, name: &str, port: u16) -> Addresses;
}

/// The machine's own resolver (`getaddrinfo`).
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str, port: u16) -> Addresses {
        let name = name.to_owned();
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name, port)).await?;
            Ok(addresses.take(ADDRESSES_MAX + 1).collect())
        })
    }
}

/// Makes connections for one sink.
pub(crate) struct Dialler {
    pub(crate) allow: AllowList,
    pub(crate) tls: Tls,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) resolver: Box<dyn Resolve>,
}

impl Dialler {
    /// Connects to an allowed origin.
    pub(crate) async fn connect(&self, origin: &Origin) -> Result<Stream, EgressError> {
        let stream: Stream = match &self.proxy {
            Some(proxy) => self.tunnel(proxy, origin).await?,
            None => {
                let addresses = self.resolve(origin).await?;
                self.allow.check_addresses(origin, &addresses)?;
                Box::new(Metered::new(dial(origin, &addresses).await?))
            }
        };
        if origin.is_https() {
            return self.tls.connect(origin.host(), stream).await;
        }
        Ok(stream)
    }

    async fn resolve(&self, origin: &Origin) -> Result<Vec<SocketAddr>, EgressError> {
        let port = origin.port().unwrap_or(443);
        let name = match origin.host() {
            Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name,
        };
        let failed = |reason: String| EgressError::Failed(format!("{name} {reason}"));
        let resolved = self.resolver.resolve(name, port).await;
        let addresses = resolved.map_err(|error| failed(format!("cannot be resolved: {error}")))?;
        match addresses.len() {
            0 => Err(failed("has no address".to_owned())),
            count if count > ADDRESSES_MAX => {
                Err(failed(format!("has more than {ADDRESSES_MAX} addresses")))
            }
            _ => Ok(addresses),
        }
    }

    /// A tunnel through the proxy, to where it finds the origin.
    async fn tunnel(&self, proxy: &Proxy, origin: &Origin) -> Result<Stream, EgressError> {
        let addresses = self.resolve(proxy.origin()).await?;
        let stream = dial(proxy.origin(), &addresses).await?;
        let mut stream = Metered::new(stream);
        match ask_for_tunnel(&mut stream, proxy, origin).await {
            Ok(()) => Ok(Box::new(stream)),
            Err(error) => Err(EgressError::Failed(format!(
                "no tunnel through the proxy {}: {error}",
                proxy.origin()
            ))),
        }
    }
}

/// Asks a proxy for a tunnel. By hand: a client of HTTP would read what already belongs to the tunnel.
async fn ask_for_tunnel(
    stream: &mut Metered<TcpStream>,
    proxy: &Proxy,
    origin: &Origin,
) -> io::Result<()> {
    let authority = format!("{}:{}", origin.host(), origin.port().unwrap_or(443));
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(credentials) = proxy.credentials() {
        let encoded = STANDARD.encode(credentials.expose());
        request = format!("{request}Proxy-Authorization: Basic {encoded}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == TUNNEL_HEAD_BYTES_MAX {
            return Err(io::Error::other("its answer has no end"));
        }
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let status = head.split(' ').nth(1).unwrap_or_default();
    let is_http = head.starts_with("HTTP/1.");
    if is_http && status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    let status = status.chars().filter(char::is_ascii_digit).take(3);
    let status: String = status.collect();
    Err(io::Error::other(format!("it answered {status:?}")))
}

/// Dials addresses that were checked, in their order.
async fn dial(origin: &Origin, addresses: &[SocketAddr]) -> Result<TcpStream, EgressError> {
    let mut reason = String::new();
    for address in addresses.iter().take(TRIED_MAX) {
        reason = match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A request is written at once, and nothing follows it.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => format!("{address}: {error}"),
            Err(_) => format!("{address}: no answer within {} s", CONNECT_WITHIN.as_secs()),
        };
    }
    Err(EgressError::Failed(format!(
        "no connection to {origin}: {reason}"
    )))
}
