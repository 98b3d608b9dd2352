//! Placeholders, and what becomes of them as a request leaves.
//!
//! A placeholder is a token that was drawn for one call and that nobody could know before. It is looked for in what the sink
//! composed, once, and nothing else is ever replaced: not the name of a secret, not a token of another call, not what a secret holds.

use std::{borrow::Cow, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT},
};
use rand::RngExt as _;
use serde::de::IgnoredAny;

use crate::{
    encode,
    message::{
        BODY_BYTES_MAX, EgressError, EgressRequest, HEADER_BYTES_MAX, HEADERS_MAX, URL_BYTES_MAX,
    },
    secrets::{HeldSecret, Secrets},
    sign::SecretError,
    target::{Target, split},
};

/// A token begins so, and goes on with 32 digits of base 16: letters and digits only, so that no encoding changes it. No escape of
/// JSON and no digit of base 16 is an `s`, so that nothing before a token can take its first letter.
const TOKEN_PREFIX: &str = "secret";
const TOKEN_BYTES: usize = TOKEN_PREFIX.len() + 32;

/// Most tokens that are replaced in one request: a request has one or two. Secrets of 8 KiB then make it no longer than 512 KiB.
const FILLED_MAX: usize = 64;

/// Headers that are the router's: they say where a message begins and ends and to whom it goes, or ask for an answer in a form in
/// which a secret that comes back would not be found.
const OWN_HEADERS: [&str; 14] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// How the router calls itself, where the sink does not say otherwise.
const AGENT: &str = concat!("godot-mcp-router/", env!("CARGO_PKG_VERSION"));

/// The tokens of one call.
#[derive(Debug, Default)]
pub(crate) struct Placeholders(Vec<Placeholder>);

#[derive(Debug)]
struct Placeholder {
    token: String,
    secret: String,
}

/// Where a token may stand, and how what replaces it is written there.
#[derive(Clone, Copy)]
enum Place<'a> {
    Url,
    Header(&'a HeaderName),
    Json,
    Form,
}

/// What is sent, and where. It holds secrets.
pub(crate) struct Filled {
    pub(crate) target: Target,
    /// The secret that is the beginning of its URL.
    pub(crate) address_of: Option<String>,
    pub(crate) request: Request<Vec<u8>>,
}

impl fmt::Debug for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filled([redacted])")
    }
}

impl Placeholders {
    /// The token for a secret, the same for the whole call.
    pub(crate) fn token(&mut self, secrets: &Secrets, name: &str) -> Result<String, SecretError> {
        let (name, _) = secrets.get(name).ok_or(SecretError::Unknown)?;
        if let Some(drawn) = self.0.iter().find(|one| one.secret == name) {
            return Ok(drawn.token.clone());
        }
        let drawn: u128 = rand::rng().random();
        let token = format!("{TOKEN_PREFIX}{drawn:032x}");
        self.0.push(Placeholder {
            token: token.clone(),
            secret: name.to_owned(),
        });
        Ok(token)
    }

    /// Whether a text is one of the tokens; the secret that it stands for.
    fn of(&self, text: &str) -> Option<&str> {
        let drawn = self.0.iter().find(|one| one.token == text)?;
        Some(&drawn.secret)
    }

    /// The secrets whose tokens stand in a text, each with where it begins.
    fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        let begins = text.match_indices(TOKEN_PREFIX);
        begins.filter_map(|(at, _)| Some((at, self.of(text.get(at..at + TOKEN_BYTES)?)?)))
    }

    fn find_in_bytes(&self, bytes: &[u8]) -> Option<&str> {
        let drawn = self.0.iter();
        let mut found = drawn.filter(|one| {
            let mut windows = bytes.windows(TOKEN_BYTES);
            windows.any(|window| window == one.token.as_bytes())
        });
        found.next().map(|one| one.secret.as_str())
    }
}

