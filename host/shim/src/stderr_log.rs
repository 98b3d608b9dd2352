//! A child's stderr: read for as long as there is a child, so that it never blocks on it or dies of SIGPIPE; written to a
//! bounded, rotated log with a time before each line; its last lines kept as evidence.
//!
//! A flood, a full disk or an unwritable directory costs log lines, which are counted, and never the child.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    time::{Instant, SystemTime},
};

use godot_mcp_shim::{paths::rotated_log, protocol::LogLimits};
use router_values::rfc3339;

/// One read: the usual capacity of a pipe is four times this.
const READ_BYTES: usize = 16 * 1024;

/// Reads before the control connections are served again.
const READS_PER_PASS: usize = 8;

/// Longest line that is kept; what is past it is dropped and counted. Stack traces have short lines, dumps do not.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Evidence after a crash: lines, and their bytes in sum. A Python or Node trace with its message fits.
const TAIL_LINES_MAX: usize = 60;
const TAIL_BYTES_MAX: usize = 16 * 1024;

/// Bytes of log per second, and at once. A chatty server writes a hundredth of it; a loop that prints would otherwise
/// rotate its own beginning away within a second and keep the disk busy.
const BYTES_PER_SECOND: u64 = 512 * 1024;
const BURST_BYTES: u64 = 4 * 1024 * 1024;

/// The log of one slot and the memory of its last lines.
#[derive(Debug)]
pub(crate) struct StderrLog {
    limits: LogLimits,
    file: Option<OpenLog>,
    partial: Vec<u8>,
    /// Bytes of the present line that were dropped because it is too long.
    cut: u64,
    tail: VecDeque<String>,
    tail_bytes: usize,
    dropped_lines: u64,
    dropped_bytes: u64,
    /// Of those, how many are announced in the log.
    announced_lines: u64,
    allowance: u64,
    allowance_at: Instant,
}

#[derive(Debug)]
struct OpenLog {
    file: File,
    identity: (u64, u64),
    bytes: u64,
}

impl StderrLog {
    /// A log that is opened with the first line.
    pub(crate) fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            file: None,
            partial: Vec::new(),
            cut: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            dropped_lines: 0,
            dropped_bytes: 0,
            announced_lines: 0,
            allowance: BURST_BYTES,
            allowance_at: Instant::now(),
        }
    }

    /// Reads what the pipe has, up to a bound. `false` at its end.
    pub(crate) fn read_from(&mut self, pipe: &OwnedFd) -> bool {
        let mut buffer = [0_u8; READ_BYTES];
        for _ in 0..READS_PER_PASS {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => return false,
                Ok(count) => self.take(&buffer[..count]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return true,
            }
        }
        true
    }

    /// Writes a line of the shim's own.
    pub(crate) fn note(&mut self, text: &str) {
        self.write_lines(&[format!("godot-mcp-shim: {text}").into_bytes()]);
    }

    /// Ends the line that the child did not.
    pub(crate) fn finish_line(&mut self) {
        if !self.partial.is_empty() {
            self.take(b"\n");
        }
    }

    /// The last lines, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// Bytes that did not reach the log.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ends) = match piece.split_last() {
                Some((b'\n', content)) => (content, true),
                _ => (piece, false),
            };
            let room = LINE_BYTES_MAX
                .saturating_sub(self.partial.len())
                .min(content.len());
            self.partial.extend_from_slice(&content[..room]);
            self.cut += (content.len() - room) as u64;
            if ends {
                lines.push(self.end_line());
            }
        }
        self.write_lines(&lines);
    }

    fn end_line(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.partial);
        let cut = std::mem::take(&mut self.cut);
        if cut > 0 {
            self.dropped_bytes += cut;
            line.extend_from_slice(format!(" … [{cut} bytes more]").as_bytes());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.remember(&line);
        line
    }

    fn remember(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        self.tail_bytes += text.len();
        self.tail.push_back(text);
        while self.tail.len() > TAIL_LINES_MAX
            || (self.tail_bytes > TAIL_BYTES_MAX && self.tail.len() > 1)
        {
            self.tail_bytes -= self.tail.pop_front().map_or(0, |line| line.len());
        }
    }

    /// Writes whole lines in one piece, so that a file always ends where a line does.
    fn write_lines(&mut self, lines: &[Vec<u8>]) {
        self.refill();
        let time = rfc3339(SystemTime::now());
        let mut out = Vec::new();
        let mut kept = Vec::new();
        for line in lines {
            let bytes = (time.len() + line.len() + 2) as u64;
            if self.allowance < bytes {
                self.drop_line(line.len() as u64 + 1);
                continue;
            }
            self.allowance -= bytes;
            if self.announced_lines < self.dropped_lines {
                let dropped = self.dropped_lines - self.announced_lines;
                self.announced_lines = self.dropped_lines;
                out.extend_from_slice(
                    format!("{time} godot-mcp-shim: {dropped} lines of stderr dropped here\n")
                        .as_bytes(),
                );
            }
            out.extend_from_slice(time.as_bytes());
            out.push(b' ');
            out.extend_from_slice(line);
            out.push(b'\n');
            kept.push(line.len() as u64 + 1);
        }
        if !out.is_empty() && self.append(&out).is_err() {
            self.file = None;
            for bytes in kept {
                self.drop_line(bytes);
            }
        }
    }

    fn drop_line(&mut self, bytes: u64) {
        self.dropped_lines += 1;
        self.dropped_bytes += bytes;
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let elapsed_ms =
            u64::try_from(now.duration_since(self.allowance_at).as_millis()).unwrap_or(u64::MAX);
        let more = elapsed_ms.saturating_mul(BYTES_PER_SECOND) / 1000;
        if more > 0 {
            self.allowance = self.allowance.saturating_add(more).min(BURST_BYTES);
            self.allowance_at = now;
        }
    }

    fn append(&mut self, out: &[u8]) -> io::Result<()> {
        // The file may have been moved or removed: then begin a new one under the known name.
        let identity = fs::metadata(&self.limits.path)
            .map(|meta| (meta.dev(), meta.ino()))
            .ok();
        if self
            .file
            .as_ref()
            .is_some_and(|open| Some(open.identity) != identity)
        {
            self.file = None;
        }
        let mut open = match self.file.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if open.bytes > 0 && open.bytes + out.len() as u64 > self.limits.bytes_max {
            self.rotate()?;
            open = self.open()?;
        }
        open.file.write_all(out)?;
        open.bytes += out.len() as u64;
        self.file = Some(open);
        Ok(())
    }

    fn open(&self) -> io::Result<OpenLog> {
        if let Some(directory) = self.limits.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.limits.path)?;
        let meta = file.metadata()?;
        let mut open = OpenLog {
            identity: (meta.dev(), meta.ino()),
            bytes: meta.len(),
            file,
        };
        open.end_torn_line()?;
        Ok(open)
    }

    fn rotate(&self) -> io::Result<()> {
        let current = &self.limits.path;
        for n in (1..self.limits.files_max).rev() {
            // Most often there are fewer files than there may be.
            let _absent = fs::rename(rotated_log(current, n), rotated_log(current, n + 1));
        }
        if self.limits.files_max == 0 {
            fs::remove_file(current)
        } else {
            fs::rename(current, rotated_log(current, 1))
        }
    }
}

impl OpenLog {
    /// A disk that was full in the middle of a write leaves half a line.
    fn end_torn_line(&mut self) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom};
        if self.bytes == 0 {
            return Ok(());
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.bytes += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
