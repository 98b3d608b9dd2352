//! A slot's lock file: the process that holds the lock is the slot's shim, and the file's record is enough to adopt the slot,
//! to sweep after a shim that was killed, and to learn how a run ended while no router was there.
//!
//! A held `flock` decides whether a shim is alive, never `connect` and never a process id. A file of another user, or
//! one that others may write, is not trusted.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    protocol::{ExitReport, Transport},
    tree::Identity,
};

/// Largest record that is read: the tail of stderr in it is bounded to a small part of this.
const RECORD_BYTES_MAX: u64 = 256 * 1024;

/// What a shim writes into its lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// The instance's id.
    pub instance: String,
    /// Which slot of it.
    pub slot: u32,
    /// Which start of the slot.
    pub run: u64,
    /// The router that started it.
    pub router_id: String,
    /// The shim itself.
    pub shim: Identity,
    /// The random id in the environment of all that it started.
    pub marker: String,
    /// Where it listens.
    pub control_path: PathBuf,
    /// How the instance is reached.
    pub transport: Transport,
    /// The child's `SOCKET_PATH`.
    pub socket_path: PathBuf,
    /// The child's cgroup, where it has one.
    pub cgroup: Option<PathBuf>,
    /// The child, once it was started.
    pub child: Option<Identity>,
    /// The digest of what it was started with.
    pub spec_digest: String,
    /// When, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// How it ended, where no router was connected.
    #[serde(default)]
    pub exit: Option<ExitReport>,
}

/// A slot's lock, held until it is dropped.
#[derive(Debug)]
pub struct SlotLock {
    file: File,
    path: PathBuf,
    /// Length of what was written last, so that a shorter record leaves no tail behind.
    written: usize,
}

/// The state of a lock file.
#[derive(Debug)]
pub enum LockState {
    /// There is no such file.
    Absent,
    /// A living shim holds it. Its record may not be written yet.
    Held(Option<SlotRecord>),
    /// No process held it; the caller does now.
    Taken(SlotLock, Option<SlotRecord>),
}

/// Why a lock could not be inspected or taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("the slot lock {} is held{}", path.display(), holder(record.as_deref()))]
    Held {
        /// The lock.
        path: PathBuf,
        /// What its holder wrote.
        record: Option<Box<SlotRecord>>,
    },
    /// The file belongs to another user, or is open to others.
    #[error(
        "the slot lock {} belongs to uid {uid} with mode {mode:o}: remove it, or choose another socket_dir",
        path.display()
    )]
    NotOurs {
        /// The lock.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("the slot lock {}: {source}", path.display())]
    Io {
        /// The lock.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder(record: Option<&SlotRecord>) -> String {
    record.map_or_else(String::new, |record| {
        format!(
            " by shim {} of router {}",
            record.shim.pid, record.router_id
        )
    })
}

/// The state of a lock, which is taken if it exists and no process holds it.
///
/// # Errors
/// The file cannot be opened, or is not ours.
pub fn inspect(path: &Path) -> Result<LockState, LockError> {
    match open(path, false) {
        Ok(None) => Ok(LockState::Absent),
        Ok(Some(file)) => match try_lock(&file, path)? {
            Locked::Yes => {
                let record = read(&file);
                Ok(LockState::Taken(SlotLock::of(file, path), record))
            }
            Locked::ByAnother => Ok(LockState::Held(read(&file))),
            Locked::Replaced => Ok(LockState::Absent),
        },
        Err(error) => Err(error),
    }
}

/// Takes a lock, creating its file, without waiting.
///
/// # Errors
/// Another process holds it, or the file cannot be opened, or is not ours.
pub fn take(path: &Path) -> Result<(SlotLock, Option<SlotRecord>), LockError> {
    // The file may be unlinked by its last holder between our open and our lock: then begin again. The bound is
    // there for a file system on which the comparison never holds.
    for _ in 0..100 {
        let Some(file) = open(path, true)? else {
            continue;
        };
        match try_lock(&file, path)? {
            Locked::Yes => {
                let record = read(&file);
                return Ok((SlotLock::of(file, path), record));
            }
            Locked::ByAnother => {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    record: read(&file).map(Box::new),
                });
            }
            Locked::Replaced => {}
        }
    }
    Err(LockError::Io {
        path: path.to_owned(),
        source: io::Error::other("the file does not stay in place"),
    })
}

impl SlotLock {
    fn of(file: File, path: &Path) -> Self {
        let written = file
            .metadata()
            .map_or(0, |meta| usize::try_from(meta.len()).unwrap_or(0));
        Self {
            file,
            path: path.to_owned(),
            written,
        }
    }

    /// Replaces the record. The bytes past it are blanked by the same write, so that a reader never sees a mixture.
    ///
    /// # Errors
    /// The file system refused.
    pub fn write(&mut self, record: &SlotRecord) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(record)?;
        bytes.push(b'\n');
        let length = bytes.len();
        bytes.resize(length.max(self.written), b' ');
        self.file.write_all_at(&bytes, 0)?;
        self.file.set_len(length as u64)?;
        self.written = length;
        Ok(())
    }

    /// Whether the path still names the locked file: the directory may have been cleaned.
    #[must_use]
    pub fn in_place(&self) -> bool {
        same_file(&self.file, &self.path)
    }

    /// Puts a removed lock file back.
    ///
    /// # Errors
    /// Another process was faster, or the file system refused.
    pub fn put_back(&mut self, record: &SlotRecord) -> Result<(), LockError> {
        let (lock, _) = take(&self.path)?;
        *self = lock;
        self.write(record).map_err(|source| LockError::Io {
            path: self.path.clone(),
            source,
        })
    }

    /// Removes the file, then releases the lock.
    pub fn remove(self) {
        if self.in_place() {
            let _gone_already = std::fs::remove_file(&self.path);
        }
    }
}

enum Locked {
    Yes,
    ByAnother,
    Replaced,
}

fn open(path: &Path, create: bool) -> Result<Option<File>, LockError> {
    let io_error = |source| LockError::Io {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && !create => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    let meta = file.metadata().map_err(io_error)?;
    let ours = meta.uid() == rustix::process::geteuid().as_raw();
    if !ours || meta.mode() & 0o022 != 0 || !meta.is_file() {
        return Err(LockError::NotOurs {
            path: path.to_owned(),
            uid: meta.uid(),
            mode: meta.mode() & 0o7777,
        });
    }
    Ok(Some(file))
}

fn try_lock(file: &File, path: &Path) -> Result<Locked, LockError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) if same_file(file, path) => Ok(Locked::Yes),
        Ok(()) => Ok(Locked::Replaced),
        Err(Errno::WOULDBLOCK) => Ok(Locked::ByAnother),
        Err(errno) => Err(LockError::Io {
            path: path.to_owned(),
            source: errno.into(),
        }),
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => open.dev() == named.dev() && open.ino() == named.ino(),
        _ => false,
    }
}

fn read(file: &File) -> Option<SlotRecord> {
    let length = file.metadata().ok()?.len().min(RECORD_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    serde_json::from_slice(&bytes[..end]).ok()
}

#[cfg(test)]
mod tests;
