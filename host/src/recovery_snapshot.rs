//! What must be known at the next start even with the database lost: the instances that were registered, and those that an
//! operator stopped. One small file in the data directory, replaced as a whole.
//!
//! The database stays the place where registrations are kept; this is the copy to start from without it. Without such a copy a
//! router that starts while its database is down would find no definition of registered survivors, and end them.

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
pub(crate) struct Snapshot {
    /// Definitions by id, as they were registered.
    pub(crate) registered: BTreeMap<String, Value>,
    /// Ids that an operator stopped.
    pub(crate) stopped: BTreeSet<String>,
}

/// The file. One writer at a time.
#[derive(Debug)]
pub(crate) struct RecoverySnapshot {
    path: PathBuf,
    held: Mutex<Snapshot>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
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

impl RecoverySnapshot {
    /// Reads the file of a data directory; one that is not there holds nothing.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, SnapshotError> {
        let path = data_dir.join(FILE);
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let held = match read {
            Ok(held) => held,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Snapshot::default(),
            Err(error) => return Err(SnapshotError::Read { path, error }),
        };
        Ok(Self {
            path,
            held: Mutex::new(held),
        })
    }

    /// What it holds.
    pub(crate) fn get(&self) -> Snapshot {
        self.held.lock().clone()
    }

    /// Changes what it holds, in memory and on disk. Small, but it waits for the disk: not for threads that serve requests.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Snapshot)) -> Result<(), SnapshotError> {
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

    fn write(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
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
            serde_json::to_writer_pretty(&mut file, snapshot)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            // The new name is safe only once its directory is.
            let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| SnapshotError::Write {
            path: self.path.clone(),
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::json;

    use super::{RecoverySnapshot, SnapshotError};

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecoverySnapshot::open(dir.path()).unwrap();
        file.change(|snapshot| {
            snapshot.registered.insert("7".into(), json!({"id": "7"}));
            snapshot.stopped.insert("demo".into());
        })
        .unwrap();
        let again = RecoverySnapshot::open(dir.path()).unwrap();
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
        let error = RecoverySnapshot::open(dir.path()).unwrap_err();
        assert!(matches!(error, SnapshotError::Read { .. }));
        assert!(error.to_string().contains("standing.json"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{half");
    }
}
