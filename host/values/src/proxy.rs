//! The proxy that alert sinks send through.

use percent_encoding::percent_decode_str;

use crate::{InvalidOrigin, Origin, Secret};

/// A proxy that is asked for a tunnel (`CONNECT`, RFC 9110 §9.3.6), also for origins without TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    /// Where it listens; `http`: what is said to the proxy itself is not encrypted, what goes through the tunnel is.
    origin: Origin,
    /// `user:password`.
    credentials: Option<Secret>,
}

/// Why a text is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProxy {
    /// Its address.
    #[error("it is not the address of a proxy: {0}")]
    Address(InvalidOrigin),
    /// Its scheme.
    #[error("proxies are reached by http:// only; what goes through one is encrypted all the same")]
    Https,
    /// Its credentials.
    #[error("the user or the password is not UTF-8, or has a colon or control characters")]
    Credentials,
}

impl Proxy {
    /// Parses `http://[user:password@]host[:port]`, user and password percent-encoded.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, InvalidProxy> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(InvalidProxy::Address(InvalidOrigin::Scheme));
        };
        let (credentials, authority) = match rest.rsplit_once('@') {
            Some((credentials, authority)) => (Some(parse_credentials(credentials)?), authority),
            None => (None, rest),
        };
        let origin = Origin::parse_http(&format!("{scheme}://{authority}"))
            .map_err(InvalidProxy::Address)?;
        if origin.is_https() {
            return Err(InvalidProxy::Https);
        }
        Ok(Self {
            origin,
            credentials,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// `user:password`.
    #[must_use]
    pub fn credentials(&self) -> Option<&Secret> {
        self.credentials.as_ref()
    }
}

fn parse_credentials(text: &str) -> Result<Secret, InvalidProxy> {
    let decode = |part: &str| {
        let decoded = percent_decode_str(part).decode_utf8().ok()?.into_owned();
        (!decoded.contains(char::is_control)).then_some(decoded)
    };
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let user = decode(user).filter(|user| !user.contains(':'));
    let (Some(user), Some(password)) = (user, decode(password)) else {
        return Err(InvalidProxy::Credentials);
    };
    Ok(Secret::new(format!("{user}:{password}")))
}

#[cfg(test)]
mod tests {
    use super::{InvalidProxy, Proxy};

    #[test]
    fn a_proxy_has_an_address_and_perhaps_credentials() {
        let proxy = Proxy::parse("http://ann:s%3Acret@proxy.example:3128/").unwrap();
        assert_eq!(proxy.origin.to_string(), "http://proxy.example:3128");
        assert_eq!(proxy.credentials.as_ref().unwrap().expose(), "ann:s:cret");
        assert!(!format!("{proxy:?}").contains("cret"));
        let proxy = Proxy::parse("http://10.0.0.1:3128").unwrap();
        assert_eq!(proxy.credentials, None);
    }

    #[test]
    fn what_is_no_proxy_is_refused_with_the_reason() {
        for text in [
            "proxy.example:3128",
            "http://proxy.example/path",
            "ftp://proxy",
        ] {
            let refused = Proxy::parse(text).unwrap_err();
            assert!(matches!(refused, InvalidProxy::Address(_)), "{text}");
        }
        let refused = Proxy::parse("https://proxy.example").unwrap_err();
        assert_eq!(refused, InvalidProxy::Https);
        for text in [
            "http://a%3Ab:c@proxy",
            "http://a:b%0A@proxy",
            "http://a:%FF@proxy",
        ] {
            let refused = Proxy::parse(text).unwrap_err();
            assert_eq!(refused, InvalidProxy::Credentials, "{text}");
        }
    }
}
