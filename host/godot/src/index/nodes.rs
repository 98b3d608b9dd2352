//! What a node of a scene really is, once instances and inheritance are followed.

use std::sync::Arc;

use super::snapshot::{FileId, ProjectSnapshot};
use crate::facts::{NodeFacts, NodeScript, SceneFacts};
use crate::limits::{INSTANCE_DEPTH_MAX, NODE_DEPTH_MAX};

/// A node's class and script.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effective {
    /// Its engine class.
    pub(crate) class: Option<String>,
    /// Its script: a file, or a file and the id of the script inside it.
    pub(crate) script: Option<(FileId, Option<String>)>,
    /// The groups it is in.
    pub(crate) groups: Vec<String>,
}

impl ProjectSnapshot {
    /// The class and script of `node` of the scene `scene`, its own or those of what it is an instance of.
    /// Scenes that instance each other in a circle give nothing.
    pub(crate) fn effective(&self, scene: FileId, node: &NodeFacts) -> Effective {
        self.effective_below(scene, node, INSTANCE_DEPTH_MAX)
    }

    /// The names a script's class has: its `class_name`, then those of what it extends, the engine class last.
    pub(crate) fn class_names(&self, (file, built_in): (FileId, Option<&str>)) -> Vec<String> {
        let inside = built_in.and_then(|id| {
            let scripts = &self.scene(file)?.built_in_scripts;
            scripts
                .iter()
                .find(|script| script.id == id)
                .map(|script| &script.script)
        });
        let mut script = inside.or_else(|| self.script(file).map(Arc::as_ref));
        let mut at = file;
        let mut names = Vec::new();
        for _ in 0..INSTANCE_DEPTH_MAX {
            let Some(facts) = script else {
                break;
            };
            names.extend(facts.class_name.clone());
            let Some(extends) = facts.extends.as_deref() else {
                break;
            };
            match self.base_script(at, extends) {
                Some(base) => {
                    at = base;
                    script = self.script(at).map(Arc::as_ref);
                }
                None => {
                    names.push(extends.to_owned());
                    break;
                }
            }
        }
        names
    }

    /// The script of the project that `extends` means in the file `from`.
    fn base_script(&self, from: FileId, extends: &str) -> Option<FileId> {
        let by_name = self
            .classes
            .get(extends)
            .or_else(|| self.by_uid.get(extends));
        by_name.copied().or_else(|| {
            let path = self.files[from].path.join(extends).ok()?;
            self.file_at(&path)
        })
    }

    /// The node at `path` in the scene `scene`.
    pub(crate) fn node_at(&self, scene: FileId, path: &str) -> Option<&NodeFacts> {
        self.scene(scene)?.node_at(path)
    }

    fn effective_below(&self, scene: FileId, node: &NodeFacts, depth_left: usize) -> Effective {
        let own_script = node.script.as_ref().and_then(|script| match script {
            NodeScript::External(external) => self.external(scene, *external).map(|id| (id, None)),
            NodeScript::BuiltIn(id) => Some((scene, Some(id.clone()))),
        });
        if node.class.is_some() {
            return Effective {
                class: node.class.clone(),
                script: own_script,
                groups: node.groups.clone(),
            };
        }
        let base = match depth_left {
            0 => None,
            _ => self.base(scene, node),
        };
        let from_base = base.map(|(scene, path)| match self.node_at(scene, &path) {
            Some(node) => self.effective_below(scene, node, depth_left - 1),
            None => {
                // It came with an instance inside that scene, which need not mention it.
                let unmentioned = NodeFacts {
                    path,
                    ..NodeFacts::default()
                };
                self.effective_below(scene, &unmentioned, depth_left - 1)
            }
        });
        let mut effective = from_base.unwrap_or_default();
        effective.script = own_script.or(effective.script);
        let own_groups = node.groups.iter();
        let added: Vec<_> = own_groups
            .filter(|group| !effective.groups.contains(group))
            .cloned()
            .collect();
        effective.groups.extend(added);
        effective
    }

    /// The node in another scene that `node` stands for.
    fn base(&self, scene: FileId, node: &NodeFacts) -> Option<(FileId, String)> {
        if let Some(external) = node.instance {
            return Some((self.external(scene, external)?, ".".to_owned()));
        }
        // A node without a class changes one that came with the nearest instance above it.
        let facts: &Arc<SceneFacts> = self.scene(scene)?;
        let mut above = node.path.as_str();
        for _ in 0..NODE_DEPTH_MAX {
            above = above.rsplit_once('/').map_or(".", |(parent, _)| parent);
            let holder = facts.node_at(above);
            if let Some(external) = holder.and_then(|holder| holder.instance) {
                let below = match above {
                    "." => node.path.as_str(),
                    _ => node.path.strip_prefix(above)?.strip_prefix('/')?,
                };
                return Some((self.external(scene, external)?, below.to_owned()));
            }
            if above == "." {
                break;
            }
        }
        None
    }

    fn external(&self, scene: FileId, external: usize) -> Option<FileId> {
        self.files[scene].externals.get(external).copied().flatten()
    }
}
