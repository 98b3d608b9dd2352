//! A snapshot: the files as a graph, with every reference resolved. It never changes once built.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rmcp::schemars::JsonSchema;
use serde::Serialize;

use super::file::IndexedFile;
use super::references::{ReferenceTarget, Via, references};
use crate::facts::{Facts, FileKind, ProjectFacts, SceneFacts};
use crate::fault::{FileFault, Flaw};
use crate::path::{PathRefusal, ProjectPath};
use crate::root::ProjectRoot;
use crate::scan::Listing;
use crate::script::ScriptFacts;

/// A file of a snapshot: an index into [`ProjectSnapshot::files`].
pub(crate) type FileId = usize;

/// A file of the graph.
#[derive(Debug)]
pub(crate) struct FileNode {
    pub(crate) path: ProjectPath,
    pub(crate) kind: FileKind,
    pub(crate) uid: Option<String>,
    /// The resource class that an asset is imported as.
    pub(crate) imported_as: Option<String>,
    pub(crate) facts: Facts,
    /// What it refers to.
    pub(crate) edges: Vec<Edge>,
    /// The files that refer to it.
    pub(crate) dependents: Vec<FileId>,
    /// For each external of a scene, the file it is.
    pub(crate) externals: Vec<Option<FileId>>,
}

/// A reference from one file to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) to: FileId,
    pub(crate) via: Via,
    pub(crate) line: u32,
}

/// A reference to something that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars")]
pub(crate) struct MissingReference {
    /// The file that refers.
    pub(crate) from: String,
    /// The line it does so on.
    pub(crate) line: u32,
    /// What it refers to, as written.
    pub(crate) target: String,
    /// How it refers.
    pub(crate) via: Via,
    /// Why it cannot be found.
    pub(crate) reason: MissingReason,
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(crate = "rmcp::schemars", inline)]
pub(crate) enum MissingReason {
    /// There is no such file.
    NotFound,
    /// No file has this uid.
    UnknownUid,
    /// The path leads out of the project.
    OutsideProject,
    /// The project is larger than what is indexed.
    NotIndexed,
}

/// The project at one moment.
#[derive(Debug)]
pub(crate) struct ProjectSnapshot {
    /// The files of the graph, sorted by path.
    pub(crate) files: Vec<FileNode>,
    pub(crate) by_path: HashMap<ProjectPath, FileId>,
    pub(crate) by_uid: HashMap<String, FileId>,
    /// Scripts by `class_name`.
    pub(crate) classes: BTreeMap<String, FileId>,
    /// Files by the name they are autoloaded under, and whether scripts can use that name.
    pub(crate) autoloads: BTreeMap<String, (FileId, bool)>,
    pub(crate) missing: Vec<MissingReference>,
    pub(crate) faults: Vec<FileFault>,
    /// A bound cut the listing of files off.
    pub(crate) truncated: bool,
    pub(crate) project: Arc<ProjectFacts>,
    listing_faults: Vec<FileFault>,
}

impl ProjectSnapshot {
    /// Builds the graph.
    pub(super) fn build(root: &ProjectRoot, files: &[Arc<IndexedFile>], listing: &Listing) -> Self {
        let mut snapshot = Self::empty(listing);
        for file in files {
            snapshot.add(file);
        }
        snapshot.sidecars(files);
        snapshot.names();
        let lookup = Lookup {
            snapshot: &snapshot,
            root: listing.has_links.then_some(root),
        };
        let found: Vec<Found> = (0..snapshot.files.len()).map(|id| lookup.of(id)).collect();
        for (id, found) in found.into_iter().enumerate() {
            for edge in &found.edges {
                snapshot.files[edge.to].dependents.push(id);
            }
            snapshot.files[id].edges = found.edges;
            snapshot.files[id].externals = found.externals;
            snapshot.missing.extend(found.missing);
        }
        for file in &mut snapshot.files {
            file.dependents.dedup();
        }
        snapshot.faults.sort();
        snapshot
    }

    /// Whether a listing shows nothing that this snapshot does not know.
    pub(super) fn is_of(&self, listing: &Listing) -> bool {
        self.truncated == listing.truncated && self.listing_faults == listing.faults
    }

