//! Facts of a script, gathered from its tokens one logical line at a time.

use std::collections::HashSet;

use super::lexer::{Lexer, Token, TokenKind};
use super::tokens::{is_punctuation, name_at, parenthesised, show};
use super::{Member, ReferenceKind, ScriptFacts};
use crate::fault::Flaws;
use crate::limits::{LINE_TOKENS_MAX, NAME_BYTES_MAX, SCRIPT_FACTS_MAX, clip};

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
}

/// Keywords that may precede a declaration, most of them in Godot 3 only.
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
    /// An `@export…` on a line of its own, before its variable.
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
            let name = match first.kind {
                TokenKind::Annotation(name) => name,
                TokenKind::Name(name) if MODIFIERS.contains(&name) => name,
                _ => return rest,
            };
            let followed_by_name = matches!(
                rest.get(1).map(|token| &token.kind),
                None | Some(TokenKind::Name(_))
            );
            match name {
                "tool" if followed_by_name => self.facts.tool = true,
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
                if name == "export" && !inside.is_empty() {
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
        let TokenKind::Name(name) = first.kind else {
            return;
        };
        let top_level = first.column == 0;
        match name {
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
                if let (Some(kind), Some(name)) = (pending_export, name_at(tokens, 1)) {
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
        if let Some(name) = name_at(tokens, 1) {
            self.facts.class_name = Some(clip(name, NAME_BYTES_MAX));
            self.symbols_seen.insert(name.to_owned());
        }
        // `class_name Enemy extends Node2D` on one line.
        let extends = tokens
            .iter()
            .position(|token| token.kind == TokenKind::Name("extends"));
        if let Some(at) = extends {
            self.facts.extends = self.extends(&tokens[at + 1..], tokens[at].line);
        }
    }

    /// `class Inner extends Base:` — the base is a reference of the file, not what the file extends.
    fn inner_class(&mut self, tokens: &[Token<'_>]) {
        let extends = tokens
            .iter()
            .position(|token| token.kind == TokenKind::Name("extends"));
        if let Some(at) = extends {
            self.extends(&tokens[at + 1..], tokens[at].line);
        }
    }

    fn extends(&mut self, tokens: &[Token<'_>], line: u32) -> Option<String> {
        let target = match &tokens.first()?.kind {
            TokenKind::Text(path) => path.to_string(),
            TokenKind::Name(name) => (*name).to_owned(),
            _ => return None,
        };
        self.facts.refer(&target, ReferenceKind::Extends, line);
        Some(clip(&target, NAME_BYTES_MAX))
    }

    fn references(&mut self, tokens: &[Token<'_>]) {
        // Where the node path that starts with `$` or `%` goes on, if nothing is between them.
        let mut node_path_at = None;
        for (index, token) in tokens.iter().enumerate() {
            let in_node_path = node_path_at == Some((token.line, token.column));
            node_path_at = None;
            match &token.kind {
                TokenKind::Text(text) => {
                    let called = index.checked_sub(2).and_then(|at| name_at(tokens, at));
                    let called = called.filter(|_| is_punctuation(tokens.get(index - 1), '('));
                    if let Some(kind) = kind_of_text(text, called) {
                        self.facts.refer(text, kind, token.line);
                    }
                }
                TokenKind::Name(name) if in_node_path => {
                    node_path_at = Some((token.line, token.column + name.len()));
                }
                TokenKind::Name(name) => {
                    let member = index > 0 && is_punctuation(tokens.get(index - 1), '.');
                    let scope = is_punctuation(tokens.get(index + 1), '.');
                    let class_like = name.starts_with(|first: char| first.is_uppercase());
                    if !member && (class_like || scope) {
                        self.symbol(name, token.line);
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

    fn symbol(&mut self, name: &str, line: u32) {
        let room = self.facts.symbols.len() < SCRIPT_FACTS_MAX;
        if room && name.len() <= NAME_BYTES_MAX && !self.symbols_seen.contains(name) {
            self.symbols_seen.insert(name.to_owned());
            self.facts.symbols.push((name.to_owned(), line));
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
    let name = name_at(tokens, 1)?;
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