/// One filling: of one request of one call.
struct Filling<'a> {
    secrets: &'a Secrets,
    placeholders: &'a Placeholders,
    filled: usize,
}

/// Makes what is sent of what a sink composed.
pub(crate) fn fill(
    secrets: &Secrets,
    placeholders: &Placeholders,
    composed: EgressRequest,
) -> Result<Filled, EgressError> {
    check_size(&composed)?;
    let mut filling = Filling {
        secrets,
        placeholders,
        filled: 0,
    };
    let method = method(&composed.method, placeholders)?;
    let (url, address_of) = filling.url(&composed.url)?;
    let target = Target::parse(&url)?;
    let mut headers = filling.headers(&composed.headers)?;
    let body = filling.body(composed.body, &headers)?;
    let host = target.origin.to_string();
    let host = host
        .split_once("://")
        .map_or("", |(_, authority)| authority);
    let host = HeaderValue::from_str(host);
    let host = host.map_err(|_| EgressError::Invalid("its host cannot be sent".to_owned()))?;
    headers.insert(HOST, host);
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static(AGENT));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.path.clone().into();
    *request.headers_mut() = headers;
    Ok(Filled {
        target,
        address_of,
        request,
    })
}

fn check_size(composed: &EgressRequest) -> Result<(), EgressError> {
    let EgressRequest {
        url, headers, body, ..
    } = composed;
    let header_bytes = headers.iter().map(|(name, value)| name.len() + value.len());
    for (what, is, may) in [
        ("bytes of URL", url.len(), URL_BYTES_MAX),
        ("headers", headers.len(), HEADERS_MAX),
        ("bytes of headers", header_bytes.sum(), HEADER_BYTES_MAX),
        ("bytes of body", body.len(), BODY_BYTES_MAX),
    ] {
        if is > may {
            let reason = format!("the request has {is} {what}, and may have {may}");
            return Err(EgressError::Invalid(reason));
        }
    }
    Ok(())
}

fn method(text: &str, placeholders: &Placeholders) -> Result<Method, EgressError> {
    if let Some((_, secret)) = placeholders.find(text).next() {
        return Err(misplaced(secret, "in the method"));
    }
    match text {
        "GET" => Ok(Method::GET),
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(EgressError::Invalid(
            "the method is none of GET, POST, PUT, PATCH and DELETE".to_owned(),
        )),
    }
}

impl<'a> Filling<'a> {
    /// The URL, and the secret that is its beginning.
    fn url(&mut self, url: &str) -> Result<(String, Option<String>), EgressError> {
        let placeholders = self.placeholders;
        let first = placeholders.find(url).next();
        if let Some((0, name)) = first {
            let secret = self.secret(name)?;
            let rest = &url[TOKEN_BYTES..];
            if secret.address.is_none() {
                return Err(misplaced(
                    name,
                    "at the beginning of the URL, where only a whole address may stand",
                ));
            }
            // Whatever else follows would be more of the host, or of a segment of the path.
            if !(rest.is_empty() || rest.starts_with(['/', '?', '&'])) {
                return Err(misplaced(name, "directly before other text of the URL"));
            }
            self.count()?;
            let address = secret.use_value().to_owned();
            let rest = self.text(rest, Place::Url)?;
            return Ok((address + &rest, Some(name.to_owned())));
        }
        let (origin, rest) = split(url).unwrap_or((url, ""));
        if let Some((_, name)) = placeholders.find(origin).next() {
            return Err(misplaced(name, "in the host of the URL"));
        }
        let rest = self.text(rest, Place::Url)?;
        Ok((format!("{origin}{rest}"), None))
    }

