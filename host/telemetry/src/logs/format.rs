//! The formats of a line.

mod json;
mod text;

use router_values::LogFormat;

use super::line::Line;

/// A line as a format writes it, its end included.
pub(super) fn render(line: &Line<'_>, format: LogFormat) -> String {
    let mut out = String::with_capacity(256);
    match format {
        LogFormat::Text => text::render(&mut out, line),
        LogFormat::Json => json::render(&mut out, line),
    }
    out.push('\n');
    out
}
