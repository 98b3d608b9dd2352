//! The thin envelope of a JSON-RPC message: where its id, method, params, result and error stand in the text.
//!
//! A message is parsed once and its payload is never rebuilt: every part is a slice of the text it came from, and what
//! must differ on the way out (an id, a progress token) is replaced by [`splice`]. Nothing here recurses, so that no
//! input can exhaust the stack.

use std::{borrow::Cow, fmt, ops::Range, sync::LazyLock};

use memchr::memmem::Finder;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

mod batch;

pub use batch::split_batch;

/// How deeply a message may nest. Parsers behind us recurse (Python's gives up near 1,000, `serde_json`'s at 128 by
/// default); scene trees and JSON schemas stay far below this.
pub const DEPTH_MAX: usize = 512;

/// Longest id, method or progress token. They are kept while their request waits, after its body is gone; real ones are
/// numbers, UUIDs and words.
pub const NAME_BYTES_MAX: usize = 1024;

/// One message, as slices of the text it was parsed from. All parts but `method` are raw JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The id as it stands in the text; `Some("null")` for an explicit null, `None` where there is none.
    pub id: Option<&'a str>,
    /// The method's name, unescaped.
    pub method: Option<Cow<'a, str>>,
    /// The parameters.
    pub params: Option<&'a str>,
    /// The result.
    pub result: Option<&'a str>,
    /// The error object.
    pub error: Option<&'a str>,
    /// Whether `jsonrpc` is `"2.0"`.
    pub is_version_two: bool,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageShape {
    /// A method with an id.
    Request,
    /// A method without one.
    Notification,
    /// A result or an error with an id.
    Response,
    /// None of these.
    Nothing,
}

/// Why a text is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not text.
    #[error("message is not UTF-8: byte {at} is invalid")]
    NotUtf8 {
        /// Offset of the first invalid byte.
        at: usize,
    },
    /// More than [`DEPTH_MAX`] arrays and objects inside one another.
    #[error("message nests deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// Several messages in one array.
    #[error("message is a batch, which only protocol 2025-03-26 has: send one message at a time")]
    Batch,
    /// Not JSON.
    #[error("message is not JSON: {reason}")]
    Syntax {
        /// What the parser found, and where.
        reason: String,
    },
    /// JSON, but not a JSON-RPC message.
    #[error("message is not JSON-RPC: {reason}")]
    Invalid {
        /// Which part is wrong.
        reason: String,
    },
}

impl EnvelopeError {
    /// The JSON-RPC code that answers such a message (JSON-RPC 2.0, section 5.1).
    #[must_use]
    pub fn code(&self) -> i64 {
        match self {
            Self::NotUtf8 { .. } | Self::TooDeep | Self::Syntax { .. } => -32700,
            Self::Batch | Self::Invalid { .. } => -32600,
        }
    }
}

impl<'a> Envelope<'a> {
    /// Parses one message.
    ///
    /// # Errors
    /// The bytes are not UTF-8, not JSON, nested too deeply, an array, or not a JSON-RPC message.
    pub fn parse(bytes: &'a [u8]) -> Result<(&'a str, Self), EnvelopeError> {
        let text = std::str::from_utf8(bytes).map_err(|error| EnvelopeError::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        Ok((text, Self::parse_text(text)?))
    }

    /// Parses one message that is known to be text.
    ///
    /// # Errors
    /// As [`Envelope::parse`].
    pub fn parse_text(text: &'a str) -> Result<Self, EnvelopeError> {
        match text.trim_start().as_bytes().first() {
            Some(b'[') => return Err(EnvelopeError::Batch),
            Some(b'{') | None => {}
            Some(_) => {
                // Either no JSON at all, or a bare value: the parser tells which.
                serde_json::from_str::<IgnoredAny>(text).map_err(syntax)?;
                return Err(invalid("it is not an object"));
            }
        }
        if is_deeper_than(text, DEPTH_MAX) {
            return Err(EnvelopeError::TooDeep);
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let envelope = deserializer
            .deserialize_map(EnvelopeVisitor)
            .and_then(|envelope| deserializer.end().map(|()| envelope))
            .map_err(syntax)?;
        envelope.check()?;
        Ok(envelope)
    }

    /// What this message is.
    #[must_use]
    pub fn shape(&self) -> MessageShape {
        let answers = self.result.is_some() || self.error.is_some();
        match (self.method.is_some(), self.id.is_some(), answers) {
            (true, true, false) => MessageShape::Request,
            (true, false, false) => MessageShape::Notification,
            (false, true, true) => MessageShape::Response,
            _ => MessageShape::Nothing,
        }
    }

    /// The code of the error object, where there is one.
    #[must_use]
    pub fn error_code(&self) -> Option<i64> {
        let code = member(self.error?, "code").ok().flatten()?;
        code.parse::<i64>().ok().or(Some(0))
    }

    fn check(&self) -> Result<(), EnvelopeError> {
        let method = self.method.as_deref();
        if [self.id, method].into_iter().flatten().any(is_overlong) {
            return Err(overlong("id or method"));
        }
        match self.id.and_then(|id| id.as_bytes().first()) {
            None | Some(b'"' | b'-' | b'n' | b'0'..=b'9') => Ok(()),
            Some(_) => Err(invalid("its id is neither a string, a number nor null")),
        }
    }
}

/// The progress token of a request, as it stands in the text.
///
/// # Errors
/// The parameters name a key twice, or the token is longer than [`NAME_BYTES_MAX`].
pub fn progress_token(params: &str) -> Result<Option<&str>, EnvelopeError> {
    // Most requests have none, and a scan for the word is far cheaper than a parse. A key may also be spelled with
    // escapes; then the parse decides.
    static WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("progressToken"));
    let bytes = params.as_bytes();
    let may_be_escaped =
        || memchr::memchr(b'\\', bytes).is_some() && memchr::memmem::find(bytes, b"\\u").is_some();
    if WORD.find(bytes).is_none() && !may_be_escaped() {
        return Ok(None);
    }
    let Some(meta) = member(params, "_meta")? else {
        return Ok(None);
    };
    let token = member(meta, "progressToken")?.filter(|token| *token != "null");
    if token.is_some_and(is_overlong) {
        return Err(overlong("progress token"));
    }
    Ok(token)
}

/// The raw value of one member of a raw object; `None` where it is missing or the text is not an object.
///
/// # Errors
/// The text is not JSON, or names the member twice.
pub fn member<'a>(object: &'a str, name: &str) -> Result<Option<&'a str>, EnvelopeError> {
    if !object.trim_start().starts_with('{') {
        return Ok(None);
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    MemberSeed { name }
        .deserialize(&mut deserializer)
        .map_err(syntax)
}

