//! A document as a tree of values with places, the same from TOML and from JSON. The only file that knows either format.

use std::{collections::BTreeMap, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{ConfigFault, Place, fault::cut};

/// Longest text that is read. A thousand instances take some 200 kB.
pub(crate) const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Deepest table. The schema needs four levels; what reads and drops the tree is recursive.
const DEPTH_MAX: usize = 64;

/// A value and the byte where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Option<usize>,
    pub(crate) raw: Raw,
}

/// What a document can hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    Text(String),
    Integer(i128),
    /// An integer that no key can hold, or that was rounded on its way here.
    Huge(String),
    Float(f64),
    Boolean(bool),
    Moment(String),
    Null,
    List(Vec<Node>),
    Table(Table),
}

/// Names and values.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Table {
    pub(crate) entries: BTreeMap<String, NodeEntry>,
}

/// One of them; `at` is where the name begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeEntry {
    pub(crate) at: Option<usize>,
    pub(crate) node: Node,
}

impl Raw {
    /// The kind, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) | Self::Huge(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::Moment(_) => "a date",
            Self::Null => "null",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// Translates byte offsets of a text.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after_breaks).collect(),
        }
    }

    /// The place of a byte.
    pub(crate) fn place(&self, at: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let before = self.text.get(self.starts[line - 1]..at).unwrap_or("");
        Place::Line {
            line,
            column: before.chars().count() + 1,
        }
    }
}

/// Reads TOML. The table holds what could be understood; it is worth judging only if every fault is a duplicate key.
pub(crate) fn from_toml(text: &str) -> (Table, Vec<ConfigFault>, bool) {
    let lines = Lines::new(text);
    if text.len() > TEXT_BYTES_MAX {
        let what = format!(
            "the file has {} bytes, allowed are {TEXT_BYTES_MAX}",
            text.len()
        );
        let remedy =
            "register instances with POST /api/instances, or make them from fewer templates"
                .to_owned();
        return (
            Table::default(),
            vec![syntax_fault(&lines, 0, what, remedy)],
            false,
        );
    }
    // The parser bounds the depth of values, not that of dotted names.
    if let Some(at) = too_many_dots(text) {
        let what = format!("a name has more than {DEPTH_MAX} dots");
        let remedy = "remove it: no table is that deep".to_owned();
        return (
            Table::default(),
            vec![syntax_fault(&lines, at, what, remedy)],
            false,
        );
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    let duplicates_only = errors
        .iter()
        .all(|error| error.message() == "duplicate key");
    let fault = |error: &toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        let at = span.start;
        let (what, remedy) = if error.message() == "duplicate key" {
            // In a text that is torn, a line of somebody's secret may look like a name.
            let name = text.get(span).filter(|_| duplicates_only);
            let what = name.map_or_else(
                || "this name was given before".to_owned(),
                |name| format!("the name {} was given before", cut(name)),
            );
            (what, "keep one of the two".to_owned())
        } else {
            let what = format!("this is not TOML: {}", error.message());
            (what, "correct the line: texts stand in double quotes (in single ones where they hold backslashes), lists in [ ], inline tables in { }".to_owned())
        };
        syntax_fault(&lines, at, what, remedy)
    };
    let faults = errors.iter().map(fault).collect();
    (table_of(document.get_ref()), faults, duplicates_only)
}

/// Where a name has too many dots. Texts and comments may hold as many as they like.
fn too_many_dots(text: &str) -> Option<usize> {
    let (mut at, mut dots) = (0, 0);
    while let Some(sign) = text[at..].bytes().next() {
        match sign {
            b'"' | b'\'' => at += text_length(&text[at..]) - 1,
            b'#' => at += text[at..].find('\n').unwrap_or(text.len() - at) - 1,
            b'.' => dots += 1,
            b'=' | b',' | b'{' | b'}' | b'[' | b']' | b'\n' => dots = 0,
            _ => {}
        }
        if dots > DEPTH_MAX {
            return Some(at);
        }
        at += 1;
        while !text.is_char_boundary(at) {
            at += 1;
        }
    }
    None
}

/// How many bytes a quoted text takes, with its quotes. One that is not closed ends with its line, or with the document.
fn text_length(text: &str) -> usize {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let (marks, over_lines) = if text.starts_with(&triple) {
        (triple.as_str(), true)
    } else {
        (quote, false)
    };
    let mut at = marks.len();
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(marks) {
            return at + marks.len();
        }
        let escaped = quote == "\"" && rest.starts_with('\\');
        match rest.chars().next() {
            Some('\n') if !over_lines => return at,
            Some(sign) => at += sign.len_utf8(),
            None => break,
        }
        if escaped {
            at += text[at..]
                .chars()
                .next()
                .filter(|sign| *sign != '\n')
                .map_or(0, char::len_utf8);
        }
    }
    text.len()
}

/// Says where, and shows nothing of the text: in one that is no TOML a secret is not marked as one.
fn syntax_fault(lines: &Lines<'_>, at: usize, what: String, remedy: String) -> ConfigFault {
    ConfigFault {
        place: lines.place(at),
        key: String::new(),
        what,
        remedy,
    }
}

