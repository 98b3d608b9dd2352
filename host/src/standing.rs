//! What must be known at the next start even with the database lost: the instances that were registered, and those that an
//! operator stopped. One small file in the data directory, replaced as a whole.
//!
//! The database stays the place where registrations are kept; this is the copy to start from without it. Without such a copy a
//! router that starts while its database is down would take registered survivors for strangers, and end them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where it is, in the data directory.
const FILE: &str = "standing.json";

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Definitions by id, as they were registered.
    pub(crate) registered: BTreeMap<String, Value>,
    /// Ids that an operator stopped.
    pub(crate) stopped: BTreeSet<String>,
}

/// The file. Writers take turns.
#[derive(Debug)]
pub(crate) struct StandingFile {
    path: PathBuf,
    held: Mutex<Standing>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandingError {
    /// It is there and cannot be read.
    #[error("{} cannot be read; move it away to start without what it holds", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: io::Error,
    },
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl StandingFile {
    /// Reads the file of a data directory; one that is not there holds nothing.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StandingError> {
        let path = data_dir.join(FILE);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let held = match read {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Standing::default(),
            Err(error) => return Err(StandingError::Read { path, error }),
        };
        Ok(Self {
            path,
            held: Mutex::new(held),
        })
    }

    /// What it holds.
    pub(crate) fn get(&self) -> Standing {
        self.held.lock().clone()
    }

    /// Changes what it holds, in memory and on disk. Small, but it waits for the disk: not for threads that serve requests.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Standing)) -> Result<(), StandingError> {
        let mut held = self.held.lock();
        let mut changed = held.clone();
        change(&mut changed);
        if changed == *held {
            return Ok(());
        }
        self.write(&changed)?;
        *held = changed;
        Ok(())
    }

    fn write(&self, standing: &Standing) -> Result<(), StandingError> {
        let fresh = self.path.with_extension("new");
        let write = || {
            // Definitions may hold secrets in their environment: for the owner only, whatever was there before.
            match fs::remove_file(&fresh) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&fresh)?;
            serde_json::to_writer_pretty(&mut file, standing)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            // The new name is safe only once its directory is.
            let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| StandingError::Write {
            path: self.path.clone(),
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::{StandingError, StandingFile};

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = StandingFile::open(dir.path()).unwrap();
        file.change(|standing| {
            standing.registered.insert("7".into(), json!({"id": "7"}));
            standing.stopped.insert("demo".into());
        })
        .unwrap();
        let again = StandingFile::open(dir.path()).unwrap();
        assert_eq!(again.get(), file.get());
        assert!(again.get().stopped.contains("demo"));
        let mode = std::fs::metadata(dir.path().join(super::FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(super::FILE);
        std::fs::write(&path, "{half").unwrap();
        let error = StandingFile::open(dir.path()).unwrap_err();
        assert!(matches!(error, StandingError::Read { .. }));
        assert!(error.to_string().contains("standing.json"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{half");
    }
}
