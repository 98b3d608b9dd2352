//! `get_node_dependencies`: what one file or node needs, and what needs it.

use std::collections::HashSet;

use rmcp::schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::{AnswerBudget, Listed, faults_of, note};
use super::subject::{QueryRefusal, QuerySubject, built_in_id};
use crate::facts::{NodeFacts, NodeScript};
use crate::fault::FileFault;
use crate::index::{FileId, MissingReference, ProjectSnapshot, Via, cycles};

/// Edges on a page unless asked otherwise.
const LIMIT_DEFAULT: usize = 100;

/// The most edges on a page.
const LIMIT_MAX: usize = 1_000;

/// The arguments of `get_node_dependencies`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct DependenciesQuery {
    /// The subject: an id that another tool returned, a path ("res://player/player.gd"), a node ("res://main.tscn#Player/Sprite2D"), a uid, a class_name, an autoload, or the name of a node if only one has it.
    node: String,
    /// Which direction to follow. Both unless said.
    #[serde(default)]
    direction: Direction,
    /// How many references to follow one after the other: 1 to 32, 1 unless said.
    #[schemars(range(min = 1, max = 32))]
    depth: Option<usize>,
    /// How many edges to leave out of each list.
    #[serde(default)]
    offset: usize,
    /// How many edges of each list to return: 1 to 1000, 100 unless said.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

/// Which direction to follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "rmcp::schemars", inline)]
enum Direction {
    /// What it needs.
    Dependencies,
    /// What needs it.
    Dependents,
    /// Both.
    #[default]
    Both,
}

/// The answer of `get_node_dependencies`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct DependenciesAnswer {
    /// The id of what was asked for.
    node: String,
    /// What it needs, nearest first.
    dependencies: Listed<DependencyEdge>,
    /// What needs it, nearest first. A single node of a scene has none: its signals are in connections.
    dependents: Listed<DependencyEdge>,
    /// References that lead nowhere, of the file it is in.
    missing: Listed<MissingReference>,
    /// The cycle of references that its file is part of; empty if there is none.
    cycle: Listed<String>,
    /// Signal connections made in the editor, from or to the node, or all of the scene.
    connections: Listed<ConnectionAnswer>,
    /// It needs nothing and nothing needs it.
    isolated: bool,
    /// Where the next page starts, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<usize>,
    /// What is wrong with the file it is in.
    faults: Listed<FileFault>,
    /// What the answer leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// One reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct DependencyEdge {
    /// What refers.
    from: String,
    /// What it refers to.
    to: String,
    /// How it refers.
    via: Via,
    /// The line it does so on.
    line: u32,
    /// How many references away this is from what was asked for.
    depth: usize,
}

/// A signal connection.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
struct ConnectionAnswer {
    /// The signal.
    signal: String,
    /// The node that emits it.
    from: String,
    /// The node that receives it.
    to: String,
    /// The method that is called.
    method: String,
    /// The line it is declared on.
    line: u32,
}

impl DependenciesQuery {
    /// Answers the question.
    pub(crate) fn answer(
        &self,
        snapshot: &ProjectSnapshot,
        mut budget: AnswerBudget,
    ) -> Result<DependenciesAnswer, QueryRefusal> {
        let subject = QuerySubject::find(snapshot, &self.node)?;
        let depth = self.depth.unwrap_or(1).clamp(1, 32);
        let (file, node_path) = match &subject {
            QuerySubject::File(file) | QuerySubject::BuiltIn { file, .. } => (*file, None),
            QuerySubject::Node { scene, path } => (*scene, Some(path.as_str())),
        };
        let node = node_path.and_then(|path| snapshot.node_at(file, path));
        let needs = match node {
            Some(node) => needs_of_node(snapshot, file, node, &subject.id(snapshot), depth),
            None => needs_of_file(snapshot, file, depth),
        };
        let needed_by = match node {
            Some(_) => Vec::new(),
            None => needed_by(snapshot, file, depth),
        };
        let isolated = needs.is_empty() && needed_by.is_empty();
        let path = snapshot.files[file].path.as_str();
        let faults = faults_of(snapshot, path, &mut budget);
        let missing = snapshot
            .missing
            .iter()
            .filter(|missing| missing.from == path);
        let missing = budget.share(5).list(missing.cloned().collect());
        let cycle = budget.share(5).list(cycle_of(snapshot, file));
        let connections = budget.share(5).list(connections(snapshot, file, node_path));
        let shown = |wanted: Direction, edges: Vec<DependencyEdge>| match self.direction {
            Direction::Both => edges,
            direction if direction == wanted => edges,
            _ => Vec::new(),
        };
        let mut halves = budget.share(2);
        let (dependencies, next) = self.page(shown(Direction::Dependencies, needs), &mut halves);
        let (dependents, next_of_dependents) =
            self.page(shown(Direction::Dependents, needed_by), &mut budget);
        // One offset serves both lists, so the next page starts where the shorter of them stopped.
        let next_offset = next.into_iter().chain(next_of_dependents).min();
        Ok(DependenciesAnswer {
            node: subject.id(snapshot),
            dependencies,
            dependents,
            missing,
            cycle,
            connections,
            isolated,
            next_offset,
            faults,
            note: note(next_offset, snapshot),
        })
    }

