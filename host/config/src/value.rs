//! How one value is read from a document or a variable, and how it is shown. One implementation per type, so that a duration
//! or an id is judged by the same words wherever it stands.

use std::{net::SocketAddr, time::Duration};

use router_core::InstanceId;

use crate::{
    Era, LogFilter, LogFormat, OnRouterExit, Origin, PluginName, PolicyName, Role, Sharing,
    Switchable, TableName, TemplateName, Transport, duration,
    node::{Node, Raw},
    origin::is_host,
    pattern,
    suggest::nearest,
};

/// Why a value is not taken.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) what: String,
    pub(crate) remedy: String,
    /// Where, if not where the value begins.
    pub(crate) at: Option<usize>,
}

impl Refusal {
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>>;
    /// As TOML.
    fn show(&self) -> String;
}

/// A text as it may stand in a message: quoted and cut.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut cut: String = text.chars().take(SHOWN_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

fn wrong_kind<T>(raw: &Raw, expected: &str, remedy: &str) -> Result<T, Vec<Refusal>> {
    let found = match raw {
        Raw::Text(text) => format!("the string {}", quoted(text)),
        other => other.kind().to_owned(),
    };
    Err(vec![Refusal::new(
        format!("expected {expected}, found {found}"),
        remedy,
    )])
}

fn text<'r>(raw: &'r Raw, remedy: &str) -> Result<&'r str, Vec<Refusal>> {
    match raw {
        Raw::Text(text) if text.contains('\0') => Err(vec![Refusal::new(
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
) -> Result<T, Vec<Refusal>> {
    let text = text(raw, remedy)?;
    parse(text).map_err(|what| vec![Refusal::new(what, remedy)])
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Integer;
            fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
                match raw {
                    Raw::Integer(integer) => Self::try_from(*integer).map_err(|_| {
                        vec![Refusal::new(
                            format!("{integer} is out of range"),
                            match i32::try_from(Self::MAX) {
                                Ok(most) => format!("write a number from {} to {most}", Self::MIN),
                                Err(_) => format!("write a number that is not below {}", Self::MIN),
                            },
                        )]
                    }),
                    Raw::Huge(digits) => Err(vec![Refusal::new(format!("{digits} is out of range"), "write a smaller number")]),
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
        if let Raw::Integer(integer) = raw {
            let remedy = format!(
                "write it with its unit, such as \"{integer}s\" or \"{integer}ms\" (ms, s, m, h, d)"
            );
            return Err(vec![Refusal::new(
                "expected a duration, found a number without a unit",
                remedy,
            )]);
        }
        parsed(raw, duration::REMEDY, |text| {
            duration::parse(text).ok_or_else(|| format!("{} is not a duration", quoted(text)))
        })
    }
    fn show(&self) -> String {
        format!("\"{}\"", duration::show(*self))
    }
}

/// `off`, and zero, switch off.
impl Value for Switchable<Duration> {
    const SHAPE: Shape = Shape::Duration;
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
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
                Err(wrong) => refusals.extend(wrong.into_iter().map(|refusal| Refusal {
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
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
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
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

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident, $remedy:expr, $valid:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(crate) struct $name(pub(crate) String);
        impl Value for $name {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
                let valid: fn(&str) -> Result<String, String> = $valid;
                parsed(raw, $remedy, valid).map(Self)
            }
            fn show(&self) -> String {
                self.0.show()
            }
        }
    )*};
}

fn when(valid: bool, text: &str, what: &str) -> Result<String, String> {
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("{} is {what}", quoted(text)))
    }
}

texts! {
    /// A path as it is written.
    PathText, "write a path; a relative one starts from the directory the router is started in", |text| {
        when(!text.is_empty(), text, "not a path")
    };
    /// What `Host` may hold.
    HostText, "write a name or an address, without scheme and port: \"router.example.org\"", |text| {
        when(is_host(text), text, "not a host").map(|text| text.to_ascii_lowercase())
    };
    /// The name of an environment variable.
    VariableName, "a variable's name holds letters, digits and _, and does not start with a digit", |text| {
        when(is_variable(text), text, "not the name of a variable")
    };
    /// The name of a router or a token: printable and short, for it becomes a label and a column.
    Label, "write 1 to 64 letters, digits and . _ @ -, and start with a letter or a digit", |text| {
        when(InstanceId::parse(text).is_ok(), text, "not a name")
    };
}

/// Whether a text can name an environment variable, or a placeholder.
pub(crate) fn is_variable(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.bytes().all(word)
        && text
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit())
}

macro_rules! parsed_values {
    ($($type:ty, $remedy:expr, $parse:expr, $show:expr;)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
                let parse: fn(&str) -> Result<Self, String> = $parse;
                parsed(raw, $remedy, parse)
            }
            fn show(&self) -> String {
                let show: fn(&Self) -> String = $show;
                show(self).show()
            }
        }
    )*};
}

const NAME_REMEDY: &str =
    "write 1 to 64 lower-case letters, digits, - and _, and start with a letter or a digit";

