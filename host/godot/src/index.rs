//! The index: what every file of the project says, kept up to date with the folder.
//!
//! It is built on first use and refreshed on every later use: the folder is listed again and only
//! files whose stamp changed are read again. Readers get an immutable snapshot. Calls block (file
//! system, parsing), so they belong on a blocking thread.

mod cycles;
mod file;
mod nodes;
mod references;
mod snapshot;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

pub(crate) use cycles::cycles;
pub(crate) use references::Via;
pub(crate) use snapshot::{Edge, FileId, MissingReference, ProjectSnapshot};

use self::file::IndexedFile;
use crate::facts::{self, Facts, FileKind};
use crate::fault::Flaw;
use crate::limits::ProjectLimits;
use crate::path::ProjectPath;
use crate::root::{FileAccessError, FileStamp, ProjectOpenError, ProjectRoot};
use crate::scan::Listing;

/// The project folder can no longer be listed.
#[derive(Debug, thiserror::Error)]
#[error("the project folder cannot be listed any more: {0}")]
pub(crate) struct ListError(#[from] std::io::Error);

/// The project's files and what they say.
#[derive(Debug)]
pub(crate) struct ProjectIndex {
    root: ProjectRoot,
    limits: ProjectLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<ProjectPath, Arc<IndexedFile>>,
    snapshot: Option<Arc<ProjectSnapshot>>,
    /// When the refresh that made `snapshot` started.
    refreshed_at: Option<Instant>,
}

impl ProjectIndex {
    /// An index of `folder`; nothing but `project.godot`'s existence is checked yet.
    pub(crate) fn open(folder: &Path, limits: ProjectLimits) -> Result<Self, ProjectOpenError> {
        Ok(Self {
            root: ProjectRoot::open(folder)?,
            limits,
            state: Mutex::default(),
        })
    }

    /// The bounds it works with.
    pub(crate) fn limits(&self) -> &ProjectLimits {
        &self.limits
    }

    /// Reads one file of the project, bounded like every other.
    pub(crate) fn read(&self, path: &ProjectPath) -> Result<Vec<u8>, FileAccessError> {
        self.root
            .read(path, self.limits.file_bytes_max)
            .map(|(bytes, _)| bytes)
    }

    /// The project as it is now. A change made before the call is seen; callers that wait for
    /// each other share one refresh.
    pub(crate) fn snapshot(&self) -> Result<Arc<ProjectSnapshot>, ListError> {
        let asked_at = Instant::now();
        let mut state = self.state.lock();
        if let (Some(at), Some(snapshot)) = (state.refreshed_at, &state.snapshot)
            && at >= asked_at
        {
            return Ok(snapshot.clone());
        }
        let started = Instant::now();
        let listing = Listing::of(&self.root, &self.limits)?;
        let changed = self.refresh(&mut state, &listing);
        let snapshot = match state
            .snapshot
            .take()
            .filter(|old| !changed && old.is_of(&listing))
        {
            Some(old) => old,
            None => {
                let files: Vec<_> = state.files.values().cloned().collect();
                Arc::new(ProjectSnapshot::build(&self.root, &files, &listing))
            }
        };
        state.snapshot = Some(snapshot.clone());
        state.refreshed_at = Some(started);
        tracing::debug!(
            files = state.files.len(),
            changed,
            elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "project index refreshed"
        );
        Ok(snapshot)
    }

    /// Reads what changed; true if anything did.
    fn refresh(&self, state: &mut State, listing: &Listing) -> bool {
        let now_ns = now_ns();
        let mut known = std::mem::take(&mut state.files);
        let mut changed = false;
        let mut bytes_left = self.limits.total_bytes_max;
        for (path, stamp) in &listing.files {
            let parsed = FileKind::of(path).is_parsed(path);
            // A file that is too large is reported as such and costs nothing.
            let cost = if parsed && stamp.size <= self.limits.file_bytes_max {
                stamp.size
            } else {
                0
            };
            let fits = cost <= bytes_left;
            if fits {
                bytes_left -= cost;
            }
            let old = known.remove(path).filter(|old| {
                old.stamp == *stamp && (old.settled || !parsed) && old.was_left_out() != fits
            });
            let file = old.unwrap_or_else(|| {
                changed = true;
                Arc::new(self.index_file(path, *stamp, parsed, fits, now_ns))
            });
            state.files.insert(path.clone(), file);
        }
        changed || !known.is_empty()
    }

    fn index_file(
        &self,
        path: &ProjectPath,
        stamp: FileStamp,
        parsed: bool,
        fits: bool,
        now_ns: i128,
    ) -> IndexedFile {
        let mut file = IndexedFile {
            path: path.clone(),
            kind: FileKind::of(path),
            facts: Facts::Opaque,
            faults: Vec::new(),
            stamp,
            settled: stamp.is_settled(now_ns),
        };
        if !parsed {
            return file;
        }
        if !fits {
            file.leave_out();
            return file;
        }
        match self.root.read(path, self.limits.file_bytes_max) {
            Ok((bytes, stamp)) => {
                file.stamp = stamp;
                file.settled = stamp.is_settled(now_ns);
                file.facts = facts::read(path, &bytes, &mut file.faults);
            }
            Err(error) => {
                let what = format!("not read: {error}");
                file.faults.push(Flaw::whole(what).of(path.as_str()));
            }
        }
        file
    }
}

fn now_ns() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests;
