//! Silences: what people mute by hand, until some time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::matcher::Matcher;

/// Longest name of an author, in bytes.
pub const AUTHOR_BYTES_MAX: usize = 256;
/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Longest silence, in milliseconds: 30 days. What is to be mute for longer is to be repaired, or taken out of the rules.
pub const SILENCE_MS_MAX: u64 = 30 * 24 * 3_600_000;

/// Names a silence. Numbers grow, also over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SilenceId(pub u64);

impl fmt::Display for SilenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// Which alerts.
    pub matcher: Matcher,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// From when on, in milliseconds since 1970.
    pub starts_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub ends_ms: u64,
}

/// Why there is no such silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSilence {
    /// It would mute everything.
    #[error("a silence says which alerts it mutes: give at least one matcher")]
    Everything,
    /// Nobody would know whom to ask.
    #[error(
        "a silence has an author and a reason, of at most {AUTHOR_BYTES_MAX} and {REASON_BYTES_MAX} bytes"
    )]
    Unexplained,
    /// It ends before now, before it begins, or never.
    #[error("a silence ends after it begins, in the future, and lasts 30 days at most")]
    End,
    /// There are too many.
    #[error(
        "there are {} silences already: end some",
        crate::settings::SILENCES_MAX
    )]
    TooMany,
}

impl Silence {
    /// Checks it at the moment of its making.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn check(&self, now_ms: u64) -> Result<(), InvalidSilence> {
        if self.matcher.is_empty() {
            return Err(InvalidSilence::Everything);
        }
        let fits = |text: &str, bytes_max| !text.trim().is_empty() && text.len() <= bytes_max;
        if !fits(&self.author, AUTHOR_BYTES_MAX) || !fits(&self.reason, REASON_BYTES_MAX) {
            return Err(InvalidSilence::Unexplained);
        }
        let lasts_ms = self.ends_ms.checked_sub(self.starts_ms);
        let is_bounded = lasts_ms.is_some_and(|ms| (1..=SILENCE_MS_MAX).contains(&ms));
        if self.ends_ms <= now_ms || !is_bounded {
            return Err(InvalidSilence::End);
        }
        Ok(())
    }

    /// Whether it mutes at this moment.
    #[must_use]
    pub fn is_active(&self, now_ms: u64) -> bool {
        self.starts_ms <= now_ms && now_ms < self.ends_ms
    }
}
