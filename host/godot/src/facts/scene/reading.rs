//! Reading a scene or text resource from its document, section by section.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{BuiltInScript, Connection, External, NodeFacts, NodeScript, SceneFacts, SceneForm};
use crate::fault::{Flaw, Flaws};
use crate::limits::{
    GROUPS_PER_NODE_MAX, NAME_BYTES_MAX, PROPERTIES_PER_NODE_MAX, PROPERTY_TEXT_BYTES_MAX,
    USES_PER_NODE_MAX, clip,
};
use crate::script::ScriptFacts;
use crate::text::{Document, Link, Section, Variant};

impl SceneFacts {
    /// Reads a scene or a text resource.
    pub(crate) fn read(text: &str, flaws: &mut Flaws) -> Self {
        let document = Document::read(text, flaws);
        let mut reading = Reading::new(flaws);
        reading.header(&document);
        for section in document.named("ext_resource") {
            reading.external(section);
        }
        for section in document.named("sub_resource") {
            reading.internal(section);
        }
        for section in &document.sections {
            match section.name.as_str() {
                "node" => reading.node(section),
                "connection" => reading.connection(section),
                "resource" => {
                    reading.uses(section);
                }
                _ => {}
            }
        }
        reading.finish()
    }
}

/// What is read so far.
struct Reading<'f> {
    facts: SceneFacts,
    flaws: &'f mut Flaws,
    externals: HashMap<String, usize>,
    /// What each sub-resource uses: indexes into the scene's `externals`.
    internals: HashMap<String, Vec<usize>>,
}

impl<'f> Reading<'f> {
    fn new(flaws: &'f mut Flaws) -> Self {
        Self {
            facts: SceneFacts::default(),
            flaws,
            externals: HashMap::new(),
            internals: HashMap::new(),
        }
    }

    fn header(&mut self, document: &Document) {
        let header = document
            .sections
            .iter()
            .find(|section| !section.name.is_empty());
        let form = match header.map(|section| section.name.as_str()) {
            Some("gd_scene") => SceneForm::Scene,
            Some("gd_resource") => SceneForm::Resource,
            None if document.is_empty() => {
                self.flaws.push(Flaw::whole("the file is empty"));
                return;
            }
            _ => {
                let what = "it does not start with [gd_scene …] or [gd_resource …]";
                self.flaws.push(Flaw::at(1, what));
                return;
            }
        };
        self.facts.form = form;
        if let Some(header) = header {
            self.facts.format = header.field("format").and_then(Variant::as_int);
            self.facts.uid = header.field_text("uid");
            let script_class = header.field_text("script_class");
            self.facts.class = script_class.or_else(|| header.field_text("type"));
        }
    }

    fn external(&mut self, section: &Section) {
        let Some(id) = section.field_text("id") else {
            self.flaws
                .push(Flaw::at(section.line, "an [ext_resource] without an id"));
            return;
        };
        let path = section.field_text("path");
        let uid = section.field_text("uid");
        if path.is_none() && uid.is_none() {
            let what = format!("the [ext_resource] {id} has neither path nor uid");
            self.flaws.push(Flaw::at(section.line, what));
            return;
        }
        let index = self.facts.externals.len();
        if self.externals.insert(id.clone(), index).is_some() {
            let what = format!("two [ext_resource] have the id {id}");
            self.flaws.push(Flaw::at(section.line, what));
        }
        self.facts.externals.push(External {
            id,
            class: section.field_text("type").unwrap_or_default(),
            path,
            uid,
            line: section.line,
            inherited: false,
            instanced: false,
        });
    }

    fn internal(&mut self, section: &Section) {
        let Some(id) = section.field_text("id") else {
            self.flaws
                .push(Flaw::at(section.line, "a [sub_resource] without an id"));
            return;
        };
        if let Some(source) = section.property("script/source") {
            let text = source.value.as_text().unwrap_or_default();
            let mut flaws = Flaws::default();
            let script = ScriptFacts::read(text, &mut flaws);
            for flaw in flaws.into_vec() {
                let line = flaw
                    .line
                    .unwrap_or(1)
                    .saturating_sub(1)
                    .saturating_add(source.line);
                self.flaws.push(Flaw::at(line, flaw.what));
            }
            self.facts.built_in_scripts.push(BuiltInScript {
                id: id.clone(),
                line: source.line,
                script,
            });
        }
        let uses = self.uses(section);
        if self.internals.insert(id.clone(), uses).is_some() {
            let what = format!("two [sub_resource] have the id {id}");
            self.flaws.push(Flaw::at(section.line, what));
        }
    }

