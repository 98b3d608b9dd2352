//! Answers: what the tools return, computed from one snapshot, each bounded in size.
//!
//! Here is what the answers share: names of things in the project, and the budget of an answer.
//! A refusal is a sentence for the person or model that asked; it becomes a tool error, never a
//! protocol error, so that the client shows it.

mod dependencies;
mod graph;
mod project;
mod script;
mod search;

pub(crate) use dependencies::{DependenciesAnswer, DependenciesQuery};
pub(crate) use graph::{GraphAnswer, GraphQuery};
pub(crate) use project::{ProjectAnswer, ProjectQuery};
pub(crate) use script::{ScriptAnswer, ScriptQuery, Source};
pub(crate) use search::{SearchAnswer, SearchQuery};

use rmcp::schemars::JsonSchema;
use serde::Serialize;

use crate::facts::FileKind;
use crate::fault::Fault;
use crate::index::{FileId, Snapshot};
use crate::limits::{FAULTS_BESIDE_MAX, LISTED_MAX, clip};
use crate::path::{PathRefusal, ProjectPath};

/// Why a question is not answered, as a sentence.
pub(crate) type Refusal = String;

/// A list that may be cut, with how long it really is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct Listed<T> {
    /// How many there are.
    pub(crate) total: usize,
    /// The first of them.
    pub(crate) items: Vec<T>,
}

/// What is left of an answer's size.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_left: usize,
}

impl Budget {
    /// A budget of `bytes` of JSON.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes_left: bytes }
    }

    /// Splits off one part of `parts` for a list that must not crowd out the others.
    fn share(&mut self, parts: usize) -> Self {
        let bytes = self.bytes_left / parts;
        self.bytes_left -= bytes;
        Self::new(bytes)
    }

    /// Whether `item` still fits; if so it is counted.
    fn takes(&mut self, item: &impl Serialize) -> bool {
        // Two more for the separator and for rounding; an item that cannot be written fits nowhere.
        let bytes = serde_json::to_string(item).map_or(usize::MAX, |json| json.len() + 2);
        let fits = bytes <= self.bytes_left;
        if fits {
            self.bytes_left -= bytes;
        }
        fits
    }

    /// The first `LISTED_MAX` of `all` that fit.
    fn list<T: Serialize>(&mut self, all: Vec<T>) -> Listed<T> {
        let total = all.len();
        let items = all.into_iter().take(LISTED_MAX);
        Listed {
            total,
            items: items.take_while(|item| self.takes(item)).collect(),
        }
    }

    /// The items of `all` from `offset` on, at most `limit` and as many as fit, and where the next page
    /// starts. One item always fits: a page must lead on.
    fn page<T: Serialize>(
        &mut self,
        all: impl ExactSizeIterator<Item = T>,
        offset: usize,
        limit: usize,
    ) -> (Vec<T>, Option<usize>) {
        let total = all.len();
        let mut items = Vec::new();
        for item in all.skip(offset).take(limit) {
            if !self.takes(&item) && !items.is_empty() {
                break;
            }
            items.push(item);
        }
        let next = offset.saturating_add(items.len());
        (items, (next < total).then_some(next))
    }
}

/// What to say of an answer that leads on.
fn note(next_offset: Option<usize>, snapshot: &Snapshot) -> Option<String> {
    let more = next_offset.map(|next| format!("There is more: ask again with offset {next}."));
    let cut = snapshot.truncated.then(|| {
        "The project is larger than what is indexed: some files are left out (see faults)."
            .to_owned()
    });
    match (more, cut) {
        (Some(more), Some(cut)) => Some(format!("{more} {cut}")),
        (more, cut) => more.or(cut),
    }
}

/// The faults of the whole project, beside an answer about something else.
fn faults_beside(snapshot: &Snapshot, budget: &mut Budget) -> Listed<Fault> {
    let first = snapshot.faults.iter().take(FAULTS_BESIDE_MAX);
    Listed {
        total: snapshot.faults.len(),
        items: budget.share(4).list(first.cloned().collect()).items,
    }
}

/// The faults of one file.
fn faults_of(snapshot: &Snapshot, path: &str, budget: &mut Budget) -> Listed<Fault> {
    let faults = snapshot.faults.iter().filter(|fault| fault.path == path);
    budget.share(4).list(faults.cloned().collect())
}

/// Something that a client can name: `res://…`, `res://scene.tscn#Node/Path`, `res://scene.tscn::script`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    File(FileId),
    Node { scene: FileId, path: String },
    BuiltIn { file: FileId, id: String },
}

/// The id of a node of a scene.
fn node_id(snapshot: &Snapshot, scene: FileId, path: &str) -> String {
    format!("{}#{path}", snapshot.files[scene].path)
}

