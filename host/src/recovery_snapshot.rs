//! What must be known at the next start even with the database lost: the instances that were registered, and those that an
//! operator stopped.
//!
//! The database stays the place where registrations are kept; this is the copy to start from without it. Without such a copy a
//! router that starts while its database is down would find no definition of registered survivors, and end them.
//!
//! Two files of the data directory: the snapshot, which is replaced as a whole, and a journal of the changes since, so that a
//! change costs one line however many instances are registered. The journal names the generation of the snapshot that it
//! continues; one that continues another is not read.

mod journal;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use router_core::InstanceId;
use router_values::durable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use journal::Journal;

/// Where they are, in the data directory.
const FILE: &str = "standing.json";
const JOURNAL: &str = "standing.journal";

/// Changes that the journal may hold before the snapshot is written anew, unless it holds more instances: so the cost of writing
/// all of them is spread over as many changes.
const JOURNAL_LINES_MIN: usize = 256;

/// What is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Definitions by id, as they were registered.
    pub(crate) registered: BTreeMap<String, Value>,
    /// Ids that an operator stopped.
    pub(crate) stopped: BTreeSet<String>,
    /// Grows by one each time that the snapshot is written.
    #[serde(default)]
    generation: u64,
}

/// A change of it, and a line of the journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SnapshotChange {
    Registered { id: InstanceId, definition: Value },
    Unregistered { id: InstanceId },
    Stopped { id: InstanceId },
    Started { id: InstanceId },
}

/// The two files. One writer at a time.
#[derive(Debug)]
pub(crate) struct RecoverySnapshot {
    path: PathBuf,
    journal_path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    snapshot: Snapshot,
    /// Where the next change goes; `None`: the snapshot is written anew with it.
    journal: Option<Journal>,
}

/// Why a file cannot be used.
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

impl Snapshot {
    fn is_changed_by(&self, change: &SnapshotChange) -> bool {
        match change {
            SnapshotChange::Registered { id, definition } => {
                self.registered.get(id.as_str()) != Some(definition)
            }
            SnapshotChange::Unregistered { id } => {
                self.registered.contains_key(id.as_str()) || self.stopped.contains(id.as_str())
            }
            SnapshotChange::Stopped { id } => !self.stopped.contains(id.as_str()),
            SnapshotChange::Started { id } => self.stopped.contains(id.as_str()),
        }
    }

    fn apply(&mut self, change: SnapshotChange) {
        match change {
            SnapshotChange::Registered { id, definition } => {
                self.registered.insert(id.to_string(), definition);
            }
            SnapshotChange::Unregistered { id } => {
                self.registered.remove(id.as_str());
                self.stopped.remove(id.as_str());
            }
            SnapshotChange::Stopped { id } => {
                self.stopped.insert(id.to_string());
            }
            SnapshotChange::Started { id } => {
                self.stopped.remove(id.as_str());
            }
        }
    }
}

