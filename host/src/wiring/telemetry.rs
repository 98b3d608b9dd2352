//! The log's options.

use router_config::Config;
use router_telemetry::{LogFormat, LogOptions};

/// Where and how the log is written.
pub(crate) fn log_options(config: &Config) -> LogOptions {
    let logging = &config.logging;
    LogOptions {
        dir: Some(logging.dir.clone()),
        level: logging.level.as_str().to_owned(),
        format: match logging.format {
            router_config::LogFormat::Text => LogFormat::Text,
            router_config::LogFormat::Json => LogFormat::Json,
        },
        keep_days: (logging.retention_days > 0).then_some(logging.retention_days),
        keep_bytes: logging.max_total_bytes,
        rotate_bytes: logging.max_file_bytes,
    }
}
