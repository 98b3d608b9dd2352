//! The changes since a snapshot was written, a line each: its first line names the snapshot that it continues.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use router_values::durable;
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
        let mut header = serde_json::to_vec(&Header { generation })?;
        header.push(b'\n');
        // Definitions may hold secrets in their environment: for the owner only.
        durable::replace(path, durable::OWNER_ONLY, &header)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { file, lines: 0 })
    }

    /// Writes a change, and waits for the disk.
    pub(super) fn append(&mut self, change: &SnapshotChange) -> io::Result<()> {
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(())
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
