//! The origin of a page (RFC 6454), and of the servers that a plugin may send requests to.

use std::{fmt, net::IpAddr};

use crate::authority::{Authority, Host, split_port};

/// A scheme, a host and a port, and nothing behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// In lower case.
    scheme: String,
    host: Host,
    /// Explicit, or the scheme's own; `None` where the scheme has none.
    port: Option<u16>,
}

/// What is wrong with a text that is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrigin {
    /// There is no `://`, or no scheme in front of it.
    #[error("it has no scheme")]
    Scheme,
    /// A scheme that plugins cannot send requests by.
    #[error("its scheme is neither http nor https")]
    NotHttp,
    /// A path, a query or a fragment.
    #[error("it has something behind host and port")]
    Trailing,
    /// What follows the last colon.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// What stands where the host should.
    #[error("its host is neither a name nor an address")]
    Host,
}

impl Origin {
    /// Parses `scheme://host[:port]` with any scheme, since editors have their own. `null` (a sandboxed page, a `file:` page) is no
    /// origin that could be allowed.
    ///
    /// # Errors
    /// Anything else, also a path or several origins.
    pub fn parse(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin::Scheme)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let begins_well = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        if !begins_well || !scheme.bytes().all(is_plain) {
            return Err(InvalidOrigin::Scheme);
        }
        Self::of(scheme.to_ascii_lowercase(), authority)
    }

    /// Parses an origin that requests over HTTP can be sent to.
    ///
    /// # Errors
    /// As [`Origin::parse`], and any other scheme.
    pub fn parse_http(text: &str) -> Result<Self, InvalidOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        default_port(&scheme).ok_or(InvalidOrigin::NotHttp)?;
        Self::of(scheme, authority)
    }

    fn of(scheme: String, authority: &str) -> Result<Self, InvalidOrigin> {
        if authority.contains(['/', '?', '#']) {
            return Err(InvalidOrigin::Trailing);
        }
        let (host, port) = split_port(authority).ok_or(InvalidOrigin::Port)?;
        let host = Host::parse(host).ok_or(InvalidOrigin::Host)?;
        let port = port.or_else(|| default_port(&scheme));
        Ok(Self { scheme, host, port })
    }

    /// Whether what is sent there is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.scheme == "https"
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port: explicit, or the scheme's own; `None` where the scheme has none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The origin of the same scheme and port at an address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self {
            scheme: self.scheme.clone(),
            host: Host::Ip(address.to_canonical()),
            port: self.port,
        }
    }

    /// Whether a page of this origin was served under `host` itself: the same port, and the same host, where all names of
    /// this machine count as one.
    #[must_use]
    pub fn is_own(&self, host: &Authority) -> bool {
        let Some(own_port) = default_port(&self.scheme) else {
            return false;
        };
        let same_host =
            self.host == host.host || (self.host.is_loopback() && host.host.is_loopback());
        same_host && self.port == Some(host.port.unwrap_or(own_port))
    }
}

/// As browsers write it: without the scheme's own port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if default_port(&self.scheme) != Some(port) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
