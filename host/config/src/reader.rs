//! Reads a document section by section, and keeps everything that is wrong with it, every key that the schema knows, and where
//! each value comes from. The readers of the sections are the schema: there is no second list of keys.
//!
//! A key that cannot be taken is reported and replaced by its default, so that reading goes on and finds the next fault.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use crate::{
    Applies, Environment, Fault, Notice, Place, Setting, SettingOrigin,
    node::{Lines, Node, Raw, Table},
    suggest::nearest,
    value::{Refusal, Shape, Value},
};

mod key;
mod secret;

pub(crate) use key::Key;
pub(crate) use secret::SecretKey;

/// What every overriding variable starts with.
pub(crate) const PREFIX: &str = "GMR_";

/// Collects what is found while a document is read.
pub(crate) struct Reader<'a> {
    pub(crate) environment: &'a Environment,
    /// `None`: the body of a request.
    lines: Option<&'a Lines<'a>>,
    faults: RefCell<Vec<Fault>>,
    notices: RefCell<Vec<Notice>>,
    settings: RefCell<Vec<Setting>>,
    /// Where keys are, by their path.
    places: RefCell<BTreeMap<String, Place>>,
    /// Variables that a key can come from.
    variables: RefCell<BTreeSet<String>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a Environment, lines: Option<&'a Lines<'a>>) -> Self {
        Self {
            environment,
            lines,
            faults: RefCell::default(),
            notices: RefCell::default(),
            settings: RefCell::default(),
            places: RefCell::default(),
            variables: RefCell::default(),
        }
    }

    /// The whole document as a section.
    pub(crate) fn root<'r>(&'r self, table: &'r Table) -> Section<'r, 'a> {
        Section {
            reader: self,
            path: String::new(),
            schema_path: String::new(),
            table: Some(table),
            place: self.place(Some(0)),
            variable: self.lines.is_some().then(|| PREFIX.to_owned()),
            known: RefCell::default(),
            closed: Cell::new(false),
        }
    }

    pub(crate) fn place(&self, at: Option<usize>) -> Place {
        match (self.lines, at) {
            (Some(lines), at) => lines.place(at.unwrap_or(0)),
            (None, _) => Place::Body,
        }
    }

    pub(crate) fn fault(
        &self,
        place: Place,
        key: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.faults.borrow_mut().push(Fault {
            place,
            key: key.into(),
            what: what.into(),
            remedy: remedy.into(),
            excerpt: None,
        });
    }

    /// A fault of a key that was read, or of what holds it where the key is not there.
    pub(crate) fn fault_at(&self, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        let places = self.places.borrow();
        let mut path = key;
        let place = loop {
            if let Some(place) = places.get(path) {
                break place.clone();
            }
            match path.rfind('.') {
                Some(dot) => path = &path[..dot],
                None => break self.place(None),
            }
        };
        drop(places);
        self.fault(place, key, what, remedy);
    }

    pub(crate) fn notice(&self, key: impl Into<String>, what: impl Into<String>) {
        self.notices.borrow_mut().push(Notice {
            key: key.into(),
            what: what.into(),
        });
    }

    /// Shows a secret's harmless part in place of `[redacted]`.
    pub(crate) fn show(&self, key: &str, text: &str) {
        let mut settings = self.settings.borrow_mut();
        for setting in settings.iter_mut().filter(|setting| setting.key == key) {
            setting.value = Some(text.to_owned().show());
        }
    }

    /// How many faults there are by now.
    pub(crate) fn count(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Whether something was said about a key already, so that what follows from it need not be said.
    pub(crate) fn is_faulty(&self, key: &str) -> bool {
        self.faults.borrow().iter().any(|fault| fault.key == key)
    }

    /// Whether a key or section was written or set.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.places.borrow().contains_key(key)
    }

    /// Variables with our prefix that no key knows.
    pub(crate) fn check_variables(&self) {
        let known = self.variables.borrow();
        for name in self.environment.names_with(PREFIX) {
            if known.contains(name) {
                continue;
            }
            let ours = known
                .iter()
                .map(String::as_str)
                .filter(|known| known.starts_with(PREFIX));
            let remedy = match nearest(name, ours) {
                Some(near) => format!("unset it (did you mean {near}?)"),
                None => "unset it; a key of a section is GMR_SECTION__KEY, as in GMR_SERVER__PUBLIC_METRICS".to_owned(),
            };
            self.fault(
                Place::Variable(name.to_owned()),
                "",
                "no key has this variable",
                remedy,
            );
        }
    }

    pub(crate) fn finish(self) -> (Vec<Fault>, Vec<Notice>, Vec<Setting>) {
        (
            self.faults.into_inner(),
            self.notices.into_inner(),
            self.settings.into_inner(),
        )
    }
}

