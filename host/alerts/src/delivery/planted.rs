//! Bugs that the schedule's simulation must find. Outside the crate's own tests `has` is a constant `false`.

/// Deliberate bugs: at least one for each property that the simulation checks (`simulation/property.rs` says which).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlantedBug {
    /// A resolve does not wait for its firing.
    ResolveOvertakes,
    /// A resolve goes to who never heard of the firing.
    ResolveUnheard,
    /// What a sink returned is not given to it again.
    ReceiptForgotten,
    /// What waits longest goes first, whatever it is.
    NoPrecedence,
    /// A failed delivery is not tried again.
    FailureForgotten,
    /// A restart forgets what was under way.
    InFlightForgotten,
    /// A restart sends what was under way under another id.
    FreshIdAfterCrash,
    /// What was attempted still takes in later news.
    FrozenRegroups,
    /// An attempt that ended with the router counts as one that failed.
    LostAttemptCounts,
    /// The first wait repeats for ever.
    WaitNeverGrows,
    /// A delivery is tried again at once.
    NoWait,
    /// What the receiver asked for counts for nothing.
    RetryAfterIgnored,
    /// It counts without a bound.
    RetryAfterUnbounded,
    /// The rate limit counts for nothing.
    RateIgnored,
    /// A sink that fails is never left alone.
    BreakerIgnored,
    /// A fallback gets nothing before the delivery is given up.
    FallbackLate,
    /// A fallback gets a firing that is over, and not its resolve.
    ResolveStaysBehind,
    /// A sink that said that it is gone is tried again.
    GoneIgnored,
    /// A refused delivery is tried again.
    RefusedRetried,
    /// A refused delivery is dropped, but for resolves.
    RefusedDropped,
    /// Dead letters are kept for ever.
    DeadUnbounded,
    /// More is under way than may be.
    RoomIgnored,
    /// An acknowledgement cancels nothing.
    CancelIgnored,
    /// A P3 that is over is sent all the same.
    OverSentAnyway,
    /// The end of a rate limit is in no wake time.
    WakeMissed,
    /// An operator's retry is reported, and not done.
    RetryUndone,
}

/// Which bug is in, if any.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct PlantedBugs {
    #[cfg(test)]
    pub(crate) planted: Option<PlantedBug>,
}

impl PlantedBugs {
    #[cfg(test)]
    pub(crate) fn has(self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(test))]
    pub(crate) const fn has(self, _bug: PlantedBug) -> bool {
        false
    }
}