    /// The file at `path`.
    pub(crate) fn file_at(&self, path: &ProjectPath) -> Option<FileId> {
        self.by_path.get(path).copied()
    }

    /// What the scene with this id says.
    pub(crate) fn scene(&self, id: FileId) -> Option<&Arc<SceneFacts>> {
        match &self.files[id].facts {
            Facts::Scene(scene) => Some(scene),
            _ => None,
        }
    }

    /// What the script with this id says.
    pub(crate) fn script(&self, id: FileId) -> Option<&Arc<ScriptFacts>> {
        match &self.files[id].facts {
            Facts::Script(script) => Some(script),
            _ => None,
        }
    }

    fn empty(listing: &Listing) -> Self {
        Self {
            files: Vec::new(),
            by_path: HashMap::new(),
            by_uid: HashMap::new(),
            classes: BTreeMap::new(),
            autoloads: BTreeMap::new(),
            missing: Vec::new(),
            faults: listing.faults.clone(),
            truncated: listing.truncated,
            project: Arc::default(),
            listing_faults: listing.faults.clone(),
        }
    }

    fn add(&mut self, file: &IndexedFile) {
        self.faults.extend(file.faults.iter().cloned());
        if matches!(file.kind, FileKind::Import | FileKind::Uid) {
            return;
        }
        if let Facts::Project(project) = &file.facts {
            self.project = project.clone();
        }
        let uid = match &file.facts {
            Facts::Scene(scene) => scene.uid.clone(),
            _ => None,
        };
        let id = self.files.len();
        self.by_path.insert(file.path.clone(), id);
        self.files.push(FileNode {
            path: file.path.clone(),
            kind: file.kind,
            uid,
            imported_as: None,
            facts: file.facts.clone(),
            edges: Vec::new(),
            dependents: Vec::new(),
            externals: Vec::new(),
        });
    }

    /// Gives files what the `.uid` and `.import` beside them say.
    fn sidecars(&mut self, files: &[Arc<IndexedFile>]) {
        for file in files {
            let (suffix, uid, class) = match &file.facts {
                Facts::Uid(uid) => (".uid", Some(uid.clone()), None),
                Facts::Import(import) => (".import", import.uid.clone(), import.class.clone()),
                _ => continue,
            };
            let owner = file.path.without_suffix(suffix);
            let Some(id) = owner.as_ref().and_then(|owner| self.file_at(owner)) else {
                let what = "it stands beside no file: what it described was moved or deleted";
                self.faults.push(Flaw::whole(what).of(file.path.as_str()));
                continue;
            };
            let owner = &mut self.files[id];
            owner.uid = owner.uid.take().or(uid);
            owner.imported_as = class;
        }
    }

    /// Fills the tables of uids, classes and autoloads.
    fn names(&mut self) {
        for id in 0..self.files.len() {
            let file = &self.files[id];
            let path = file.path.as_str();
            if let Some(uid) = file
                .uid
                .clone()
                .filter(|uid| uid.starts_with("uid://") && uid != "uid://<invalid>")
            {
                if let Some(first) = self.by_uid.get(&uid) {
                    let what = format!("{uid} is already the uid of {}", self.files[*first].path);
                    self.faults.push(Flaw::whole(what).of(path));
                } else {
                    self.by_uid.insert(uid, id);
                }
            }
            let class = self.script(id).and_then(|script| script.class_name.clone());
            if let Some(class) = class {
                if let Some(first) = self.classes.get(&class) {
                    let what = format!(
                        "class_name {class} is already used by {}",
                        self.files[*first].path
                    );
                    let path = self.files[id].path.as_str();
                    self.faults.push(Flaw::whole(what).of(path));
                } else {
                    self.classes.insert(class, id);
                }
            }
        }
        for autoload in &self.project.autoloads {
            let target = match autoload.target.strip_prefix("uid://") {
                Some(_) => self.by_uid.get(&autoload.target).copied(),
                None => ProjectPath::parse(&autoload.target)
                    .ok()
                    .and_then(|path| self.file_at(&path)),
            };
            if let Some(id) = target {
                self.autoloads
                    .insert(autoload.name.clone(), (id, autoload.singleton));
            }
        }
    }
}

