//! What may stand in a line: nothing that ends it, moves the cursor, or changes how the rest of it is read.

use std::fmt::{self, Write};

/// Whether a character could make a line look like another one: controls (also ESC and the C1 set), line and paragraph separators,
/// and the marks that change the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Writes text that stands bare: only what is unsafe is escaped.
pub(super) fn bare(out: &mut String, text: &str) {
    for c in text.chars() {
        if is_unsafe(c) {
            escaped(out, c);
        } else {
            out.push(c);
        }
    }
}

/// Writes a value: bare where it is one plain word, else in quotes.
pub(super) fn value(out: &mut String, text: &str) {
    let plain = |c: char| !is_unsafe(c) && !c.is_whitespace() && !matches!(c, '"' | '\\' | '=');
    if !text.is_empty() && text.chars().all(plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if is_unsafe(c) => escaped(out, c),
            _ => out.push(c),
        }
    }
    out.push('"');
}

fn escaped(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        // Writing to a String cannot fail.
        _ => drop(write!(out, "\\u{{{:x}}}", c as u32)),
    }
}

/// Writes a JSON string (RFC 8259 §7), with everything unsafe escaped.
pub(super) fn json(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // All unsafe characters are in the basic plane, so one escape each.
            _ if is_unsafe(c) => drop(write!(out, "\\u{:04x}", c as u32)),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Takes text up to a number of bytes and then only notes that there was more: what is logged may be as long as a client likes.
pub(super) struct Bounded {
    pub(super) text: String,
    room: usize,
    cut: bool,
}

impl Bounded {
    pub(super) fn new(room: usize) -> Self {
        Self {
            text: String::new(),
            room,
            cut: false,
        }
    }

    /// The text, marked where it was cut.
    pub(super) fn finish(mut self) -> String {
        if self.cut {
            self.text.push_str("…[cut]");
        }
        self.text
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            // An error ends the formatting of whatever is endless.
            return Err(fmt::Error);
        }
        let fits = text.floor_char_boundary(self.room);
        self.text.push_str(&text[..fits]);
        self.room -= fits;
        self.cut = fits < text.len();
        if self.cut { Err(fmt::Error) } else { Ok(()) }
    }
}
