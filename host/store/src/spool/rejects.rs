//! What the database will never take, kept for people: a line each in `rejected.jsonl`, beside the spool's files.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::segment::Contents;
use crate::{counted::Counted, facts::Fact};

/// See the module.
pub(super) struct Rejects {
    path: PathBuf,
    counted: Arc<Counted>,
}

impl Rejects {
    /// The rejects of a spool's directory.
    pub(super) fn new(dir: &Path, counted: Arc<Counted>) -> Self {
        Self {
            path: dir.join("rejected.jsonl"),
            counted,
        }
    }

    /// Adds a fact that the database refused.
    pub(super) fn add(&self, fact: &Fact, reason: &str) {
        Counted::add(&self.counted.rejected, 1);
        let mut line = Vec::new();
        fact.write_line(&mut line);
        let line = String::from_utf8_lossy(&line).into_owned();
        tracing::error!(
            fact = line.trim_end(),
            reason,
            "fact refused by the database: moved to rejected.jsonl"
        );
        self.append(&line);
    }

    /// The facts of a file; lines that are none are added.
    pub(super) fn sort_out(&self, contents: Contents) -> Vec<Fact> {
        if contents.torn {
            Counted::add(&self.counted.torn, 1);
            tracing::warn!(
                "incomplete line of the spool skipped: its writer was killed before it was acknowledged"
            );
        }
        for line in contents.foreign {
            let line = String::from_utf8_lossy(&line).into_owned();
            Counted::add(&self.counted.rejected, 1);
            tracing::error!(
                line,
                "line of the spool is no fact: moved to rejected.jsonl"
            );
            self.append(&line);
        }
        contents.facts
    }

    fn append(&self, line: &str) {
        let written = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .and_then(|mut file| {
                file.write_all(line.as_bytes())?;
                file.sync_data()
            });
        if let Err(error) = written {
            tracing::error!(error = %error, "rejected.jsonl not writable: the log holds the line");
        }
    }
}
