//! `search_nodes`: nodes of scenes, and the files of the dependency graph.

mod item;

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{AnswerBudget, Listed, faults_beside, note};
use super::subject::{QueryRefusal, is_addon, refused};
use crate::facts::{FileKind, NodeFacts};
use crate::fault::FileFault;
use crate::index::{FileId, ProjectSnapshot};
use crate::path::ProjectPath;

use item::{FoundItem, ItemKind, built_in_item, file_item, node_item};

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