    fn node(&mut self, section: &Section) {
        let name = section.field_text("name").unwrap_or_else(|| {
            self.flaws
                .push(Flaw::at(section.line, "a [node] without a name"));
            "?".to_owned()
        });
        let parent = section.field_text("parent");
        let is_root = parent.is_none();
        if is_root && !self.facts.nodes.is_empty() {
            let what = format!("the node {name} has no parent, but the scene has a root already");
            self.flaws.push(Flaw::at(section.line, what));
        }
        let path = match parent.as_deref() {
            None => ".".to_owned(),
            Some(".") => name.clone(),
            Some(parent) => clip(&format!("{parent}/{name}"), NAME_BYTES_MAX),
        };
        let instance = self.instance(section, is_root);
        let groups = section
            .field("groups")
            .map(Variant::items)
            .unwrap_or_default();
        let properties = section
            .properties
            .iter()
            .filter(|property| property.key != "script");
        let mut node = NodeFacts {
            name,
            path,
            class: section.field_text("type"),
            instance,
            placeholder: section.field_text("instance_placeholder"),
            script: self.script(section),
            groups: groups
                .iter()
                .filter_map(Variant::as_text)
                .take(GROUPS_PER_NODE_MAX)
                .map(|group| clip(group, NAME_BYTES_MAX))
                .collect(),
            unique_name: matches!(
                section
                    .property("unique_name_in_owner")
                    .map(|property| &property.value),
                Some(Variant::Bool(true))
            ),
            properties: properties
                .take(PROPERTIES_PER_NODE_MAX)
                .map(|property| {
                    (
                        property.key.clone(),
                        property.value.show(PROPERTY_TEXT_BYTES_MAX),
                    )
                })
                .collect(),
            uses: self.uses(section),
            line: section.line,
        };
        node.properties.shrink_to_fit();
        self.facts.nodes.push(node);
    }

    /// Orders the nodes for [`SceneFacts::node_at`] and gives back room: large projects hold many of these.
    fn finish(mut self) -> SceneFacts {
        let nodes = &self.facts.nodes;
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by(|a, b| nodes[*a].path.cmp(&nodes[*b].path));
        for pair in order.windows(2) {
            let (first, second) = (&nodes[pair[0]], &nodes[pair[1]]);
            if first.path == second.path {
                let what = format!(
                    "the path {} belongs to the node on line {} already",
                    second.path, first.line
                );
                self.flaws.push(Flaw::at(second.line, what));
            }
        }
        order.dedup_by(|later, earlier| nodes[*later].path == nodes[*earlier].path);
        let order = order.into_iter().filter_map(|at| u32::try_from(at).ok());
        self.facts.by_path = order.collect();
        self.facts.externals.shrink_to_fit();
        self.facts.nodes.shrink_to_fit();
        self.facts.connections.shrink_to_fit();
        self.facts
    }

    fn instance(&mut self, section: &Section, is_root: bool) -> Option<usize> {
        let Link::External(id) = section.field("instance")?.link()? else {
            return None;
        };
        let index = *self.externals.get(&id)?;
        let external = &mut self.facts.externals[index];
        if is_root {
            external.inherited = true;
        } else {
            external.instanced = true;
        }
        Some(index)
    }

    fn script(&self, section: &Section) -> Option<NodeScript> {
        match section.property("script")?.value.link()? {
            Link::External(id) => self.externals.get(&id).copied().map(NodeScript::External),
            Link::Internal(id) => Some(NodeScript::BuiltIn(id)),
            Link::File(_) => None,
        }
    }

    fn connection(&mut self, section: &Section) {
        let field = |key: &str| section.field_text(key).unwrap_or_default();
        self.facts.connections.push(Connection {
            signal: field("signal"),
            from: field("from"),
            to: field("to"),
            method: field("method"),
            line: section.line,
        });
    }

    /// What a section uses of other files, directly and through sub-resources.
    fn uses(&mut self, section: &Section) -> Vec<usize> {
        let properties = section
            .properties
            .iter()
            .flat_map(|property| &property.links);
        let links: Vec<&Link> = section.links.iter().chain(properties).collect();
        self.check_links(&links, section.line);
        let mut found = BTreeSet::new();
        for link in links {
            if found.len() >= USES_PER_NODE_MAX {
                break;
            }
            match link {
                Link::External(id) => found.extend(self.externals.get(id).copied()),
                // Godot writes a sub-resource before whatever uses it.
                Link::Internal(id) => found.extend(self.internals.get(id).into_iter().flatten()),
                Link::File(_) => {}
            }
        }
        found.into_iter().take(USES_PER_NODE_MAX).collect()
    }

    /// Reports links to ids that are not declared above, and remembers links straight to files.
    fn check_links(&mut self, links: &[&Link], line: u32) {
        let mut reported = HashSet::new();
        for link in links {
            let missing = match link {
                Link::External(id) if !self.externals.contains_key(id) => {
                    format!("ExtResource(\"{id}\")")
                }
                Link::Internal(id) if !self.internals.contains_key(id) => {
                    format!("SubResource(\"{id}\")")
                }
                Link::Internal(_) | Link::External(_) => continue,
                Link::File(path) => {
                    self.facts.files.push((clip(path, NAME_BYTES_MAX), line));
                    continue;
                }
            };
            if !self.flaws.is_full() && reported.insert(missing.clone()) {
                let what = format!("{missing} is used here but declared nowhere above");
                self.flaws.push(Flaw::at(line, what));
            }
        }
    }
}
