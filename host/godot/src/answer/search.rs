//! `search_nodes`: nodes of scenes, and the files of the dependency graph.

use std::collections::BTreeMap;

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{AnswerBudget, Listed, faults_beside, note};
use super::subject::{QueryRefusal, built_in_id, is_addon, node_id, refused};
use crate::facts::{FileKind, NodeFacts};
use crate::fault::FileFault;
use crate::index::{FileId, ProjectSnapshot};
use crate::path::ProjectPath;

/// Items on a page unless asked otherwise: a screenful.
const LIMIT_DEFAULT: usize = 50;

/// The most items on a page.
const LIMIT_MAX: usize = 500;

/// The arguments of `search_nodes`. All conditions must hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct SearchQuery {
    /// Words that must all occur (in any case) in the name, path, type, class name, script or groups. Empty matches everything.
    #[serde(default)]
    query: String,
    /// Only these kinds.
    #[serde(default)]
    kinds: Vec<ItemKind>,
    /// Only this type: an engine class, a class_name that its script declares or inherits, or a resource's class. Which engine class extends which is not known here.
    #[serde(rename = "type")]
    class: Option<String>,
    /// Only nodes in this group.
    group: Option<String>,
    /// Only below this folder or in this file, for example "res://levels".
    within: Option<String>,
    /// Also search in res://addons. False unless said.
    #[serde(default)]
    include_addons: bool,
    /// Also return the properties that nodes set. False unless said.
    #[serde(default)]
    include_properties: bool,
    /// How many results to leave out.
    #[serde(default)]
    offset: usize,
    /// How many results to return: 1 to 500, 50 unless said.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

/// What can be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "rmcp::schemars", inline)]
enum ItemKind {
    /// A node of a scene.
    Node,
    /// A scene file.
    Scene,
    /// A script file, or a script written inside a scene.
    Script,
    /// A shader file.
    Shader,
    /// A resource file.
    Resource,
    /// An editor plugin.
    Plugin,
    /// Any other file.
    Asset,
}

/// The answer of `search_nodes`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct SearchAnswer {
    /// How many were found.
    total: usize,
    /// Where this page starts.
    offset: usize,
    /// What was found, by path.
    items: Vec<FoundItem>,
    /// Where the next page starts, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
    /// What is wrong with the project's files.
    faults: Listed<FileFault>,
    /// What the answer leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Something that was found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct FoundItem {
    /// Its id, which the other tools take.
    id: String,
    /// What it is.
    kind: ItemKind,
    /// Its name.
    name: String,
    /// Its type: engine class, resource class, or what a script extends.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// The class_name that its script declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_name: Option<String>,
    /// The file it is in.
    path: String,
    /// A node's path from the root of its scene.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_path: Option<String>,
    /// The line it is declared on.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    /// The id of its script, its own or that of the scene it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<String>,
    /// The scene that a node is an instance of; for a root node, the scene that its scene inherits.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_of: Option<String>,
    /// The groups it is in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    /// Scripts can find it as %Name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unique_name: bool,
    /// Its uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The properties it sets, as Godot writes them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<String, String>,
}

/// Something that may be found: cheap to judge, turned into a [`FoundItem`] only if it is on the page.
#[derive(Debug, Clone, Copy)]
enum SearchCandidate<'a> {
    File(FileId),
    Node(FileId, &'a NodeFacts),
    BuiltIn(FileId, usize),
}

impl SearchQuery {
    /// Answers the question.
    pub(crate) fn answer(
        &self,
        snapshot: &ProjectSnapshot,
        mut budget: AnswerBudget,
    ) -> Result<SearchAnswer, QueryRefusal> {
        let terms: Vec<String> = self
            .query
            .to_lowercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let within = self.within.as_deref().map(folder).transpose()?.flatten();
        let mut found = Vec::new();
        for file in 0..snapshot.files.len() {
            let path = snapshot.files[file].path.relative();
            let wanted = within
                .as_deref()
                .is_none_or(|within| is_within(path, within));
            if !wanted || (is_addon(snapshot, file) && !self.include_addons) {
                continue;
            }
            let candidates = candidates(snapshot, file);
            found.extend(candidates.filter(|candidate| self.matches(snapshot, *candidate, &terms)));
        }
        let faults = faults_beside(snapshot, &mut budget);
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let items = found.iter().map(|candidate| {
            let mut item = candidate.item(snapshot);
            if let (SearchCandidate::Node(_, node), true) = (candidate, self.include_properties) {
                item.properties = node.properties.iter().cloned().collect();
            }
            item
        });
        let (items, next_offset) = budget.page(items, self.offset, limit);
        Ok(SearchAnswer {
            total: found.len(),
            offset: self.offset,
            items,
            next_offset,
            faults,
            note: note(next_offset, snapshot),
        })
    }

