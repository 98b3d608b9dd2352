//! `.tscn` and `.tres`: a tree of nodes or one resource, with what it takes from other files.

mod reading;

use crate::fault::Flaws;
use crate::script::ScriptFacts;
use crate::text::Document;

/// What the first line says the file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SceneForm {
    /// `[gd_scene …]`.
    Scene,
    /// `[gd_resource …]`.
    Resource,
    /// Neither.
    #[default]
    Unknown,
}

/// What a scene or text resource says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SceneFacts {
    /// Scene or resource.
    pub(crate) form: SceneForm,
    /// `format=`: 2 is Godot 3, 3 and 4 are Godot 4.
    pub(crate) format: Option<i64>,
    /// Its own uid.
    pub(crate) uid: Option<String>,
    /// A resource's class: `type=`, or `script_class=` where there is one.
    pub(crate) class: Option<String>,
    /// What it takes from other files.
    pub(crate) externals: Vec<External>,
    /// Its nodes, the root first.
    pub(crate) nodes: Vec<NodeFacts>,
    /// Indexes into `nodes`, in the order of their paths. A map would take more room than the nodes' names.
    by_path: Vec<u32>,
    /// Signal connections made in the editor.
    pub(crate) connections: Vec<Connection>,
    /// Scripts written inside the file.
    pub(crate) built_in_scripts: Vec<BuiltInScript>,
    /// Files named by `Resource("res://…")` inside values, each with its line.
    pub(crate) files: Vec<(String, u32)>,
}

/// An `[ext_resource]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct External {
    /// The id that the file uses for it.
    pub(crate) id: String,
    /// Its class: `Script`, `PackedScene`, `Texture2D`.
    pub(crate) class: String,
    /// Its path as written.
    pub(crate) path: Option<String>,
    /// Its uid.
    pub(crate) uid: Option<String>,
    /// Where it is declared.
    pub(crate) line: u32,
    /// It is the scene that this scene inherits.
    pub(crate) inherited: bool,
    /// It is a scene that some node is an instance of.
    pub(crate) instanced: bool,
}

/// A `[node]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeFacts {
    /// Its name.
    pub(crate) name: String,
    /// Its path from the scene's root: `.` for the root, `Player/Sprite` below it.
    pub(crate) path: String,
    /// Its engine class; absent for instances and for changed nodes of an inherited scene.
    pub(crate) class: Option<String>,
    /// The scene that it is an instance of: an index into `externals`.
    pub(crate) instance: Option<usize>,
    /// The scene that is loaded in its place later: `instance_placeholder`, a path.
    pub(crate) placeholder: Option<String>,
    /// Its script.
    pub(crate) script: Option<NodeScript>,
    /// The groups it is in.
    pub(crate) groups: Vec<String>,
    /// Whether scripts can find it as `%Name`.
    pub(crate) unique_name: bool,
    /// Its properties as text.
    pub(crate) properties: Vec<(String, String)>,
    /// What it uses, also through sub-resources: indexes into `externals`.
    pub(crate) uses: Vec<usize>,
    /// Where it is declared.
    pub(crate) line: u32,
}

/// The script of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NodeScript {
    /// A file: an index into `externals`.
    External(usize),
    /// Written inside the scene: the id of its `[sub_resource]`.
    BuiltIn(String),
}

/// A `[connection]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) signal: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) method: String,
    pub(crate) line: u32,
}

/// A script written inside a scene or resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuiltInScript {
    /// The id of its `[sub_resource]`.
    pub(crate) id: String,
    /// The line its source starts on.
    pub(crate) line: u32,
    /// What it says; its lines count from the start of its source.
    pub(crate) script: ScriptFacts,
}

impl SceneFacts {
    /// The node at `path`.
    pub(crate) fn node_at(&self, path: &str) -> Option<&NodeFacts> {
        let node = |at: u32| usize::try_from(at).ok().and_then(|at| self.nodes.get(at));
        let found = self
            .by_path
            .binary_search_by(|at| node(*at).map_or("", |node| node.path.as_str()).cmp(path));
        found.ok().and_then(|found| node(self.by_path[found]))
    }
}

/// The source of the script with this id inside a scene's text.
pub(crate) fn built_in_source(text: &str, id: &str) -> Option<String> {
    let document = Document::read(text, &mut Flaws::default());
    let section = document
        .named("sub_resource")
        .find(|section| section.field_text("id").as_deref() == Some(id))?;
    let source = section.property("script/source")?;
    source.value.as_text().map(str::to_owned)
}
