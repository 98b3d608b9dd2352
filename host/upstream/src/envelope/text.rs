//! Pieces of raw JSON: read, written and replaced as text.

use std::{borrow::Cow, ops::Range};

/// The text of a raw JSON string; `None` where the value is not one.
#[must_use]
pub fn string_of(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
}

/// The text of an object's member `name`, where that is the first one and a string without escapes. The text is known to be JSON.
pub(super) fn leading_name(object: &str) -> Option<&str> {
    let bytes = object.as_bytes();
    // Most write no blanks: one comparison.
    let rest = bytes.strip_prefix(b"{\"name\":\"").or_else(|| {
        let mut rest = bytes;
        for token in ["{", "\"name\"", ":", "\""] {
            rest = rest.trim_ascii_start().strip_prefix(token.as_bytes())?;
        }
        Some(rest)
    })?;
    let (start, length) = (
        object.len() - rest.len(),
        memchr::memchr2(b'"', b'\\', rest)?,
    );
    (rest[length] == b'"').then(|| &object[start..start + length])
}

/// A text as a raw JSON string.
#[must_use]
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Where `part`, a slice of `source`, stands in it.
#[must_use]
pub fn range_in(source: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(source.as_ptr() as usize);
    debug_assert!(
        start + part.len() <= source.len(),
        "the part is a slice of the source"
    );
    start..start + part.len()
}

/// Appends `source` to `out` as one line (without its end), with the given ranges replaced.
///
/// The ranges are in order and do not overlap. Line breaks between tokens, the only place where JSON allows them,
/// become spaces.
pub fn splice(out: &mut Vec<u8>, source: &str, edits: &[(Range<usize>, &[u8])]) {
    let begin = out.len();
    let mut from = 0;
    for (range, with) in edits {
        out.extend_from_slice(&source.as_bytes()[from..range.start]);
        out.extend_from_slice(with);
        from = range.end;
    }
    out.extend_from_slice(&source.as_bytes()[from..]);
    if memchr::memchr2(b'\n', b'\r', source.as_bytes()).is_some() {
        for byte in &mut out[begin..] {
            if matches!(*byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

/// Whether a text nests arrays and objects deeper than `limit`. Says nothing about whether it is JSON.
#[must_use]
pub fn is_deeper_than(text: &str, limit: usize) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() <= limit {
        return false;
    }
    // A text with few openings cannot be deep; counting them is vectorised, walking it is not.
    let openings = bytes
        .iter()
        .filter(|byte| matches!(**byte, b'{' | b'['))
        .count();
    if openings <= limit {
        return false;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => at = string_end(bytes, at + 1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// The offset of the quote that ends the string whose first byte is at `at`, or the end of the text.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr::memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}
