//! What a script says about itself and about other files, read from GDScript of Godot 3 or 4.
//!
//! This is no compiler: it looks for declarations and references and must not be fooled by comments
//! and strings. It never fails; what looks broken becomes a flaw.

mod lexer;

use std::collections::HashSet;

use crate::fault::{Flaw, Flaws};
use crate::limits::{LINE_TOKENS_MAX, NAME_BYTES_MAX, SCRIPT_FACTS_MAX, clip};
use lexer::{Lexer, Token, TokenKind};

/// What is known of one script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScriptFacts {
    /// The name from `class_name`.
    pub(crate) class_name: Option<String>,
    /// What stands after `extends`: an engine class, a project class, or a path in quotes (without them).
    pub(crate) extends: Option<String>,
    /// It runs in the editor (`tool`, `@tool`).
    pub(crate) tool: bool,
    /// Signals, with their parameters.
    pub(crate) signals: Vec<Member>,
    /// Functions, with their parameters.
    pub(crate) functions: Vec<Member>,
    /// Variables shown in the inspector, with the kind of export.
    pub(crate) exports: Vec<Member>,
    /// References to other files.
    pub(crate) references: Vec<ScriptReference>,
    /// Names that may be classes or autoloads of the project, each with the line of its first use.
    pub(crate) symbols: Vec<(String, u32)>,
}

/// A signal, function or exported variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// Its parameters as written, or the kind of export.
    pub(crate) detail: String,
    /// The line it is declared on.
    pub(crate) line: u32,
}

/// How a script refers to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ReferenceKind {
    /// `extends "res://…"` or `extends ClassName`.
    Extends,
    /// `preload("…")`.
    Preload,
    /// `load("res://…")`, `ResourceLoader.load("res://…")`.
    Load,
    /// Any other text that is a path.
    Text,
}

/// A reference to a file, or to a class in an `extends`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScriptReference {
    /// A path, a `uid://…`, or (only in `extends`) a class.
    pub(crate) target: String,
    /// How it is referred to.
    pub(crate) kind: ReferenceKind,
    /// Where.
    pub(crate) line: u32,
}

impl ScriptFacts {
    /// Reads a GDScript source.
    pub(crate) fn read(text: &str, flaws: &mut Flaws) -> Self {
        let mut gathering = Gathering::default();
        let mut lexer = Lexer::new(text);
        let mut line: Vec<Token<'_>> = Vec::new();
        while let Some(token) = lexer.next_token(flaws) {
            let ends = token.kind == TokenKind::EndOfLine;
            if !ends {
                line.push(token);
            }
            if ends || line.len() >= LINE_TOKENS_MAX {
                gathering.logical_line(&line);
                line.clear();
            }
        }
        gathering.logical_line(&line);
        let mut facts = gathering.facts;
        facts.functions.shrink_to_fit();
        facts.references.shrink_to_fit();
        facts.symbols.shrink_to_fit();
        facts
    }

    /// Reads a shader's source, of which only `#include "res://…"` refers to other files.
    pub(crate) fn read_shader(text: &str) -> Self {
        let mut facts = Self::default();
        for (index, line) in text.lines().enumerate() {
            let Some(rest) = line.trim_start().strip_prefix("#include") else {
                continue;
            };
            let mut parts = rest.split('"');
            if let (Some(_), Some(path)) = (parts.next(), parts.next()) {
                facts.refer(path, ReferenceKind::Preload, line_number(index));
            }
        }
        facts
    }

    fn refer(&mut self, target: &str, kind: ReferenceKind, line: u32) {
        if target.is_empty() || self.references.len() >= SCRIPT_FACTS_MAX {
            return;
        }
        let target = clip(target, NAME_BYTES_MAX);
        let known = self.references.iter().any(|known| {
            known.target == target && (known.kind == kind || kind == ReferenceKind::Text)
        });
        if !known {
            self.references.push(ScriptReference { target, kind, line });
        }
    }
}

/// The number of the line with this index.
pub(crate) fn line_number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

/// Words that may stand before a declaration, most of them in Godot 3 only.
const MODIFIERS: [&str; 13] = [
    "abstract",
    "export",
    "master",
    "mastersync",
    "onready",
    "puppet",
    "puppetsync",
    "remote",
    "remotesync",
    "slave",
    "static",
    "sync",
    "tool",
];

/// Facts being gathered, and what a line leaves for the next one.
#[derive(Default)]
struct Gathering {
    facts: ScriptFacts,
    symbols_seen: HashSet<String>,
    /// An `@export…` that stands on a line of its own, before its variable.
    pending_export: Option<String>,
}

