//! Hosts, with a port or without, parsed strictly: whatever is not plainly a name or an address is refused.
//!
//! Comparison happens on the parsed form only, so that case, a trailing dot, brackets and IPv4-mapped IPv6 addresses cannot
//! make two spellings of one host look different, or of two hosts look alike. Not by the crate `url`: it resolves what has to be
//! refused here (`127.1`, `0x7f.1`, `bücher.example`, `a%2eb`) and lets `,` and `*` stand in names.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// Longest host name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A host with or without a port: the value of `Host`, or the authority of an absolute-form request target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, where one is given; never 0.
    pub port: Option<u16>,
}

/// A host in its one canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address; an IPv4-mapped IPv6 address is the IPv4 address.
    Ip(IpAddr),
    /// A name, in lower case, without a trailing dot.
    Name(String),
}

/// A text that is no authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a host: expected a name or an address, optionally with a port")]
pub struct InvalidAuthority {
    /// The refused text, cut to what is useful in a message.
    pub text: String,
}

impl Authority {
    /// Parses `name`, `name:port`, `1.2.3.4:port`, `[::1]:port`, in any case, with or without a trailing dot.
    ///
    /// # Errors
    /// Anything else: user information, an empty port, spellings of addresses that only some resolvers accept (`127.1`, `0x7f.1`).
    pub fn parse(text: &str) -> Result<Self, InvalidAuthority> {
        split_port(text)
            .and_then(|(host, port)| Host::parse(host).map(|host| Self { host, port }))
            .ok_or_else(|| InvalidAuthority {
                text: text.chars().take(80).collect(),
            })
    }
}

impl Host {
    /// Parses a name, an IPv4 address, or an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(address).to_canonical()));
        }
        // A trailing dot is the root of all names.
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Ip(IpAddr::V4(address)));
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_plain);
        // A name whose last label is a number is an odd spelling of an address (WHATWG URL, "ends in a number").
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
            || last
                .get(..2)
                .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        (name.split('.').all(is_label) && !is_number && name.len() <= NAME_BYTES_MAX)
            .then(|| Self::Name(name.to_ascii_lowercase()))
    }

    /// Whether it can only mean this machine: `localhost` or a loopback address. `*.localhost` is left to `allowed_hosts`, since
    /// not every resolver keeps it local.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }
}

/// Splits `host:port`; `None` where what looks like a port is none: digits without a sign, and nobody is reached at 0.
pub(crate) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    let Some((before, digits)) = text[host_end..].rsplit_once(':') else {
        return Some((text, None));
    };
    let is_plain = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = digits.parse().ok().filter(|port| is_plain && *port != 0)?;
    Some((&text[..host_end + before.len()], Some(port)))
}

/// Whether somebody on another machine can reach what listens on this address.
#[must_use]
pub fn is_reachable(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests;
