//! Log lines: to standard output and to a file that is rotated daily, never at the cost of the router.
//!
//! The caller formats the line and puts it into two bounded queues, one per destination; a thread of each writes. A destination that
//! is stuck or full loses lines, which are counted and said once it recovers; no other waits for it.
//!
//! What the operator greps for: the level in capitals; `version_id: X` on every line about an instance (from the field `instance` or
//! `version_id`); and by the field `kind`, where the message does not hold it already, `TIMEOUT`, `VALIDATION`, `AUDIT` and
//! `circuit breaker`. Lines of the target `audit` are written at every level, `off` included.

mod escape;
mod file;
mod format;
mod layer;
mod level;
mod line;
mod queue;
mod rotated;
mod writer;

use std::{
    fmt, io, panic,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use router_values::{LogFilter, LogFormat};
use tracing::Dispatch;
use tracing_subscriber::{Registry, filter::Targets, layer::SubscriberExt, reload};

use self::{
    file::LogFile,
    layer::LineLayer,
    queue::Queue,
    writer::{Console, LogWriter, LossReporter},
};

/// The name of the file. Rotated ones are `godot-mcp-router.2026-01-02.log`, and `godot-mcp-router.2026-01-02.1.log` where that is taken.
pub const FILE_NAME: &str = "godot-mcp-router.log";

/// How long what is queued may still be written when the router ends. A stuck terminal must not keep it alive.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// How and where to log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The directory of the file; `None`: standard output only.
    pub dir: Option<PathBuf>,
    /// What is logged.
    pub level: LogFilter,
    /// The format of a line.
    pub format: LogFormat,
    /// Age from which rotated files are deleted, in days.
    pub keep_days: Option<u32>,
    /// Size that the rotated files may have together, in bytes; the oldest go first.
    pub keep_bytes: Option<u64>,
    /// Size from which the file is rotated before its day is over, in bytes.
    pub rotate_bytes: u64,
}

/// Kept as long as audit rows are (400 days), at most 10 GB together, one file at most 256 MB.
impl Default for LogOptions {
    fn default() -> Self {
        Self {
            dir: Some(PathBuf::from("logs")),
            level: LogFilter::default(),
            format: LogFormat::Text,
            keep_days: Some(400),
            keep_bytes: Some(10 << 30),
            rotate_bytes: 256 << 20,
        }
    }
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A thread for a destination could not be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
    /// Somebody else took over logging in this process.
    #[error("logging was set up twice")]
    Installed,
}

/// Keeps logging alive. Dropping it writes what is queued, for at most two seconds, and ends the threads.
#[derive(Debug)]
pub struct LogGuard {
    control: LogControl,
    /// In the order in which they end: the file's may still have something to say on standard output.
    writers: Vec<LogWriter>,
}

/// Switches of the running log. Cheap to clone.
#[derive(Clone)]
pub struct LogControl {
    level: Arc<Mutex<LogFilter>>,
    filter: reload::Handle<Targets, Registry>,
    queues: Arc<[Arc<Queue>]>,
}

impl LogControl {
    /// Logs by another filter from now on.
    pub fn set_level(&self, filter: LogFilter) {
        // One at a time, so that the filter that is shown is the one in force.
        let mut level = self.level.lock();
        // It fails only once the subscriber is gone, and then nothing is logged at any level.
        let _ = self.filter.reload(level::targets(&filter));
        *level = filter;
    }

    /// The filter that was set last.
    #[must_use]
    pub fn level(&self) -> LogFilter {
        self.level.lock().clone()
    }

    /// Lines that some destination lost, since the start.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.queues.iter().map(|queue| queue.lost()).sum()
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogControl({})", self.level.lock())
    }
}

impl LogGuard {
    /// The switches.
    #[must_use]
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FINISH_MAX;
        for writer in &mut self.writers {
            writer.finish(deadline);
        }
    }
}

/// Logs everything of this process from now on, panics included. A file that cannot be written is said on standard output and tried again with
/// the next lines; it is no error.
///
/// # Errors
/// A thread cannot be started, or logging was set up before.
pub fn init(options: &LogOptions) -> Result<LogGuard, LogError> {
    let (dispatch, guard) = start(options, Box::new(io::stdout()))?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::Installed)?;
    log_panics();
    Ok(guard)
}

/// Panics go into the log too, before whatever else is done about them: standard error may be nobody's to read.
fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let said = panic.payload_as_str().unwrap_or("no text");
        let thread = thread::current();
        tracing::error!(
            kind = "internal",
            error = said,
            place,
            thread = thread.name().unwrap_or("unnamed"),
            "a thread of the router panicked"
        );
        before(panic);
    }));
}

/// As [`init`], with another standard output and for callers that install the dispatcher themselves.
///
/// # Errors
/// As [`init`].
pub fn start(
    options: &LogOptions,
    console: Box<dyn io::Write + Send>,
) -> Result<(Dispatch, LogGuard), LogError> {
    start_at(options, console, Arc::new(SystemTime::now))
}

/// The clock.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

fn start_at(
    options: &LogOptions,
    console: Box<dyn io::Write + Send>,
    clock: Clock,
) -> Result<(Dispatch, LogGuard), LogError> {
    let (filter, handle) = reload::Layer::new(level::targets(&options.level));
    let console_queue = Arc::new(Queue::new());
    let mut queues = vec![Arc::clone(&console_queue)];
    let mut writers = Vec::new();
    let reporter = |others| LossReporter {
        format: options.format,
        clock: Arc::clone(&clock),
        others,
    };
    if let Some(dir) = &options.dir {
        let queue = Arc::new(Queue::new());
        queues.push(Arc::clone(&queue));
        let file = LogFile::new(dir, options);
        let reporter = reporter(vec![Arc::clone(&console_queue)]);
        writers.push(LogWriter::start(
            "log-file",
            queue,
            Box::new(file),
            reporter,
        )?);
    }
    let console = Box::new(Console::new(console));
    writers.push(LogWriter::start(
        "log-stdout",
        console_queue,
        console,
        reporter(Vec::new()),
    )?);
    let queues: Arc<[Arc<Queue>]> = queues.into();
    let layer = LineLayer::new(options.format, clock, Arc::clone(&queues));
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(filter).with(layer));
    let control = LogControl {
        level: Arc::new(Mutex::new(options.level.clone())),
        filter: handle,
        queues,
    };
    Ok((dispatch, LogGuard { control, writers }))
}

#[cfg(test)]
mod tests;
