//! `get_project`: what the project is.

use std::collections::BTreeMap;

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{AnswerBudget, Listed, note};
use super::subject::QueryRefusal;
use crate::facts::FileKind;
use crate::fault::FileFault;
use crate::index::{FileId, ProjectSnapshot};
use crate::path::ProjectPath;

/// The arguments of `get_project`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ProjectQuery {
    /// Also return the settings of project.godot whose name starts with this, for example "display/" or "rendering/".
    settings_prefix: Option<String>,
}

/// The answer of `get_project`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct ProjectAnswer {
    /// The project's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The project's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The project version that this instance serves (VERSION_ID).
    #[serde(skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    /// The engine's major version: 3 or 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_major: Option<i64>,
    /// config_version of project.godot: 5 is Godot 4, 4 is Godot 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    config_version: Option<i64>,
    /// Engine version and renderer that the project was last saved with.
    features: Vec<String>,
    /// The scene that the game starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    main_scene: Option<ProjectFile>,
    /// Scripts and scenes that are loaded at start.
    autoloads: Vec<AutoloadAnswer>,
    /// The input map.
    input_actions: Listed<InputActionAnswer>,
    /// Scripts that declare a class_name.
    classes: Listed<ClassAnswer>,
    /// Enabled editor plugins.
    plugins: Vec<ProjectFile>,
    /// How many files of each kind there are.
    files: BTreeMap<&'static str, usize>,
    /// How many nodes all scenes declare together.
    scene_nodes: usize,
    /// How many references lead nowhere; get_dependency_graph lists them.
    missing_references: usize,
    /// The settings that were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings: Option<Listed<Setting>>,
    /// What is wrong with the project's files.
    faults: Listed<FileFault>,
    /// What the answer leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A file that the project names.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct ProjectFile {
    /// Its path, or the uid if no file has it.
    path: String,
    /// Its uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// Whether it is there.
    exists: bool,
}

/// An autoload.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct AutoloadAnswer {
    /// The name it is loaded under.
    name: String,
    /// Its file.
    file: ProjectFile,
    /// Whether scripts can use it by its name.
    singleton: bool,
}

/// An action of the input map.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct InputActionAnswer {
    /// Its name.
    name: String,
    /// What triggers it.
    events: Vec<String>,
}

/// A class that a script declares.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct ClassAnswer {
    /// Its name.
    name: String,
    /// Its script.
    path: String,
    /// What it extends.
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<String>,
}

/// A setting.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct Setting {
    /// Its name, as section/key.
    name: String,
    /// Its value, as Godot writes it.
    value: String,
}

impl ProjectQuery {
    /// Answers the question.
    pub(crate) fn answer(
        &self,
        snapshot: &ProjectSnapshot,
        version_id: Option<&str>,
        mut budget: AnswerBudget,
    ) -> Result<ProjectAnswer, QueryRefusal> {
        let project = &snapshot.project;
        let faults = budget.share(4).list(snapshot.faults.clone());
        let settings = self.settings_prefix.as_ref().map(|prefix| {
            let wanted = project
                .settings
                .iter()
                .filter(|(name, _)| name.starts_with(prefix.as_str()));
            let settings = wanted.map(|(name, value)| Setting {
                name: name.clone(),
                value: value.clone(),
            });
            budget.share(4).list(settings.collect())
        });
        let autoloads = project.autoloads.iter().map(|autoload| AutoloadAnswer {
            name: autoload.name.clone(),
            file: named(snapshot, &autoload.target),
            singleton: autoload.singleton,
        });
        let plugins = project
            .plugins
            .iter()
            .map(|(path, _)| named(snapshot, path));
        let actions = project
            .input_actions
            .iter()
            .map(|action| InputActionAnswer {
                name: action.name.clone(),
                events: action.events.clone(),
            });
        Ok(ProjectAnswer {
            name: project.name.clone(),
            description: project.description.clone(),
            version_id: version_id.map(str::to_owned),
            engine_major: engine_major(project.config_version),
            config_version: project.config_version,
            features: project.features.clone(),
            main_scene: project
                .main_scene
                .as_ref()
                .map(|(path, _)| named(snapshot, path)),
            autoloads: budget.share(4).list(autoloads.collect()).items,
            input_actions: budget.share(4).list(actions.collect()),
            classes: budget.share(2).list(classes(snapshot)),
            plugins: budget.share(4).list(plugins.collect()).items,
            files: file_counts(snapshot),
            scene_nodes: (0..snapshot.files.len())
                .filter_map(|id| snapshot.scene(id))
                .map(|scene| scene.nodes.len())
                .sum(),
            missing_references: snapshot.missing.len(),
            settings,
            faults,
            note: note(None, snapshot),
        })
    }
}

fn engine_major(config_version: Option<i64>) -> Option<i64> {
    match config_version? {
        3 | 4 => Some(3),
        5 => Some(4),
        _ => None,
    }
}

fn named(snapshot: &ProjectSnapshot, text: &str) -> ProjectFile {
    let id: Option<FileId> = match text.starts_with("uid://") {
        true => snapshot.by_uid.get(text).copied(),
        false => ProjectPath::parse(text)
            .ok()
            .and_then(|path| snapshot.file_at(&path)),
    };
    ProjectFile {
        path: id.map_or_else(|| text.to_owned(), |id| snapshot.files[id].path.to_string()),
        uid: id.and_then(|id| snapshot.files[id].uid.clone()),
        exists: id.is_some(),
    }
}

fn classes(snapshot: &ProjectSnapshot) -> Vec<ClassAnswer> {
    let classes = snapshot.classes.iter().map(|(name, id)| ClassAnswer {
        name: name.clone(),
        path: snapshot.files[*id].path.to_string(),
        extends: snapshot
            .script(*id)
            .and_then(|script| script.extends.clone()),
    });
    classes.collect()
}

fn file_counts(snapshot: &ProjectSnapshot) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for file in &snapshot.files {
        if file.kind != FileKind::Project {
            *counts.entry(file.kind.as_str()).or_default() += 1;
        }
    }
    counts
}
