//! `Host` and `Origin`, parsed strictly: whatever is not plainly a name or an address, with or without a port, is refused.
//!
//! Comparison happens on the parsed form only, so that case, a trailing dot, brackets and IPv4-mapped IPv6 addresses cannot
//! make two spellings of one host look different, or of two hosts look alike.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Longest host name (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// A host with or without a port: the value of `Host`, or the authority of an absolute-form request target.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    /// The host.
    pub host: OriginHost,
    /// The port, where one is given.
    pub port: Option<u16>,
}

/// A host in its one canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OriginHost {
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
        Self::parse_inner(text).ok_or_else(|| InvalidAuthority { text: cut(text) })
    }

    fn parse_inner(text: &str) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            let port = match rest {
                "" => None,
                _ => Some(rest.strip_prefix(':')?),
            };
            (OriginHost::ip(IpAddr::V6(address)), port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (OriginHost::unbracketed(host)?, Some(port)),
                None => (OriginHost::unbracketed(text)?, None),
            }
        };
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits)?),
        };
        Some(Self { host, port })
    }
}

/// `u16::from_str` takes a sign; a port has none, and nobody is reached at 0.
fn parse_port(digits: &str) -> Option<u16> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let port = plain.then(|| digits.parse().ok()).flatten();
    port.filter(|port| *port != 0)
}

impl OriginHost {
    pub(crate) fn ip(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }

    fn unbracketed(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Self::Ip(IpAddr::V4(address)));
        }
        let labels_are_fine = name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
        // A name whose last label is a number is an odd spelling of an address (WHATWG URL, "ends in a number").
        let last = name.rsplit('.').next().unwrap_or_default();
        let numeric = last.bytes().all(|b| b.is_ascii_digit())
            || last
                .get(..2)
                .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        (labels_are_fine && !numeric && name.len() <= NAME_BYTES_MAX)
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

impl fmt::Display for OriginHost {
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

/// The value of an `Origin` header (RFC 6454 §7), for the schemes that a browser or an editor sends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: OriginHost,
    /// Explicit, or the scheme's own; `None` where the scheme has none.
    port: Option<u16>,
}

/// A text that is no origin that could be allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an origin: expected scheme://host or scheme://host:port, nothing after it"
)]
pub struct InvalidOrigin {
    /// The refused text, cut to what is useful in a message.
    pub text: String,
}

impl Origin {
    /// Parses `scheme://host[:port]`. `null` (a sandboxed page, a `file:` page) is no origin that could be allowed.
    ///
    /// # Errors
    /// Anything else, also a path or several origins.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        Self::parse_inner(text).ok_or_else(|| InvalidOrigin { text: cut(text) })
    }

    fn parse_inner(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let mut letters = scheme.bytes();
        let scheme_is_fine = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
            && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !scheme_is_fine {
            return None;
        }
        let scheme = scheme.to_ascii_lowercase();
        let authority = Authority::parse(authority).ok()?;
        let port = authority.port.or(default_port(&scheme));
        Some(Self {
            scheme,
            host: authority.host,
            port,
        })
    }

    /// Whether a page of this origin was served under `host` itself: the same port, and the same host, where all names of
    /// this machine count as one.
    pub(crate) fn is_own(&self, host: &Authority) -> bool {
        let Some(own_port) = default_port(&self.scheme) else {
            return false;
        };
        let same_host =
            self.host == host.host || (self.host.is_loopback() && host.host.is_loopback());
        same_host && self.port == Some(host.port.unwrap_or(own_port))
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
