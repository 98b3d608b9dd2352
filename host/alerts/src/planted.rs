//! Bugs that the simulation must find. Outside the crate's own tests `has` is a constant `false`, and nothing of them is left.

/// Deliberate bugs: at least one for each property that the simulation checks (`simulation/property.rs` says which).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// A condition is an alert at once, however long it must hold.
    ForIgnored,
    /// An alert that comes back has the number that it had before.
    FiringReused,
    /// A raised severity changes nothing for who has acknowledged.
    RaiseStaysAcknowledged,
    /// What one answer does not name is over.
    ResolvedAtOnce,
    /// One that comes and goes fires each time.
    FlapsFreely,
    /// What a silent rule named is over.
    SilenceResolves,
    /// Each page of an answer counts as the whole.
    PageIsAll,
    /// Who has heard of what fires is called anew after a restart.
    RestartForgets,
    /// Nothing settles after a start.
    SettlesAtOnce,
    /// The end of a silence goes unnoticed.
    SilenceEndUnnoticed,
    /// A silence mutes no alert of an instance.
    SilenceIgnored,
    /// A weekly window comes again after seven times 24 hours.
    WindowAddsAWeek,
    /// An alert of the fleet mutes none of its instances'.
    InhibitionIgnored,
    /// A P1 is repeated once.
    RepeatedOnce,
    /// What somebody was on escalates no more, also when he is not any more.
    ExpiryForgotten,
    /// A link acknowledges again after somebody was on it.
    LinkReused,
    /// Acknowledging ends no escalation.
    AckIgnored,
    /// The chain is that of the configuration, not the one kept.
    ChainUnkept,
    /// Who was sent nothing hears of the end too.
    ResolveToAll,
    /// The end is heard by the sinks of the route only.
    FallbackForgotten,
    /// Each delivery goes as soon as there is one.
    IntervalIgnored,
    /// A P1 waits for others.
    UrgentWaits,
    /// A notice lists all alerts of its group.
    ListsAll,
    /// The auditor finds nothing, ever.
    AuditorBlind,
    /// The next step of an alert is not put down among what is due.
    WakeForgotten,
    /// What has ended is kept for ever.
    NeverForgets,
    /// A record lacks who has heard of an alert.
    RecordLacksHeard,
    /// Only the first sink of an alert hears of it.
    SinkForgotten,
    /// Who has heard hears again a minute later.
    HeardTwice,
    /// The auditor does not accept that something is muted.
    AuditorStrict,
    /// What is overdue is counted so again and again.
    WakeInThePast,
}

/// Which bug is in, if any.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
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
