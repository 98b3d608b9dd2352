//! One file of the spool: facts as lines of JSON, appended and fsynced, read back whole, removed when they are in the
//! database. A line counts when it is whole: the torn end that a power cut leaves is skipped.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{facts::Fact, target::create_dir};

const PREFIX: &str = "facts-";
const SUFFIX: &str = ".jsonl";

/// A file that is being appended to.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Bytes that are safe: everything past them is thrown away before the next append.
    pub(super) bytes: u64,
    file: File,
}

/// What a file held.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) facts: Vec<Fact>,
    /// The unfinished last line of a writer that was killed.
    pub(super) torn: bool,
    /// Whole lines that are no facts: a damaged disk, or another program's file.
    pub(super) foreign: Vec<Vec<u8>>,
}

/// The file of a number.
fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:020}{SUFFIX}"))
}

impl OpenSegment {
    /// A new, empty file whose existence is durable, under the first number from this one on that is free: where the
    /// directory could not be listed, files of earlier lives may have any.
    pub(super) fn create(dir: &Path, mut number: u64) -> io::Result<Self> {
        create_dir(dir)?;
        let (path, file) = loop {
            let path = path_of(dir, number);
            let opened = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o600)
                .open(&path);
            match opened {
                Ok(file) => break (path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    let none_left = || io::Error::other("no number is left for a file");
                    number = number.checked_add(1).ok_or_else(none_left)?;
                }
                Err(error) => return Err(error),
            }
        };
        let created = Self {
            number,
            path,
            bytes: 0,
            file,
        };
        match File::open(dir).and_then(|dir| dir.sync_all()) {
            Ok(()) => Ok(created),
            Err(error) => {
                created.discard();
                Err(error)
            }
        }
    }

    /// Removes a file that nothing could be written to: attempts at a disk that refuses must not pile up.
    pub(super) fn discard(self) {
        // Where it cannot be removed, the next life finds it empty, or torn, and removes it.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Appends whole lines and waits until they are on the disk. On an error the file is as it was before.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let written = self
            .file
            .write_all(lines)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Shrinking works on a full disk too. Where it does not, the next file begins cleanly and the reader skips
                // what is torn here.
                self.file.set_len(self.bytes)?;
                Err(error)
            }
        }
    }
}

/// The files of earlier lives, oldest first, with their sizes.
pub(super) fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf, u64)>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .and_then(|digits| digits.parse().ok());
        if let Some(number) = number {
            files.push((number, entry.path(), entry.metadata()?.len()));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// How many lines a file has: what waits in it, without understanding it. A start must not take long over a large spool.
pub(super) fn count(path: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut lines = 0;
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(lines);
        }
        lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Reads a file whole.
pub(super) fn read(path: &Path) -> io::Result<Contents> {
    let bytes = std::fs::read(path)?;
    let mut contents = Contents::default();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match (serde_json::from_slice(line), line.last()) {
            (Ok(fact), _) => contents.facts.push(fact),
            (Err(_), Some(b'\n')) => contents.foreign.push(line.to_vec()),
            (Err(_), _) => contents.torn = true,
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{OpenSegment, list, read};
    use crate::facts::{Fact, RowOrigin};

    fn fact(instance: &str) -> Fact {
        let writer = RowOrigin::new("r", 1);
        Fact::intention(instance, true, &writer)
    }

    #[test]
    fn whatever_length_a_killed_writer_left_whole_lines_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let facts = [fact("a"), fact("b"), fact("c")];
        let mut lines = Vec::new();
        let mut ends = vec![0];
        for fact in &facts {
            fact.write_line(&mut lines);
            ends.push(lines.len());
        }
        let path = dir.path().join("torn");
        for length in 0..=lines.len() {
            std::fs::write(&path, &lines[..length]).unwrap();
            let contents = read(&path).unwrap();
            // A line that lacks nothing but its newline is whole too.
            let whole = ends[1..].iter().filter(|end| **end <= length + 1).count();
            assert_eq!(contents.facts, facts[..whole], "cut at {length}");
            let at_an_end = ends.iter().any(|end| *end == length || *end == length + 1);
            assert_eq!(contents.torn, !at_an_end, "cut at {length}");
            assert!(contents.foreign.is_empty());
        }
    }

    #[test]
    fn foreign_lines_are_set_apart_and_cost_no_neighbour() {
        let dir = tempfile::tempdir().unwrap();
        let mut segment = OpenSegment::create(dir.path(), 3).unwrap();
        let mut lines = Vec::new();
        fact("a").write_line(&mut lines);
        lines.extend_from_slice(b"\xff\xfe garbage\n{}\n");
        fact("b").write_line(&mut lines);
        segment.append(&lines).unwrap();
        let contents = read(&segment.path).unwrap();
        assert_eq!(contents.facts.len(), 2);
        assert_eq!(contents.foreign.len(), 2);
        let listed = list(dir.path()).unwrap();
        assert_eq!(listed, [(3, segment.path, lines.len() as u64)]);
    }

    #[test]
    fn other_files_in_the_directory_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["rejected.jsonl", "facts-x.jsonl", "facts-1.tmp"] {
            let mut file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.write_all(b"x").unwrap();
        }
        assert!(list(dir.path()).unwrap().is_empty());
        assert!(list(&dir.path().join("absent")).unwrap().is_empty());
    }
}
