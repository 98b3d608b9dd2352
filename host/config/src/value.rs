//! How one value is read from a document or a variable, and how it is shown. One implementation per type, so that a duration
//! or an id is judged by the same rule wherever it stands.

use std::time::Duration;

use router_values::{DURATION_REMEDY, parse_duration, quoted, show_duration};

use crate::{
    Switchable,
    node::{Node, Raw},
    pattern,
};

mod choices;
mod texts;

pub(crate) use texts::{HttpOrigin, Label, PathText, VariableName};

/// Why a value is not taken.
#[derive(Debug)]
pub(crate) struct InvalidValue {
    pub(crate) what: String,
    pub(crate) remedy: String,
    /// Where, if not where the value begins.
    pub(crate) at: Option<usize>,
}

impl InvalidValue {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            at: None,
        }
    }
}

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Integer,
    Float,
    Boolean,
    Duration,
    /// Items between commas.
    List(&'static Shape),
}

impl Shape {
    /// `milliseconds`: a bare number counts them.
    pub(crate) fn node(self, text: &str, milliseconds: bool) -> Node {
        let text = if self == Self::Text {
            text
        } else {
            text.trim()
        };
        let as_text = || Raw::Text(text.to_owned());
        let raw = match self {
            Self::Text => as_text(),
            Self::Integer => text.parse().map_or_else(|_| as_text(), Raw::Integer),
            Self::Float => text.parse().map_or_else(|_| as_text(), Raw::Float),
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Raw::Boolean(true),
                "false" | "0" | "no" | "off" => Raw::Boolean(false),
                _ => as_text(),
            },
            Self::Duration => {
                let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                Raw::Text(if bare && milliseconds {
                    format!("{text}ms")
                } else {
                    text.to_owned()
                })
            }
            Self::List(item) => {
                let items = text
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty());
                Raw::List(items.map(|part| item.node(part, milliseconds)).collect())
            }
        };
        Node { at: None, raw }
    }
}

/// A type of value.
pub(crate) trait Value: Sized {
    const SHAPE: Shape;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>>;
    /// As TOML.
    fn show(&self) -> String;
}

fn wrong_kind<T>(raw: &Raw, expected: &str, remedy: &str) -> Result<T, Vec<InvalidValue>> {
    let found = match raw {
        Raw::Text(text) => format!("the string {}", quoted(text)),
        other => other.kind().to_owned(),
    };
    Err(vec![InvalidValue::new(
        format!("expected {expected}, found {found}"),
        remedy,
    )])
}

fn text<'r>(raw: &'r Raw, remedy: &str) -> Result<&'r str, Vec<InvalidValue>> {
    match raw {
        Raw::Text(text) if text.contains('\0') => Err(vec![InvalidValue::new(
            "holds a zero byte, which no path, argument or variable can",
            "remove it",
        )]),
        Raw::Text(text) => Ok(text),
        other => wrong_kind(other, "a string", remedy),
    }
}

/// Reads a text through a parser of its own.
fn parsed<T>(
    raw: &Raw,
    remedy: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Vec<InvalidValue>> {
    let text = text(raw, remedy)?;
    parse(text).map_err(|what| vec![InvalidValue::new(what, remedy)])
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Integer;
            fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
                match raw {
                    Raw::Integer(integer) => Self::try_from(*integer).map_err(|_| {
                        let remedy = match i32::try_from(Self::MAX) {
                            Ok(most) => format!("write a number from {} to {most}", Self::MIN),
                            Err(_) if *integer < 0 => format!("write a number that is not below {}", Self::MIN),
                            Err(_) => "write a smaller number".to_owned(),
                        };
                        vec![InvalidValue::new(format!("{integer} is out of range"), remedy)]
                    }),
                    Raw::Huge(digits) => Err(vec![InvalidValue::new(format!("{digits} is out of range"), "write a smaller number")]),
                    other => wrong_kind(other, "an integer", "write a whole number, without quotes"),
                }
            }
            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
integers!(u32, u64, usize, i32);

impl Value for f64 {
    const SHAPE: Shape = Shape::Float;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        match raw {
            Raw::Float(float) => Ok(*float),
            #[allow(clippy::cast_precision_loss, reason = "shares are small")]
            Raw::Integer(integer) => Ok(*integer as Self),
            other => wrong_kind(
                other,
                "a number",
                "write a number, such as 0.5, without quotes",
            ),
        }
    }
    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for bool {
    const SHAPE: Shape = Shape::Boolean;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        match raw {
            Raw::Boolean(boolean) => Ok(*boolean),
            other => wrong_kind(other, "a boolean", "write true or false, without quotes"),
        }
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Duration {
    const SHAPE: Shape = Shape::Duration;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        if let Raw::Integer(integer) = raw {
            let remedy = format!(
                "write it with its unit, such as \"{integer}s\" or \"{integer}ms\" (ms, s, m, h, d)"
            );
            return Err(vec![InvalidValue::new(
                "expected a duration, found a number without a unit",
                remedy,
            )]);
        }
        parsed(raw, DURATION_REMEDY, |text| {
            parse_duration(text).ok_or_else(|| format!("{} is not a duration", quoted(text)))
        })
    }
    fn show(&self) -> String {
        format!("\"{}\"", show_duration(*self))
    }
}

/// `off`, and zero, switch off.
impl Value for Switchable<Duration> {
    const SHAPE: Shape = Shape::Duration;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        if matches!(raw, Raw::Text(text) if text == "off") || *raw == Raw::Boolean(false) {
            return Ok(Self(None));
        }
        match Duration::read(raw) {
            Ok(duration) => Ok(Self((!duration.is_zero()).then_some(duration))),
            Err(mut refusals) => {
                for refusal in &mut refusals {
                    refusal.remedy.push_str(", or \"off\"");
                }
                Err(refusals)
            }
        }
    }
    fn show(&self) -> String {
        self.0
            .map_or_else(|| "\"off\"".to_owned(), |duration| duration.show())
    }
}

impl<T: Value> Value for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        let Raw::List(items) = raw else {
            return wrong_kind(
                raw,
                "an array",
                "write it in brackets, even a single item: [\"…\"]",
            );
        };
        let (mut values, mut refusals) = (Self::new(), Vec::new());
        for item in items {
            match T::read(&item.raw) {
                Ok(value) => values.push(value),
                Err(wrong) => refusals.extend(wrong.into_iter().map(|refusal| InvalidValue {
                    at: refusal.at.or(item.at),
                    ..refusal
                })),
            }
        }
        if refusals.is_empty() {
            Ok(values)
        } else {
            Err(refusals)
        }
    }
    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(Value::show).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A text; with `Filled` it must not be empty.
impl Value for String {
    const SHAPE: Shape = Shape::Text;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        text(raw, "write it in double quotes").map(ToOwned::to_owned)
    }
    fn show(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

/// A text with `{placeholders}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(pub(crate) String);

impl Value for Pattern {
    const SHAPE: Shape = Shape::Text;
    fn read(raw: &Raw) -> Result<Self, Vec<InvalidValue>> {
        let remedy = "a placeholder is {name}; write {{ and }} for the signs themselves";
        text(raw, "write it in double quotes")?;
        parsed(raw, remedy, |text| {
            pattern::parse(text).map(|_| Self(text.to_owned()))
        })
    }
    fn show(&self) -> String {
        self.0.show()
    }
}
