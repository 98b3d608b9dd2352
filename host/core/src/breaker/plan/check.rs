//! Whether a plan may be applied: each number within the bounds that the configuration has for it too, each list within its length.

use std::fmt;

use super::{BreakerPlan, ToolRow};
use crate::{permit::PERMITS_MAX, settings::BreakerThresholds};

/// Most rows of one table: there are eight ways for a request to end, and a few dozen codes that anybody sends.
pub const ROWS_MAX: usize = 64;

/// Most rows for tools: as many as there are tools in a profile, and cells for tools in an instance.
pub const TOOL_ROWS_MAX: usize = 256;

/// Longest name of a tool, with its `*`: twice what MCP recommends.
pub const TOOL_NAME_BYTES_MAX: usize = 256;

/// What of a tool's name is shown where it is refused.
const NAME_SHOWN_CHARS: usize = 64;

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;
const YEAR_MS: u64 = 365 * DAY_MS;

/// A share above 1 is never reached; far above it is a slip.
const SHARE_MAX: f64 = 2.0;
const SHARE_MIN: f64 = 0.01;

/// Why a plan is not applied. `Display` names the field as `wit/` does, and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanFault {
    /// A number is not within its bounds.
    OutOfRange {
        /// Which.
        field: String,
        /// What it is, …
        value: String,
        /// … what it may be at least, …
        least: String,
        /// … and at most.
        most: String,
    },
    /// The longest OPEN would be shorter than the first.
    OpenMaxTooShort {
        /// The first, in milliseconds.
        first_ms: u64,
        /// The longest.
        max_ms: u64,
    },
    /// A list is longer than it may be.
    TooMany {
        /// Which.
        field: String,
        /// How long it may be.
        most: usize,
    },
    /// A row names no tool that there could be.
    ToolName {
        /// The place of the row, from 0.
        row: usize,
        /// The beginning of the name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange {
                field,
                value,
                least,
                most,
            } => write!(f, "{field} is {value}; expected {least} to {most}"),
            Self::OpenMaxTooShort { first_ms, max_ms } => write!(
                f,
                "thresholds.open-max-ms is {max_ms}; expected at least thresholds.open-first-ms, which is {first_ms}"
            ),
            Self::TooMany { field, most } => write!(f, "{field} has more than {most} rows"),
            Self::ToolName { row, name, why } => write!(f, "tools[{row}].tool is {name:?}; {why}"),
        }
    }
}

impl std::error::Error for PlanFault {}

impl BreakerPlan {
    /// Whether it may be applied as it is.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), PlanFault> {
        check_thresholds(&self.thresholds)?;
        check_rows("table", self.table.rules().len(), ROWS_MAX)?;
        check_rows("tools", self.tools.len(), TOOL_ROWS_MAX)?;
        for (row, tool) in self.tools.iter().enumerate() {
            check_tool(row, tool)?;
        }
        Ok(())
    }
}

fn check_thresholds(thresholds: &BreakerThresholds) -> Result<(), PlanFault> {
    let BreakerThresholds {
        consecutive_failures,
        window_ms,
        min_samples,
        failure_share,
        slow_share,
        slow_ms,
        open_first_ms,
        open_max_ms,
        successes,
        permits,
        probe_ms,
        forget_after_ms,
    } = thresholds;
    within(
        "thresholds.consecutive-failures",
        consecutive_failures,
        1,
        10_000,
    )?;
    within("thresholds.window-ms", window_ms, SECOND_MS, HOUR_MS)?;
    within("thresholds.min-samples", min_samples, 1, 1_000_000)?;
    within(
        "thresholds.failure-share",
        failure_share,
        SHARE_MIN,
        SHARE_MAX,
    )?;
    within("thresholds.slow-share", slow_share, SHARE_MIN, SHARE_MAX)?;
    if let Some(slow_ms) = slow_ms {
        within("thresholds.slow-ms", slow_ms, 1, YEAR_MS)?;
    }
    within("thresholds.open-first-ms", open_first_ms, 100, DAY_MS)?;
    within("thresholds.open-max-ms", open_max_ms, 100, DAY_MS)?;
    if open_max_ms < open_first_ms {
        return Err(PlanFault::OpenMaxTooShort {
            first_ms: *open_first_ms,
            max_ms: *open_max_ms,
        });
    }
    within("thresholds.successes", successes, 1, 1_000)?;
    within("thresholds.permits", permits, 1, PERMITS_MAX)?;
    within("thresholds.probe-timeout-ms", probe_ms, 100, HOUR_MS)?;
    within(
        "thresholds.reset-after-ms",
        forget_after_ms,
        SECOND_MS,
        DAY_MS,
    )
}

/// What is not comparable, such as NaN, is not within.
fn within<T: PartialOrd + fmt::Display + Copy>(
    field: &str,
    value: &T,
    least: T,
    most: T,
) -> Result<(), PlanFault> {
    if (&least..=&most).contains(&value) {
        return Ok(());
    }
    Err(PlanFault::OutOfRange {
        field: field.to_owned(),
        value: value.to_string(),
        least: least.to_string(),
        most: most.to_string(),
    })
}

fn check_rows(field: impl Into<String>, count: usize, most: usize) -> Result<(), PlanFault> {
    let field = field.into();
    (count <= most)
        .then_some(())
        .ok_or(PlanFault::TooMany { field, most })
}

fn check_tool(row: usize, ToolRow { tool, table }: &ToolRow) -> Result<(), PlanFault> {
    let before_star = tool.strip_suffix('*').unwrap_or(tool);
    let why = if tool.is_empty() {
        "expected the name of a tool, or its beginning and *"
    } else if tool.len() > TOOL_NAME_BYTES_MAX {
        "expected at most 256 bytes"
    } else if before_star.contains('*') {
        "expected * at the end only"
    } else if before_star.contains(|c: char| c.is_control() || c.is_whitespace()) {
        "expected neither blanks nor control characters"
    } else {
        if let Some(slow_ms) = table.slow_ms() {
            within(&format!("tools[{row}].slow-ms"), &slow_ms, 1, YEAR_MS)?;
        }
        return check_rows(format!("tools[{row}].table"), table.rules().len(), ROWS_MAX);
    };
    Err(PlanFault::ToolName {
        row,
        name: tool.chars().take(NAME_SHOWN_CHARS).collect(),
        why,
    })
}
