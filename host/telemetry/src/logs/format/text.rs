//! The text format: time, level, origin, message, keywords, fields.

use router_values::write_rfc3339;

use crate::logs::{escape, line::Line};

pub(super) fn render(out: &mut String, line: &Line<'_>) {
    write_rfc3339(out, line.unix_ms);
    out.push(' ');
    let level = line.level.as_str();
    // Levels end in one column: the longest have five letters.
    out.extend(std::iter::repeat_n(
        ' ',
        5_usize.saturating_sub(level.len()),
    ));
    out.push_str(level);
    out.push(' ');
    escape::bare(out, line.target);
    out.push_str(": ");
    escape::bare(out, &line.fields.message);
    let keywords = line.keywords();
    if !keywords.is_empty() {
        out.push(' ');
        escape::bare(out, &keywords);
    }
    for (name, value) in &line.fields.list {
        // The keywords hold it, or the message does.
        if matches!(*name, "instance" | "version_id") {
            continue;
        }
        out.push(' ');
        out.push_str(name);
        out.push('=');
        escape::value(out, value.as_str());
    }
}
