//! Lines as they arrive: at a real file, and at a standard output that may misbehave.

mod destinations;
mod format;
mod runbook;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use parking_lot::Mutex;
use router_values::{LogFilter, LogFormat};
use tempfile::TempDir;
use tracing::Dispatch;

use super::{Clock, FILE_NAME, LogGuard, LogOptions, start_at};

/// How long a test waits for something that should happen at once.
const DEADLINE: Duration = Duration::from_secs(20);

/// A standard output that keeps what it gets.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A running log in a directory of its own, at a time that the test sets.
struct Bench {
    dir: TempDir,
    stdout: Kept,
    now_ms: Arc<AtomicI64>,
    dispatch: Dispatch,
    guard: LogGuard,
}

/// 2026-01-02T03:04:05.678Z.
const START_MS: i64 = 1_767_323_045_678;
const DAY_MS: i64 = 86_400_000;

impl Bench {
    fn new(change: impl FnOnce(&mut LogOptions)) -> Self {
        let stdout = Kept::default();
        Self::with_console(change, Box::new(stdout.clone()), stdout)
    }

    fn with_console(
        change: impl FnOnce(&mut LogOptions),
        console: Box<dyn io::Write + Send>,
        stdout: Kept,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = LogOptions {
            dir: Some(dir.path().join("logs")),
            level: LogFilter::parse("trace").unwrap(),
            ..LogOptions::default()
        };
        change(&mut options);
        let now_ms = Arc::new(AtomicI64::new(START_MS));
        let theirs = Arc::clone(&now_ms);
        let clock: Clock = Arc::new(move || {
            UNIX_EPOCH + Duration::from_millis(theirs.load(Ordering::Relaxed).unsigned_abs())
        });
        let (dispatch, guard) = start_at(&options, console, clock).unwrap();
        Self {
            dir,
            stdout,
            now_ms,
            dispatch,
            guard,
        }
    }

    fn log(&self, say: impl FnOnce()) {
        tracing::dispatcher::with_default(&self.dispatch, say);
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    fn path(&self) -> PathBuf {
        self.logs().join(FILE_NAME)
    }

    fn pass(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// Waits until the file holds a text.
    fn wait_for(&self, text: &str) {
        wait_for_text(&self.path(), text);
    }

    /// Ends the log: everything queued is written. What standard output got, and the directory.
    fn finish(self) -> (String, TempDir) {
        drop(self.guard);
        (self.stdout.text(), self.dir)
    }
}

fn wait_for_text(path: &Path, text: &str) {
    let holds = || fs::read_to_string(path).is_ok_and(|found| found.contains(text));
    wait_until(holds, || {
        format!(
            "{} to hold {text:?}; it is {:?}",
            path.display(),
            fs::read_to_string(path)
        )
    });
}

fn wait_until(is_so: impl Fn() -> bool, what: impl Fn() -> String) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for {}", what());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The lines that one event makes, in a format.
fn line(format: LogFormat, say: impl FnOnce()) -> String {
    let bench = Bench::new(|options| options.format = format);
    bench.log(say);
    let path = bench.path();
    let (stdout, dir) = bench.finish();
    let file = fs::read_to_string(path).unwrap();
    drop(dir);
    assert_eq!(file, stdout, "both destinations get the same");
    file
}
