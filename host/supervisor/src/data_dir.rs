//! The router's data directory: one router per directory, its name, and its epoch.
//!
//! The name outlives the process, so that the shims of an earlier life are recognised. The epoch grows with every
//! claim, so that late messages of an earlier life are not taken for those of this one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use router_values::durable;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// How long a predecessor that is just dying may keep the lock.
const CLAIM_WITHIN: Duration = Duration::from_secs(5);

/// Between two attempts at it: a lock cannot be waited for with a deadline.
const CLAIM_INTERVAL: Duration = Duration::from_millis(20);

/// A claimed data directory. The claim ends when this is dropped or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    router_id: String,
    epoch: u64,
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another router uses it.
    #[error("the data directory {} is in use by the router with pid {pid}", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
        /// What that router wrote into its lock.
        pid: String,
    },
    /// A file of it cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Makes the directory if need be, locks it, reads or makes the router's name, and counts the epoch up. Blocks for
    /// at most five seconds while a predecessor that was killed releases it.
    ///
    /// # Errors
    /// Another router holds it, or it cannot be written.
    pub fn claim(path: &Path, configured_router_id: Option<&str>) -> Result<Self, DataDirError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| DataDirError::Io { path, source }
        };
        fs::create_dir_all(path).map_err(io_error(path))?;
        let lock_path = path.join("router.lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(io_error(&lock_path))?;
        wait_for_lock(&lock, path, &lock_path)?;
        let pid = format!("{:<10}\n", std::process::id());
        lock.write_all_at(pid.as_bytes(), 0)
            .map_err(io_error(&lock_path))?;

        let id_path = path.join("router_id");
        let router_id = match configured_router_id {
            Some(configured) => configured.to_owned(),
            None => kept_or_made_id(&id_path).map_err(io_error(&id_path))?,
        };
        let epoch_path = path.join("epoch");
        let epoch = kept_epoch(&epoch_path).map_err(io_error(&epoch_path))? + 1;
        write(&epoch_path, &format!("{epoch}\n")).map_err(io_error(&epoch_path))?;
        Ok(Self {
            path: path.to_owned(),
            router_id,
            epoch,
            _lock: lock,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// This router's name.
    #[must_use]
    pub fn router_id(&self) -> &str {
        &self.router_id
    }

    /// How many times this directory has been claimed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

fn wait_for_lock(lock: &File, path: &Path, lock_path: &Path) -> Result<(), DataDirError> {
    let deadline = Instant::now() + CLAIM_WITHIN;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(CLAIM_INTERVAL);
            }
            Err(Errno::WOULDBLOCK) => {
                let pid = fs::read_to_string(lock_path)
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                return Err(DataDirError::InUse {
                    path: path.to_owned(),
                    pid,
                });
            }
            Err(errno) => {
                return Err(DataDirError::Io {
                    path: lock_path.to_owned(),
                    source: errno.into(),
                });
            }
        }
    }
}

/// The epoch of the life before; 0 where there was none. One that cannot be read is no reason to begin again: answers and
/// decisions of earlier lives would be taken for those of this one.
fn kept_epoch(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            let reason = "it holds no number; write one into it that is larger than all before";
            io::Error::new(io::ErrorKind::InvalidData, reason)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn kept_or_made_id(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) => make_id(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_id(path),
        Err(error) => Err(error),
    }
}

fn make_id(path: &Path) -> io::Result<String> {
    let id = random_hex(8)?;
    write(path, &format!("{id}\n"))?;
    Ok(id)
}

/// Other programs may read what this directory is called and how often it was claimed.
fn write(path: &Path, content: &str) -> io::Result<()> {
    durable::replace(path, durable::READABLE, content.as_bytes())
}

/// Random bytes from the kernel, as hex digits.
pub(crate) fn random_hex(bytes: usize) -> io::Result<String> {
    let mut random = vec![0_u8; bytes];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::{DataDir, DataDirError};

    #[test]
    fn a_directory_has_one_router_whose_name_stays_and_whose_epoch_grows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let first = DataDir::claim(&path, None).unwrap();
        assert_eq!((first.router_id().len(), first.epoch()), (16, 1));
        let name = first.router_id().to_owned();
        let refused = DataDir::claim(&path, None).unwrap_err();
        let own = std::process::id().to_string();
        assert!(
            matches!(&refused, DataDirError::InUse { pid, .. } if *pid == own),
            "{refused}"
        );
        drop(first);
        let second = DataDir::claim(&path, None).unwrap();
        assert_eq!((second.router_id(), second.epoch()), (name.as_str(), 2));
        drop(second);
        let third = DataDir::claim(&path, Some("east-1")).unwrap();
        assert_eq!((third.router_id(), third.epoch()), ("east-1", 3));
        drop(third);
        std::fs::write(path.join("epoch"), "").unwrap();
        let damaged = DataDir::claim(&path, None).unwrap_err().to_string();
        assert!(damaged.contains("epoch"), "{damaged}");
    }
}
