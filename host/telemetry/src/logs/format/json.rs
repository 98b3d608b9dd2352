//! The JSON format: one flat object, its fixed keys first.

use router_values::rfc3339_unix_ms;

use crate::logs::{
    escape,
    line::{FieldValue, Line},
};

/// Keys that a field may not take: it gets an underscore behind its name.
const FIXED: [&str; 5] = ["timestamp", "level", "target", "message", "words"];

pub(super) fn render(out: &mut String, line: &Line<'_>) {
    let mut separator = '{';
    let mut key = |out: &mut String, name: &str| {
        out.push(separator);
        separator = ',';
        escape::json(out, name);
        out.push(':');
    };
    let fixed = [
        ("timestamp", rfc3339_unix_ms(line.unix_ms)),
        ("level", line.level.as_str().to_owned()),
        ("target", line.target.to_owned()),
        ("message", line.fields.message.clone()),
        ("words", line.keywords()),
    ];
    for (name, value) in &fixed {
        if !value.is_empty() {
            key(out, name);
            escape::json(out, value);
        }
    }
    for (name, value) in &line.fields.list {
        if FIXED.contains(name) {
            key(out, &format!("{name}_"));
        } else {
            key(out, name);
        }
        match value {
            FieldValue::Literal(literal) => out.push_str(literal),
            FieldValue::Text(text) => escape::json(out, text),
        }
    }
    out.push('}');
}
