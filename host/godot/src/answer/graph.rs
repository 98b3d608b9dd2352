//! `get_dependency_graph`: the files of the project and how they depend on each other.

use std::collections::HashMap;

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{AnswerBudget, Listed, faults_beside, note};
use super::subject::{QueryRefusal, QuerySubject, can_be_isolated, is_addon};
use crate::facts::FileKind;
use crate::fault::FileFault;
use crate::index::{FileId, MissingReference, ProjectSnapshot, Via, cycles};

/// Files on a page unless asked otherwise.
const LIMIT_DEFAULT: usize = 200;

/// The most files on a page.
const LIMIT_MAX: usize = 1_000;

/// The arguments of `get_dependency_graph`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct GraphQuery {
    /// Start here and follow references: a path, uid, class_name or autoload. The whole project unless said.
    root: Option<String>,
    /// How many references to follow from root: 1 to 64, 64 unless said.
    #[schemars(range(min = 1, max = 64))]
    max_depth: Option<usize>,
    /// Also show res://addons. False unless said; what root leads to is always shown.
    #[serde(default)]
    include_addons: bool,
    /// Also show images, sounds and other files that are not text of Godot. True unless said.
    include_assets: Option<bool>,
    /// How many files to leave out.
    #[serde(default)]
    offset: usize,
    /// How many files to return: 1 to 1000, 200 unless said.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

/// The answer of `get_dependency_graph`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct GraphAnswer {
    /// How many files the graph has.
    total: usize,
    /// Where this page starts.
    offset: usize,
    /// The files of this page, by path.
    nodes: Vec<GraphNode>,
    /// The references of the files of this page.
    edges: Vec<GraphEdge>,
    /// Files that cannot be loaded without each other: each a list of paths. Calls of load() and uses of autoloads are left out, since they do not load anything by themselves.
    cycles: Listed<Vec<String>>,
    /// Files that need nothing and that nothing needs.
    isolated: Listed<String>,
    /// References that lead nowhere.
    missing: Listed<MissingReference>,
    /// Where the next page starts, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
    /// What is wrong with the project's files.
    faults: Listed<FileFault>,
    /// What the answer leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// A file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct GraphNode {
    /// Its path.
    id: String,
    /// What it is: project, scene, script, shader, resource, plugin or asset.
    kind: &'static str,
    /// The class_name that it declares.
    #[serde(skip_serializing_if = "Option::is_none")]
    class_name: Option<String>,
    /// How many references it makes.
    dependencies: usize,
    /// How many files refer to it.
    dependents: usize,
}

/// A reference.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct GraphEdge {
    /// The file that refers.
    from: String,
    /// The file it refers to.
    to: String,
    /// How it refers.
    via: Via,
    /// The line it does so on.
    line: u32,
}

/// A file with its references, which go onto a page together.
#[derive(Debug, Serialize)]
struct NodeWithEdges {
    node: GraphNode,
    edges: Vec<GraphEdge>,
}

impl GraphQuery {
    /// Answers the question.
    pub(crate) fn answer(
        &self,
        snapshot: &ProjectSnapshot,
        mut budget: AnswerBudget,
    ) -> Result<GraphAnswer, QueryRefusal> {
        let chosen = self.choose(snapshot)?;
        let position: HashMap<FileId, usize> = chosen
            .iter()
            .enumerate()
            .map(|(at, id)| (*id, at))
            .collect();
        let faults = faults_beside(snapshot, &mut budget);
        let missing = snapshot.missing.iter().filter(|missing| {
            let from = crate::path::ProjectPath::parse(&missing.from).ok();
            from.and_then(|from| snapshot.file_at(&from))
                .is_some_and(|from| position.contains_key(&from))
        });
        let missing = budget.share(5).list(missing.cloned().collect());
        let cycles = budget
            .share(5)
            .list(cycles_among(snapshot, &chosen, &position));
        let isolated = chosen.iter().copied().filter(|id| {
            let file = &snapshot.files[*id];
            file.edges.is_empty() && file.dependents.is_empty() && can_be_isolated(snapshot, *id)
        });
        let isolated = isolated.map(|id| snapshot.files[id].path.to_string());
        let isolated = budget.share(5).list(isolated.collect());
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let all = chosen.iter().map(|id| with_edges(snapshot, *id, &position));
        let (page, next_offset) = budget.page(all, self.offset, limit);
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        for one in page {
            nodes.push(one.node);
            edges.extend(one.edges);
        }
        Ok(GraphAnswer {
            total: chosen.len(),
            offset: self.offset,
            nodes,
            edges,
            cycles,
            isolated,
            missing,
            next_offset,
            faults,
            note: note(next_offset, snapshot),
        })
    }

    /// The files of the graph, by path.
    fn choose(&self, snapshot: &ProjectSnapshot) -> Result<Vec<FileId>, QueryRefusal> {
        let with_assets = self.include_assets.unwrap_or(true);
        let shown = |id: &FileId| with_assets || snapshot.files[*id].kind != FileKind::Asset;
        let Some(root) = &self.root else {
            let all = 0..snapshot.files.len();
            let wanted = all.filter(|id| self.include_addons || !is_addon(snapshot, *id));
            return Ok(wanted.filter(shown).collect());
        };
        let start = match QuerySubject::find(snapshot, root)? {
            QuerySubject::File(file) | QuerySubject::BuiltIn { file, .. } => file,
            QuerySubject::Node { scene, .. } => scene,
        };
        let mut depth_of = HashMap::from([(start, 0_usize)]);
        let mut queue = std::collections::VecDeque::from([start]);
        let depth_max = self.max_depth.unwrap_or(64).clamp(1, 64);
        while let Some(from) = queue.pop_front() {
            let depth = depth_of[&from];
            if depth == depth_max {
                continue;
            }
            for edge in &snapshot.files[from].edges {
                depth_of.entry(edge.to).or_insert_with(|| {
                    queue.push_back(edge.to);
                    depth + 1
                });
            }
        }
        let mut chosen: Vec<FileId> = depth_of.into_keys().filter(shown).collect();
        chosen.sort_unstable();
        Ok(chosen)
    }
}

fn with_edges(
    snapshot: &ProjectSnapshot,
    id: FileId,
    shown: &HashMap<FileId, usize>,
) -> NodeWithEdges {
    let file = &snapshot.files[id];
    let edges = file
        .edges
        .iter()
        .filter(|edge| shown.contains_key(&edge.to));
    NodeWithEdges {
        node: GraphNode {
            id: file.path.to_string(),
            kind: file.kind.as_str(),
            class_name: snapshot
                .script(id)
                .and_then(|script| script.class_name.clone()),
            dependencies: file.edges.len(),
            dependents: file.dependents.len(),
        },
        edges: edges
            .map(|edge| GraphEdge {
                from: file.path.to_string(),
                to: snapshot.files[edge.to].path.to_string(),
                via: edge.via,
                line: edge.line,
            })
            .collect(),
    }
}

fn cycles_among(
    snapshot: &ProjectSnapshot,
    chosen: &[FileId],
    position: &HashMap<FileId, usize>,
) -> Vec<Vec<String>> {
    let next: Vec<Vec<usize>> = chosen
        .iter()
        .map(|id| {
            let edges = snapshot.files[*id]
                .edges
                .iter()
                .filter(|edge| edge.via.is_needed_to_load());
            edges
                .filter_map(|edge| position.get(&edge.to).copied())
                .collect()
        })
        .collect();
    let path = |at: usize| snapshot.files[chosen[at]].path.to_string();
    let found = cycles(&next).into_iter();
    found
        .map(|cycle| cycle.into_iter().map(path).collect())
        .collect()
}
