//! What a guest says: its log and what it prints, bounded together per call. What it prints on standard output and error goes to the
//! log line by line, and its last words are kept for the failure that may follow: of a panic and of an exception they are all
//! that is known.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use super::{Bound, LINE_BYTES_MAX};

/// What a guest may print at once: as much as WASI lets it hand over with `blocking-write-and-flush`.
const WRITE_BYTES_MAX: usize = 4096;

/// What is kept of what a call printed: a traceback of some levels, with the exception at its end.
const KEPT_BYTES_MAX: usize = 4096;

/// What of it stands in the text of a failure, which is shown in lists.
const EXCERPT_BYTES_MAX: usize = 512;

/// Lines of one generation that may come at once and per second: a policy that prints at each judgement of a large fleet would
/// fill the log otherwise. `host.log` has no such bound, for what comes through it was written for the log.
const LINES_AT_ONCE: u32 = 100;
const LINE_EVERY: Duration = Duration::from_millis(100);

/// Where a guest prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// How many lines a generation may still print, whatever the number of its calls.
#[derive(Debug)]
pub(crate) struct LineRate(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    left: u32,
    /// Since when the next one is awaited.
    since: Instant,
    dropped: u64,
}

impl Default for LineRate {
    fn default() -> Self {
        Self(Mutex::new(Lines {
            left: LINES_AT_ONCE,
            since: Instant::now(),
            dropped: 0,
        }))
    }
}

impl LineRate {
    /// Whether one more line may be logged, and how many were dropped before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock();
        let waited = now.saturating_duration_since(lines.since);
        let more = u32::try_from(waited.as_millis() / LINE_EVERY.as_millis()).unwrap_or(u32::MAX);
        lines.left = lines.left.saturating_add(more).min(LINES_AT_ONCE);
        if lines.left == LINES_AT_ONCE {
            lines.since = now;
        } else {
            lines.since += LINE_EVERY * more;
        }
        if lines.left == 0 {
            lines.dropped += 1;
            return None;
        }
        lines.left -= 1;
        Some(std::mem::take(&mut lines.dropped))
    }
}

/// See the module. Of one store.
pub(crate) struct Output {
    plugin: Arc<str>,
    bytes_max: u64,
    rate: Arc<LineRate>,
    said: Mutex<Said>,
}

/// What the call in progress said.
#[derive(Default)]
struct Said {
    bytes: u64,
    /// The line that each stream has begun.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The last that was printed, of both streams.
    kept: Vec<u8>,
}

impl Output {
    pub(super) fn new(plugin: Arc<str>, bytes_max: u64, rate: Arc<LineRate>) -> Arc<Self> {
        Arc::new(Self {
            plugin,
            bytes_max,
            rate,
            said: Mutex::default(),
        })
    }

    /// A call begins.
    pub(super) fn begin(&self) {
        *self.said.lock() = Said::default();
    }

    /// Counts what is said.
    pub(super) fn count(&self, bytes: usize) -> Result<(), Bound> {
        self.said.lock().count(bytes, self.bytes_max)
    }

    /// Where the guest prints.
    pub(super) fn stream(self: &Arc<Self>, stream: Stream) -> impl StdoutStream + use<> {
        Printed {
            stream,
            output: Arc::clone(self),
        }
    }

    fn print(&self, stream: Stream, bytes: &[u8]) -> Result<(), Bound> {
        let mut said = self.said.lock();
        said.count(bytes.len(), self.bytes_max)?;
        said.keep(bytes);
        let begun = match stream {
            Stream::Stdout => &mut said.stdout,
            Stream::Stderr => &mut said.stderr,
        };
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        for piece in lines.flat_map(|line| line.chunks(LINE_BYTES_MAX)) {
            if begun.len() + piece.len() > LINE_BYTES_MAX {
                self.log(stream, &std::mem::take(begun));
            }
            begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.log(stream, &std::mem::take(begun));
            }
        }
        Ok(())
    }

    /// The call is over: logs what ended without a line's end.
    pub(super) fn end(&self) {
        let mut said = self.said.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = match stream {
                Stream::Stdout => &mut said.stdout,
                Stream::Stderr => &mut said.stderr,
            };
            self.log(stream, &std::mem::take(begun));
        }
    }

    fn log(&self, stream: Stream, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        let Some(dropped) = self.rate.admit(Instant::now()) else {
            return;
        };
        let plugin = &*self.plugin;
        match stream {
            Stream::Stdout => tracing::info!(plugin, reason = line, dropped, "plugin stdout"),
            Stream::Stderr => tracing::warn!(plugin, reason = line, dropped, "plugin stderr"),
        }
    }

    /// The last that the call in progress printed, as text.
    pub(crate) fn printed(&self) -> Option<String> {
        let said = self.said.lock();
        let text = String::from_utf8_lossy(&said.kept);
        let text = text.trim_start_matches(char::REPLACEMENT_CHARACTER).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl Said {
    fn count(&mut self, bytes: usize, bytes_max: u64) -> Result<(), Bound> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > bytes_max {
            return Err(Bound::Log(bytes_max));
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT_BYTES_MAX)..];
        let too_many = (self.kept.len() + bytes.len()).saturating_sub(KEPT_BYTES_MAX);
        self.kept.drain(..too_many);
        self.kept.extend_from_slice(bytes);
    }
}

