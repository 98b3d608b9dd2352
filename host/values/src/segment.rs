//! Files that are appended to, one after the other: what a log that outlives the process is made of.
//!
//! What is in a file is the caller's; here is what keeps it: a name that is safe before anything is written, an append that is on
//! the disk or not there, and the files of earlier lives in their order.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::durable::OWNER_ONLY;

/// How the files of one log are named: the number stands between, with 20 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentName {
    /// Before the number.
    pub prefix: &'static str,
    /// After it.
    pub suffix: &'static str,
}

/// A file that is being appended to.
#[derive(Debug)]
pub struct OpenSegment {
    number: u64,
    path: PathBuf,
    bytes: u64,
    file: File,
}

/// A file of an earlier life.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// Its number.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
}

impl SegmentName {
    /// The file of a number.
    #[must_use]
    pub fn path(&self, dir: &Path, number: u64) -> PathBuf {
        dir.join(format!("{}{number:020}{}", self.prefix, self.suffix))
    }

    /// The files of earlier lives, oldest first. None where the directory is not there.
    ///
    /// # Errors
    /// What the system says about the directory.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<SegmentFile>> {
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
                .and_then(|name| name.strip_prefix(self.prefix)?.strip_suffix(self.suffix))
                .and_then(|digits| digits.parse().ok());
            if let Some(number) = number {
                files.push(SegmentFile {
                    number,
                    path: entry.path(),
                    bytes: entry.metadata()?.len(),
                });
            }
        }
        files.sort_unstable();
        Ok(files)
    }
}

impl OpenSegment {
    /// A new, empty file whose existence is durable, under the first number from this one on that is free: where the
    /// directory could not be listed, files of earlier lives may have any.
    ///
    /// # Errors
    /// What the system says; no file was made.
    pub fn create(dir: &Path, name: SegmentName, mut number: u64) -> io::Result<Self> {
        create_dir(dir)?;
        let (path, file) = loop {
            let path = name.path(dir, number);
            let opened = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(OWNER_ONLY)
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

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are safe: everything past them is thrown away before the next append.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes a file that nothing could be written to: attempts at a disk that refuses must not pile up.
    pub fn discard(self) {
        // Where it cannot be removed, the next life finds it empty, or torn.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Appends and waits until it is on the disk.
    ///
    /// # Errors
    /// What the system says; the file is as it was before.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self
            .file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data());
        match written {
            Ok(()) => {
                self.bytes += bytes.len() as u64;
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

/// Creates a directory for its owner only, with those above it.
///
/// # Errors
/// What the system says.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::{OpenSegment, SegmentName};

    const NAME: SegmentName = SegmentName {
        prefix: "log-",
        suffix: ".jsonl",
    };

    #[test]
    fn files_are_made_for_their_owner_and_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a/b");
        assert!(NAME.list(&place).unwrap().is_empty());
        let mut first = OpenSegment::create(&place, NAME, 3).unwrap();
        first.append(b"one\n").unwrap();
        // The number is taken: the next one is.
        let second = OpenSegment::create(&place, NAME, 3).unwrap();
        assert_eq!((first.number(), second.number()), (3, 4));
        assert_eq!((first.bytes(), second.bytes()), (4, 0));
        assert_eq!(fs::metadata(first.path()).unwrap().mode() & 0o777, 0o600);
        for name in ["rejected.jsonl", "log-x.jsonl", "log-1.tmp"] {
            fs::write(place.join(name), "x").unwrap();
        }
        let listed = NAME.list(&place).unwrap();
        let listed: Vec<(u64, u64)> = listed
            .iter()
            .map(|file| (file.number, file.bytes))
            .collect();
        assert_eq!(listed, [(3, 4), (4, 0)]);
        second.discard();
        assert_eq!(NAME.list(&place).unwrap().len(), 1);
    }
}
