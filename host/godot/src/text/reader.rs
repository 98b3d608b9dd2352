//! A position in a text, with a bound on what is kept of it. Values are read by `value`.

mod value;

use super::variant::Link;
use crate::fault::Flaw;

/// A position in a text, and what was gathered on the way.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    line: u32,
    kept: usize,
    links: Vec<Link>,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            text,
            at: 0,
            line: 1,
            kept: 0,
            links: Vec::new(),
        }
    }

    /// The line it is on, counted from 1.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// The byte it is at, and the line, to come back to with [`Self::go_to`].
    pub(super) fn mark(&self) -> (usize, u32) {
        (self.at, self.line)
    }

    /// Goes back to a mark.
    pub(super) fn go_to(&mut self, (at, line): (usize, u32)) {
        self.at = at;
        self.line = line;
    }

    /// The byte it is at.
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// The byte after the one it is at.
    fn peek_next(&self) -> Option<u8> {
        self.bytes.get(self.at + 1).copied()
    }

    /// Steps over one byte.
    pub(super) fn bump(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        if byte == b'\n' {
            self.line = self.line.saturating_add(1);
        }
        Some(byte)
    }

    /// Steps over `expected`, if that is the byte it is at.
    pub(super) fn take(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        if found {
            self.bump();
        }
        found
    }

    /// Steps over the bytes that satisfy `wanted` and returns them.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        // Callers accept either only ASCII or every byte past it, so both ends are character boundaries.
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Steps over blanks, line ends and comments.
    pub(super) fn skip_blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.bump();
                }
                b';' => self.skip_line(),
                _ => return,
            }
        }
    }

    /// Goes to the end of the line, before its newline.
    pub(super) fn skip_line(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at += rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
    }

    /// The rest of the line, without going there.
    pub(super) fn rest_of_line(&self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        rest.split('\n').next().unwrap_or_default()
    }

    /// The links met since this was last called.
    pub(super) fn take_links(&mut self) -> Vec<Link> {
        std::mem::take(&mut self.links)
    }

    /// A flaw on the current line.
    pub(super) fn flaw(&self, what: impl Into<String>) -> Flaw {
        Flaw::at(self.line, what)
    }
}
