//! One member of a raw JSON object, found without building the object.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    error::{EnvelopeError, syntax},
    fold::is_taken_for,
};

/// The raw value of one member of a raw object; `None` where it is missing or the text is not an object.
///
/// # Errors
/// The text is not JSON, names the member twice, or has another one that a parser without case takes for it.
pub fn member<'a>(object: &'a str, name: &str) -> Result<Option<&'a str>, EnvelopeError> {
    if !object.trim_start().starts_with('{') {
        return Ok(None);
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    MemberSeed { name }
        .deserialize(&mut deserializer)
        .map_err(syntax)
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
            fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
                if is_taken_for(key, self.0) {
                    return Err(E::custom(format_args!(
                        "{key:?} differs from {:?} only in case",
                        self.0
                    )));
                }
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
