//! Time as the core knows it: a number it is given. Nothing here reads a clock.

/// The moment of a step, on a monotonic clock whose origin the driver chooses (at its start) and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Milliseconds since the origin.
    pub mono_ms: u64,
}

impl Now {
    /// The moment `mono_ms` milliseconds after the origin.
    #[must_use]
    pub const fn at(mono_ms: u64) -> Self {
        Self { mono_ms }
    }
}

/// The earlier of two optional deadlines.
pub(crate) fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (some, None) | (None, some) => some,
    }
}
