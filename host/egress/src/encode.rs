//! How a text is written where not every character may stand.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but what needs no encoding anywhere in a URL or a form (RFC 3986 §2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// For a segment of a path, a key or value of a query, and of a form: `%20` is a space in all of them.
pub(crate) fn percent(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, RESERVED).into()
}

/// For the inside of a string in JSON.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c != '"' && c != '\\' && !c.is_control();
    if text.chars().all(is_plain) {
        return text.into();
    }
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned().into()
}
