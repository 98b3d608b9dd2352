//! GDScript as tokens: names, annotations, texts, numbers, signs, ends of logical lines. Comments vanish here.

use std::borrow::Cow;

use crate::fault::{Flaw, Flaws};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenKind<'a> {
    /// An identifier or a keyword.
    Name(&'a str),
    /// `@name`, without the sign.
    Annotation(&'a str),
    /// A text with its escapes resolved, whatever its quotes.
    Text(Cow<'a, str>),
    /// A number, as written.
    Number(&'a str),
    /// Any other character.
    Sign(char),
    /// A newline outside brackets.
    EndOfLine,
}

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    /// Counted from 1.
    pub(super) line: u32,
    /// In bytes from the start of the physical line.
    pub(super) column: usize,
}

/// A position in a source.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    /// The lines on which the brackets that are open were opened.
    open: Vec<u32>,
    done: bool,
}

/// Brackets that are remembered while open; deeper ones do not end logical lines either way.
const OPEN_MAX: usize = 256;

/// Words that start a declaration: at the first column they end whatever bracket was left open before them.
const TOP_LEVEL: [&str; 7] = [
    "func ",
    "class_name ",
    "extends ",
    "signal ",
    "class ",
    "@onready ",
    "@export",
];

impl<'a> Lexer<'a> {
    /// A lexer at the start of `text`.
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            line: 1,
            line_start: 0,
            open: Vec::new(),
            done: false,
        }
    }

    /// The next token, or nothing at the end.
    pub(super) fn next_token(&mut self, flaws: &mut Flaws) -> Option<Token<'a>> {
        loop {
            let rest = &self.text[self.at..];
            let Some(first) = rest.chars().next() else {
                return self.finish(flaws);
            };
            let (line, column) = (self.line, self.at - self.line_start);
            let token = |kind| Some(Token { kind, line, column });
            match first {
                '\n' => {
                    self.newline();
                    if self.ends_logical_line(flaws) {
                        return token(TokenKind::EndOfLine);
                    }
                }
                '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
                // A backslash before the newline continues the logical line.
                '\\' if rest[1..]
                    .trim_start_matches(['\r', ' ', '\t'])
                    .starts_with('\n') =>
                {
                    self.at += rest.find('\n').unwrap_or(0);
                    self.newline();
                }
                _ if first.is_whitespace() => self.at += first.len_utf8(),
                '"' | '\'' => {
                    let text = self.text_token(flaws, false);
                    return token(TokenKind::Text(text));
                }
                'r' if rest[1..].starts_with(['"', '\'']) => {
                    self.at += 1;
                    let text = self.text_token(flaws, true);
                    return token(TokenKind::Text(text));
                }
                '@' => {
                    let name = leading_name(&rest[1..]);
                    self.at += 1 + name.len();
                    return token(TokenKind::Annotation(name));
                }
                _ if first.is_alphabetic() || first == '_' => {
                    let name = leading_name(rest);
                    self.at += name.len();
                    return token(TokenKind::Name(name));
                }
                _ if first.is_ascii_digit() => {
                    let number = number(rest);
                    self.at += number.len();
                    return token(TokenKind::Number(number));
                }
                _ => {
                    self.at += first.len_utf8();
                    self.bracket(first, line);
                    return token(TokenKind::Sign(first));
                }
            }
        }
    }

    fn finish(&mut self, flaws: &mut Flaws) -> Option<Token<'a>> {
        if !self.done {
            self.done = true;
            if let Some(line) = self.open.first() {
                flaws.push(unclosed(*line, "a bracket"));
            }
        }
        None
    }

    fn newline(&mut self) {
        self.at += 1;
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    /// Whether the newline just passed ends the logical line. An open bracket continues it, unless a
    /// declaration starts at the first column: then the bracket was forgotten.
    fn ends_logical_line(&mut self, flaws: &mut Flaws) -> bool {
        if let Some(opened) = self.open.first() {
            let rest = &self.text[self.at..];
            if !TOP_LEVEL.iter().any(|start| rest.starts_with(start)) {
                return false;
            }
            flaws.push(unclosed(*opened, "a bracket"));
            self.open.clear();
        }
        true
    }

    fn bracket(&mut self, sign: char, line: u32) {
        match sign {
            '(' | '[' | '{' if self.open.len() < OPEN_MAX => self.open.push(line),
            ')' | ']' | '}' => {
                self.open.pop();
            }
            _ => {}
        }
    }

    /// Reads a text; the position is on its first quote.
    fn text_token(&mut self, flaws: &mut Flaws, raw: bool) -> Cow<'a, str> {
        let started = self.line;
        let rest = &self.text[self.at..];
        let triple = rest.starts_with("\"\"\"") || rest.starts_with("'''");
        let quote = if triple { &rest[..3] } else { &rest[..1] };
        self.at += quote.len();
        let start = self.at;
        let mut has_escape = false;
        loop {
            let rest = &self.text[self.at..];
            let next = rest.find(['\\', '\n', '"', '\'']).unwrap_or(rest.len());
            self.at += next;
            let rest = &rest[next..];
            let content = &self.text[start..self.at];
            if rest.is_empty() || (!triple && rest.starts_with('\n')) {
                flaws.push(unclosed(started, "a text"));
                return Cow::Borrowed(content);
            }
            if rest.starts_with(quote) {
                self.at += quote.len();
                return match has_escape && !raw {
                    true => Cow::Owned(unescape(content)),
                    false => Cow::Borrowed(content),
                };
            }
            match rest.as_bytes()[0] {
                b'\n' => self.newline(),
                b'\\' => {
                    has_escape = true;
                    self.at += 1;
                    match self.text[self.at..].chars().next() {
                        Some('\n') => self.newline(),
                        Some(escaped) => self.at += escaped.len_utf8(),
                        None => {}
                    }
                }
                _ => self.at += 1,
            }
        }
    }
}

/// Resolves the escapes that occur in paths; the others stay as they are, since only paths are used.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some(plain @ ('\\' | '"' | '\'' | '/')) => out.push(plain),
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => {}
        }
    }
    out
}

fn leading_name(text: &str) -> &str {
    let end = text
        .find(|part: char| !part.is_alphanumeric() && part != '_')
        .unwrap_or(text.len());
    &text[..end]
}

fn number(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        // `1.5e-3`, `0xff`, `1_000`; not the range in `0..5`, which GDScript does not have.
        let exponent =
            end > 0 && matches!(bytes[end - 1], b'e' | b'E') && matches!(byte, b'-' | b'+');
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || exponent) {
            break;
        }
        end += 1;
    }
    &text[..end]
}

/// The flaw of a file that ends inside something.
fn unclosed(line: u32, what: &str) -> Flaw {
    Flaw::at(line, format!("{what} that starts here is not closed"))
}
