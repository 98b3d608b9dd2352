//! Godot's text formats: `project.godot`, `.tscn`, `.tres`, `.import`, `.cfg`.
//!
//! All are sections (`[name key=value …]`) with `key = value` lines below them, and values written as
//! Godot's variant text. The reader is tolerant: what cannot be read becomes a flaw with its line, and
//! reading goes on at the next line that seems to start something.
//! Nothing here knows what a section means; that is `facts`'s business.

mod document;
mod reader;
mod variant;

pub(crate) use document::{Document, KeyValue, Section};
pub(crate) use variant::{Link, Variant};

use crate::fault::{Flaw, Flaws};

/// Turns a file's bytes into text. Bytes that are not UTF-8 are replaced and reported, as Godot itself does.
pub(crate) fn decode(bytes: &[u8], flaws: &mut Flaws) -> String {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        flaws.push(Flaw::whole("it is UTF-16; Godot reads UTF-8 only"));
        return String::new();
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let newlines = before.iter().filter(|byte| **byte == b'\n').count();
            let line = u32::try_from(newlines + 1).unwrap_or(u32::MAX);
            flaws.push(Flaw::at(
                line,
                "not valid UTF-8; such bytes are shown as U+FFFD",
            ));
            String::from_utf8_lossy(bytes).into_owned()
        }
    }
}
