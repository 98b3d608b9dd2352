//! What a script says about itself and about other files, read from GDScript of Godot 3 or 4.
//!
//! This is no compiler: it finds declarations and references and must not be fooled by comments
//! and strings. It never fails; what seems broken becomes a flaw.

mod gathering;
mod lexer;
mod tokens;

use crate::limits::{NAME_BYTES_MAX, SCRIPT_FACTS_MAX, clip};

/// What is known of one script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScriptFacts {
    /// The name from `class_name`.
    pub(crate) class_name: Option<String>,
    /// What follows `extends`: an engine class, a project class, or a path in quotes (without them).
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

#[cfg(test)]
mod tests;