    fn matches(
        &self,
        snapshot: &ProjectSnapshot,
        candidate: SearchCandidate<'_>,
        terms: &[String],
    ) -> bool {
        let Some(kind) = candidate.kind(snapshot) else {
            return false;
        };
        if !self.kinds.is_empty() && !self.kinds.contains(&kind) {
            return false;
        }
        if terms.is_empty() && self.class.is_none() && self.group.is_none() {
            return true;
        }
        let item = candidate.item(snapshot);
        let of_class = self.class.as_ref().is_none_or(|class| {
            let inherited = candidate.class_names(snapshot);
            let mut names = item.class.iter().chain(&item.class_name).chain(&inherited);
            names.any(|name| name.eq_ignore_ascii_case(class))
        });
        let in_group = self
            .group
            .as_ref()
            .is_none_or(|group| item.groups.contains(group));
        of_class && in_group && terms.iter().all(|term| item.contains(term))
    }
}

/// A folder or file as a prefix of relative paths; nothing for the whole project.
fn folder(text: &str) -> Result<Option<String>, QueryRefusal> {
    let trimmed = text.trim_end_matches('/');
    if matches!(trimmed, "res:" | "" | ".") && !text.starts_with('/') {
        return Ok(None);
    }
    match ProjectPath::parse(trimmed) {
        Ok(path) => Ok(Some(path.relative().to_owned())),
        Err(refusal) => Err(refused(text, &refusal)),
    }
}

fn is_within(path: &str, within: &str) -> bool {
    path.strip_prefix(within)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn candidates(
    snapshot: &ProjectSnapshot,
    file: FileId,
) -> impl Iterator<Item = SearchCandidate<'_>> {
    let scene = snapshot.scene(file);
    let nodes = scene.into_iter().flat_map(|scene| &scene.nodes);
    let scripts = scene.map_or(0, |scene| scene.built_in_scripts.len());
    std::iter::once(SearchCandidate::File(file))
        .chain((0..scripts).map(move |at| SearchCandidate::BuiltIn(file, at)))
        .chain(nodes.map(move |node| SearchCandidate::Node(file, node)))
}

impl SearchCandidate<'_> {
    /// Its kind; nothing if it is no item of its own.
    fn kind(self, snapshot: &ProjectSnapshot) -> Option<ItemKind> {
        match self {
            Self::Node(..) => Some(ItemKind::Node),
            Self::BuiltIn(..) => Some(ItemKind::Script),
            Self::File(file) => match snapshot.files[file].kind {
                FileKind::Scene => Some(ItemKind::Scene),
                FileKind::Script => Some(ItemKind::Script),
                FileKind::Shader => Some(ItemKind::Shader),
                FileKind::Resource => Some(ItemKind::Resource),
                FileKind::Plugin => Some(ItemKind::Plugin),
                FileKind::Asset => Some(ItemKind::Asset),
                FileKind::Project | FileKind::Import | FileKind::Uid => None,
            },
        }
    }

    /// The class names of its script, also inherited ones.
    fn class_names(self, snapshot: &ProjectSnapshot) -> Vec<String> {
        let script = match self {
            Self::File(file) => Some((file, None)),
            Self::BuiltIn(file, at) => {
                let scripts = snapshot.scene(file).map(|scene| &scene.built_in_scripts);
                let script = scripts.and_then(|scripts| scripts.get(at));
                script.map(|script| (file, Some(script.id.clone())))
            }
            Self::Node(scene, node) => snapshot.effective(scene, node).script,
        };
        script.map_or_else(Vec::new, |(file, id)| {
            snapshot.class_names((file, id.as_deref()))
        })
    }

    fn item(self, snapshot: &ProjectSnapshot) -> FoundItem {
        match self {
            Self::File(file) => file_item(snapshot, file, self.kind(snapshot)),
            Self::Node(scene, node) => node_item(snapshot, scene, node),
            Self::BuiltIn(file, at) => built_in_item(snapshot, file, at),
        }
    }
}

