//! Why a file is not taken into service, for its author and for metrics.

use crate::texts::{cut, truncate};

/// A candidate that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Rejection {
    /// One word for metrics.
    pub(crate) code: &'static str,
    /// What is wrong and what to do.
    pub(crate) reason: String,
}

/// Longest reason: it may quote names from the file, and is shown and logged.
const REASON_BYTES_MAX: usize = 4096;

/// It did not answer what every plugin is asked before it is taken into service.
pub(crate) const FAILED_AT_LOAD: &str = "failed_at_load";

/// It refused its settings, or there are too many of them.
pub(crate) const REFUSED_CONFIG: &str = "refused_config";

/// An operator rejected it.
pub(crate) const REJECTED: &str = "rejected";

/// The fault is the router's.
pub(crate) const INTERNAL: &str = "internal";

impl Rejection {
    pub(crate) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        truncate(&mut reason, REASON_BYTES_MAX);
        Self { code, reason }
    }

    /// What an operator rejected.
    pub(crate) fn by_operator() -> Self {
        Self::new(
            REJECTED,
            "an operator rejected it: put another file in its place, or take it after all with `plugin confirm`",
        )
    }

    /// A file that is cut off or changed.
    pub(crate) fn damaged(how: &str) -> Self {
        Self::new(
            "damaged",
            format!(
                "it is cut off or damaged ({how}): copy it again; a copy that is still under way is loaded when it is complete"
            ),
        )
    }

    /// What wasmtime says against a file that begins like a component.
    pub(crate) fn not_compiled(error: &wasmtime::Error) -> Self {
        const QUOTED_BYTES_MAX: usize = 256;
        let text = format!("{error:#}");
        let quoted = cut(text.lines().next().unwrap_or_default(), QUOTED_BYTES_MAX);
        if text.contains("exceeds the") {
            let reason = format!("it is made of more than a plugin may be made of: {quoted}");
            return Self::new("over_bound", reason);
        }
        Self::damaged(quoted)
    }

    /// It imports and exports the right names, in the wrong shape.
    pub(crate) fn mismatch(error: &wasmtime::Error) -> Self {
        let text = format!("{error:#}");
        Self::new(
            "wrong_version",
            format!(
                "its interfaces differ from those of this router ({}): rebuild it with the SDK and the wit/ of this router's version",
                cut(&text, crate::texts::REASON_BYTES_MAX)
            ),
        )
    }

    /// Whether the same file may well be taken another time: it had too little time, or the router had a fault.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self.code, FAILED_AT_LOAD | INTERNAL)
    }
}