impl RecoverySnapshot {
    /// Reads the files of a data directory; where there are none, nothing is known.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, SnapshotError> {
        let (path, journal_path) = (data_dir.join(FILE), data_dir.join(JOURNAL));
        let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        let mut snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Snapshot::default(),
            Err(error) => return Err(SnapshotError::Read { path, error }),
        };
        let changes = match journal::read(&journal_path, snapshot.generation) {
            Ok(changes) => changes,
            Err(error) => {
                let path = journal_path;
                return Err(SnapshotError::Read { path, error });
            }
        };
        for change in changes {
            snapshot.apply(change);
        }
        Ok(Self {
            path,
            journal_path,
            held: Mutex::new(Held {
                snapshot,
                journal: None,
            }),
        })
    }

    /// All that is known.
    pub(crate) fn get(&self) -> Snapshot {
        self.held.lock().snapshot.clone()
    }

    /// Whether an operator stopped an instance.
    pub(crate) fn is_stopped(&self, id: &InstanceId) -> bool {
        self.held.lock().snapshot.stopped.contains(id.as_str())
    }

    /// Makes one change, in memory and on disk. It waits for the disk: not for threads that serve requests.
    pub(crate) fn record(&self, change: SnapshotChange) -> Result<(), SnapshotError> {
        let mut held = self.held.lock();
        if !held.snapshot.is_changed_by(&change) {
            return Ok(());
        }
        let lines_max = held.snapshot.registered.len().max(JOURNAL_LINES_MIN);
        let journal = held.journal.as_mut();
        let journal = journal.filter(|journal| journal.lines < lines_max);
        if journal.is_some_and(|journal| journal.append(&change).is_ok()) {
            held.snapshot.apply(change);
            return Ok(());
        }
        // What a failed attempt left in the journal is void once the snapshot has another generation.
        let mut changed = held.snapshot.clone();
        changed.apply(change);
        self.replace(&mut held, changed)
    }

    /// Changes as much as there is to change, in memory and on disk.
    pub(crate) fn update(&self, update: impl FnOnce(&mut Snapshot)) -> Result<(), SnapshotError> {
        let mut held = self.held.lock();
        let mut changed = held.snapshot.clone();
        update(&mut changed);
        if changed == held.snapshot {
            return Ok(());
        }
        self.replace(&mut held, changed)
    }

    fn replace(&self, held: &mut Held, mut snapshot: Snapshot) -> Result<(), SnapshotError> {
        held.journal = None;
        snapshot.generation += 1;
        self.write(&snapshot)?;
        // Without a journal the next change is written as a whole again.
        held.journal = Journal::begin(&self.journal_path, snapshot.generation).ok();
        held.snapshot = snapshot;
        Ok(())
    }

    fn write(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        // Definitions may hold secrets in their environment: for the owner only.
        let write = || {
            let mut text = serde_json::to_vec_pretty(snapshot)?;
            text.push(b'\n');
            durable::replace(&self.path, durable::OWNER_ONLY, &text)
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

    use router_core::InstanceId;
    use serde_json::json;

    use super::{
        FILE, JOURNAL, JOURNAL_LINES_MIN, RecoverySnapshot, SnapshotChange, SnapshotError,
    };

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    fn registered(n: usize) -> SnapshotChange {
        SnapshotChange::Registered {
            id: id(&format!("r{n}")),
            definition: json!({"id": format!("r{n}"), "template": "t"}),
        }
    }

    #[test]
    fn what_was_changed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecoverySnapshot::open(dir.path()).unwrap();
        file.update(|snapshot| {
            snapshot.registered.insert("7".into(), json!({"id": "7"}));
            snapshot.stopped.insert("demo".into());
        })
        .unwrap();
        let again = RecoverySnapshot::open(dir.path()).unwrap();
        assert_eq!(again.get(), file.get());
        assert!(again.is_stopped(&id("demo")));
        let mode = std::fs::metadata(dir.path().join(FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_named_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{half").unwrap();
        let error = RecoverySnapshot::open(dir.path()).unwrap_err();
        assert!(matches!(error, SnapshotError::Read { .. }));
        assert!(error.to_string().contains("standing.json"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{half");
    }

    #[test]
    fn each_change_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecoverySnapshot::open(dir.path()).unwrap();
        let changes = [
            registered(1),
            registered(2),
            SnapshotChange::Stopped { id: id("r1") },
            SnapshotChange::Stopped { id: id("demo") },
            SnapshotChange::Started { id: id("demo") },
            SnapshotChange::Unregistered { id: id("r2") },
            registered(3),
        ];
        for change in changes {
            file.record(change).unwrap();
            let again = RecoverySnapshot::open(dir.path()).unwrap();
            assert_eq!(again.get(), file.get());
        }
        let known = file.get();
        assert_eq!(known.registered.keys().collect::<Vec<_>>(), ["r1", "r3"]);
        assert_eq!(known.stopped.iter().collect::<Vec<_>>(), ["r1"]);
    }

    #[test]
    fn a_journal_that_was_cut_short_or_continues_another_snapshot_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join(JOURNAL);
        let file = RecoverySnapshot::open(dir.path()).unwrap();
        file.record(registered(1)).unwrap();
        file.record(registered(2)).unwrap();
        let whole = std::fs::read_to_string(&journal).unwrap();
        let expected = file.get();
        let mut cut =
            format!("{whole}{{\"registered\":{{\"id\":\"r3\",\"definition\":\"ä").into_bytes();
        cut.pop();
        std::fs::write(&journal, cut).unwrap();
        let again = RecoverySnapshot::open(dir.path()).unwrap();
        assert_eq!(again.get(), expected);
        // The next change is not written behind the half line.
        again.record(registered(4)).unwrap();
        let expected = again.get();
        assert_eq!(RecoverySnapshot::open(dir.path()).unwrap().get(), expected);
        // As if the journal could not be begun anew after the snapshot was written.
        std::fs::write(&journal, whole).unwrap();
        let again = RecoverySnapshot::open(dir.path()).unwrap();
        assert_eq!(again.get(), expected);
        std::fs::write(&journal, "{half\n").unwrap();
        let error = RecoverySnapshot::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(JOURNAL), "{error}");
    }

    #[test]
    fn the_journal_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecoverySnapshot::open(dir.path()).unwrap();
        for n in 0..JOURNAL_LINES_MIN / 2 + 2 {
            file.record(SnapshotChange::Stopped {
                id: id(&n.to_string()),
            })
            .unwrap();
            file.record(SnapshotChange::Started {
                id: id(&n.to_string()),
            })
            .unwrap();
        }
        let journal = std::fs::read_to_string(dir.path().join(JOURNAL)).unwrap();
        assert!(journal.lines().count() < JOURNAL_LINES_MIN);
    }
}
