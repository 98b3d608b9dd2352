//! One file of the index.

use crate::facts::{Facts, FileKind};
use crate::fault::{FileFault, Flaw};
use crate::path::ProjectPath;
use crate::root::FileStamp;

/// One file and what it says.
#[derive(Debug)]
pub(crate) struct IndexedFile {
    pub(crate) path: ProjectPath,
    pub(crate) kind: FileKind,
    pub(crate) facts: Facts,
    pub(crate) faults: Vec<FileFault>,
    pub(super) stamp: FileStamp,
    /// Whether every later change shows in the stamp.
    pub(super) settled: bool,
}

/// The fault of a file that would make the project's text too large.
const LEFT_OUT: &str = "not read: the project holds more text than one instance reads";

impl IndexedFile {
    /// Marks the file as one whose text is not read, because others take all the room.
    pub(super) fn leave_out(&mut self) {
        let fault = Flaw::whole(LEFT_OUT).of(self.path.as_str());
        self.faults.push(fault);
    }

    /// Whether it is marked so.
    pub(super) fn was_left_out(&self) -> bool {
        self.faults.iter().any(|fault| fault.what == LEFT_OUT)
    }
}
