//! A URL as it is sent: an origin, and what is asked of it.

use http::uri::PathAndQuery;
use router_values::Origin;

use crate::message::EgressError;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) origin: Origin,
    /// Path and query, as they stand in the first line of the request.
    pub(crate) path: PathAndQuery,
}

impl Target {
    /// Parses a whole URL, strictly: no user, no fragment, no character that a URL may not have, so that nobody who reads it could
    /// take another host for the one that is checked here.
    pub(crate) fn parse(url: &str) -> Result<Self, EgressError> {
        let invalid = |what: &str| Err(EgressError::Invalid(format!("the URL {what}")));
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
        if !url.bytes().all(is_plain) {
            return invalid("has characters that a URL may not have, or a fragment");
        }
        let Some((authority, path)) = split(url) else {
            return invalid("is not whole: https://host[:port]/path");
        };
        let origin = match Origin::parse_http(authority) {
            Ok(origin) => origin,
            Err(fault) => return invalid(&format!("leads nowhere: {fault}")),
        };
        // A path is there even where it is not written (RFC 9112 §3.2.1).
        let path = match path.strip_prefix('/') {
            Some(_) => path.parse(),
            None => format!("/{path}").parse(),
        };
        match path {
            Ok(path) => Ok(Self { origin, path }),
            Err(_) => invalid("has a path or query that cannot be sent"),
        }
    }
}

/// Splits a URL into `scheme://authority` and what follows that.
pub(crate) fn split(url: &str) -> Option<(&str, &str)> {
    let authority = url.find("://")? + 3;
    let end = url[authority..]
        .find(['/', '?', '#', '\\'])
        .map_or(url.len(), |at| authority + at);
    Some(url.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_url_is_an_origin_and_what_is_asked_of_it() {
        for (url, origin, path) in [
            ("https://a.example/x/y?z=1", "https://a.example", "/x/y?z=1"),
            ("https://A.example:443", "https://a.example", "/"),
            ("http://[::1]:9?a", "http://[::1]:9", "/?a"),
            (
                "https://a.example/%2e%2e/@b:c",
                "https://a.example",
                "/%2e%2e/@b:c",
            ),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.origin.to_string(), origin);
            assert_eq!(target.path.as_str(), path);
        }
    }

    #[test]
    fn what_another_could_read_as_another_host_is_refused() {
        for url in [
            "",
            "a.example/x",
            "//a.example/x",
            "ftp://a.example/",
            "https://",
            "https:///x",
            "https://ann@a.example/",
            "https://a.example@b.example/",
            "https://a.example\\@b.example/",
            "https://a.example#@b.example/",
            "https://a.example:0/",
            "https://a.example:x/",
            "https://127.1/",
            "https://0x7f.0.0.1/",
            "https://a.example/ x",
            "https://a.example/\r\nHost: b",
            "https://b\u{fc}cher.example/",
            "https://a%2eexample/",
            "https://a.example/x#y",
        ] {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }
}