/// A table that may be there, and its keys. [`Section::close`] reports the keys that nobody asked for.
pub(crate) struct Section<'r, 'a> {
    pub(crate) reader: &'r Reader<'a>,
    path: String,
    schema_path: String,
    table: Option<&'r Table>,
    place: Place,
    /// What a variable for a key in here starts with; `None`: none can reach it.
    variable: Option<String>,
    known: RefCell<Vec<&'static str>>,
    closed: Cell<bool>,
}

impl<'r, 'a> Section<'r, 'a> {
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
    pub(crate) fn child(&self, name: &'static str) -> Section<'r, 'a> {
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
    pub(crate) fn named(&self, name: &'static str) -> Vec<(String, Section<'r, 'a>)> {
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

    /// The tables of an array: `[[instance]]`, counted from 1.
    pub(crate) fn items(&self, name: &'static str) -> Vec<Section<'r, 'a>> {
        let Some((at, node)) = self.entry(name) else {
            return Vec::new();
        };
        let Raw::List(items) = &node.raw else {
            let what = format!("expected an array of tables, found {}", node.raw.kind());
            let remedy = format!("write [[{name}]] above the keys of each");
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
                        .refused(&path, &self.reader.place(entry.node.at), refusals)
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
            origin: match (section.is_there(), &section.place) {
                (true, Place::Line { line, .. }) => SettingOrigin::Line(*line),
                _ => SettingOrigin::Default,
            },
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
            if known.contains(&name.as_str()) {
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
            self.reader
                .fault(place, self.key_path(&crate::value::cut(name)), what, remedy);
        }
    }

    fn section(
        &self,
        name: &str,
        schema_name: &str,
        table: Option<&'r Table>,
        place: Place,
    ) -> Section<'r, 'a> {
        let path = self.key_path(name);
        if table.is_some() {
            self.reader
                .places
                .borrow_mut()
                .insert(path.clone(), place.clone());
        }
        let variable = self.variable.as_ref();
        Section {
            reader: self.reader,
            path,
            schema_path: join(&self.schema_path, schema_name),
            table,
            place,
            variable: variable.map(|before| format!("{before}{}__", upper(name))),
            known: RefCell::default(),
            closed: Cell::new(false),
        }
    }

    fn entry(&self, name: &'static str) -> Option<(Option<usize>, &'r Node)> {
        self.known.borrow_mut().push(name);
        let entry = self.table?.entries.get(name)?;
        Some((entry.at, &entry.node))
    }

    fn table_in(&self, path: &str, at: Option<usize>, node: &'r Node) -> Option<&'r Table> {
        if let Raw::Table(table) = &node.raw {
            return Some(table);
        }
        let what = format!("expected a table, found {}", node.raw.kind());
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
impl Drop for Section<'_, '_> {
    fn drop(&mut self) {
        debug_assert!(
            self.closed.get() || std::thread::panicking(),
            "section {:?} is not closed",
            self.path
        );
    }
}

impl Reader<'_> {
    fn remember(&self, path: &str, at: Option<usize>) {
        let place = self.place(at);
        self.places.borrow_mut().insert(path.to_owned(), place);
    }

    fn refused(&self, key: &str, place: &Place, refusals: Vec<Refusal>) {
        for refusal in refusals {
            let place = match refusal.at {
                Some(at) => self.place(Some(at)),
                None => place.clone(),
            };
            self.fault(place, key, refusal.what, refusal.remedy);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A name as it stands in a variable.
fn upper(name: &str) -> String {
    name.replace('-', "_").to_ascii_uppercase()
}

/// How a variable's text becomes a value, and the fault of one that cannot be read at all.
fn variable_node(name: &str, text: &str, shape: Shape) -> Node {
    // The named variables count milliseconds, as they always did; the others are written as in the file.
    shape.node(text, !name.starts_with(PREFIX))
}
