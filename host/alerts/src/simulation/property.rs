//! The catalogue: what the simulation checks after every step, and which planted bug breaks which of it.

use crate::planted::Planted;

/// What must hold at every step of every world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    /// A condition is an alert when it has held long enough, and is over when it has been gone long enough.
    LevelsDecide,
    /// What comes and goes is held firing until it is quiet.
    FlappingHeld,
    /// While a rule does not answer nothing that it named is over.
    OnlyAnswersEnd,
    /// What one page does not name is not over.
    WholeRoundsEnd,
    /// Each firing has a number of its own.
    FiringsGrow,
    /// A severity that rises while somebody is on it fires anew.
    RaiseFiresAnew,
    /// Who is on it is on it, until it expires.
    AckHolds,
    /// An acknowledgement ends when it says.
    AckExpires,
    /// What was sent or done elsewhere before somebody was on it changes nothing afterwards.
    LinksOnce,
    /// Each sink of its route hears of a firing that nothing mutes: at once, or when its group may be heard of.
    NoneLost,
    /// A P1 waits for nobody.
    UrgentAtOnce,
    /// Nobody hears of the same firing more often than the contract has it.
    HeardOnce,
    /// After a restart nobody hears of what he has heard of.
    RestartPagesOnce,
    /// What the records have is what the engine had.
    RecordsWhole,
    /// After a start nobody hears of a P2 to P4 before every rule has answered, or a minute.
    SettlesFirst,
    /// What a silence matches nobody hears of.
    SilencesMute,
    /// When a silence ends what still fires is heard of.
    SilencesEnd,
    /// A maintenance window is on by the clocks of its place, over both changes, and only then.
    WindowsByTheClock,
    /// A P1 of the whole fleet mutes its instances' alerts.
    InstancesMuted,
    /// A P1 is heard of again and again until somebody is on it.
    EscalatedUntilAcknowledged,
    /// A chain stays as it was when it began.
    ChainKept,
    /// Nobody hears that something is over of which he has heard nothing.
    ResolveAfterFiring,
    /// Who may have a firing hears once that it is over: fallbacks too.
    ClosedForAll,
    /// Deliveries about one group keep their distance.
    GroupsKeepDistance,
    /// A notice lists a hundred alerts at most, and counts the others.
    NoticesBounded,
    /// The heartbeat is withheld when no rule answers.
    HeartbeatWithheld,
    /// The auditor finds nothing where nothing is wrong.
    AuditorQuiet,
    /// What has ended is forgotten in time.
    MemoryBounded,
    /// No work is due before the wake time, and no wake time stays in the past.
    WakeHonest,
}

impl Property {
    pub(super) const ALL: [Self; 29] = [
        Self::LevelsDecide,
        Self::FlappingHeld,
        Self::OnlyAnswersEnd,
        Self::WholeRoundsEnd,
        Self::FiringsGrow,
        Self::RaiseFiresAnew,
        Self::AckHolds,
        Self::AckExpires,
        Self::LinksOnce,
        Self::NoneLost,
        Self::UrgentAtOnce,
        Self::HeardOnce,
        Self::RestartPagesOnce,
        Self::RecordsWhole,
        Self::SettlesFirst,
        Self::SilencesMute,
        Self::SilencesEnd,
        Self::WindowsByTheClock,
        Self::InstancesMuted,
        Self::EscalatedUntilAcknowledged,
        Self::ChainKept,
        Self::ResolveAfterFiring,
        Self::ClosedForAll,
        Self::GroupsKeepDistance,
        Self::NoticesBounded,
        Self::HeartbeatWithheld,
        Self::AuditorQuiet,
        Self::MemoryBounded,
        Self::WakeHonest,
    ];
}

/// The planted bugs, each with a test of its own that it breaks the property named here and no other one first.
macro_rules! planted_bugs {
    ($($test:ident: $bug:ident breaks $property:ident;)*) => {
        pub(super) const BROKEN: &[Property] = &[$(Property::$property),*];

        /// That no bug is left without a test is the compiler's business.
        pub(super) fn broken_by(bug: Planted) -> Property {
            match bug {
                $(Planted::$bug => Property::$property,)*
            }
        }

        mod planted {
            $(#[test]
            fn $test() {
                super::super::must_notice(super::Planted::$bug);
            })*
        }
    };
}

planted_bugs! {
    for_ignored: ForIgnored breaks LevelsDecide;
    resolved_at_once: ResolvedAtOnce breaks LevelsDecide;
    flaps_freely: FlapsFreely breaks FlappingHeld;
    silence_resolves: SilenceResolves breaks OnlyAnswersEnd;
    page_is_all: PageIsAll breaks WholeRoundsEnd;
    firing_reused: FiringReused breaks FiringsGrow;
    raise_stays_acknowledged: RaiseStaysAcknowledged breaks RaiseFiresAnew;
    ack_ignored: AckIgnored breaks AckHolds;
    link_reused: LinkReused breaks LinksOnce;
    expiry_forgotten: ExpiryForgotten breaks AckExpires;
    sink_forgotten: SinkForgotten breaks NoneLost;
    urgent_waits: UrgentWaits breaks UrgentAtOnce;
    heard_twice: HeardTwice breaks HeardOnce;
    restart_forgets: RestartForgets breaks RestartPagesOnce;
    record_lacks_heard: RecordLacksHeard breaks RecordsWhole;
    settles_at_once: SettlesAtOnce breaks SettlesFirst;
    silence_ignored: SilenceIgnored breaks SilencesMute;
    silence_end_unnoticed: SilenceEndUnnoticed breaks SilencesEnd;
    window_adds_a_week: WindowAddsAWeek breaks WindowsByTheClock;
    inhibition_ignored: InhibitionIgnored breaks InstancesMuted;
    repeated_once: RepeatedOnce breaks EscalatedUntilAcknowledged;
    wake_forgotten: WakeForgotten breaks AuditorQuiet;
    chain_unkept: ChainUnkept breaks ChainKept;
    resolve_to_all: ResolveToAll breaks ResolveAfterFiring;
    fallback_forgotten: FallbackForgotten breaks ClosedForAll;
    interval_ignored: IntervalIgnored breaks GroupsKeepDistance;
    lists_all: ListsAll breaks NoticesBounded;
    auditor_blind: AuditorBlind breaks HeartbeatWithheld;
    auditor_strict: AuditorStrict breaks AuditorQuiet;
    never_forgets: NeverForgets breaks MemoryBounded;
    wake_in_the_past: WakeInThePast breaks WakeHonest;
}
