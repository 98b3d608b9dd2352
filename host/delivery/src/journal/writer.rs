//! The thread that owns the journal's files.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use router_values::{
    durable,
    segment::{OpenSegment, SegmentFile, SegmentName, create_dir},
};
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::{JournalContents, JournalOrder, JournalRow, JournalState, NotDurable, format};

const LOG: SegmentName = SegmentName {
    prefix: "journal-",
    suffix: ".jsonl",
};
/// The rows as they were when the log of the same number was begun.
const SNAPSHOT: SegmentName = SegmentName {
    prefix: "snapshot-",
    suffix: ".jsonl",
};
/// What a writer that was killed left of a snapshot.
const DRAFT: SegmentName = SegmentName {
    prefix: "snapshot-",
    suffix: ".jsonl.new",
};
/// Records written with one fsync.
const COMMIT_MAX: usize = 256;
/// Bytes of all rows: with as much of log again, a start reads them in well under two seconds.
pub(super) const LIVE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// A log shorter than this is not worth a snapshot.
pub(super) const LOG_BYTES_MIN: u64 = 1024 * 1024;
/// Rows of a snapshot in one line.
const SNAPSHOT_ROWS: usize = 64;
/// How often a disk that refuses is tried again while nobody writes.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct JournalWriter {
    dir: PathBuf,
    rows: BTreeMap<String, Box<RawValue>>,
    live_bytes: u64,
    log: Option<OpenSegment>,
    /// Bytes of log since the last snapshot.
    log_bytes: u64,
    snapshot_bytes: u64,
    next_number: u64,
    /// Why the log lacks some of the rows, if it does: only a snapshot makes them safe then.
    refusing: Option<String>,
    writes: u64,
    write_time: Duration,
    /// Not all could be read at the start: what is there is put aside for people, and not removed.
    is_blind: bool,
    publish: watch::Sender<JournalState>,
}

impl JournalWriter {
    /// A writer of a directory, which need not exist or be usable, with what it holds.
    pub(super) fn open(
        dir: PathBuf,
        publish: watch::Sender<JournalState>,
    ) -> (Self, JournalContents) {
        let mut writer = Self {
            dir,
            rows: BTreeMap::new(),
            live_bytes: 0,
            log: None,
            log_bytes: 0,
            snapshot_bytes: 0,
            next_number: 1,
            refusing: None,
            writes: 0,
            write_time: Duration::ZERO,
            is_blind: false,
            publish,
        };
        let started = Instant::now();
        let mut contents = JournalContents::default();
        if let Err(error) = writer.read(&mut contents) {
            let dir = writer.dir.display().to_string();
            tracing::error!(dir, error = %error, "alert journal not readable");
            writer.refusing = Some(error.to_string());
            writer.is_blind = true;
        }
        let rows = contents.rows.len();
        let (damaged, torn) = (contents.damaged, contents.torn);
        let elapsed_ms = started.elapsed().as_millis();
        if damaged > 0 {
            tracing::error!(
                rows,
                damaged,
                elapsed_ms,
                "alert journal is damaged: the rows of some records are older ones"
            );
        } else {
            tracing::info!(rows, torn, elapsed_ms, "alert journal read");
        }
        writer.rows.clone_from(&contents.rows);
        let sizes = writer
            .rows
            .iter()
            .map(|(key, value)| format::row_bytes(key, value));
        writer.live_bytes = sizes.sum();
        writer.publish();
        (writer, contents)
    }

    fn read(&mut self, contents: &mut JournalContents) -> io::Result<()> {
        let snapshot = SNAPSHOT.list(&self.dir)?.pop();
        let logs = LOG.list(&self.dir)?;
        let begin = snapshot.as_ref().map_or(0, |snapshot| snapshot.number);
        let last = logs.last().map_or(begin, |log| log.number.max(begin));
        self.next_number = last.saturating_add(1);
        if let Some(snapshot) = snapshot {
            format::read_file(&snapshot.path, contents)?;
            self.snapshot_bytes = snapshot.bytes;
        }
        // What is older than the snapshot was to be removed.
        for log in logs.iter().filter(|log| log.number >= begin) {
            format::read_file(&log.path, contents)?;
            self.log_bytes += log.bytes;
        }
        Ok(())
    }

    /// Writes records until no handle is left.
    pub(super) fn run(mut self, inbox: &Receiver<JournalOrder>) {
        loop {
            let first = match inbox.recv_timeout(REFUSED_PAUSE) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut orders: Vec<JournalOrder> = first.into_iter().collect();
            if orders.is_empty() && self.refusing.is_none() {
                continue;
            }
            let others = inbox.try_iter().take(COMMIT_MAX - 1);
            orders.extend(others);
            self.commit(orders);
        }
        if self.refusing.is_some() && self.compact().is_err() {
            tracing::error!("alert journal ends with rows that are not on the disk");
        }
    }

