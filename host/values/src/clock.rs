//! Whole milliseconds, as messages, records and settings carry them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole milliseconds of a duration.
#[must_use]
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn unix_ms_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    whole_ms(since.unwrap_or_default())
}
