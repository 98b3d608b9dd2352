//! Addresses of pages and services: `https://host[:port][/path]`.

use std::fmt;

use router_values::Origin;

use crate::value::InvalidValue;

/// Longest address. Slack takes links of 3,000 characters, to which something is appended.
const BYTES_MAX: usize = 2_048;

/// The address of a page or a service that is reached over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    /// Without a slash at the end of its path.
    text: String,
    origin: Origin,
}

impl WebAddress {
    /// Parses an address.
    ///
    /// # Errors
    /// What is wrong with it, without its text, which may be a secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("it has more than {BYTES_MAX} bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it has spaces, or signs that are to be percent-encoded".to_owned());
        }
        let begin = text.find("://").map_or(0, |at| at + "://".len());
        let end = text[begin..].find(['/', '?', '#']);
        let end = end.map_or(text.len(), |end| begin + end);
        let origin = Origin::parse_http(&text[..end]).map_err(|what| what.to_string())?;
        let text = match text.contains(['?', '#']) {
            true => text,
            false => text.trim_end_matches('/'),
        };
        Ok(Self {
            text: text.to_owned(),
            origin,
        })
    }

    /// The address, without a slash at the end of its path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Refuses what something could not be appended to.
    pub(crate) fn refuse(&self, signs: &[&str], remedy: &str) -> Result<(), InvalidValue> {
        match signs.iter().find(|sign| self.text.contains(**sign)) {
            Some(sign) => Err(InvalidValue::new(format!("has a {sign}"), remedy)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::WebAddress;

    #[test]
    fn an_address_is_taken_apart_and_ends_without_a_slash() {
        for (text, shown, origin) in [
            (
                "https://a.example",
                "https://a.example",
                "https://a.example",
            ),
            (
                "HTTP://10.0.0.1:8080/x/?y=1",
                "HTTP://10.0.0.1:8080/x/?y=1",
                "http://10.0.0.1:8080",
            ),
            (
                "https://a.example/wiki/",
                "https://a.example/wiki",
                "https://a.example",
            ),
            ("https://[::1]:9/a", "https://[::1]:9/a", "https://[::1]:9"),
            (
                "https://a.example?x",
                "https://a.example?x",
                "https://a.example",
            ),
        ] {
            let address = WebAddress::parse(text).unwrap();
            assert_eq!(address.as_str(), shown);
            assert_eq!(address.origin().to_string(), origin);
        }
        for text in [
            "",
            "a.example/x",
            "ftp://a.example",
            "https://",
            "https:///x",
            "https://user:pw@a.example/x",
            "https://a.example:0x/",
            "https://a.example/a b",
            "https://a.example/\u{e4}",
            &format!("https://a.example/{}", "x".repeat(2_048)),
        ] {
            assert!(WebAddress::parse(text).is_err(), "{text}");
        }
    }
}
