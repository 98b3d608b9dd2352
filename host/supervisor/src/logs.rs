//! The end of an instance's log, read from its files, which only the shim writes.

use std::{
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use godot_mcp_shim::paths::rotated_log;

/// Most lines in one answer.
const LINES_MAX: usize = 10_000;

/// Most bytes read for one answer, over all files.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why a log cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogTailError {
    /// A file of the log cannot be read.
    #[error("the instance log {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime is shutting down.
    #[error("the router is shutting down")]
    ShuttingDown,
}

pub(crate) async fn tail(
    current: PathBuf,
    files_max: u32,
    lines: usize,
) -> Result<Vec<String>, LogTailError> {
    let read = move || tail_of(&current, files_max, lines.min(LINES_MAX));
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| LogTailError::ShuttingDown)?
}

fn tail_of(current: &Path, files_max: u32, lines: usize) -> Result<Vec<String>, LogTailError> {
    let files =
        std::iter::once(current.to_owned()).chain((1..=files_max).map(|n| rotated_log(current, n)));
    let mut newest_first: Vec<String> = Vec::new();
    let mut budget = BYTES_MAX;
    for path in files {
        if newest_first.len() >= lines || budget == 0 {
            break;
        }
        let text = match end_of(&path, budget) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(LogTailError::Read { path, source }),
        };
        budget = budget.saturating_sub(text.len() as u64);
        let wanted = lines - newest_first.len();
        newest_first.extend(text.lines().rev().take(wanted).map(str::to_owned));
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// The last `bytes` of a file, from the first whole line on.
fn end_of(path: &Path, bytes: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let skipped = length.saturating_sub(bytes);
    file.seek(SeekFrom::Start(skipped))?;
    let mut content = Vec::new();
    file.take(bytes).read_to_end(&mut content)?;
    if skipped > 0 {
        let first_whole = content
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(content.len(), |at| at + 1);
        content.drain(..first_whole);
    }
    Ok(String::from_utf8_lossy(&content).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{end_of, rotated_log, tail_of};

    #[test]
    fn the_tail_reaches_back_into_rotated_files() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("demo.log");
        assert_eq!(tail_of(&current, 4, 10).unwrap(), Vec::<String>::new());
        fs::write(rotated_log(&current, 2), "1\n2\n").unwrap();
        fs::write(rotated_log(&current, 1), "3\n4\n").unwrap();
        fs::write(&current, "5\n6\n").unwrap();
        let cases: [(usize, &[&str]); 4] = [
            (0, &[]),
            (1, &["6"]),
            (3, &["4", "5", "6"]),
            (9, &["1", "2", "3", "4", "5", "6"]),
        ];
        for (lines, expected) in cases {
            assert_eq!(tail_of(&current, 4, lines).unwrap(), expected, "{lines}");
        }
    }

    #[test]
    fn a_cut_file_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.log");
        fs::write(&path, "first\nsecond\nthird\n").unwrap();
        assert_eq!(end_of(&path, 9).unwrap(), "third\n");
        assert_eq!(end_of(&path, 1000).unwrap(), "first\nsecond\nthird\n");
    }
}
