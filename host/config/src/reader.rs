//! Reads a document section by section, and keeps everything that is wrong with it, every key that the schema knows, and where
//! each value comes from. The readers of the sections are the schema: there is no second list of keys.
//!
//! A key that cannot be taken is reported and replaced by its default, so that reading goes on and finds the next fault.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use router_values::Secret;

use crate::{
    Applies, ConfigFault, Environment, Notice, Place, Setting, SettingOrigin,
    fault::cut,
    node::{Lines, Node, Table},
    suggest::nearest,
    value::{InvalidValue, Shape, Value},
};

mod key;
mod secret;
mod section;

pub(crate) use key::Key;
pub(crate) use secret::{FoundSecret, SecretKey};
pub(crate) use section::ConfigSection;

/// What every overriding variable starts with.
pub(crate) const PREFIX: &str = "GMR_";

/// Collects what is found while a document is read.
pub(crate) struct ConfigReader<'a> {
    pub(crate) environment: &'a Environment,
    /// `None`: the body of a request.
    lines: Option<&'a Lines<'a>>,
    faults: RefCell<Vec<ConfigFault>>,
    notices: RefCell<Vec<Notice>>,
    settings: RefCell<Vec<Setting>>,
    /// Where keys are, by their path.
    places: RefCell<BTreeMap<String, Place>>,
    /// Variables that a key can come from.
    variables: RefCell<BTreeSet<String>>,
}

impl<'a> ConfigReader<'a> {
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
    pub(crate) fn root<'r>(&'r self, table: &'r Table) -> ConfigSection<'r, 'a> {
        ConfigSection {
            reader: self,
            path: String::new(),
            schema_path: String::new(),
            table: Some(table),
            place: self.place(Some(0)),
            variable: self.lines.is_some().then(|| PREFIX.to_owned()),
            known: RefCell::default(),
            former: RefCell::default(),
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
        self.faults.borrow_mut().push(ConfigFault {
            place,
            key: cut(&key.into()),
            what: what.into(),
            remedy: remedy.into(),
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

    /// Puts what a secret means in place of what was written: how it is shown, and what it is compared by.
    pub(crate) fn mean(&self, key: &str, shown: &str, secret: &Secret) {
        let mut settings = self.settings.borrow_mut();
        for setting in settings.iter_mut().filter(|setting| setting.key == key) {
            setting.value = Some(shown.to_owned().show());
            setting.secret = Some(secret.clone());
        }
    }

    /// Notes a key that nobody wrote: what is in `place`, a variable, means it.
    pub(crate) fn made_of(&self, place: &Place, key: String, schema_key: String, value: String) {
        self.settings.borrow_mut().push(Setting {
            key,
            schema_key,
            value: Some(value),
            default: None,
            origin: SettingOrigin::of(Some(place)),
            applies: Applies::Live,
            secret: None,
            compared: true,
        });
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

    /// Whether a key that was read can come from this variable.
    pub(crate) fn is_known_variable(&self, name: &str) -> bool {
        self.variables.borrow().contains(name)
    }

    /// Variables with our prefix that no key knows.
    pub(crate) fn check_variables(&self) {
        let known = self.variables.borrow();
        for name in self.environment.names_with(PREFIX) {
            if known.contains(name) {
                continue;
            }
            // Kubernetes makes variables like GMR_PORT of the names of services.
            if !name.contains("__") {
                self.notice(name, "no key has this variable: a key is GMR_SECTION__KEY");
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

    pub(crate) fn finish(self) -> (Vec<ConfigFault>, Vec<Notice>, Vec<Setting>) {
        (
            self.faults.into_inner(),
            self.notices.into_inner(),
            self.settings.into_inner(),
        )
    }
}

impl ConfigReader<'_> {
    fn remember(&self, path: &str, at: Option<usize>) {
        let place = self.place(at);
        self.places.borrow_mut().insert(path.to_owned(), place);
    }

    fn refused(&self, key: &str, place: &Place, refusals: Vec<InvalidValue>) {
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
