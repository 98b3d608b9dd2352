//! What a client can name in a question, and the refusal of what it cannot.

use crate::facts::FileKind;
use crate::index::{FileId, ProjectSnapshot};
use crate::limits::clip;
use crate::path::{PathRefusal, ProjectPath};

/// Why a question is not answered, as a sentence.
pub(crate) type QueryRefusal = String;

/// Something that a client can name: `res://…`, `res://scene.tscn#Node/Path`, `res://scene.tscn::script`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum QuerySubject {
    File(FileId),
    Node { scene: FileId, path: String },
    BuiltIn { file: FileId, id: String },
}

/// The id of a node of a scene.
pub(super) fn node_id(snapshot: &ProjectSnapshot, scene: FileId, path: &str) -> String {
    format!("{}#{path}", snapshot.files[scene].path)
}

/// The id of a script written inside a file.
pub(super) fn built_in_id(snapshot: &ProjectSnapshot, file: FileId, id: &str) -> String {
    format!("{}::{id}", snapshot.files[file].path)
}

/// The refusal of a path.
pub(super) fn refused(text: &str, refusal: &PathRefusal) -> QueryRefusal {
    format!("refused: `{}`: {refusal}", clip(text, 200))
}

impl QuerySubject {
    /// What `text` names: an id as the answers give it, a path, a uid, a `class_name`, an autoload, or the
    /// name of exactly one node.
    pub(super) fn find(snapshot: &ProjectSnapshot, text: &str) -> Result<Self, QueryRefusal> {
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
    fn only_node_named(
        snapshot: &ProjectSnapshot,
        name: &str,
        none: QueryRefusal,
    ) -> Result<Self, QueryRefusal> {
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

    pub(super) fn id(&self, snapshot: &ProjectSnapshot) -> String {
        match self {
            Self::File(file) => snapshot.files[*file].path.to_string(),
            Self::Node { scene, path } => node_id(snapshot, *scene, path),
            Self::BuiltIn { file, id } => built_in_id(snapshot, *file, id),
        }
    }
}

fn file_named(snapshot: &ProjectSnapshot, text: &str) -> Result<FileId, QueryRefusal> {
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
pub(super) fn is_addon(snapshot: &ProjectSnapshot, file: FileId) -> bool {
    snapshot.files[file].path.in_addons()
}

/// Whether a file that nothing is connected to is worth reporting: something the game could use.
pub(super) fn can_be_isolated(snapshot: &ProjectSnapshot, file: FileId) -> bool {
    let file = &snapshot.files[file];
    match file.kind {
        FileKind::Scene | FileKind::Script | FileKind::Shader | FileKind::Resource => true,
        // Other assets are readmes, licences and sources of what was exported.
        FileKind::Asset => file.imported_as.is_some(),
        FileKind::Project | FileKind::Plugin | FileKind::Import | FileKind::Uid => false,
    }
}
