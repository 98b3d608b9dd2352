//! One table of the document and its keys.

use std::cell::{Cell, RefCell};

use crate::{
    Applies, Place, Setting, SettingOrigin,
    fault::cut,
    node::{Node, Raw, Table},
    reader::{ConfigReader, Key, join, upper},
    suggest::nearest,
    value::Value,
};

/// A table that may be there, and its keys. [`ConfigSection::close`] reports the keys that nobody asked for.
pub(crate) struct ConfigSection<'r, 'a> {
    pub(crate) reader: &'r ConfigReader<'a>,
    pub(super) path: String,
    pub(super) schema_path: String,
    pub(super) table: Option<&'r Table>,
    pub(super) place: Place,
    /// What a variable for a key in here starts with; `None`: none can reach it.
    pub(super) variable: Option<String>,
    pub(super) known: RefCell<Vec<&'static str>>,
    /// Keys that are no more, and were refused with what replaces them.
    pub(super) former: RefCell<Vec<&'static str>>,
    pub(super) closed: Cell<bool>,
}

impl<'r, 'a> ConfigSection<'r, 'a> {
    /// The path of a key in here.
    pub(crate) fn key_path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// This section's own path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where this section begins.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Whether somebody wrote this section.
    pub(crate) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Begins to read a key.
    pub(crate) fn key<T: Value>(&self, name: &'static str) -> Key<'_, 'r, 'a, T> {
        Key::new(self, name)
    }

    /// A table inside this one.
    pub(crate) fn child(&self, name: &'static str) -> ConfigSection<'r, 'a> {
        let entry = self.entry(name);
        let table = entry.and_then(|(at, node)| self.table_in(&self.key_path(name), at, node));
        let at = entry.and_then(|(at, _)| at);
        let place = if entry.is_some() {
            self.reader.place(at)
        } else {
            self.place()
        };
        self.section(name, name, table, place)
    }

    /// Tables with chosen names inside a table of this one: `[template.NAME]`.
    pub(crate) fn named(&self, name: &'static str) -> Vec<(String, ConfigSection<'r, 'a>)> {
        let outer = self.child(name);
        outer.closed.set(true);
        let Some(table) = outer.table else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (chosen, entry) in &table.entries {
            let path = outer.key_path(chosen);
            if let Some(inner) = self.table_in(&path, entry.at, &entry.node) {
                let place = self.reader.place(entry.at.or(entry.node.at));
                all.push((
                    chosen.clone(),
                    outer.section(chosen, "NAME", Some(inner), place),
                ));
            }
        }
        all
    }

    /// The same of a section that is no more: the caller refuses each, and nobody is pointed to it.
    pub(crate) fn former(&self, name: &'static str) -> Vec<(String, ConfigSection<'r, 'a>)> {
        let all = self.named(name);
        self.known.borrow_mut().retain(|known| *known != name);
        if !all.is_empty() {
            self.former.borrow_mut().push(name);
        }
        all
    }

    /// The tables of an array: `[[instance]]`, counted from 1.
    pub(crate) fn items(&self, name: &'static str) -> Vec<ConfigSection<'r, 'a>> {
        let Some((at, node)) = self.entry(name) else {
            return Vec::new();
        };
        self.reader.remember(&self.key_path(name), at);
        let Raw::List(items) = &node.raw else {
            let what = format!("expected an array of tables, found {}", node.raw.kind());
            let path = cut(&self.key_path(name));
            let remedy = format!("write [[{path}]] above the keys of each");
            self.reader
                .fault(self.reader.place(at), self.key_path(name), what, remedy);
            return Vec::new();
        };
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let numbered = format!("{name}[{}]", index + 1);
            if let Some(table) = self.table_in(&self.key_path(&numbered), item.at, item) {
                let mut section =
                    self.section(&numbered, name, Some(table), self.reader.place(item.at));
                section.variable = None;
                all.push(section);
            }
        }
        all
    }