    fn headers(&mut self, composed: &[(String, String)]) -> Result<HeaderMap, EgressError> {
        let invalid = |what: String| EgressError::Invalid(what);
        let mut headers = HeaderMap::with_capacity(composed.len() + 3);
        for (name, value) in composed {
            if let Some((_, secret)) = self.placeholders.find(name).next() {
                return Err(misplaced(secret, "in the name of a header"));
            }
            let name: HeaderName = name
                .parse()
                .map_err(|_| invalid(format!("{name:?} is not the name of a header")))?;
            if OWN_HEADERS.contains(&name.as_str()) {
                return Err(invalid(format!("the header {name} is the router's to set")));
            }
            let value = self.text(value, Place::Header(&name))?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                invalid(format!(
                    "the header {name} has characters that none may have"
                ))
            })?;
            headers.append(name, value);
        }
        Ok(headers)
    }

    fn body(&mut self, body: Vec<u8>, headers: &HeaderMap) -> Result<Vec<u8>, EgressError> {
        let Some(secret) = self.placeholders.find_in_bytes(&body) else {
            return Ok(body);
        };
        let place = body_place(headers).ok_or_else(|| {
            misplaced(
                secret,
                "in a body that is neither JSON nor a form by its only content-type",
            )
        })?;
        let text =
            String::from_utf8(body).map_err(|_| misplaced(secret, "in a body that is no text"))?;
        // A token is no number and no literal, so it stands in a string if this is JSON at all.
        if matches!(place, Place::Json) && serde_json::from_str::<IgnoredAny>(&text).is_err() {
            return Err(misplaced(
                secret,
                "in a body that is not the JSON that it is called",
            ));
        }
        Ok(self.text(&text, place)?.into_owned().into_bytes())
    }

    /// Replaces each token once; what replaces one is not looked at again.
    fn text<'t>(&mut self, text: &'t str, place: Place<'_>) -> Result<Cow<'t, str>, EgressError> {
        let placeholders = self.placeholders;
        let mut filled = String::new();
        let mut done = 0;
        for (at, name) in placeholders.find(text) {
            self.count()?;
            let secret = self.secret(name)?;
            filled.push_str(&text[done..at]);
            filled.push_str(&written(name, secret, place)?);
            done = at + TOKEN_BYTES;
        }
        if done == 0 {
            return Ok(text.into());
        }
        filled.push_str(&text[done..]);
        Ok(filled.into())
    }

    fn count(&mut self) -> Result<(), EgressError> {
        self.filled += 1;
        if self.filled > FILLED_MAX {
            return Err(EgressError::MisplacedSecret(format!(
                "more than {FILLED_MAX} secrets stand in one request"
            )));
        }
        Ok(())
    }

    fn secret(&self, name: &str) -> Result<&'a HeldSecret, EgressError> {
        let secret = self.secrets.get(name).map(|(_, secret)| secret);
        secret.ok_or_else(|| misplaced(name, "in a call of another configuration"))
    }
}

/// A secret as it is written in a place.
fn written<'s>(
    name: &str,
    secret: &'s HeldSecret,
    place: Place<'_>,
) -> Result<Cow<'s, str>, EgressError> {
    if secret.address.is_some() {
        return Err(misplaced(
            name,
            "elsewhere than at the beginning of the URL, which is the only place for an address",
        ));
    }
    let is_plain = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    match place {
        Place::Header(header) if !secret.value().bytes().all(is_plain) => Err(misplaced(
            name,
            &format!("in the header {header}, and has line ends or control characters"),
        )),
        Place::Header(_) => Ok(secret.use_value().into()),
        Place::Url | Place::Form => Ok(encode::percent(secret.use_value())),
        Place::Json => Ok(encode::json(secret.use_value())),
    }
}

fn body_place(headers: &HeaderMap) -> Option<Place<'static>> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else {
        return None;
    };
    let media_type = only.to_str().ok()?.split(';').next()?.trim();
    let media_type = media_type.to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        return Some(Place::Json);
    }
    (media_type == "application/x-www-form-urlencoded").then_some(Place::Form)
}

fn misplaced(secret: &str, place: &str) -> EgressError {
    EgressError::MisplacedSecret(format!("the secret {secret} stands {place}"))
}

#[cfg(test)]
mod tests;
