//! `[logging]`: where log lines go and which are written.

use std::{fmt, path::PathBuf};

use crate::{
    reader::Section,
    value::{PathText, quoted},
};

/// `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Where `godot-mcp-router.log` is.
    pub dir: PathBuf,
    /// Which lines are written.
    pub level: LogFilter,
    /// How they look.
    pub format: LogFormat,
    /// Bytes at which the router's own log is rotated before the day ends.
    pub max_file_bytes: u64,
    /// Days that rotated files are kept; 0: for ever. They hold the `AUDIT` lines.
    pub retention_days: u32,
    /// Bytes that the rotated files may have together; the oldest go first. `None`: as many as it takes.
    pub max_total_bytes: Option<u64>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people and `grep`.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The levels, the one with two spellings last.
const LEVELS: [&str; 7] = ["off", "error", "warn", "info", "debug", "trace", "warning"];

/// A level, or several by target: `info`, `info,router_proxy=debug`. Levels are lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(pub(crate) String);

impl LogFilter {
    /// The filter as `tracing_subscriber` takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses a filter, as the room of telemetry does: at most one level without a target.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut has_default) = (Vec::new(), false);
        for part in text.split(',') {
            let (target, level) = match part.split_once('=') {
                Some((target, level)) => (Some(target.trim()), level),
                None => (None, part),
            };
            let level = level.trim().to_ascii_lowercase();
            if !LEVELS.contains(&level.as_str()) {
                return Err(format!("{} is not a level", quoted(&level)));
            }
            let Some(target) = target else {
                if std::mem::replace(&mut has_default, true) {
                    return Err(format!("{} has two levels for everything", quoted(text)));
                }
                parts.push(level);
                continue;
            };
            let module = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            if target.is_empty() || !target.chars().all(module) {
                return Err(format!("{} has no target before =", quoted(part)));
            }
            parts.push(format!("{target}={level}"));
        }
        Ok(Self(parts.join(",")))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Logging {
    /// Where each instance has its log: away from the router's own, so that no id can be taken for its name.
    #[must_use]
    pub fn instances_dir(&self) -> PathBuf {
        self.dir.join("instances")
    }

    pub(crate) fn read(root: &Section<'_, '_>) -> Self {
        let section = root.child("logging");
        let working_dir = root.reader.environment.working_dir();
        let total = section
            .key("max_total_mb")
            .restart()
            .within(1, 1_048_576)
            .optional();
        let logging = Self {
            dir: working_dir.join(section.key("dir").restart().or(PathText("logs".into())).0),
            level: section
                .key("level")
                .variable("LOG_LEVEL")
                .or(LogFilter("info".into())),
            format: section
                .key("format")
                .variable("LOG_FORMAT")
                .restart()
                .or(LogFormat::Text),
            max_file_bytes: mebibytes(
                section
                    .key("max_file_mb")
                    .restart()
                    .within(1, 65_536)
                    .or(100),
            ),
            // As long as audit rows: the files hold the AUDIT lines.
            retention_days: section
                .key("retention_days")
                .restart()
                .within(0, 36_500)
                .or(400),
            max_total_bytes: total.map(mebibytes),
        };
        section.close();
        logging
    }
}

/// Sizes are written in MiB, and counted in bytes.
pub(crate) fn mebibytes(count: u64) -> u64 {
    count.saturating_mul(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::LogFilter;

    /// The same texts stand in a test of the daemon, which asks the room of telemetry about them.
    #[test]
    fn filters_are_what_the_room_of_telemetry_takes() {
        for (text, kept) in [
            ("info", Some("info")),
            (" WARN ", Some("warn")),
            ("warning", Some("warning")),
            ("off", Some("off")),
            ("router_proxy=debug", Some("router_proxy=debug")),
            ("info,router_proxy=TRACE", Some("info,router_proxy=trace")),
            (
                "router_Proxy::Post = debug , info",
                Some("router_Proxy::Post=debug,info"),
            ),
            ("a=info,a=debug", Some("a=info,a=debug")),
            ("", None),
            ("inof", None),
            ("info,", None),
            (",info", None),
            ("info,debug", None),
            ("info;debug", None),
            ("=debug", None),
            ("a=", None),
            ("a=loud", None),
            ("a=b=info", None),
            ("a b=info", None),
            ("a-b=info", None),
            ("[span]=info", None),
            ("5", None),
        ] {
            let parsed = LogFilter::parse(text).ok();
            assert_eq!(parsed.as_ref().map(LogFilter::as_str), kept, "{text:?}");
        }
    }
}
