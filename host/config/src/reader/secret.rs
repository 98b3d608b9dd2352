//! Secrets: written out, or in a file that `KEY_file` or `NAME_FILE` names. Their text is in no message.

use router_values::Secret;

use crate::{
    Applies, Place, Setting, SettingOrigin,
    reader::{ConfigReader, ConfigSection, join, upper},
    value::{PathText, Value as _},
};

/// A secret and where it was found.
pub(crate) struct FoundSecret {
    pub(crate) secret: Secret,
    pub(crate) place: Place,
}

/// What a secret is called. Its key `name` has a sister `name_file`.
pub(crate) struct SecretKey {
    pub(crate) name: &'static str,
    pub(crate) file_name: &'static str,
    /// Variables besides the general one. Those that are set must agree.
    pub(crate) variables: &'static [&'static str],
    /// As TOML, where there is one.
    pub(crate) default: Option<&'static str>,
    /// Whether it may be shown in settings; what is shown then is up to the caller.
    pub(crate) applies: Applies,
}

impl ConfigReader<'_> {
    /// A secret that the environment holds, as `NAME` or in the file that `NAME_FILE` names.
    pub(crate) fn named_secret(&self, key: &str, name: &str) -> Option<FoundSecret> {
        let file_name = format!("{name}_FILE");
        self.variables
            .borrow_mut()
            .extend([name.to_owned(), file_name.clone()]);
        match (
            self.environment.variable(name),
            self.environment.variable(&file_name),
        ) {
            (None, None) => None,
            (Some(_), Some(_)) => {
                let remedy = format!("unset {name} or {file_name}");
                self.fault(
                    Place::Variable(file_name),
                    key,
                    format!("{name} is set as well"),
                    remedy,
                );
                None
            }
            (Some(Ok(text)), None) => Some(FoundSecret {
                secret: Secret::new(text),
                place: Place::Variable(name.to_owned()),
            }),
            (None, Some(Ok(file))) => self.read_secret(key, Place::Variable(file_name), file),
            (Some(Err(_)), None) | (None, Some(Err(_))) => {
                let place = Place::Variable(name.to_owned());
                self.fault(
                    place,
                    key,
                    "its value is not UTF-8",
                    "set it to a text in UTF-8",
                );
                None
            }
        }
    }

    fn read_secret(&self, key: &str, place: Place, file: &str) -> Option<FoundSecret> {
        let path = self.environment.working_dir().join(file);
        let read = self.environment.read(&path);
        // Editors and `echo` end files with a newline that is no part of the secret.
        match read
            .as_deref()
            .map(|text| text.trim_end_matches(['\r', '\n']))
        {
            Ok("") => {
                let what = format!("{} is empty", path.display());
                self.fault(place, key, what, "put the secret into it");
                None
            }
            Ok(text) => Some(FoundSecret {
                secret: Secret::new(text),
                place,
            }),
            Err(error) => {
                let what = format!("{} cannot be read: {error}", path.display());
                let remedy = "create it, and let the router's user read it (and nobody else)";
                self.fault(place, key, what, remedy);
                None
            }
        }
    }
}

impl ConfigSection<'_, '_> {
    /// Reads a secret. The environment wins over the file; at one level, two of them are a fault.
    pub(crate) fn secret(&self, key: &SecretKey) -> Option<FoundSecret> {
        let in_file = self.secret_in_document(key);
        let in_environment = self.secret_in_environment(key);
        let found = in_environment.or(in_file);
        let origin = SettingOrigin::of(found.as_ref().map(|found| &found.place));
        if let Some(found) = &found {
            let path = self.key_path(key.name);
            self.reader
                .places
                .borrow_mut()
                .insert(path, found.place.clone());
        }
        let hidden = || Some("[redacted]".to_owned());
        self.reader.settings.borrow_mut().push(Setting {
            key: self.key_path(key.name),
            schema_key: join(&self.schema_path, key.name),
            value: found
                .as_ref()
                .map_or_else(|| key.default.map(ToOwned::to_owned), |_| hidden()),
            default: key.default.map(ToOwned::to_owned),
            origin,
            applies: key.applies,
            secret: found.as_ref().map(|found| found.secret.clone()),
            compared: true,
        });
        found
    }

    fn secret_in_document(&self, key: &SecretKey) -> Option<FoundSecret> {
        let (inline, file) = (self.entry(key.name), self.entry(key.file_name));
        if let (Some(_), Some((at, node))) = (inline, file) {
            let what = format!("{} is given as well", key.name);
            let remedy = format!("keep one of {} and {}", key.name, key.file_name);
            self.reader.fault(
                self.reader.place(at.or(node.at)),
                self.key_path(key.file_name),
                what,
                remedy,
            );
        }
        let inline = inline.and_then(|(_, node)| {
            let place = self.reader.place(node.at);
            match String::read(&node.raw) {
                Ok(text) if text.is_empty() => {
                    self.reader.fault(
                        place,
                        self.key_path(key.name),
                        "is empty",
                        "give it a value, or remove it",
                    );
                    None
                }
                Ok(text) => Some(FoundSecret {
                    secret: Secret::new(text),
                    place,
                }),
                // A refusal would quote what it found.
                Err(_) => {
                    let remedy = "write it in double quotes";
                    self.reader
                        .fault(place, self.key_path(key.name), "expected a string", remedy);
                    None
                }
            }
        });
        let from_file = file.and_then(|(_, node)| {
            let (path, place) = (self.key_path(key.file_name), self.reader.place(node.at));
            match PathText::read(&node.raw) {
                Ok(file) => self.reader.read_secret(&path, place, &file.0),
                Err(refusals) => {
                    self.reader.refused(&path, &place, refusals);
                    None
                }
            }
        });
        let place = file.map(|(_, node)| self.reader.place(node.at));
        let origin = SettingOrigin::of(place.as_ref());
        self.reader.settings.borrow_mut().push(Setting {
            key: self.key_path(key.file_name),
            schema_key: join(&self.schema_path, key.file_name),
            value: file.map(|_| "[redacted]".to_owned()),
            default: None,
            origin,
            applies: key.applies,
            secret: None,
            // What it holds is compared, not where.
            compared: false,
        });
        inline.or(from_file)
    }

    fn secret_in_environment(&self, key: &SecretKey) -> Option<FoundSecret> {
        let general = self
            .variable
            .as_ref()
            .map(|before| format!("{before}{}", upper(key.name)));
        // The body of a request has no variables.
        let general = general?;
        let names = key.variables.iter().copied().chain([general.as_str()]);
        let path = self.key_path(key.name);
        let mut found: Option<FoundSecret> = None;
        for name in names {
            let here = self.reader.named_secret(&path, name);
            if let (Some(first), Some(here)) = (&found, &here)
                && first.secret != here.secret
            {
                let what = format!("{name} gives this key another value");
                self.reader.fault(
                    first.place.clone(),
                    path.as_str(),
                    what,
                    "unset one of the two",
                );
            }
            found = found.or(here);
        }
        found
    }
}
