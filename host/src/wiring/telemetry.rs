//! The log's options.

use router_config::Config;
use router_telemetry::LogOptions;

/// Where and how the log is written.
pub(crate) fn log_options(config: &Config) -> LogOptions {
    let logging = &config.logging;
    LogOptions {
        dir: Some(logging.dir.clone()),
        level: logging.level.clone(),
        format: logging.format,
        keep_days: (logging.retention_days > 0).then_some(logging.retention_days),
        keep_bytes: logging.max_total_bytes,
        rotate_bytes: logging.max_file_bytes,
    }
}
