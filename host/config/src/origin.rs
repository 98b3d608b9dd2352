//! Hosts, with a port or a scheme or without: by which names the router is called, whose pages may call it, and where plugins
//! are granted to send requests.
//!
//! [`is_authority`] and [`is_page_origin`] take exactly what the room of access takes, whose rule counts when a request comes:
//! what is accepted here must not be refused there.

use std::{fmt, net::Ipv4Addr, net::Ipv6Addr};

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

/// Whether a text is what `Host` may hold: a host, with a port or without.
pub(crate) fn is_authority(text: &str) -> bool {
    split_port(text).is_some_and(|(host, _)| is_host(host))
}

/// Whether a text is the origin of a page: any scheme (editors have their own) and an authority.
pub(crate) fn is_page_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(sign)
        && is_authority(authority)
}

/// Splits `host:port`; `None` where what looks like a port is none.
pub(crate) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let host_end = text.rfind(']').map_or(0, |bracket| bracket + 1);
    match text[host_end..].rsplit_once(':') {
        None => Some((text, None)),
        Some((before, port)) => {
            let digits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
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
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    // RFC 1035: 253 characters of labels; a trailing dot is the root.
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let label = |label: &str| !label.is_empty() && label.bytes().all(sign);
    // A name whose last label is a number is an odd spelling of an address, as 127.1 is (WHATWG URL, "ends in a number").
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("0x"));
    name.len() <= 253 && name.split('.').all(label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::{Origin, is_authority, is_page_origin};

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

    /// The same texts stand in a test of the daemon, which asks the room of access about them.
    #[test]
    fn hosts_are_what_the_room_of_access_takes() {
        for (text, taken) in [
            ("localhost", true),
            ("a.b.c", true),
            ("Router.Example.", true),
            ("router_1.internal", true),
            ("-a-.b", true),
            ("10.0.0.1", true),
            ("10.0.0.1.", true),
            ("[::1]", true),
            ("[::ffff:10.0.0.1]:443", true),
            ("exact.example:8443", true),
            ("a:1", true),
            ("a:65535", true),
            (&format!("{}.b", "a".repeat(64)), true),
            ("", false),
            (".", false),
            ("a b", false),
            ("a..b", false),
            ("a.", true),
            ("a..", false),
            ("a/b", false),
            ("ä", false),
            ("user@a", false),
            ("https://a", false),
            ("router.1", false),
            ("127.1", false),
            ("0127.0.0.1", false),
            ("2130706433", false),
            ("0x7f.0.0.1", false),
            ("0x7f000001", false),
            ("a:", false),
            ("a:0", false),
            ("a:+1", false),
            ("a:000080", false),
            ("a:00080", true),
            ("a:65536", false),
            ("a:1:1", false),
            (":1", false),
            ("::1", false),
            ("[::1", false),
            ("[::1]1", false),
            ("[::1]:", false),
            ("[10.0.0.1]", false),
            ("[::1%lo]", false),
            (&"a".repeat(254), false),
        ] {
            assert_eq!(is_authority(text), taken, "{text}");
        }
    }

    /// As above.
    #[test]
    fn pages_may_have_any_scheme_with_a_host() {
        for (text, taken) in [
            ("https://console.example", true),
            ("HTTP://localhost:5173", true),
            ("vscode-webview://abc123", true),
            ("a+b.c://x", true),
            ("http://[::1]:1", true),
            ("", false),
            ("null", false),
            ("*", false),
            ("localhost", false),
            ("http:a", false),
            ("http://", false),
            ("http://a/", false),
            ("http://a/b", false),
            ("http://a?b", false),
            ("http://user@a", false),
            ("http://a http://b", false),
            ("http://router.1", false),
            ("://a", false),
            ("1http://a", false),
            ("ht_tp://a", false),
            (" http://a", false),
        ] {
            assert_eq!(is_page_origin(text), taken, "{text}");
        }
    }
}
