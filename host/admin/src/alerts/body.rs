//! What is sent to make a silence or a test.

use router_alerts::{matcher::Matcher, silence::Silence};
use router_values::{parse_duration, parse_rfc3339_ms, whole_ms};
use serde::Deserialize;

use crate::Problem;

/// The body of `POST /api/alerts/test`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTest {
    pub(super) severity: Option<String>,
    pub(super) sink: Option<String>,
}

/// The body of `POST /api/silences`: which alerts, why, and until when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewSilence {
    matcher: Matcher,
    reason: String,
    /// A time in UTC, or `for`.
    until: Option<String>,
    /// How long: `30m`, `2h`, `3d`.
    r#for: Option<String>,
}

impl NewSilence {
    /// The silence, from now on.
    pub(super) fn silence(&self, author: &str, now_ms: u64) -> Result<Silence, Problem> {
        let end = match (&self.until, &self.r#for) {
            (Some(until), None) => parse_rfc3339_ms(until).and_then(|ms| u64::try_from(ms).ok()),
            (None, Some(lasts)) => {
                parse_duration(lasts).map(|lasts| now_ms.saturating_add(whole_ms(lasts)))
            }
            _ => None,
        };
        let ends_ms = end.ok_or_else(|| {
            Problem::bad_request(
                "a silence has an end: \"for\": \"2h\", or \"until\": \"2026-01-02T03:04:05Z\"",
            )
        })?;
        let silence = Silence {
            matcher: self.matcher.clone(),
            author: author.to_owned(),
            reason: self.reason.clone(),
            starts_ms: now_ms,
            ends_ms,
        };
        silence
            .check(now_ms)
            .map_err(|invalid| Problem::bad_request(invalid.to_string()))?;
        Ok(silence)
    }

    /// For the audit.
    pub(super) fn describe(&self) -> String {
        serde_json::to_string(&self.matcher).unwrap_or_default()
    }
}
