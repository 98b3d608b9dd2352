//! The changes since a snapshot was written, a line each: its first line names the snapshot that it continues.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::SnapshotChange;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    generation: u64,
}

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    pub(super) lines: usize,
}

impl Journal {
    /// Begins the journal of a snapshot, in place of the one before.
    pub(super) fn begin(path: &Path, generation: u64) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        // Definitions may hold secrets in their environment: for the owner only.
        let file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut journal = Self { file, lines: 0 };
        journal.write_line(&Header { generation })?;
        // A line that is safe in a file whose name is not would be lost with it.
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(journal)
    }

    /// Writes a change, and waits for the disk.
    pub(super) fn append(&mut self, change: &SnapshotChange) -> io::Result<()> {
        self.write_line(change)?;
        self.lines += 1;
        Ok(())
    }

    fn write_line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.file.write_all(&bytes)?;
        self.file.sync_data()
    }
}

/// The changes since that snapshot; none where the journal continues another one. The end of a line that was cut short by the
/// end of its writer does not count: it was never acknowledged.
pub(super) fn read(path: &Path, generation: u64) -> io::Result<Vec<SnapshotChange>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = complete.lines();
    let Some(header) = lines.next() else {
        return Ok(Vec::new());
    };
    let header: Header = serde_json::from_str(header)?;
    if header.generation != generation {
        return Ok(Vec::new());
    }
    lines.map(|line| Ok(serde_json::from_str(line)?)).collect()
}