parsed_values! {
    SocketAddr, "write an address and a port, such as \"127.0.0.1:3002\" or \"[::1]:3002\"", |text| {
        text.parse().map_err(|_| format!("{} is not an address with a port", quoted(text)))
    }, ToString::to_string;
    Origin, "write scheme, host and, where it is not the usual one, port: \"https://hooks.slack.com\"", |text| {
        Self::parse(text).map_err(|what| format!("{} is not an origin: {what}", quoted(text)))
    }, ToString::to_string;
    LogFilter, "write error, warn, info, debug or trace, or a filter such as \"info,router_proxy=debug\"", |text| {
        Self::parse(text)
    }, ToString::to_string;
    TemplateName, NAME_REMEDY, |text| Self::parse(text).map_err(|_| format!("{} is not a template's name", quoted(text))),
        ToString::to_string;
    PluginName, NAME_REMEDY, |text| Self::parse(text).map_err(|_| format!("{} is not a plugin's name", quoted(text))),
        ToString::to_string;
    PolicyName, "write the name of a plugin (its file without .wasm), or \"builtin\"", |text| {
        Self::parse(text).map_err(|_| format!("{} is not a policy's name", quoted(text)))
    }, ToString::to_string;
    TableName, "write \"table\" or \"schema.table\", in plain lower-case identifiers", |text| {
        table_name(text).ok_or_else(|| format!("{} is not a table's name", quoted(text)))
    }, ToString::to_string;
    TokenHash, "make one with `godot-mcp-router token new`, and copy the line that it prints", |text| {
        TokenHash::parse(text).ok_or_else(|| "this is not the SHA-256 of a token (64 hexadecimal digits)".to_owned())
    }, |_| "[redacted]".to_owned();
}

/// An id may be a number in JSON, as the API shows it.
impl Value for InstanceId {
    const SHAPE: Shape = Shape::Text;
    fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
        const REMEDY: &str =
            "write 1 to 64 letters, digits and . _ @ -, and start with a letter or a digit";
        let number = match raw {
            Raw::Integer(number) if *number >= 0 => Some(Raw::Text(number.to_string())),
            _ => None,
        };
        parsed(number.as_ref().unwrap_or(raw), REMEDY, |text| {
            Self::parse(text).map_err(|_| format!("{} is not an instance id", quoted(text)))
        })
    }
    fn show(&self) -> String {
        self.to_string().show()
    }
}

/// The hash of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

impl TokenHash {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

fn table_name(text: &str) -> Option<TableName> {
    // Longer names are cut by Postgres, silently.
    let identifier = |part: &str| {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        is_variable(part) && part.bytes().all(word) && part.len() <= 63
    };
    let (schema, table) = match text.split_once('.') {
        Some((schema, table)) => (Some(schema), table),
        None => (None, text),
    };
    (identifier(table) && schema.is_none_or(identifier)).then(|| TableName {
        schema: schema.map(ToOwned::to_owned),
        table: table.to_owned(),
    })
}

macro_rules! words {
    ($($type:ty: $what:literal, [$($word:path),*], later [$($later:literal => $instead:literal),*];)*) => {$(
        impl Value for $type {
            const SHAPE: Shape = Shape::Text;
            fn read(raw: &Raw) -> Result<Self, Vec<Refusal>> {
                let all = [$($word),*];
                let words: Vec<&str> = all.iter().map(|word| word.as_str()).collect();
                let choice = format!("write one of: {}", words.join(", "));
                let text = text(raw, &choice)?;
                let later: &[(&str, &str)] = &[$(($later, $instead)),*];
                if let Some((word, instead)) = later.iter().find(|(word, _)| *word == text) {
                    let what = format!(concat!("the ", $what, " \"{}\" is not served yet"), word);
                    return Err(vec![Refusal::new(what, *instead)]);
                }
                all.into_iter().find(|word| word.as_str() == text).ok_or_else(|| {
                    let what = format!(concat!("{} is not a known ", $what), quoted(text));
                    let remedy = match nearest(text, words.iter().copied()) {
                        Some(near) => format!("{choice} (did you mean \"{near}\"?)"),
                        None => choice,
                    };
                    vec![Refusal::new(what, remedy)]
                })
            }
            fn show(&self) -> String {
                self.as_str().to_owned().show()
            }
        }
    )*};
}

words! {
    Role: "role", [Role::Viewer, Role::Client, Role::Operator, Role::Admin], later [];
    LogFormat: "format", [LogFormat::Text, LogFormat::Json], later [];
    Transport: "transport", [Transport::Stdio, Transport::Socket], later [
        "http" => "use \"stdio\" or \"socket\" with a server that runs here; remote servers will follow"
    ];
    Sharing: "sharing", [Sharing::Shared], later [
        "per-session" => "use \"shared\", and one [[instance]] for each client that must not share; a slot per session will follow"
    ];
    Era: "era", [Era::Legacy], later [
        "auto" => "use \"legacy\", which every MCP server of today understands; the others will follow",
        "modern" => "use \"legacy\", which every MCP server of today understands; the others will follow"
    ];
    OnRouterExit: "choice", [OnRouterExit::Keep, OnRouterExit::Stop], later [];
}

/// A name as it may stand in a message.
pub(crate) fn cut(text: &str) -> String {
    text.chars()
        .take(80)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
