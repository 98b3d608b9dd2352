//! A value as Godot's text formats write it, and its text for people.

use crate::limits::clip;

/// A value. Long containers keep their first items only (see `limits`).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Variant {
    /// `null` or `nil`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number of 64 bits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// `"…"`.
    String(String),
    /// `&"…"`, or `@"…"` as Godot 3 wrote it.
    StringName(String),
    /// `^"…"`.
    NodePath(String),
    /// `#rrggbb`.
    Color(String),
    /// `[…]`.
    Array(Vec<Variant>),
    /// `{…}`.
    Dictionary(Vec<(Variant, Variant)>),
    /// `Name(…)`, such as `Vector2(1, 2)`, `ExtResource("1_abc")` or `Array[int]([1])`.
    Call {
        /// `Name`, with the types of a typed container: `Array[int]`.
        name: String,
        /// What is between the parentheses.
        arguments: Vec<Variant>,
    },
    /// `Object(InputEventKey,"pressed":true,…)`.
    Object {
        /// The engine class.
        class: String,
        /// Its properties as written.
        properties: Vec<(String, Variant)>,
    },
}

/// A reference from a value to another part of the same document.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    /// `ExtResource("id")`: to an `[ext_resource]`.
    External(String),
    /// `SubResource("id")`: to a `[sub_resource]`.
    Internal(String),
    /// `Resource("res://…")`: straight to a file.
    File(String),
}

impl Variant {
    /// The text of any kind of string.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::StringName(text) | Self::NodePath(text) => Some(text),
            Self::Call { name, arguments } if name == "NodePath" || name == "StringName" => {
                arguments.first().and_then(Self::as_text)
            }
            _ => None,
        }
    }

    /// A whole number; Godot 3 writes some as floats.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the cast saturates, and only whole numbers come here"
            )]
            Self::Float(value) if value.fract() == 0.0 => Some(*value as i64),
            _ => None,
        }
    }

    /// The items of an array, of whatever kind: `[…]`, `Array[T]([…])`, `PackedStringArray(…)`, `PoolStringArray(…)`.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            Self::Call { name, arguments } if name.starts_with("Array[") => {
                arguments.first().map_or(&[], Self::items)
            }
            Self::Call { name, arguments } if name.ends_with("Array") => arguments,
            _ => &[],
        }
    }

    /// The value of a dictionary's or an object's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dictionary(entries) => entries
                .iter()
                .find(|(name, _)| name.as_text() == Some(key))
                .map(|(_, value)| value),
            Self::Object { properties, .. } => properties
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The link that the value is, if it is one.
    pub(crate) fn link(&self) -> Option<Link> {
        let Self::Call { name, arguments } = self else {
            return None;
        };
        let id = match arguments.first()? {
            Self::Int(id) => id.to_string(),
            other => other.as_text()?.to_owned(),
        };
        match name.as_str() {
            "ExtResource" => Some(Link::External(id)),
            "SubResource" => Some(Link::Internal(id)),
            "Resource" => Some(Link::File(id)),
            _ => None,
        }
    }

    /// The value as Godot would write it on one line, cut to at most `max` bytes.
    pub(crate) fn show(&self, max: usize) -> String {
        let mut out = String::new();
        self.write(&mut out, max);
        clip(&out, max)
    }

    fn write(&self, out: &mut String, max: usize) {
        if out.len() > max {
            return;
        }
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push_str(&value.to_string()),
            // As Godot does: with a point, even for whole numbers.
            Self::Float(value) => out.push_str(&format!("{value:?}")),
            Self::String(text) => quote(out, "", text, max),
            Self::StringName(text) => quote(out, "&", text, max),
            Self::NodePath(text) => quote(out, "^", text, max),
            Self::Color(text) => {
                out.push('#');
                out.push_str(text);
            }
            Self::Array(items) => write_list(out, ("[", "]"), items, max),
            Self::Call { name, arguments } => {
                out.push_str(name);
                write_list(out, ("(", ")"), arguments, max);
            }
            Self::Dictionary(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    separate(out, index);
                    key.write(out, max);
                    out.push_str(": ");
                    value.write(out, max);
                    if out.len() > max {
                        return;
                    }
                }
                out.push('}');
            }
            Self::Object { class, properties } => {
                out.push_str("Object(");
                out.push_str(class);
                for (key, value) in properties {
                    quote(out, ", ", key, max);
                    out.push_str(": ");
                    value.write(out, max);
                    if out.len() > max {
                        return;
                    }
                }
                out.push(')');
            }
        }
    }
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}

fn write_list(out: &mut String, (open, close): (&str, &str), items: &[Variant], max: usize) {
    out.push_str(open);
    for (index, item) in items.iter().enumerate() {
        separate(out, index);
        item.write(out, max);
        if out.len() > max {
            return;
        }
    }
    out.push_str(close);
}

fn quote(out: &mut String, prefix: &str, text: &str, max: usize) {
    out.push_str(prefix);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
        if out.len() > max {
            return;
        }
    }
    out.push('"');
}