    /// A table of names and texts inside this one. Numbers and booleans are taken as they are written.
    pub(crate) fn texts(&self, name: &'static str) -> Vec<(String, String)> {
        let section = self.child(name);
        section.closed.set(true);
        let mut all = Vec::new();
        for (name, entry) in section.table.iter().flat_map(|table| &table.entries) {
            let path = section.key_path(name);
            self.reader.remember(&path, entry.at.or(entry.node.at));
            let raw = match &entry.node.raw {
                Raw::Integer(integer) => Raw::Text(integer.to_string()),
                Raw::Boolean(boolean) => Raw::Text(boolean.to_string()),
                other => other.clone(),
            };
            match String::read(&raw) {
                Ok(text) => all.push((name.clone(), text)),
                Err(refusals) => {
                    self.reader
                        .refused(&path, &self.reader.place(entry.node.at), refusals);
                }
            }
        }
        let names: Vec<String> = all.iter().map(|(name, _)| name.clone()).collect();
        self.reader.settings.borrow_mut().push(Setting {
            key: section.path.clone(),
            schema_key: section.schema_path.clone(),
            value: section
                .is_there()
                .then(|| format!("{{ {} }}", names.join(", "))),
            default: None,
            origin: SettingOrigin::of(section.is_there().then_some(&section.place)),
            applies: Applies::Live,
            secret: None,
            compared: false,
        });
        all
    }

    /// The table itself, for what is not ours to judge.
    pub(crate) fn whole(&self) -> Option<&'r Table> {
        self.closed.set(true);
        self.table
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn close(self) {
        self.closed.set(true);
        let known = self.known.borrow();
        for (name, entry) in self.table.iter().flat_map(|table| &table.entries) {
            let is_refused = self.former.borrow().contains(&name.as_str());
            if is_refused || known.contains(&name.as_str()) {
                continue;
            }
            let is_table = matches!(&entry.node.raw, Raw::Table(_) | Raw::List(_));
            let what = match (self.path.is_empty(), is_table) {
                (true, true) => "there is no such section",
                _ => "there is no such key",
            };
            let remedy = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => {
                    let mut sorted = known.clone();
                    sorted.sort_unstable();
                    format!("remove it; known here: {}", sorted.join(", "))
                }
            };
            let place = self.reader.place(entry.at.or(entry.node.at));
            self.reader.fault(place, self.key_path(name), what, remedy);
        }
    }

    fn section(
        &self,
        name: &str,
        schema_name: &str,
        table: Option<&'r Table>,
        place: Place,
    ) -> ConfigSection<'r, 'a> {
        let path = self.key_path(name);
        if table.is_some() {
            self.reader
                .places
                .borrow_mut()
                .insert(path.clone(), place.clone());
        }
        let variable = self.variable.as_ref();
        ConfigSection {
            reader: self.reader,
            path,
            schema_path: join(&self.schema_path, schema_name),
            table,
            place,
            variable: variable.map(|before| format!("{before}{}__", upper(name))),
            known: RefCell::default(),
            former: RefCell::default(),
            closed: Cell::new(false),
        }
    }

    pub(super) fn entry(&self, name: &'static str) -> Option<(Option<usize>, &'r Node)> {
        self.known.borrow_mut().push(name);
        let entry = self.table?.entries.get(name)?;
        Some((entry.at, &entry.node))
    }

    fn table_in(&self, path: &str, at: Option<usize>, node: &'r Node) -> Option<&'r Table> {
        if let Raw::Table(table) = &node.raw {
            return Some(table);
        }
        let what = format!("expected a table, found {}", node.raw.kind());
        let path = &cut(path);
        let remedy = match (path.split_once('['), self.reader.lines) {
            (_, None) => "write an object: {\"name\": \"value\"}".to_owned(),
            (Some((name, _)), _) => {
                format!("write [[{name}]] on a line of its own, and its keys below")
            }
            (None, _) => format!("write [{path}] on a line of its own, and its keys below"),
        };
        self.reader
            .fault(self.reader.place(at.or(node.at)), path, what, remedy);
        None
    }
}

/// A section that is never closed would take any key.
impl Drop for ConfigSection<'_, '_> {
    fn drop(&mut self) {
        debug_assert!(
            self.closed.get() || std::thread::panicking(),
            "section {:?} is not closed",
            self.path
        );
    }
}