/// The text of a raw JSON string; `None` where the value is not one.
#[must_use]
pub fn string_of(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
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

fn is_overlong(name: &str) -> bool {
    name.len() > NAME_BYTES_MAX
}

fn overlong(what: &str) -> EnvelopeError {
    invalid(&format!("its {what} is longer than {NAME_BYTES_MAX} bytes"))
}

fn invalid(reason: &str) -> EnvelopeError {
    EnvelopeError::Invalid {
        reason: reason.to_owned(),
    }
}

// By value, because it is what `map_err` hands over.
#[allow(clippy::needless_pass_by_value)]
fn syntax(error: serde_json::Error) -> EnvelopeError {
    let reason = error.to_string();
    if error.is_data() {
        EnvelopeError::Invalid { reason }
    } else {
        EnvelopeError::Syntax { reason }
    }
}

enum Key {
    JsonRpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "jsonrpc" => Key::JsonRpc,
                    "id" => Key::Id,
                    "method" => Key::Method,
                    "params" => Key::Params,
                    "result" => Key::Result,
                    "error" => Key::Error,
                    _ => Key::Other,
                })
            }
        }
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        let mut version = None;
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::JsonRpc => set_once(&mut version, &mut map, "jsonrpc")?,
                Key::Id => set_once(&mut envelope.id, &mut map, "id")?,
                Key::Params => set_once(&mut envelope.params, &mut map, "params")?,
                Key::Result => set_once(&mut envelope.result, &mut map, "result")?,
                Key::Error => set_once(&mut envelope.error, &mut map, "error")?,
                Key::Method => {
                    let mut raw = None;
                    set_once(&mut raw, &mut map, "method")?;
                    let name = raw.and_then(string_of);
                    let name =
                        name.ok_or_else(|| A::Error::custom("its method is not a string"))?;
                    if envelope.method.replace(name).is_some() {
                        return Err(A::Error::custom("its method is given twice"));
                    }
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        envelope.is_version_two = version == Some("\"2.0\"");
        Ok(envelope)
    }
}

fn set_once<'de, A: MapAccess<'de>>(
    place: &mut Option<&'de str>,
    map: &mut A,
    name: &'static str,
) -> Result<(), A::Error> {
    let raw = map.next_value::<&'de RawValue>()?.get();
    if place.replace(raw).is_some() {
        return Err(A::Error::custom(format_args!("its {name} is given twice")));
    }
    Ok(())
}

struct MemberSeed<'n> {
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for MemberSeed<'_> {
    type Value = Option<&'de str>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MemberSeed<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        struct IsName<'n>(&'n str);
        impl<'de> DeserializeSeed<'de> for IsName<'_> {
            type Value = bool;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
                deserializer.deserialize_identifier(self)
            }
        }
        impl Visitor<'_> for IsName<'_> {
            type Value = bool;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E>(self, key: &str) -> Result<bool, E> {
                Ok(key == self.0)
            }
        }
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsName(self.name))? {
            if !is_it {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw = map.next_value::<&'de RawValue>()?.get();
            if found.replace(raw).is_some() {
                return Err(A::Error::custom(format_args!(
                    "{} is given twice",
                    self.name
                )));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
