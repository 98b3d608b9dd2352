//! The alert journal: rows of text of which the last one written counts, safe on disk before anything is done on their account.
//!
//! One thread owns the files, so that a slow disk holds nobody but who waits for it. Records that come together share one fsync.
//! A record is one line with a checksum: it is there whole or not at all. From time to time the rows as they are become one file,
//! which is put in place whole, and the log before it goes.
//!
//! When the disk refuses, the rows are held in memory, who wrote them hears that they are not safe, and they are written as soon as
//! the disk takes them again.

mod format;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use serde_json::value::RawValue;
use tokio::sync::{oneshot, watch};

use writer::JournalWriter;

/// Records on their way to the disk. Who writes waits for each of them, so that few are.
const QUEUE_MAX: usize = 1_024;

/// One row: its name, and its value as JSON; `None`: it is no more.
pub type JournalRow = (String, Option<Box<RawValue>>);

/// What a start found.
#[derive(Debug, Default)]
pub struct JournalContents {
    /// The rows, by name.
    pub rows: BTreeMap<String, Box<RawValue>>,
    /// Lines that are whole and wrong: a damaged disk. Their rows are what an earlier line said.
    pub damaged: u64,
    /// The last line was not finished: the writer was killed. Nothing was done on its account.
    pub torn: bool,
}

/// How the journal is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalState {
    /// Why the latest rows are not on the disk, where they are not.
    pub refusing: Option<String>,
    /// Bytes of the rows.
    pub live_bytes: u64,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Writes since the start: each is one fsync, or a snapshot.
    pub writes: u64,
    /// How long they took together.
    pub write_time: Duration,
}

impl JournalState {
    /// Share in use of what the rows may take, from 0 to 1: past it rows that would take more are refused.
    #[must_use]
    pub fn used_share(&self) -> f64 {
        self.live_bytes as f64 / writer::LIVE_BYTES_MAX as f64
    }
}

/// Why a record is not safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDurable {
    /// The disk refuses. The rows are held in memory and written when it takes them.
    #[error("the alert journal cannot be written: {0}")]
    Refused(String),
    /// The rows would be more than a start reads in time. They are not kept.
    #[error("the alert journal is full: {bytes} bytes, and it may have {bytes_max}")]
    Full {
        /// How many they would be.
        bytes: u64,
        /// How many they may be.
        bytes_max: u64,
    },
    /// Too many records wait for the disk, or the journal has ended. The rows are not kept.
    #[error("the alert journal takes nothing now")]
    Busy,
}

/// A handle on the journal. Its thread ends with it, after everything that it took.
#[derive(Debug)]
pub struct AlertJournal {
    orders: Option<SyncSender<JournalOrder>>,
    state: watch::Receiver<JournalState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct JournalOrder {
    rows: Vec<JournalRow>,
    reply: oneshot::Sender<Result<(), NotDurable>>,
}

impl AlertJournal {
    /// Reads what is in a directory, and goes on from there. The directory may be unusable: rows are then held in memory.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn open(dir: PathBuf) -> io::Result<(Self, JournalContents)> {
        let (orders, inbox) = sync_channel(QUEUE_MAX);
        let (publish, state) = watch::channel(JournalState::default());
        let (writer, contents) = JournalWriter::open(dir, publish);
        let thread = std::thread::Builder::new()
            .name("alert-journal".to_owned())
            .spawn(move || writer.run(&inbox))?;
        let journal = Self {
            orders: Some(orders),
            state,
            thread: Some(thread),
        };
        Ok((journal, contents))
    }

    /// Writes one record. When this returns, the rows are on the disk, all of them or none. Records are written in the order of
    /// these calls.
    ///
    /// # Errors
    /// They are not safe; says why, and whether they are held.
    pub async fn commit(&self, rows: Vec<JournalRow>) -> Result<(), NotDurable> {
        let (reply, written) = oneshot::channel();
        let orders = self.orders.as_ref().ok_or(NotDurable::Busy)?;
        match orders.try_send(JournalOrder { rows, reply }) {
            Ok(()) => written.await.unwrap_or(Err(NotDurable::Busy)),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(NotDurable::Busy),
        }
    }

    /// How many bytes of rows there is room for.
    #[must_use]
    pub fn room(&self) -> u64 {
        writer::LIVE_BYTES_MAX.saturating_sub(self.state.borrow().live_bytes)
    }

    /// How it is, now and as it goes on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<JournalState> {
        self.state.clone()
    }
}

impl Drop for AlertJournal {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("alert journal thread panicked");
        }
    }
}
