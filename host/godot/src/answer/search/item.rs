//! One result of a search: what it is and how it is shown.

use std::collections::BTreeMap;

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::subject::{built_in_id, node_id};
use crate::facts::NodeFacts;
use crate::index::{FileId, ProjectSnapshot};

/// What can be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "rmcp::schemars", inline)]
pub(super) enum ItemKind {
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

/// Something that was found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(super) struct FoundItem {
    /// Its id, which the other tools take.
    id: String,
    /// What it is.
    kind: ItemKind,
    /// Its name.
    name: String,
    /// Its type: engine class, resource class, or what a script extends.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<String>,
    /// The class_name that its script declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class_name: Option<String>,
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
    pub(super) groups: Vec<String>,
    /// Scripts can find it as %Name.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unique_name: bool,
    /// Its uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    /// The properties it sets, as Godot writes them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) properties: BTreeMap<String, String>,
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

pub(super) fn file_item(
    snapshot: &ProjectSnapshot,
    id: FileId,
    kind: Option<ItemKind>,
) -> FoundItem {
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

pub(super) fn node_item(snapshot: &ProjectSnapshot, scene: FileId, node: &NodeFacts) -> FoundItem {
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

pub(super) fn built_in_item(snapshot: &ProjectSnapshot, file: FileId, at: usize) -> FoundItem {
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
    pub(super) fn contains(&self, term: &str) -> bool {
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
