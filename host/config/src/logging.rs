//! `[logging]`: where log lines go and which are written.

use std::path::PathBuf;

use router_values::{LogFilter, LogFormat};

use crate::{reader::ConfigSection, value::PathText};

/// `[logging]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logging {
    /// Where `godot-mcp-router.log` is.
    pub dir: PathBuf,
    /// Which lines are written.
    pub level: LogFilter,
    /// Their format.
    pub format: LogFormat,
    /// Bytes at which the router's own log is rotated before the day ends.
    pub max_file_bytes: u64,
    /// Days that rotated files are kept; 0: for ever. They hold the `AUDIT` lines.
    pub retention_days: u32,
    /// Bytes that the rotated files may have together; the oldest go first. `None`: as many as it takes.
    pub max_total_bytes: Option<u64>,
}

impl Logging {
    /// Where each instance has its log: away from the router's own, so that no id can be taken for its name.
    #[must_use]
    pub fn instances_dir(&self) -> PathBuf {
        self.dir.join("instances")
    }

    pub(crate) fn read(root: &ConfigSection<'_, '_>) -> Self {
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
                .or(LogFilter::default()),
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