    fn page(
        &self,
        edges: Vec<DependencyEdge>,
        budget: &mut AnswerBudget,
    ) -> (Listed<DependencyEdge>, Option<usize>) {
        let total = edges.len();
        let limit = self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let (items, next) = budget.page(edges.into_iter(), self.offset, limit);
        (Listed { total, items }, next)
    }
}

fn edge(
    snapshot: &ProjectSnapshot,
    from: FileId,
    edge: &crate::index::Edge,
    depth: usize,
) -> DependencyEdge {
    DependencyEdge {
        from: snapshot.files[from].path.to_string(),
        to: snapshot.files[edge.to].path.to_string(),
        via: edge.via,
        line: edge.line,
        depth,
    }
}

/// The references met when following them from `starts`, nearest first; `starts` are at `first_depth - 1`.
fn follow(
    snapshot: &ProjectSnapshot,
    starts: Vec<FileId>,
    first_depth: usize,
    depth_max: usize,
) -> Vec<DependencyEdge> {
    let mut found = Vec::new();
    let mut seen: HashSet<FileId> = starts.iter().copied().collect();
    let mut level = starts;
    for depth in first_depth..=depth_max {
        let mut next = Vec::new();
        for from in level {
            for reference in &snapshot.files[from].edges {
                found.push(edge(snapshot, from, reference, depth));
                if seen.insert(reference.to) {
                    next.push(reference.to);
                }
            }
        }
        level = next;
    }
    found
}

fn needs_of_file(snapshot: &ProjectSnapshot, file: FileId, depth: usize) -> Vec<DependencyEdge> {
    follow(snapshot, vec![file], 1, depth)
}

fn needs_of_node(
    snapshot: &ProjectSnapshot,
    scene: FileId,
    node: &NodeFacts,
    id: &str,
    depth: usize,
) -> Vec<DependencyEdge> {
    let mut found = Vec::new();
    let mut starts = Vec::new();
    for external in &node.uses {
        let Some(Some(to)) = snapshot.files[scene].externals.get(*external) else {
            continue;
        };
        let via = if node.instance == Some(*external) && node.path == "." {
            Via::Inherits
        } else if node.instance == Some(*external) {
            Via::Instance
        } else if node.script == Some(NodeScript::External(*external)) {
            Via::Script
        } else {
            Via::Resource
        };
        found.push(DependencyEdge {
            from: id.to_owned(),
            to: snapshot.files[*to].path.to_string(),
            via,
            line: node.line,
            depth: 1,
        });
        if !starts.contains(to) {
            starts.push(*to);
        }
    }
    if let Some(NodeScript::BuiltIn(script)) = &node.script {
        found.push(DependencyEdge {
            from: id.to_owned(),
            to: built_in_id(snapshot, scene, script),
            via: Via::Script,
            line: node.line,
            depth: 1,
        });
    }
    found.extend(follow(snapshot, starts, 2, depth));
    found
}

fn needed_by(snapshot: &ProjectSnapshot, file: FileId, depth_max: usize) -> Vec<DependencyEdge> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([file]);
    let mut level = vec![file];
    for depth in 1..=depth_max {
        let mut next = Vec::new();
        for to in level {
            for from in &snapshot.files[to].dependents {
                let references = snapshot.files[*from]
                    .edges
                    .iter()
                    .filter(|edge| edge.to == to);
                found.extend(references.map(|reference| edge(snapshot, *from, reference, depth)));
                if seen.insert(*from) {
                    next.push(*from);
                }
            }
        }
        level = next;
    }
    found
}

/// The members of the cycle that a file is part of.
fn cycle_of(snapshot: &ProjectSnapshot, file: FileId) -> Vec<String> {
    let next: Vec<Vec<usize>> = snapshot
        .files
        .iter()
        .map(|file| {
            let edges = file
                .edges
                .iter()
                .filter(|edge| edge.via.is_needed_to_load());
            edges.map(|edge| edge.to).collect()
        })
        .collect();
    let found = cycles(&next)
        .into_iter()
        .find(|cycle| cycle.contains(&file));
    let members = found.unwrap_or_default().into_iter();
    members
        .map(|member| snapshot.files[member].path.to_string())
        .collect()
}

fn connections(
    snapshot: &ProjectSnapshot,
    file: FileId,
    node: Option<&str>,
) -> Vec<ConnectionAnswer> {
    let scene = snapshot.scene(file);
    let connections = scene.into_iter().flat_map(|scene| &scene.connections);
    connections
        .filter(|connection| {
            node.is_none_or(|node| connection.from == node || connection.to == node)
        })
        .map(|connection| ConnectionAnswer {
            signal: connection.signal.clone(),
            from: connection.from.clone(),
            to: connection.to.clone(),
            method: connection.method.clone(),
            line: connection.line,
        })
        .collect()
}
