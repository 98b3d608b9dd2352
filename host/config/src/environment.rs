//! The environment as the configuration reads it: variables, the directory that relative paths start from, and the files that
//! hold secrets. A value, so that reading a configuration stays a function of its arguments.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Longest file that holds a secret. A private key takes some kB.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// See the module.
#[derive(Debug, Clone)]
pub struct Environment {
    /// `Err`: what is there is not UTF-8.
    variables: BTreeMap<String, Result<String, NotUnicode>>,
    working_dir: PathBuf,
    read: fn(&Path) -> io::Result<String>,
}

/// The value of a variable is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotUnicode;

impl Environment {
    /// This process's variables and working directory.
    ///
    /// # Errors
    /// The working directory is gone.
    pub fn of_this_process() -> io::Result<Self> {
        let named = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok()?;
            Some((name, value.into_string().map_err(|_| NotUnicode)))
        };
        Ok(Self {
            variables: std::env::vars_os().filter_map(named).collect(),
            working_dir: std::env::current_dir()?,
            read: read_secret,
        })
    }

    /// Only these variables.
    #[must_use]
    pub fn new(
        working_dir: impl Into<PathBuf>,
        variables: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Self {
        Self {
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), Ok(value.into())))
                .collect(),
            working_dir: working_dir.into(),
            read: read_secret,
        }
    }

    /// What relative paths start from.
    #[must_use]
    pub fn working_dir(&self) -> &Path {
        &self.working_dir
    }

    /// A variable's value. An empty one counts as not set, as Compose files and unit files leave them.
    pub(crate) fn variable(&self, name: &str) -> Option<Result<&str, NotUnicode>> {
        match self.variables.get(name)? {
            Ok(value) if value.is_empty() => None,
            Ok(value) => Some(Ok(value)),
            Err(not_unicode) => Some(Err(*not_unicode)),
        }
    }

    /// The names of all variables that start so and are not empty.
    pub(crate) fn names_with(&self, prefix: &str) -> impl Iterator<Item = &str> {
        let names = self.variables.keys().map(String::as_str);
        names.filter(move |name| name.starts_with(prefix) && self.variable(name).is_some())
    }

    /// The text of a file that holds a secret.
    pub(crate) fn read(&self, path: &Path) -> io::Result<String> {
        (self.read)(path)
    }
}

fn read_secret(path: &Path) -> io::Result<String> {
    // A fifo would be waited for, already where it is opened, and a device read for ever; a directory cannot be read at all.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = String::new();
    File::open(path)?
        .take(SECRET_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(io::Error::other(format!(
            "longer than {SECRET_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}