fn table_of(table: &DeTable<'_>) -> Table {
    let entries = table.iter().map(|(key, value)| {
        let entry = NodeEntry {
            at: Some(key.span().start),
            node: node_of(value),
        };
        (key.get_ref().to_string(), entry)
    });
    Table {
        entries: entries.collect(),
    }
}

fn node_of(value: &Spanned<DeValue<'_>>) -> Node {
    let raw = match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(digits) => i128::from_str_radix(digits.as_str(), digits.radix())
            .map_or_else(|_| Raw::Huge(digits.to_string()), Raw::Integer),
        DeValue::Float(digits) => digits
            .as_str()
            .parse()
            .map_or_else(|_| Raw::Huge(digits.to_string()), Raw::Float),
        DeValue::Boolean(boolean) => Raw::Boolean(*boolean),
        DeValue::Datetime(moment) => Raw::Moment(moment.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(node_of).collect()),
        DeValue::Table(table) => Raw::Table(table_of(table)),
    };
    Node {
        at: Some(value.span().start),
        raw,
    }
}

/// Reads JSON, with the paths of names that were given twice: of those the last counts here, and another program may
/// take the first.
///
/// # Errors
/// The text is no JSON, or (an error of the data) deeper than any definition.
pub(crate) fn from_json(text: &str) -> Result<(Node, Vec<String>), serde_json::Error> {
    let mut doubled = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    let tree = Tree {
        path: String::new(),
        depth: 0,
        doubled: &mut doubled,
    };
    let node = tree.deserialize(&mut reader)?;
    reader.end()?;
    Ok((node, doubled))
}

/// Reads one value of JSON and what is in it.
struct Tree<'d> {
    path: String,
    depth: usize,
    doubled: &'d mut Vec<String>,
}

impl Tree<'_> {
    fn inner(&mut self, path: String) -> Tree<'_> {
        Tree {
            path,
            depth: self.depth + 1,
            doubled: self.doubled,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        if self.depth > DEPTH_MAX {
            return Err(D::Error::custom(format!(
                "this is nested deeper than {DEPTH_MAX} levels"
            )));
        }
        let raw = from.deserialize_any(self)?;
        Ok(Node { at: None, raw })
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Raw;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E>(self, boolean: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(boolean))
    }
    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }
    fn visit_i64<E>(self, integer: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(integer.into()))
    }
    fn visit_u64<E>(self, integer: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(integer.into()))
    }
    /// Integers past 64 bits arrive here, rounded. A float as large has no fraction either.
    fn visit_f64<E>(self, float: f64) -> Result<Raw, E> {
        const PAST_64_BITS: f64 = 9_223_372_036_854_775_808.0;
        Ok(if float.abs() >= PAST_64_BITS {
            Raw::Huge(format!("{float:e}"))
        } else {
            Raw::Float(float)
        })
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut from: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        let path = self.path.clone();
        while let Some(item) =
            from.next_element_seed(self.inner(format!("{path}[{}]", items.len() + 1)))?
        {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut from: A) -> Result<Raw, A::Error> {
        let mut table = Table::default();
        while let Some(name) = from.next_key::<String>()? {
            let path = match self.path.as_str() {
                "" => name.clone(),
                outer => format!("{outer}.{name}"),
            };
            let node = from.next_value_seed(self.inner(path.clone()))?;
            if table
                .entries
                .insert(name, NodeEntry { at: None, node })
                .is_some()
            {
                self.doubled.push(path);
            }
        }
        Ok(Raw::Table(table))
    }
}

/// Gives a table back as TOML, for those who read it on their own. Dates and numbers that are none have no form in the
/// plugins' interface, and are refused.
pub(crate) fn to_toml(table: &Table) -> Result<toml::Table, (Option<usize>, &'static str)> {
    let mut out = toml::Table::new();
    for (name, entry) in &table.entries {
        let value = value_to_toml(&entry.node)?;
        out.insert(name.clone(), value);
    }
    Ok(out)
}

fn value_to_toml(node: &Node) -> Result<toml::Value, (Option<usize>, &'static str)> {
    let refused = |what| Err((node.at, what));
    Ok(match &node.raw {
        Raw::Text(text) => toml::Value::String(text.clone()),
        Raw::Integer(integer) => match i64::try_from(*integer) {
            Ok(integer) => toml::Value::Integer(integer),
            Err(_) => return refused("a plugin's configuration cannot hold such a number"),
        },
        Raw::Float(float) if float.is_finite() => toml::Value::Float(*float),
        Raw::Float(_) | Raw::Huge(_) => {
            return refused("a plugin's configuration cannot hold such a number");
        }
        Raw::Boolean(boolean) => toml::Value::Boolean(*boolean),
        Raw::Moment(_) => return refused("a plugin's configuration cannot hold a date"),
        Raw::Null => return refused("there is no null"),
        Raw::List(items) => {
            toml::Value::Array(items.iter().map(value_to_toml).collect::<Result<_, _>>()?)
        }
        Raw::Table(table) => toml::Value::Table(to_toml(table)?),
    })
}
