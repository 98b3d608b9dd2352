//! How a record stands in a file: a checksum, a blank, its rows as JSON, a newline. A line counts when it is whole.

use std::{fmt::Write as _, fs, io, path::Path};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{JournalContents, JournalRow};

/// Digits of the checksum: 64 bits of SHA-256.
const DIGITS: usize = 16;

/// Appends one record as a line.
pub(super) fn write_record(
    rows: &[JournalRow],
    into: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let json = serde_json::to_string(rows)?;
    into.extend_from_slice(checksum(json.as_bytes()).as_bytes());
    into.push(b' ');
    into.extend_from_slice(json.as_bytes());
    into.push(b'\n');
    Ok(())
}

fn checksum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(DIGITS);
    for byte in &digest[..DIGITS / 2] {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Takes in the records of a file, in their order.
pub(super) fn read_file(path: &Path, contents: &mut JournalContents) -> io::Result<()> {
    let bytes = fs::read(path)?;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match (read_record(line), line.last()) {
            (Some(rows), _) => {
                for (key, value) in rows {
                    match value {
                        Some(value) => contents.rows.insert(key, value),
                        None => contents.rows.remove(&key),
                    };
                }
            }
            (None, Some(b'\n')) => contents.damaged += 1,
            (None, _) => contents.torn = true,
        }
    }
    Ok(())
}

fn read_record(line: &[u8]) -> Option<Vec<JournalRow>> {
    let json = line.strip_suffix(b"\n")?.get(DIGITS + 1..)?;
    let is_whole = line.get(..DIGITS)? == checksum(json).as_bytes() && line[DIGITS] == b' ';
    is_whole
        .then(|| serde_json::from_slice(json).ok())
        .flatten()
}

/// About how many bytes a row takes in a file.
pub(super) fn row_bytes(key: &str, value: &RawValue) -> u64 {
    // Brackets, quotes and commas.
    (key.len() + value.get().len() + 8) as u64
}
