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

/// A moment on the same clock that may lie before its origin: a survivor is older than the router that adopts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since(i64);

impl Since {
    /// The moment `age_ms` before `now_ms`.
    pub(crate) fn ago(now_ms: u64, age_ms: u64) -> Self {
        Self(
            i64::try_from(now_ms)
                .unwrap_or(i64::MAX)
                .saturating_sub_unsigned(age_ms),
        )
    }

    /// How long ago that was at `now_ms`.
    pub(crate) fn elapsed_ms(self, now_ms: u64) -> u64 {
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        u64::try_from(now_ms.saturating_sub(self.0)).unwrap_or(0)
    }
}

/// The earlier of two optional deadlines.
pub(crate) fn earlier(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (some, None) | (None, some) => some,
    }
}