/// The last words of what was printed, on one line: what a panic and an exception say comes last, but for advice that is of no use
/// here.
pub(crate) fn excerpt(printed: &str) -> String {
    const ADVICE: &str = "note: run with `RUST_BACKTRACE=1`";
    let lines = printed.lines().map(str::trim);
    let lines: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with(ADVICE))
        .collect();
    let text = escape(&lines.join(" "));
    let mut start = text.len().saturating_sub(EXCERPT_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text[start..].to_owned()
}

/// Text whose control characters are written out.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        escaped
    })
}

/// One of the two streams of a guest.
#[derive(Clone)]
struct Printed {
    stream: Stream,
    output: Arc<Output>,
}

impl IsTerminal for Printed {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printed {
    /// For WASI 0.3, which is not served.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let printed = self.output.print(self.stream, &bytes);
        printed.map_err(|bound| StreamError::Trap(bound.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::{
        Bound, LINE_BYTES_MAX, LINE_EVERY, LINES_AT_ONCE, LineRate, Output, Stream, excerpt,
    };

    #[test]
    fn lines_are_dropped_past_their_rate_and_counted() {
        let rate = LineRate::default();
        let begun = Instant::now();
        for _ in 0..LINES_AT_ONCE {
            assert_eq!(rate.admit(begun), Some(0));
        }
        assert_eq!(rate.admit(begun + LINE_EVERY / 2), None);
        assert_eq!(rate.admit(begun + LINE_EVERY / 2), None);
        assert_eq!(rate.admit(begun + LINE_EVERY * 3 / 2), Some(2));
        assert_eq!(rate.admit(begun + LINE_EVERY * 3 / 2), None);
        let later = begun + LINE_EVERY * 2 * LINES_AT_ONCE;
        assert_eq!(rate.admit(later), Some(1));
        let more = (0..LINES_AT_ONCE).filter(|_| rate.admit(later).is_some());
        assert_eq!(more.count(), LINES_AT_ONCE as usize - 1);
    }

    #[test]
    fn the_last_that_a_call_printed_is_kept_within_their_bounds() {
        let output = Output::new("p".into(), 20_000, Arc::default());
        assert_eq!(output.printed(), None);
        for _ in 0..500 {
            output.print(Stream::Stdout, "é… ".as_bytes()).unwrap();
        }
        output
            .print(Stream::Stderr, b"\nthread panicked:\n")
            .unwrap();
        let printed = output.printed().unwrap();
        assert!(printed.len() <= 4_096 && printed.ends_with("é… \nthread panicked:"));
        assert!(excerpt(&printed).len() <= 512);
        output.begin();
        assert_eq!(output.printed(), None, "a call begins with nothing");
        output.count(19_999).unwrap();
        output.print(Stream::Stdout, b"x").unwrap();
        let past = output.print(Stream::Stderr, b"x");
        assert_eq!(past, Err(Bound::Log(20_000)), "log and streams together");
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_a_line_may() {
        let output = Output::new("p".into(), 1 << 20, Arc::default());
        for length in [1, 4_095, 4_096, 10_000, 3, 100_000] {
            output.print(Stream::Stdout, &vec![b'x'; length]).unwrap();
            assert!(output.said.lock().stdout.len() <= LINE_BYTES_MAX);
        }
        output.print(Stream::Stdout, b"\n").unwrap();
        assert!(output.said.lock().stdout.is_empty());
    }

    #[test]
    fn an_excerpt_is_one_line_without_advice() {
        let printed = "thread 'main' panicked at src/lib.rs:3:5:\none\n2026 ERROR forged\u{1b}[2J\n\
            note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let expected = "thread 'main' panicked at src/lib.rs:3:5: one 2026 ERROR forged\\u{1b}[2J";
        assert_eq!(excerpt(printed), expected);
    }
}