fn empty_item(snapshot: &ProjectSnapshot, file: FileId, id: String, kind: ItemKind) -> FoundItem {
    FoundItem {
        id,
        kind,
        name: String::new(),
        class: None,
        class_name: None,
        path: snapshot.files[file].path.to_string(),
        node_path: None,
        line: None,
        script: None,
        instance_of: None,
        groups: Vec::new(),
        unique_name: false,
        uid: None,
        properties: BTreeMap::new(),
    }
}

fn file_item(snapshot: &ProjectSnapshot, id: FileId, kind: Option<ItemKind>) -> FoundItem {
    let file = &snapshot.files[id];
    let mut item = empty_item(
        snapshot,
        id,
        file.path.to_string(),
        kind.unwrap_or(ItemKind::Asset),
    );
    item.name = file.path.file_name().to_owned();
    item.uid.clone_from(&file.uid);
    item.class.clone_from(&file.imported_as);
    if let Some(script) = snapshot.script(id) {
        item.class_name.clone_from(&script.class_name);
        item.class.clone_from(&script.extends);
    }
    if let Some(scene) = snapshot.scene(id) {
        let root = scene.nodes.first();
        item.class = match root {
            Some(root) => snapshot.effective(id, root).class,
            None => scene.class.clone(),
        };
    }
    item
}

fn node_item(snapshot: &ProjectSnapshot, scene: FileId, node: &NodeFacts) -> FoundItem {
    let effective = snapshot.effective(scene, node);
    let id = node_id(snapshot, scene, &node.path);
    let mut item = empty_item(snapshot, scene, id, ItemKind::Node);
    item.name.clone_from(&node.name);
    item.node_path = Some(node.path.clone());
    item.line = Some(node.line);
    item.class = effective.class;
    if let Some((file, built_in)) = effective.script {
        item.class_name = match &built_in {
            None => snapshot
                .script(file)
                .and_then(|script| script.class_name.clone()),
            Some(_) => None,
        };
        item.script = Some(match built_in {
            None => snapshot.files[file].path.to_string(),
            Some(id) => built_in_id(snapshot, file, &id),
        });
    }
    let instance = node
        .instance
        .and_then(|at| snapshot.files[scene].externals.get(at).copied().flatten());
    item.instance_of = match instance {
        Some(instance) => Some(snapshot.files[instance].path.to_string()),
        None => node.placeholder.clone(),
    };
    item.groups = effective.groups;
    item.unique_name = node.unique_name;
    item
}

fn built_in_item(snapshot: &ProjectSnapshot, file: FileId, at: usize) -> FoundItem {
    let script = snapshot
        .scene(file)
        .and_then(|scene| scene.built_in_scripts.get(at));
    let name = script.map(|script| script.id.clone()).unwrap_or_default();
    let id = built_in_id(snapshot, file, &name);
    let mut item = empty_item(snapshot, file, id, ItemKind::Script);
    item.name = name;
    if let Some(script) = script {
        item.line = Some(script.line);
        item.class.clone_from(&script.script.extends);
        item.class_name.clone_from(&script.script.class_name);
    }
    item
}

impl FoundItem {
    /// Whether `term`, which is in lower case, occurs in what names the item.
    fn contains(&self, term: &str) -> bool {
        let optional = [
            &self.class,
            &self.class_name,
            &self.script,
            &self.instance_of,
        ];
        let texts = [&self.id, &self.name]
            .into_iter()
            .chain(optional.into_iter().flatten());
        texts
            .chain(&self.groups)
            .any(|text| text.to_lowercase().contains(term))
    }
}
