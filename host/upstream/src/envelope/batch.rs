//! Several messages in one array, which only 2025-03-26 has: taken apart, never rebuilt.

use std::fmt;

use serde::{
    Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::error::{EnvelopeError, invalid, syntax};

/// The messages of a batch as they stand in the text, at most `messages_max`. What each of them is, is not checked.
///
/// # Errors
/// The text is not JSON, not an array, an empty one, or holds more messages.
pub fn split_batch(text: &str, messages_max: usize) -> Result<Vec<&str>, EnvelopeError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let messages = deserializer
        .deserialize_seq(BatchVisitor { messages_max })
        .and_then(|messages| deserializer.end().map(|()| messages))
        .map_err(syntax)?;
    if messages.is_empty() {
        return Err(invalid("its batch is empty"));
    }
    Ok(messages)
}

struct BatchVisitor {
    messages_max: usize,
}

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a batch of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = seq.next_element::<&'de RawValue>()? {
            if messages.len() == self.messages_max {
                let max = self.messages_max;
                return Err(A::Error::custom(format_args!(
                    "its batch holds more than {max} messages"
                )));
            }
            messages.push(message.get());
        }
        Ok(messages)
    }
}
