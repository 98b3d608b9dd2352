//! One line before it is written: its message, its fields, and the keywords that are grepped for.

use std::{
    error::Error,
    fmt::{self, Write},
};

use tracing::{
    Level,
    field::{Field, Visit},
};

use super::escape::Bounded;

/// Longest message or value, in bytes. A stack trace fits; what a client sent need not.
const VALUE_BYTES_MAX: usize = 4_096;

/// What all fields of a line may take together, in bytes.
const FIELDS_BYTES_MAX: usize = 12_288;

/// Most causes of an error that are followed.
const CAUSES_MAX: usize = 16;

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FieldValue {
    Text(String),
    /// Digits, `true`, `false` or a finite number: written as it is in both formats.
    Literal(String),
}

impl FieldValue {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Literal(text) => text,
        }
    }
}

/// The message and fields of an event, or the fields of a span.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) list: Vec<(&'static str, FieldValue)>,
}

impl Fields {
    pub(super) fn with_message(message: String) -> Self {
        Self {
            message,
            ..Self::default()
        }
    }

    /// Sets a field; of two of one name the later counts.
    pub(super) fn set(&mut self, name: &'static str, value: FieldValue) {
        match self.list.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.list.push((name, value)),
        }
    }

    /// Takes over the fields of an inner scope.
    pub(super) fn extend(&mut self, inner: &Self) {
        for (name, value) in &inner.list {
            self.set(name, value.clone());
        }
    }

    /// What a field may take: what the others leave.
    fn room(&self, name: &str) -> usize {
        let others = self.list.iter().filter(|(known, _)| *known != name);
        let taken = others.map(|(_, value)| value.as_str().len()).sum();
        FIELDS_BYTES_MAX.saturating_sub(taken).min(VALUE_BYTES_MAX)
    }

    fn write(&mut self, field: &Field, write: impl FnOnce(&mut Bounded) -> fmt::Result) {
        let is_message = field.name() == "message";
        let mut text = Bounded::new(if is_message {
            VALUE_BYTES_MAX
        } else {
            self.room(field.name())
        });
        // It fails where the text is cut, which the text says itself.
        let _ = write(&mut text);
        if is_message {
            self.message = text.finish();
        } else {
            // A raw identifier keeps its prefix in the name: `r#type`.
            let name = field.name();
            self.set(
                name.strip_prefix("r#").unwrap_or(name),
                FieldValue::Text(text.finish()),
            );
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |text| write!(text, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |text| text.write_str(value));
    }

    /// The whole chain, since it is logged once.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write(field, |text| {
            write!(text, "{value}")?;
            let mut cause = value.source();
            for _ in 0..CAUSES_MAX {
                let Some(inner) = cause else { break };
                write!(text, ": {inner}")?;
                cause = inner.source();
            }
            Ok(())
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), FieldValue::Literal(value.to_string()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), FieldValue::Literal(value.to_string()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), FieldValue::Literal(value.to_string()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let text = value.to_string();
        // JSON has no form for what is not finite.
        let value = if value.is_finite() {
            FieldValue::Literal(text)
        } else {
            FieldValue::Text(text)
        };
        self.set(field.name(), value);
    }
}

/// A line about to be written.
pub(super) struct Line<'a> {
    pub(super) unix_ms: i64,
    pub(super) level: Level,
    pub(super) target: &'a str,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    /// The keywords that are grepped for and that neither the message nor the format itself holds, separated by spaces.
    pub(super) fn keywords(&self) -> String {
        let mut keywords = String::new();
        let message = &self.fields.message;
        for (name, value) in &self.fields.list {
            let value = value.as_str();
            let word = match *name {
                "kind" => match kind_word(value) {
                    Some(word) => word.to_owned(),
                    None => continue,
                },
                "instance" | "version_id" if !value.is_empty() => format!("version_id: {value}"),
                _ => continue,
            };
            if !holds(message, &word) && !holds(&keywords, &word) {
                if !keywords.is_empty() {
                    keywords.push(' ');
                }
                keywords.push_str(&word);
            }
        }
        keywords
    }
}

fn kind_word(kind: &str) -> Option<&'static str> {
    match kind {
        "timeout" => Some("TIMEOUT"),
        "validation" => Some("VALIDATION"),
        "audit" => Some("AUDIT"),
        "breaker" => Some("circuit breaker"),
        _ => None,
    }
}

/// Whether a text holds a word, not as the beginning of a longer one: `version_id: 4` is not in `version_id: 42`.
fn holds(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let next = text[at + word.len()..].chars().next();
        next.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '@' | '-'))
    })
}
