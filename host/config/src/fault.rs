//! What is wrong with a configuration: one [`ConfigFault`] per fault that has to be mended, all of them at once.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole: it cannot be read.
    File,
    /// In the file. Both count from 1; columns are characters.
    Line {
        /// Which line.
        line: usize,
        /// Which character of it.
        column: usize,
    },
    /// In an environment variable, or in the file that it names.
    Variable(String),
    /// In the body of a request: only the key says where.
    Body,
}

/// One fault, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where.
    pub place: Place,
    /// The key as it is written in the file, from the top: `instances.restart.max`, `instance[2].vars`. Counted from 1.
    /// Empty where the text is no TOML.
    pub key: String,
    /// What is wrong. Never holds a secret.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// Everything that is wrong with a configuration, in the order of its places. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// What was read; `None`: the body of a request.
    pub file: Option<PathBuf>,
    /// Each fault.
    pub faults: Vec<ConfigFault>,
}

impl Faults {
    /// A file that cannot be read.
    pub(crate) fn unreadable(file: &Path, place: Place, what: String, remedy: &str) -> Self {
        let fault = ConfigFault {
            place,
            key: String::new(),
            what,
            remedy: remedy.to_owned(),
        };
        Self::new(Some(file.to_owned()), vec![fault])
    }

    pub(crate) fn new(file: Option<PathBuf>, mut faults: Vec<ConfigFault>) -> Self {
        faults.sort_by(|a, b| (&a.place, &a.key).cmp(&(&b.place, &b.key)));
        faults.dedup();
        Self { file, faults }
    }
}

impl std::error::Error for Faults {}

/// One paragraph per fault: where, which key, what is wrong, then the remedy.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match (&fault.place, &self.file) {
                (Place::Line { line, column }, Some(file)) => {
                    write!(f, "{}:{line}:{column}: ", file.display())?;
                }
                (Place::Line { line, column }, None) => {
                    write!(f, "line {line}, column {column}: ")?;
                }
                (Place::File, Some(file)) => write!(f, "{}: ", file.display())?,
                (Place::Variable(name), _) => write!(f, "{name}: ")?,
                (Place::Body, _) | (Place::File, None) => {}
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

/// The fault without its place.
impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n    remedy: {}", self.what, self.remedy)
    }
}

/// A name as it may stand in a message: it may be long, and hold what a terminal obeys.
pub(crate) fn cut(text: &str) -> String {
    text.chars()
        .take(160)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
