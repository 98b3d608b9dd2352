//! A fault: something wrong in one file of the project, kept as data because a broken file is an
//! ordinary find and must never stop the reading of the others.

use rmcp::schemars::JsonSchema;
use serde::Serialize;

use crate::limits::{FAULTS_PER_FILE_MAX, clip};

/// Something wrong in a project file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(crate = "rmcp::schemars", rename = "Fault")]
pub(crate) struct FileFault {
    /// The file, as `res://…`.
    pub(crate) path: String,
    /// The line it was noticed on, counted from 1; absent when the whole file is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    /// What is wrong, as a sentence.
    pub(crate) what: String,
}

/// A fault before it is known which file it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) line: Option<u32>,
    pub(crate) what: String,
}

impl Flaw {
    /// A flaw noticed on `line`.
    pub(crate) fn at(line: u32, what: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            what: what.into(),
        }
    }

    /// A flaw of the whole file.
    pub(crate) fn whole(what: impl Into<String>) -> Self {
        Self {
            line: None,
            what: what.into(),
        }
    }

    /// The flaw as a fault of the file `path`. File contents quoted in it are clipped.
    pub(crate) fn of(self, path: &str) -> FileFault {
        FileFault {
            path: path.to_owned(),
            line: self.line,
            what: clip(&self.what, 300),
        }
    }
}

/// The flaws of one file, of which only so many are kept.
#[derive(Debug, Default)]
pub(crate) struct Flaws(Vec<Flaw>);

impl Flaws {
    /// Adds a flaw; false when there are now so many that reading on is pointless.
    pub(crate) fn push(&mut self, flaw: Flaw) -> bool {
        if self.0.len() < FAULTS_PER_FILE_MAX {
            self.0.push(flaw);
        }
        !self.is_full()
    }

    /// Whether no more flaws are kept.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= FAULTS_PER_FILE_MAX
    }

    /// The flaws, in the order of the file.
    pub(crate) fn into_vec(self) -> Vec<Flaw> {
        self.0
    }
}
