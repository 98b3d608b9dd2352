//! The changes since a snapshot was written, a line each: its first line names the snapshot that it continues.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use router_values::durable;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
    pub(super) fn append(&mut self, change: &impl Serialize) -> io::Result<()> {
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
pub(super) fn read<C: DeserializeOwned>(path: &Path, generation: u64) -> io::Result<Vec<C>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // The last part is empty, or was cut short, maybe within a character.
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        return Ok(Vec::new());
    };
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let header: Header = serde_json::from_slice(lines.next().unwrap_or_default())?;
    if header.generation != generation {
        return Ok(Vec::new());
    }
    lines
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}
