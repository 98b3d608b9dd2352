//! What one file says, taken out of its text: all that the index keeps of it.
//!
//! A file is judged alone here: whether what it refers to exists is found out by `index`.

mod project;
mod scene;

use std::sync::Arc;

pub(crate) use project::ProjectFacts;
pub(crate) use scene::{NodeFacts, NodeScript, SceneFacts, built_in_source};

use crate::fault::{FileFault, Flaw, Flaws};
use crate::limits::{NAME_BYTES_MAX, clip};
use crate::path::ProjectPath;
use crate::script::ScriptFacts;
use crate::text::{Document, decode};

/// What a file is to the project, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileKind {
    /// `project.godot`.
    Project,
    /// `.tscn`, or a binary `.scn`.
    Scene,
    /// `.gd`, `.cs`.
    Script,
    /// `.gdshader`, `.gdshaderinc`, `.shader`.
    Shader,
    /// `.tres`, or a binary `.res`.
    Resource,
    /// `plugin.cfg`: an editor plugin.
    Plugin,
    /// Everything else: images, sounds, fonts, models.
    Asset,
    /// `x.import`: how `x` was imported.
    Import,
    /// `x.uid`: the uid of `x`.
    Uid,
}

impl FileKind {
    /// The kind of the file at `path`.
    pub(crate) fn of(path: &ProjectPath) -> Self {
        if path.relative() == "project.godot" {
            return Self::Project;
        }
        match path.extension().as_str() {
            "tscn" | "scn" => Self::Scene,
            "gd" | "cs" => Self::Script,
            "gdshader" | "gdshaderinc" | "shader" => Self::Shader,
            "tres" | "res" => Self::Resource,
            "import" => Self::Import,
            "uid" => Self::Uid,
            "cfg" if path.file_name() == "plugin.cfg" => Self::Plugin,
            _ => Self::Asset,
        }
    }

    /// Whether a file of this kind at `path` is text that is parsed.
    pub(crate) fn is_parsed(self, path: &ProjectPath) -> bool {
        match self {
            Self::Asset => false,
            Self::Scene | Self::Resource | Self::Script => {
                matches!(path.extension().as_str(), "tscn" | "tres" | "gd")
            }
            _ => true,
        }
    }

    /// Its name in answers.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Scene => "scene",
            Self::Script => "script",
            Self::Shader => "shader",
            Self::Resource => "resource",
            Self::Plugin => "plugin",
            Self::Asset | Self::Import | Self::Uid => "asset",
        }
    }
}

/// What one file says.
#[derive(Debug, Clone, Default)]
pub(crate) enum Facts {
    /// It is not parsed, or could not be read.
    #[default]
    Opaque,
    /// `project.godot`.
    Project(Arc<ProjectFacts>),
    /// A scene or a text resource.
    Scene(Arc<SceneFacts>),
    /// A script or a shader.
    Script(Arc<ScriptFacts>),
    /// An editor plugin's script, as written.
    Plugin(Option<String>),
    /// How the file beside it was imported.
    Import(ImportFacts),
    /// The uid of the file beside it.
    Uid(String),
}

/// What an `.import` file says about its asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImportFacts {
    /// The asset's uid.
    pub(crate) uid: Option<String>,
    /// The resource class that it becomes.
    pub(crate) class: Option<String>,
}

/// Reads what the file at `path` says. What is wrong with it goes to `faults`.
pub(crate) fn read(path: &ProjectPath, bytes: &[u8], faults: &mut Vec<FileFault>) -> Facts {
    let mut flaws = Flaws::default();
    let text = decode(bytes, &mut flaws);
    let facts = match FileKind::of(path) {
        FileKind::Project => Facts::Project(Arc::new(ProjectFacts::read(&text, &mut flaws))),
        FileKind::Scene | FileKind::Resource => {
            Facts::Scene(Arc::new(SceneFacts::read(&text, &mut flaws)))
        }
        FileKind::Script => Facts::Script(Arc::new(ScriptFacts::read(&text, &mut flaws))),
        FileKind::Shader => Facts::Script(Arc::new(ScriptFacts::read_shader(&text))),
        FileKind::Plugin => {
            let document = Document::read(&text, &mut flaws);
            Facts::Plugin(text_of(&document, "plugin", "script"))
        }
        FileKind::Import => {
            let document = Document::read(&text, &mut flaws);
            Facts::Import(ImportFacts {
                uid: text_of(&document, "remap", "uid"),
                class: text_of(&document, "remap", "type"),
            })
        }
        FileKind::Uid => {
            if !text.starts_with("uid://") {
                flaws.push(Flaw::at(1, "it holds no uid"));
            }
            Facts::Uid(clip(text.trim(), NAME_BYTES_MAX))
        }
        FileKind::Asset => Facts::Opaque,
    };
    let of_this_file = flaws
        .into_vec()
        .into_iter()
        .map(|flaw| flaw.of(path.as_str()));
    faults.extend(of_this_file);
    facts
}

fn text_of(document: &Document, section: &str, key: &str) -> Option<String> {
    let property = document
        .named(section)
        .find_map(|section| section.property(key))?;
    let text = property.value.as_text()?;
    Some(clip(text, NAME_BYTES_MAX))
}