/// The id of a script written inside a file.
fn built_in_id(snapshot: &Snapshot, file: FileId, id: &str) -> String {
    format!("{}::{id}", snapshot.files[file].path)
}

/// The refusal of a path.
fn refused(text: &str, refusal: &PathRefusal) -> Refusal {
    format!("refused: `{}`: {refusal}", clip(text, 200))
}

impl Subject {
    /// What `text` names: an id as the answers give it, a path, a uid, a `class_name`, an autoload, or the
    /// name of exactly one node.
    fn find(snapshot: &Snapshot, text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        let file = ProjectPath::parse(text)
            .ok()
            .and_then(|path| snapshot.file_at(&path));
        if let Some(file) = file {
            return Ok(Self::File(file));
        }
        if let Some((file, node)) = text.split_once('#') {
            let scene = file_named(snapshot, file)?;
            return match snapshot.node_at(scene, node) {
                Some(_) => Ok(Self::Node {
                    scene,
                    path: node.to_owned(),
                }),
                None => Err(format!(
                    "{} has no node `{node}`",
                    snapshot.files[scene].path
                )),
            };
        }
        if let Some((file, id)) = text.split_once("::") {
            let file = file_named(snapshot, file)?;
            let scene = snapshot.scene(file);
            let known = scene
                .is_some_and(|scene| scene.built_in_scripts.iter().any(|script| script.id == id));
            return match known {
                true => Ok(Self::BuiltIn {
                    file,
                    id: id.to_owned(),
                }),
                false => Err(format!(
                    "{} holds no script `{id}`",
                    snapshot.files[file].path
                )),
            };
        }
        let named = snapshot.autoloads.get(text).map(|(id, _)| *id);
        if let Some(id) = named.or_else(|| snapshot.classes.get(text).copied()) {
            return Ok(Self::File(id));
        }
        match file_named(snapshot, text) {
            Ok(id) => Ok(Self::File(id)),
            Err(refusal) => Self::only_node_named(snapshot, text, refusal),
        }
    }

    /// The node with this name, if there is exactly one in the project; `none` if there is none.
    fn only_node_named(snapshot: &Snapshot, name: &str, none: Refusal) -> Result<Self, Refusal> {
        let mut found: Vec<Self> = Vec::new();
        for scene in 0..snapshot.files.len() {
            let nodes = snapshot.scene(scene).map(|facts| &facts.nodes);
            let nodes = nodes.into_iter().flatten().filter(|node| node.name == name);
            found.extend(nodes.map(|node| Self::Node {
                scene,
                path: node.path.clone(),
            }));
        }
        match found.len() {
            0 => Err(none),
            1 => Ok(found.remove(0)),
            many => {
                let some: Vec<String> =
                    found.iter().take(5).map(|node| node.id(snapshot)).collect();
                Err(format!(
                    "{many} nodes are called `{name}`; name one by its id, such as {}",
                    some.join(", ")
                ))
            }
        }
    }

    fn id(&self, snapshot: &Snapshot) -> String {
        match self {
            Self::File(file) => snapshot.files[*file].path.to_string(),
            Self::Node { scene, path } => node_id(snapshot, *scene, path),
            Self::BuiltIn { file, id } => built_in_id(snapshot, *file, id),
        }
    }
}

fn file_named(snapshot: &Snapshot, text: &str) -> Result<FileId, Refusal> {
    if text.starts_with("uid://") {
        let known = snapshot.by_uid.get(text).copied();
        return known.ok_or_else(|| format!("no file of the project has the uid {text}"));
    }
    let path = ProjectPath::parse(text).map_err(|refusal| refused(text, &refusal))?;
    let known = snapshot.file_at(&path);
    known.ok_or_else(|| {
        format!(
            "nothing in the project is called `{}`; search_nodes finds what there is",
            clip(text, 200)
        )
    })
}

/// Whether a file is left out unless addons are asked for.
fn is_addon(snapshot: &Snapshot, file: FileId) -> bool {
    snapshot.files[file].path.in_addons()
}

/// Whether a file that nothing is connected to is worth reporting: something the game could use.
fn can_be_isolated(snapshot: &Snapshot, file: FileId) -> bool {
    let file = &snapshot.files[file];
    match file.kind {
        FileKind::Scene | FileKind::Script | FileKind::Shader | FileKind::Resource => true,
        // Other assets are readmes, licences and sources of what was exported.
        FileKind::Asset => file.imported_as.is_some(),
        FileKind::Project | FileKind::Plugin | FileKind::Import | FileKind::Uid => false,
    }
}
