//! Text of others as it may be shown at a terminal.

use std::{borrow::Cow, fmt::Write as _};

/// A text in which nothing acts on a terminal: what instances, plugins and receivers wrote may hold sequences that move the cursor, set the
/// title or answer in the reader's name. Control characters but line ends and tabs, and those that change the direction of writing
/// (Unicode, UAX 9), are shown as `\u{1b}`.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_active(char) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", char.escape_unicode());
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

fn is_active(char: char) -> bool {
    let is_directional =
        matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    is_directional || char.is_control() && !matches!(char, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn nothing_acts_on_a_terminal() {
        for (text, shown) in [
            ("", ""),
            ("one\n\ttwo é ✓", "one\n\ttwo é ✓"),
            ("\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            ("a\rb\x08c\x7f", "a\\u{d}b\\u{8}c\\u{7f}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
