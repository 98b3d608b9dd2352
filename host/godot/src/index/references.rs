//! What one file refers to, as it writes it: nothing is resolved here.

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::{Facts, ProjectFacts, SceneFacts};
use crate::script::{ReferenceKind, ScriptFacts};

/// How one file depends on another.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "rmcp::schemars", inline)]
pub(crate) enum Via {
    /// The scene inherits the other scene.
    Inherits,
    /// The scene holds an instance of the other scene.
    Instance,
    /// A script is attached to a node or resource.
    Script,
    /// Any other external resource of a scene or resource.
    Resource,
    /// The script extends the other script.
    Extends,
    /// `preload(…)`, or `#include` in a shader.
    Preload,
    /// `load(…)`.
    Load,
    /// The script uses the other's `class_name`.
    Class,
    /// It is an autoload, or uses one by its name.
    Autoload,
    /// A text in a script that is a path.
    Text,
    /// The project starts with it.
    MainScene,
    /// Another project setting names it.
    Setting,
    /// An enabled editor plugin, or a plugin's script.
    Plugin,
}

impl Via {
    /// Whether loading the one file loads the other as well, so that a cycle of such references can matter.
    pub(crate) fn is_needed_to_load(self) -> bool {
        match self {
            Self::Inherits
            | Self::Instance
            | Self::Script
            | Self::Resource
            | Self::Extends
            | Self::Preload
            | Self::Class => true,
            Self::Load
            | Self::Autoload
            | Self::Text
            | Self::MainScene
            | Self::Setting
            | Self::Plugin => false,
        }
    }
}

/// Something a file refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference<'a> {
    pub(super) target: ReferenceTarget<'a>,
    pub(super) via: Via,
    pub(super) line: u32,
}

/// What is referred to, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReferenceTarget<'a> {
    /// A file by uid, by path, or by both: the uid counts first, as in Godot.
    File {
        uid: Option<&'a str>,
        path: Option<&'a str>,
    },
    /// A class by its name; one that the project does not declare is the engine's.
    Class(&'a str),
    /// A class or an autoload by its name.
    Symbol(&'a str),
}

impl<'a> ReferenceTarget<'a> {
    /// A file by what may be a path or a uid.
    fn file(text: &'a str) -> Self {
        if text.starts_with("uid://") {
            Self::File {
                uid: Some(text),
                path: None,
            }
        } else {
            Self::File {
                uid: None,
                path: Some(text),
            }
        }
    }
}

/// Everything that a file with these facts refers to.
pub(super) fn references(facts: &Facts) -> Vec<Reference<'_>> {
    let mut found = Vec::new();
    match facts {
        Facts::Opaque | Facts::Import(_) | Facts::Uid(_) => {}
        Facts::Project(project) => of_project(project, &mut found),
        Facts::Scene(scene) => of_scene(scene, &mut found),
        Facts::Script(script) => of_script(script, 0, &mut found),
        Facts::Plugin(script) => found.extend(script.as_ref().map(|path| Reference {
            target: ReferenceTarget::file(path),
            via: Via::Plugin,
            line: 1,
        })),
    }
    found
}

fn of_project<'a>(project: &'a ProjectFacts, found: &mut Vec<Reference<'a>>) {
    let mut push = |text: &'a str, via, line| {
        found.push(Reference {
            target: ReferenceTarget::file(text),
            via,
            line,
        });
    };
    if let Some((path, line)) = &project.main_scene {
        push(path, Via::MainScene, *line);
    }
    if let Some((path, line)) = &project.icon {
        push(path, Via::Setting, *line);
    }
    for autoload in &project.autoloads {
        push(&autoload.target, Via::Autoload, autoload.line);
    }
    for (path, line) in &project.plugins {
        push(path, Via::Plugin, *line);
    }
    for (_, path, line) in &project.references {
        push(path, Via::Setting, *line);
    }
}

fn of_scene<'a>(scene: &'a SceneFacts, found: &mut Vec<Reference<'a>>) {
    for external in &scene.externals {
        let target = ReferenceTarget::File {
            uid: external.uid.as_deref(),
            path: external.path.as_deref(),
        };
        let mut vias = Vec::new();
        if external.inherited {
            vias.push(Via::Inherits);
        }
        if external.instanced {
            vias.push(Via::Instance);
        }
        if vias.is_empty() {
            let is_script = matches!(
                external.class.as_str(),
                "Script" | "GDScript" | "CSharpScript"
            );
            vias.push(if is_script {
                Via::Script
            } else {
                Via::Resource
            });
        }
        found.extend(vias.into_iter().map(|via| Reference {
            target,
            via,
            line: external.line,
        }));
    }
    for node in &scene.nodes {
        found.extend(node.placeholder.as_ref().map(|path| Reference {
            target: ReferenceTarget::file(path),
            via: Via::Instance,
            line: node.line,
        }));
    }
    for (path, line) in &scene.files {
        found.push(Reference {
            target: ReferenceTarget::file(path),
            via: Via::Resource,
            line: *line,
        });
    }
    for built_in in &scene.built_in_scripts {
        of_script(&built_in.script, built_in.line.saturating_sub(1), found);
    }
}

/// `line_offset` is what to add to the script's own lines.
fn of_script<'a>(script: &'a ScriptFacts, line_offset: u32, found: &mut Vec<Reference<'a>>) {
    for reference in &script.references {
        let text = reference.target.as_str();
        let (target, via) = match reference.kind {
            ReferenceKind::Extends if text.contains(['/', '.']) => {
                (ReferenceTarget::file(text), Via::Extends)
            }
            ReferenceKind::Extends => (ReferenceTarget::Class(text), Via::Extends),
            ReferenceKind::Preload => (ReferenceTarget::file(text), Via::Preload),
            ReferenceKind::Load => (ReferenceTarget::file(text), Via::Load),
            ReferenceKind::Text => (ReferenceTarget::file(text), Via::Text),
        };
        found.push(Reference {
            target,
            via,
            line: reference.line.saturating_add(line_offset),
        });
    }
    for (symbol, line) in &script.symbols {
        found.push(Reference {
            target: ReferenceTarget::Symbol(symbol),
            via: Via::Class,
            line: line.saturating_add(line_offset),
        });
    }
}
