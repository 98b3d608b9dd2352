//! What the headers and the path of a request must say (MCP, "Streamable HTTP").

use http::{HeaderMap, HeaderName, header};
use router_core::InstanceId;
use router_upstream::ProtocolVersion;

use crate::fault::{FaultKind, RequestFault};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The instance that a path of `/mcp` names, percent-encoded or not; for whoever decides in front who may call it.
#[must_use]
pub fn instance_in(path: &str) -> Option<InstanceId> {
    instance_of(path).ok()
}

/// The instance that a path names.
pub(crate) fn instance_of(path: &str) -> Result<InstanceId, RequestFault> {
    let name = path.strip_prefix("/mcp/").unwrap_or_default();
    if name.is_empty() {
        return Err(RequestFault::new(FaultKind::NoInstance));
    }
    let id = if name.contains('%') {
        InstanceId::parse(&percent_decoded(name))
    } else {
        InstanceId::parse(name)
    };
    id.map_err(|error| {
        RequestFault::new(FaultKind::InvalidInstance {
            why: error.to_string(),
        })
    })
}

/// The value of a header that is there and is text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
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
        None => Err(RequestFault::new(FaultKind::Version {
            requested: text.chars().take(40).collect(),
        })),
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
        Err(RequestFault::new(FaultKind::ContentType))
    }
}

/// What every client library sends; told apart by one comparison.
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
    Err(RequestFault::new(FaultKind::NotAcceptable {
        needed: "both application/json and text/event-stream",
    }))
}

pub(crate) fn check_accepts_events(headers: &HeaderMap) -> Result<(), RequestFault> {
    if accepts(headers, "text", "event-stream") {
        return Ok(());
    }
    Err(RequestFault::new(FaultKind::NotAcceptable {
        needed: "text/event-stream",
    }))
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

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{
        check_accepts_both, check_accepts_events, check_is_json, check_version, instance_of,
    };

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

    #[test]
    fn paths_name_instances_also_when_encoded() {
        let cases = [
            ("/mcp/demo", Some("demo")),
            ("/mcp/maze%401.0", Some("maze@1.0")),
            ("/mcp/maze@1.0", Some("maze@1.0")),
            ("/mcp/", None),
            ("/mcp/a%2Fb", None),
            ("/mcp/%", None),
            ("/mcp/%ff", None),
        ];
        for (path, expected) in cases {
            let found = instance_of(path).ok();
            assert_eq!(found.as_ref().map(|id| id.as_str()), expected, "{path}");
        }
    }
}
