//! `scheme://host[:port]`: what browsers send as `Origin`, and what plugins are granted.

use std::fmt;

/// A scheme, a host and a port, and nothing behind them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// `http` or `https`.
    pub scheme: String,
    /// A name or an address, in lower case; an IPv6 address keeps its brackets.
    pub host: String,
    /// The port, the scheme's own when the text names none.
    pub port: u16,
}

/// As browsers write it: without the scheme's own port.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if port_of(&self.scheme) == Some(self.port) {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

fn port_of(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

impl Origin {
    /// Parses an origin.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let lower = text.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://").ok_or("it has no scheme")?;
        let own_port = port_of(scheme).ok_or("its scheme is neither http nor https")?;
        if rest.contains(['/', '?', '#']) {
            return Err("it has something behind host and port");
        }
        let (host, port) = split_port(rest).ok_or("its port is not a number from 1 to 65535")?;
        if !is_host(host) {
            return Err("its host is neither a name nor an address");
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(own_port),
        })
    }
}

/// Splits `host:port`; `None` where what looks like a port is none.
pub(crate) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[host_end..].rsplit_once(':') {
        None => Some((text, None)),
        Some((before, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port: u16 = port.parse().ok().filter(|port| digits && *port != 0)?;
            Some((&text[..host_end + before.len()], Some(port)))
        }
    }
}

/// Whether a text is a host name, an IPv4 address, or an IPv6 address in brackets.
pub(crate) fn is_host(text: &str) -> bool {
    if let Some(inner) = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
    {
        return inner.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // RFC 1035: 253 characters of labels; a trailing dot is the root.
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::{Origin, is_host};

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        let shown = |text: &str| Origin::parse(text).map(|origin| origin.to_string());
        assert_eq!(
            shown("https://Hooks.Slack.com"),
            Ok("https://hooks.slack.com".into())
        );
        assert_eq!(
            shown("https://hooks.slack.com:443"),
            Ok("https://hooks.slack.com".into())
        );
        assert_eq!(shown("http://[::1]:8080"), Ok("http://[::1]:8080".into()));
        for bad in [
            "hooks.slack.com",
            "ftp://x",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://a:0",
            "https://a:x",
            "https://a:",
            "https://a:70000",
            "https://user@host",
            "https://[::1",
            "https://a..b",
            "https://*.a",
            "https://[x]:1",
            "https://a:+1",
        ] {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in [
            "localhost",
            "a.b.c",
            "10.0.0.1",
            "[::1]",
            "router_1.internal.",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", ".", "a b", "-a", "::1", "a/b", "ä"] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