    fn commit(&mut self, orders: Vec<JournalOrder>) {
        let mut lines = Vec::new();
        let mut replies = Vec::new();
        for order in orders {
            match self.take(order.rows, &mut lines) {
                Ok(()) => replies.push(order.reply),
                // Who asked may be gone.
                Err(error) => drop(order.reply.send(Err(error))),
            }
        }
        let begun = Instant::now();
        let written = self.write(&lines);
        self.writes += 1;
        self.write_time += begun.elapsed();
        if let Err(error) = &written
            && self.refusing.is_none()
        {
            let dir = self.dir.display().to_string();
            tracing::error!(dir, error = %error, "alert journal not writable: its rows are held in memory");
        } else if written.is_ok() && self.refusing.is_some() {
            tracing::info!("alert journal written again: its rows are on the disk");
        }
        self.refusing = written.err().map(|error| error.to_string());
        self.publish();
        for reply in replies {
            let refused = self.refusing.clone().map(NotDurable::Refused);
            let _ = reply.send(refused.map_or(Ok(()), Err));
        }
    }

    /// Applies a record to the rows, and appends it to the lines.
    fn take(&mut self, rows: Vec<JournalRow>, lines: &mut Vec<u8>) -> Result<(), NotDurable> {
        let mut bytes = self.live_bytes;
        for (key, value) in &rows {
            let before = self
                .rows
                .get(key)
                .map_or(0, |before| format::row_bytes(key, before));
            let after = value
                .as_ref()
                .map_or(0, |after| format::row_bytes(key, after));
            bytes = (bytes + after).saturating_sub(before);
        }
        if bytes > LIVE_BYTES_MAX && bytes > self.live_bytes {
            return Err(NotDurable::Full {
                bytes,
                bytes_max: LIVE_BYTES_MAX,
            });
        }
        format::write_record(&rows, lines)
            .map_err(|error| NotDurable::Refused(error.to_string()))?;
        self.live_bytes = bytes;
        for (key, value) in rows {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        Ok(())
    }

    /// Makes the rows safe: with the lines that changed them, or with a snapshot where the log is long or lacks some.
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let log_bytes = self.log_bytes + lines.len() as u64;
        if self.refusing.is_some() || log_bytes > LOG_BYTES_MIN.max(self.live_bytes) {
            return self.compact();
        }
        let mut log = match self.log.take() {
            Some(log) => log,
            None => OpenSegment::create(&self.dir, LOG, self.next_number)?,
        };
        self.next_number = log.number().saturating_add(1);
        let appended = log.append(lines);
        if appended.is_ok() {
            self.log_bytes = log_bytes;
        }
        if log.bytes() > 0 {
            self.log = Some(log);
        } else {
            log.discard();
        }
        appended
    }

    /// Puts the rows as they are in one file, and removes what was before it.
    fn compact(&mut self) -> io::Result<()> {
        create_dir(&self.dir)?;
        let mut content = Vec::new();
        let mut chunk: Vec<JournalRow> = Vec::new();
        for (key, value) in &self.rows {
            chunk.push((key.clone(), Some(value.clone())));
            if chunk.len() == SNAPSHOT_ROWS {
                format::write_record(&chunk, &mut content)?;
                chunk.clear();
            }
        }
        if !chunk.is_empty() {
            format::write_record(&chunk, &mut content)?;
        }
        // Numbers of logs that could not be listed at the start may be higher: the snapshot must not come before them.
        let logs = LOG.list(&self.dir)?;
        let snapshots = SNAPSHOT.list(&self.dir)?;
        let last = logs.iter().chain(&snapshots).map(|file| file.number).max();
        let number = self
            .next_number
            .max(last.map_or(0, |last| last.saturating_add(1)));
        for SegmentFile { path, .. } in DRAFT.list(&self.dir)? {
            std::fs::remove_file(path)?;
        }
        durable::replace(
            &SNAPSHOT.path(&self.dir, number),
            durable::OWNER_ONLY,
            &content,
        )?;
        self.log = None;
        self.log_bytes = 0;
        self.snapshot_bytes = content.len() as u64;
        self.next_number = number.saturating_add(1);
        for SegmentFile { path, .. } in logs.into_iter().chain(snapshots) {
            self.clear_away(&path);
        }
        self.is_blind = false;
        Ok(())
    }

    fn clear_away(&self, path: &Path) {
        let cleared = if self.is_blind {
            let aside = path.with_extension("unread");
            tracing::error!(path = %aside.display(), "file of the alert journal could not be read at the start: put aside");
            std::fs::rename(path, aside)
        } else {
            std::fs::remove_file(path)
        };
        if let Err(error) = cleared {
            // The next start knows by its number that it is older than the snapshot.
            tracing::warn!(path = %path.display(), error = %error, "file of the alert journal not removed");
        }
    }

    fn publish(&self) {
        self.publish.send_replace(JournalState {
            refusing: self.refusing.clone(),
            live_bytes: self.live_bytes,
            file_bytes: self.snapshot_bytes + self.log_bytes,
            writes: self.writes,
            write_time: self.write_time,
        });
    }
}
