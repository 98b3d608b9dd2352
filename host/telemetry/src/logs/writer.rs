//! The thread of one destination: writes what comes, and says what was lost once it can.

use std::{
    io::{self, Write},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use router_values::{Day, LogFormat, unix_ms};
use tracing::Level;

use super::{
    Clock, LogError, format,
    line::{FieldValue, Fields, Line},
    queue::{Queue, QueuedLine},
};

/// How long a destination that would block is asked again. Standard output is shared with the process that started this one, which may have made
/// it non-blocking; there is nothing to wait on that all kinds of it have.
const BLOCKED_MAX: Duration = Duration::from_secs(1);
const BLOCKED_PAUSE: Duration = Duration::from_millis(2);

/// Where lines go.
pub(super) trait Destination: Send {
    /// Writes lines; returns how many were lost, and why.
    fn write(&mut self, entries: &[QueuedLine]) -> Result<(), Lost>;

    /// What it is, for people.
    fn name(&self) -> String;
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

/// Reports what happened to a destination: on itself, and on others.
pub(super) struct LossReporter {
    pub(super) format: LogFormat,
    pub(super) clock: Clock,
    pub(super) others: Vec<Arc<Queue>>,
}

impl LossReporter {
    fn entry(
        &self,
        level: Level,
        message: &str,
        list: Vec<(&'static str, FieldValue)>,
    ) -> QueuedLine {
        let mut fields = Fields::with_message(message.to_owned());
        for (name, value) in list {
            fields.set(name, value);
        }
        let unix_ms = unix_ms((self.clock)());
        let line = Line {
            unix_ms,
            level,
            target: module_path!(),
            fields: &fields,
        };
        QueuedLine {
            day: Day::of_unix_ms(unix_ms),
            text: format::render(&line, self.format).into(),
        }
    }

    fn tell_others(&self, entry: &QueuedLine) {
        for queue in &self.others {
            queue.push(entry.clone());
        }
    }
}

/// A running thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    queue: Arc<Queue>,
    thread: Option<thread::JoinHandle<()>>,
    ended: mpsc::Receiver<()>,
}

impl LogWriter {
    pub(super) fn start(
        name: &str,
        queue: Arc<Queue>,
        destination: Box<dyn Destination>,
        reporter: LossReporter,
    ) -> Result<Self, LogError> {
        let (end, ended) = mpsc::sync_channel(1);
        let theirs = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                run(&theirs, destination, &reporter);
                // Nobody waits any more when the wait was too long.
                let _ = end.send(());
            })
            .map_err(LogError::Thread)?;
        Ok(Self {
            queue,
            thread: Some(thread),
            ended,
        })
    }

    /// Lets the thread write what is queued and ends it. One that is stuck is left behind: the process is about to end.
    pub(super) fn finish(&mut self, deadline: Instant) {
        self.queue.close();
        let left = deadline.saturating_duration_since(Instant::now());
        let stuck = matches!(
            self.ended.recv_timeout(left),
            Err(mpsc::RecvTimeoutError::Timeout)
        );
        if let Some(thread) = self.thread.take()
            && !stuck
        {
            // It can only have ended; a panic in it has been reported by the hook.
            let _ = thread.join();
        }
    }
}

fn run(queue: &Queue, mut destination: Box<dyn Destination>, reporter: &LossReporter) {
    // What was lost since the destination last took lines.
    let mut failing = false;
    let mut lost_lines = 0_u64;
    while let Some(entries) = queue.take() {
        match destination.write(&entries) {
            Err(lost) => {
                queue.count_lost(lost.lines);
                lost_lines += lost.lines;
                if !failing {
                    failing = true;
                    let list = vec![
                        ("destination", FieldValue::Text(destination.name())),
                        ("error", FieldValue::Text(lost.error.to_string())),
                    ];
                    reporter.tell_others(&reporter.entry(
                        Level::ERROR,
                        "log lines cannot be written",
                        list,
                    ));
                }
            }
            Ok(()) => {
                lost_lines += queue.take_unsaid();
                if lost_lines > 0 {
                    let list = vec![
                        ("destination", FieldValue::Text(destination.name())),
                        ("dropped", FieldValue::Literal(lost_lines.to_string())),
                    ];
                    let entry = reporter.entry(Level::WARN, "log lines were dropped", list);
                    reporter.tell_others(&entry);
                    // Said again with the next lines where it cannot be said now.
                    if destination.write(std::slice::from_ref(&entry)).is_err() {
                        continue;
                    }
                }
                failing = false;
                lost_lines = 0;
            }
        }
    }
}

/// Standard output, or what stands for it.
pub(super) struct Console {
    out: Box<dyn Write + Send>,
}

impl Console {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out }
    }
}

impl Destination for Console {
    fn write(&mut self, entries: &[QueuedLine]) -> Result<(), Lost> {
        write_lines(entries, &mut self.out)?;
        let flushed = self.out.flush();
        // What a buffer loses is not known; standard output flushes at each line's end.
        flushed.map_err(|error| Lost { lines: 0, error })
    }

    fn name(&self) -> String {
        "standard output".to_owned()
    }
}

/// Bytes that are written at once: one call for many lines, without a copy of a whole burst.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes lines in chunks; returns how many bytes that were.
pub(super) fn write_lines(entries: &[QueuedLine], out: &mut dyn Write) -> Result<u64, Lost> {
    let mut total = 0;
    let mut rest = entries;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES.min(entries.iter().map(|e| e.text.len()).sum()));
    while !rest.is_empty() {
        chunk.clear();
        let mut lines = 0;
        while let Some(entry) = rest.get(lines)
            && (lines == 0 || chunk.len() + entry.text.len() <= CHUNK_BYTES)
        {
            chunk.extend_from_slice(entry.text.as_bytes());
            lines += 1;
        }
        if let Err((written, error)) = write_all(&chunk, out) {
            let whole = chunk[..written].iter().filter(|b| **b == b'\n').count();
            return Err(Lost {
                lines: (rest.len() - whole) as u64,
                error,
            });
        }
        total += chunk.len() as u64;
        rest = &rest[lines..];
    }
    Ok(total)
}

/// As `Write::write_all`, but returns how much was written, and gives a destination that would block some time.
fn write_all(mut bytes: &[u8], out: &mut dyn Write) -> Result<(), (usize, io::Error)> {
    let total = bytes.len();
    let mut blocked_since = None;
    while !bytes.is_empty() {
        let error = match out.write(bytes) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(written) => {
                bytes = &bytes[written..];
                blocked_since = None;
                continue;
            }
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock
                if blocked_since.get_or_insert_with(Instant::now).elapsed() < BLOCKED_MAX =>
            {
                thread::sleep(BLOCKED_PAUSE);
            }
            _ => return Err((total - bytes.len(), error)),
        }
    }
    Ok(())
}
