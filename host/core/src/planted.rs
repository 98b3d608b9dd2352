//! Bugs that the simulation must find. Outside the crate's own tests `has` is a constant `false`, and nothing of them is left.

/// One deliberate bug per property that the simulation checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A killed run counts as ended before its end is reported.
    SpawnBeforeExit,
    /// Back-off ends, but nobody starts the slot.
    BackoffNeverEnds,
    /// Verdicts on probes are not heard.
    DeafHalfOpen,
    /// One permit too many.
    ExtraPermit,
    /// Verdicts of an earlier generation count.
    StaleVerdict,
    /// Draining instances are in no part of the summary.
    SummaryGap,
    /// A slot that is starting at shutdown is forgotten.
    ShutdownForgetsStarting,
    /// `keep` is not honoured at shutdown.
    KeepIgnored,
    /// The run of a restart is the run before it.
    RunReused,
    /// The deadline of SIGTERM is in no wake time.
    WakeMissed,
    /// A question can be answered twice.
    AnsweredTwice,
    /// A restart that a stop overtakes is never answered.
    CommandLost,
    /// Slots are started while survivors may still be reported.
    StartBeforeAdoption,
    /// `Ready` of any run is believed.
    StaleReady,
    /// Demand starts what an operator stopped.
    DemandBeatsStop,
    /// A policy may recycle as often as it likes.
    RecycleUnbounded,
    /// Memory at the limit is tolerated.
    MemoryIgnored,
    /// Readiness says `down` at once.
    DownAtOnce,
    /// A reload restarts what did not change.
    ReloadRestarts,
    /// A reload does not restart what changed.
    ReloadIgnored,
    /// A route outlives its run.
    RouteOutlivesRun,
}

/// Which bug is in, if any.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bugs {
    #[cfg(test)]
    pub(crate) planted: Option<Planted>,
}

impl Bugs {
    #[cfg(test)]
    pub(crate) fn has(self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    #[cfg(not(test))]
    pub(crate) const fn has(self, _bug: Planted) -> bool {
        false
    }
}
