//! What the headers of a request must say (MCP, "Streamable HTTP").

use http::{HeaderMap, HeaderName, header};
use router_upstream::ProtocolVersion;

use crate::fault::{FaultKind, RequestFault};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// As much of a version that a client names is repeated in the error about it.
pub(crate) const VERSION_CHARS_MAX: usize = 40;

/// The value of a header that is there and is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The id of the session that a request belongs to. Of two, a proxy in front may have checked the other one.
pub(crate) fn session_id(headers: &HeaderMap) -> Result<&str, FaultKind> {
    let mut ids = headers.get_all(SESSION_ID).iter();
    let id = ids.next().and_then(|id| id.to_str().ok());
    match ids.next() {
        Some(_) => Err(FaultKind::RepeatedSession),
        None => id.ok_or(FaultKind::NoSession),
    }
}

/// A version header, where there is one, must name a version that is served (2025-06-18, transports, "Protocol Version
/// Header"). That it is the one that the session agreed on is the client's duty, and nothing here depends on it.
pub(crate) fn check_version(headers: &HeaderMap) -> Result<(), RequestFault> {
    let Some(value) = headers.get(PROTOCOL_VERSION) else {
        return Ok(());
    };
    let text = value.to_str().unwrap_or("?");
    match ProtocolVersion::parse(text) {
        Some(_) => Ok(()),
        None => Err(FaultKind::Version {
            requested: text.chars().take(VERSION_CHARS_MAX).collect(),
        }
        .into()),
    }
}

pub(crate) fn check_is_json(headers: &HeaderMap) -> Result<(), RequestFault> {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let media = value.as_bytes().split(|byte| *byte == b';').next();
        media.is_some_and(|media| media.trim_ascii().eq_ignore_ascii_case(b"application/json"))
    });
    if is_json {
        Ok(())
    } else {
        Err(FaultKind::ContentType.into())
    }
}

/// What every client library sends; recognised by one comparison.
const USUAL_ACCEPT: &[u8] = b"application/json, text/event-stream";

/// A client that posts must take both kinds of answer: which one it gets is known only later.
pub(crate) fn check_accepts_both(headers: &HeaderMap) -> Result<(), RequestFault> {
    let first = headers.get(header::ACCEPT);
    if first.is_some_and(|value| value.as_bytes() == USUAL_ACCEPT) {
        return Ok(());
    }
    if accepts(headers, "application", "json") && accepts(headers, "text", "event-stream") {
        return Ok(());
    }
    Err(FaultKind::NotAcceptable {
        needed: "both application/json and text/event-stream",
    }
    .into())
}

pub(crate) fn check_accepts_events(headers: &HeaderMap) -> Result<(), RequestFault> {
    if accepts(headers, "text", "event-stream") {
        return Ok(());
    }
    Err(FaultKind::NotAcceptable {
        needed: "text/event-stream",
    }
    .into())
}

/// Whether a media type is acceptable: by the weight of the range that names it most precisely (RFC 9110 §12.5.1).
fn accepts(headers: &HeaderMap, kind: &str, subtype: &str) -> bool {
    let values = headers.get_all(header::ACCEPT).iter();
    let ranges = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let matching = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let precision = match parts.next()?.split_once('/')? {
            ("*", "*") => 0,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 1,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        let is_weight_of_zero = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse() == Ok(0.0))
        };
        Some((precision, !parts.any(is_weight_of_zero)))
    });
    matching.max().is_some_and(|(_, is_wanted)| is_wanted)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{check_accepts_both, check_accepts_events, check_is_json, check_version};

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn both_kinds_of_answer_must_be_acceptable_to_a_post() {
        let cases = [
            ("application/json, text/event-stream", true, true),
            ("text/event-stream;q=0.5,Application/JSON", true, true),
            ("*/*", true, true),
            ("application/*, text/*", true, true),
            ("application/json", false, false),
            ("text/event-stream", false, true),
            ("text/html", false, false),
            ("", false, false),
        ];
        for (accept, both, events) in cases {
            let headers = with("accept", accept);
            assert_eq!(check_accepts_both(&headers).is_ok(), both, "{accept}");
            assert_eq!(check_accepts_events(&headers).is_ok(), events, "{accept}");
        }
        assert!(check_accepts_both(&HeaderMap::new()).is_err());
    }

    #[test]
    fn only_json_is_taken() {
        let cases = [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("APPLICATION/JSON", true),
            ("text/plain", false),
            ("application/jsonp", false),
        ];
        for (value, ok) in cases {
            assert_eq!(
                check_is_json(&with("content-type", value)).is_ok(),
                ok,
                "{value}"
            );
        }
    }

    #[test]
    fn a_version_that_is_not_served_is_refused() {
        for (value, ok) in [
            ("2025-11-25", true),
            ("2024-11-05", true),
            ("2026-07-28", false),
            ("x", false),
        ] {
            assert_eq!(
                check_version(&with("mcp-protocol-version", value)).is_ok(),
                ok,
                "{value}"
            );
        }
        assert!(check_version(&HeaderMap::new()).is_ok());
    }
}