/// One file's references, resolved.
#[derive(Default)]
struct Found {
    edges: Vec<Edge>,
    externals: Vec<Option<FileId>>,
    missing: Vec<MissingReference>,
}

struct Lookup<'a> {
    snapshot: &'a ProjectSnapshot,
    /// Set if the project holds links, so that a path may mean a file listed elsewhere.
    root: Option<&'a ProjectRoot>,
}

impl Lookup<'_> {
    fn of(&self, id: FileId) -> Found {
        let file = &self.snapshot.files[id];
        let mut found = Found::default();
        let mut seen = HashSet::new();
        for reference in references(&file.facts) {
            let (outcome, via) = match reference.target {
                ReferenceTarget::File { uid, path } => {
                    (self.file(&file.path, uid, path), reference.via)
                }
                ReferenceTarget::Class(name) => {
                    (Ok(self.snapshot.classes.get(name).copied()), reference.via)
                }
                ReferenceTarget::Symbol(name) => self.symbol(name),
            };
            match outcome {
                Ok(Some(to)) if to != id || reference.via != Via::Class => {
                    // Naming the base class in `extends` is no further use of it.
                    let is_base = via == Via::Class && seen.contains(&(to, Via::Extends));
                    if !is_base && seen.insert((to, via)) {
                        let line = reference.line;
                        found.edges.push(Edge { to, via, line });
                    }
                }
                Ok(_) => {}
                Err((target, reason)) => found.missing.push(MissingReference {
                    from: file.path.to_string(),
                    line: reference.line,
                    target,
                    via,
                    reason,
                }),
            }
        }
        if let Facts::Scene(scene) = &file.facts {
            let externals = scene.externals.iter().map(|external| {
                let (uid, path) = (external.uid.as_deref(), external.path.as_deref());
                self.file(&file.path, uid, path).ok().flatten()
            });
            found.externals = externals.collect();
        }
        found
    }

    fn symbol(&self, name: &str) -> (Result<Option<FileId>, (String, MissingReason)>, Via) {
        match self.snapshot.autoloads.get(name) {
            Some((id, true)) => (Ok(Some(*id)), Via::Autoload),
            _ => (Ok(self.snapshot.classes.get(name).copied()), Via::Class),
        }
    }

    /// The file that a reference means; nothing if it means something that is not served (`user://`, `.godot`).
    fn file(
        &self,
        from: &ProjectPath,
        uid: Option<&str>,
        path: Option<&str>,
    ) -> Result<Option<FileId>, (String, MissingReason)> {
        // Newer versions of Godot also write a uid where a path is expected.
        let (uid, path) = match path {
            Some(text) if text.starts_with("uid://") => (uid.or(path), None),
            _ => (uid, path),
        };
        let known = uid.and_then(|uid| self.snapshot.by_uid.get(uid));
        if let Some(id) = known {
            return Ok(Some(*id));
        }
        let Some(path) = path else {
            let uid = uid.unwrap_or_default();
            return match uid {
                "" | "uid://<invalid>" => Ok(None),
                _ => Err((uid.to_owned(), MissingReason::UnknownUid)),
            };
        };
        // `res://scene.tscn::1` is a resource inside that scene.
        let file = path.split("::").next().unwrap_or(path);
        let reason = match from.join(file) {
            Ok(target) => match self.at(&target) {
                Some(id) => return Ok(Some(id)),
                None if self.snapshot.truncated => MissingReason::NotIndexed,
                None => MissingReason::NotFound,
            },
            Err(PathRefusal::Outside) => MissingReason::OutsideProject,
            Err(PathRefusal::Scheme | PathRefusal::Hidden) => return Ok(None),
            Err(PathRefusal::Unusable) => MissingReason::NotFound,
        };
        Err((path.to_owned(), reason))
    }

    fn at(&self, path: &ProjectPath) -> Option<FileId> {
        let listed = self.snapshot.file_at(path);
        listed.or_else(|| {
            let real = self.root?.real_path(path).ok()?;
            self.snapshot.file_at(&real)
        })
    }
}
