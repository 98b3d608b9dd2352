//! What is known of a request when it is decided whether to serve it.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, Uri, header};
use router_core::{InstanceId, Role};

use crate::refusal::{AccessRefusal, RefusalKind};

/// What a route asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needed {
    /// Liveness and readiness, and what shows its right itself, as a sealed link or a signed call does: no role. Any `Host` will do,
    /// since probes and proxies address the router by whatever name they have.
    Nothing,
    /// The metrics: `viewer`, or nothing with `public_metrics`. Any `Host` will do.
    Metrics,
    /// This role. With [`Role::Client`], the request's instance counts too.
    Role(Role),
}

/// Whether a header is one that proxies in front add. A connection from loopback that carries one speaks for somebody else, so it is
/// not trusted as loopback. A proxy that adds none of them (one that only ends TLS and passes bytes on) looks like a caller on
/// this machine: behind one, `loopback_roles` says what everybody may do.
fn says_forwarded(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded")
        || matches!(
            name,
            "forwarded"
                | "via"
                | "x-real-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-original-forwarded-for"
                | "x-envoy-external-address"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "fastly-client-ip"
        )
}

/// The facts about a request.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// What the route asks for.
    pub needed: Needed,
    /// The authority of an absolute-form target, else `Host`.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// Whether a proxy in front says that it speaks for somebody else.
    pub forwarded: bool,
    /// The instance that the request is for; `None` where it is for none or for the fleet.
    pub instance: Option<&'a InstanceId>,
}

impl<'a> AccessRequest<'a> {
    /// Takes the facts from a request's target and headers.
    ///
    /// # Errors
    /// [`RefusalKind::MalformedHeader`]: `Host`, `Origin` or `Authorization` is repeated or is not visible ASCII, so that
    /// two readers of the request could see different values.
    pub fn from_http(
        peer: SocketAddr,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        needed: Needed,
        instance: Option<&'a InstanceId>,
    ) -> Result<Self, AccessRefusal> {
        let host_header = single(headers, &header::HOST)?;
        Ok(Self {
            peer,
            needed,
            // RFC 9112 §3.2.2: the target's authority replaces Host.
            host: uri
                .authority()
                .map(|authority| authority.as_str())
                .or(host_header),
            origin: single(headers, &header::ORIGIN)?,
            authorization: single(headers, &header::AUTHORIZATION)?,
            forwarded: headers.keys().any(says_forwarded),
            instance,
        })
    }

    /// Whether the caller itself, not somebody for whom it forwards, is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.peer.ip().to_canonical().is_loopback() && !self.forwarded
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, AccessRefusal> {
    let refuse = |what: &str| {
        let reason = format!("The header {name} {what}; send it once, in visible ASCII.");
        AccessRefusal::new(RefusalKind::MalformedHeader, reason)
    };
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refuse("is there more than once"));
    }
    value.to_str().map(Some).map_err(|_| refuse("is not text"))
}