impl Gathering {
    fn logical_line(&mut self, tokens: &[Token<'_>]) {
        if tokens.is_empty() {
            return;
        }
        let declaration = self.after_annotations(tokens);
        self.declaration(declaration);
        self.references(tokens);
    }

    /// Steps over annotations and modifiers and remembers an export among them.
    fn after_annotations<'t, 'a>(&mut self, tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
        let mut rest = tokens;
        loop {
            let Some(first) = rest.first() else {
                return rest;
            };
            let word = match first.kind {
                TokenKind::Annotation(name) => name,
                TokenKind::Word(word) if MODIFIERS.contains(&word) => word,
                _ => return rest,
            };
            let followed_by_word = matches!(
                rest.get(1).map(|token| &token.kind),
                None | Some(TokenKind::Word(_))
            );
            match word {
                "tool" if followed_by_word => self.facts.tool = true,
                // These group the variables that follow; they export nothing themselves.
                "export_category" | "export_group" | "export_subgroup" => {}
                other if other.starts_with("export") => {
                    self.pending_export = Some(other.to_owned());
                }
                _ => {}
            }
            rest = &rest[1..];
            if is_punctuation(rest.first(), '(') {
                let inside = parenthesised(rest);
                if word == "export" && !inside.is_empty() {
                    // Godot 3 names the type here: `export(PackedScene) var enemy`.
                    self.pending_export = Some(format!("export({})", show(inside)));
                }
                rest = rest.get(inside.len() + 2..).unwrap_or_default();
            }
        }
    }

    fn declaration(&mut self, tokens: &[Token<'_>]) {
        let Some(first) = tokens.first() else {
            return;
        };
        let pending_export = self.pending_export.take();
        let TokenKind::Word(word) = first.kind else {
            return;
        };
        let top_level = first.column == 0;
        match word {
            "extends" if top_level && self.facts.extends.is_none() => {
                self.facts.extends = self.extends(&tokens[1..], first.line);
            }
            "class_name" if top_level => self.class_name(tokens),
            "class" => self.inner_class(tokens),
            "signal" => {
                let member = member(tokens);
                push(&mut self.facts.signals, member);
            }
            "func" => {
                let member = member(tokens);
                push(&mut self.facts.functions, member);
            }
            "var" => {
                if let (Some(kind), Some(name)) = (pending_export, word_at(tokens, 1)) {
                    let member = Member {
                        name: clip(name, NAME_BYTES_MAX),
                        detail: kind,
                        line: first.line,
                    };
                    push(&mut self.facts.exports, Some(member));
                }
            }
            _ => {}
        }
    }

    fn class_name(&mut self, tokens: &[Token<'_>]) {
        if let Some(name) = word_at(tokens, 1) {
            self.facts.class_name = Some(clip(name, NAME_BYTES_MAX));
            self.symbols_seen.insert(name.to_owned());
        }
        // `class_name Enemy extends Node2D` on one line.
        let extends = tokens
            .iter()
            .position(|token| token.kind == TokenKind::Word("extends"));
        if let Some(at) = extends {
            self.facts.extends = self.extends(&tokens[at + 1..], tokens[at].line);
        }
    }

    /// `class Inner extends Base:` — the base is a reference of the file, not what the file extends.
    fn inner_class(&mut self, tokens: &[Token<'_>]) {
        let extends = tokens
            .iter()
            .position(|token| token.kind == TokenKind::Word("extends"));
        if let Some(at) = extends {
            self.extends(&tokens[at + 1..], tokens[at].line);
        }
    }

    fn extends(&mut self, tokens: &[Token<'_>], line: u32) -> Option<String> {
        let target = match &tokens.first()?.kind {
            TokenKind::Text(path) => path.to_string(),
            TokenKind::Word(word) => (*word).to_owned(),
            _ => return None,
        };
        self.facts.refer(&target, ReferenceKind::Extends, line);
        Some(clip(&target, NAME_BYTES_MAX))
    }

    fn references(&mut self, tokens: &[Token<'_>]) {
        // Where the node path that starts with `$` or `%` goes on, if nothing stands between.
        let mut node_path_at = None;
        for (index, token) in tokens.iter().enumerate() {
            let in_node_path = node_path_at == Some((token.line, token.column));
            node_path_at = None;
            match &token.kind {
                TokenKind::Text(text) => {
                    let called = index.checked_sub(2).and_then(|at| word_at(tokens, at));
                    let called = called.filter(|_| is_punctuation(tokens.get(index - 1), '('));
                    if let Some(kind) = kind_of_text(text, called) {
                        self.facts.refer(text, kind, token.line);
                    }
                }
                TokenKind::Word(word) if in_node_path => {
                    node_path_at = Some((token.line, token.column + word.len()));
                }
                TokenKind::Word(word) => {
                    let member = index > 0 && is_punctuation(tokens.get(index - 1), '.');
                    let scope = is_punctuation(tokens.get(index + 1), '.');
                    let class_like = word.starts_with(|first: char| first.is_uppercase());
                    if !member && (class_like || scope) {
                        self.symbol(word, token.line);
                    }
                }
                TokenKind::Sign('$' | '%') => node_path_at = Some((token.line, token.column + 1)),
                TokenKind::Sign('/') if in_node_path => {
                    node_path_at = Some((token.line, token.column + 1));
                }
                _ => {}
            }
        }
    }

    fn symbol(&mut self, word: &str, line: u32) {
        let room = self.facts.symbols.len() < SCRIPT_FACTS_MAX;
        if room && word.len() <= NAME_BYTES_MAX && !self.symbols_seen.contains(word) {
            self.symbols_seen.insert(word.to_owned());
            self.facts.symbols.push((word.to_owned(), line));
        }
    }
}

/// How a text refers to a file, if it does: `called` is the function it is the first argument of.
fn kind_of_text(text: &str, called: Option<&str>) -> Option<ReferenceKind> {
    let is_path = text.starts_with("res://") || text.starts_with("uid://");
    match called {
        // The only one that takes paths relative to the script.
        Some("preload") => Some(ReferenceKind::Preload),
        // Asking whether a file exists is not needing it.
        Some("exists" | "file_exists") => None,
        Some("load" | "load_threaded_request") if is_path => Some(ReferenceKind::Load),
        _ if is_path && is_whole_path(text) => Some(ReferenceKind::Text),
        _ => None,
    }
}

/// Whether a text names one file, and is not the beginning or the pattern of many.
fn is_whole_path(text: &str) -> bool {
    let last = text.rsplit('/').next().unwrap_or_default();
    text.starts_with("uid://") && !last.is_empty()
        || (last.contains('.') && !text.contains(['%', '{', '*', '\n']))
}

fn member(tokens: &[Token<'_>]) -> Option<Member> {
    let name = word_at(tokens, 1)?;
    let detail = match is_punctuation(tokens.get(2), '(') {
        true => format!("({})", show(parenthesised(&tokens[2..]))),
        false => String::new(),
    };
    Some(Member {
        name: clip(name, NAME_BYTES_MAX),
        detail: clip(&detail, 200),
        line: tokens[0].line,
    })
}

fn push(members: &mut Vec<Member>, member: Option<Member>) {
    if members.len() < SCRIPT_FACTS_MAX {
        members.extend(member);
    }
}

fn word_at<'a>(tokens: &[Token<'a>], index: usize) -> Option<&'a str> {
    match tokens.get(index)?.kind {
        TokenKind::Word(word) => Some(word),
        _ => None,
    }
}

fn is_punctuation(token: Option<&Token<'_>>, sign: char) -> bool {
    token.is_some_and(|token| token.kind == TokenKind::Sign(sign))
}

/// The tokens between the parenthesis that `tokens` starts with and the one that closes it.
fn parenthesised<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Sign('(' | '[' | '{') => depth += 1,
            TokenKind::Sign(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &tokens[1..index];
                }
            }
            _ => {}
        }
    }
    tokens.get(1..).unwrap_or_default()
}

/// Tokens as text on one line.
fn show(tokens: &[Token<'_>]) -> String {
    let mut out = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let glued = matches!(
            token.kind,
            TokenKind::Sign(',' | ':' | ')' | ']' | '.' | '(' | '[')
        ) || index > 0
            && matches!(
                tokens[index - 1].kind,
                TokenKind::Sign('(' | '[' | '.' | '-')
            );
        if index > 0 && !glued {
            out.push(' ');
        }
        match &token.kind {
            TokenKind::Word(word) => out.push_str(word),
            TokenKind::Annotation(name) => {
                out.push('@');
                out.push_str(name);
            }
            TokenKind::Text(text) => {
                out.push('"');
                out.push_str(text);
                out.push('"');
            }
            TokenKind::Number(number) => out.push_str(number),
            TokenKind::Sign(sign) => out.push(*sign),
            TokenKind::EndOfLine => {}
        }
        if out.len() > NAME_BYTES_MAX {
            break;
        }
    }
    out
}

/// A flaw that says a file ends inside something.
fn unclosed(line: u32, what: &str) -> Flaw {
    Flaw::at(line, format!("{what} that starts here is not closed"))
}

#[cfg(test)]
mod tests;
