//! The thin envelope of a JSON-RPC message: where its id, method, params, result and error stand in the text.
//!
//! A message is parsed once and its payload is never rebuilt: every part is a slice of the text it came from, and what
//! must differ on the way out (an id, a progress token) is replaced by [`splice`]. Nothing here recurses, so that no
//! input can exhaust the stack.

mod batch;
mod error;
mod fold;
mod member;
mod text;

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use error::{invalid, is_overlong, overlong, syntax};
use fold::is_taken_for;
use text::leading_name;

pub use {
    batch::split_batch,
    error::{DEPTH_MAX, EnvelopeError, NAME_BYTES_MAX},
    member::member,
    text::{is_deeper_than, quoted, range_in, splice, string_of},
};

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
    /// Whether the text has members that JSON-RPC does not know. They are not passed on: see [`Envelope::stripped`].
    pub has_unknown_members: bool,
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
                // Either no JSON at all, or a bare value: the parser's error says which.
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

    /// The tool that a `tools/call` names; `None` where the request is another one, or its parameters are none of a call.
    #[must_use]
    pub fn tool(&self) -> Option<Cow<'a, str>> {
        let params = self
            .params
            .filter(|_| self.method.as_deref() == Some("tools/call"))?;
        string_of(member(params, "name").ok()??)
    }

    /// As [`Envelope::tool`], but where the parameters begin with the name, as nearly all clients write them, nothing else of them is
    /// read: a name that is given twice is then no fault. For those who only count.
    #[must_use]
    pub fn leading_tool(&self) -> Option<Cow<'a, str>> {
        let params = self
            .params
            .filter(|_| self.method.as_deref() == Some("tools/call"))?;
        match leading_name(params) {
            Some(tool) => Some(Cow::Borrowed(tool)),
            None => self.tool(),
        }
    }

    /// The code of the error object, where there is one.
    #[must_use]
    pub fn error_code(&self) -> Option<i64> {
        let code = member(self.error?, "code").ok().flatten()?;
        code.parse::<i64>().ok().or(Some(0))
    }

    /// The message without the members that JSON-RPC does not know, for them to mean nothing to a parser that is less exact than this
    /// one; `None` where it has none.
    #[must_use]
    pub fn stripped(&self) -> Option<String> {
        if !self.has_unknown_members {
            return None;
        }
        let mut text = r#"{"jsonrpc":"2.0""#.to_owned();
        let method = self.method.as_deref().map(quoted);
        let members = [
            ("id", self.id),
            ("method", method.as_deref()),
            ("params", self.params),
            ("result", self.result),
            ("error", self.error),
        ];
        for (name, raw) in members {
            if let Some(raw) = raw {
                text.extend([",\"", name, "\":", raw]);
            }
        }
        text.push('}');
        Some(text)
    }

    /// Parses what [`Envelope::stripped`] gave.
    pub(crate) fn of_stripped(text: &'a str) -> Self {
        Self::parse_text(text).expect("the parts of a message make a message")
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
/// The parameters name a key twice, or one that a parser without case takes for it, or the token is longer than [`NAME_BYTES_MAX`].
pub fn progress_token(params: &str) -> Result<Option<&str>, EnvelopeError> {
    // Many requests have none, and a scan for the key is far cheaper than a parse. No letter outside of ASCII folds into one of it. A
    // key may also be spelled with escapes; then the parse decides.
    let bytes = params.as_bytes();
    let is_meta = |at: usize| {
        let name = bytes.get(at..at + b"_meta".len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"_meta"))
    };
    let may_be_escaped =
        || memchr::memchr(b'\\', bytes).is_some() && memchr::memmem::find(bytes, b"\\u").is_some();
    if !memchr::memchr_iter(b'_', bytes).any(is_meta) && !may_be_escaped() {
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

enum Key {
    JsonRpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    Unknown,
}

/// What JSON-RPC 2.0 knows (sections 4 and 5).
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "jsonrpc" => Key::JsonRpc,
                    "id" => Key::Id,
                    "method" => Key::Method,
                    "params" => Key::Params,
                    "result" => Key::Result,
                    "error" => Key::Error,
                    _ => match MEMBERS.iter().find(|known| is_taken_for(key, known)) {
                        Some(known) => {
                            return Err(E::custom(format_args!(
                                "its member {key:?} differs from {known:?} only in case"
                            )));
                        }
                        None => Key::Unknown,
                    },
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
                Key::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    envelope.has_unknown_members = true;
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

#[cfg(test)]
mod tests;
