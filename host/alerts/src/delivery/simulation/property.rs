//! The catalogue: what the simulation checks after every step, and which planted bug breaks which of it.

use crate::delivery::planted::PlantedBug;

/// What must hold at every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryProperty {
    /// Each firing arrived at its sink, or at a fallback; or somebody acknowledged first, or it was over first (P3 and P4), or it
    /// is a dead letter that people know of.
    NothingLost,
    /// No resolve is sent before its firing was, nor while that may still be sent.
    OrderKept,
    /// Who got a firing gets its resolve.
    ResolveArrives,
    /// What was attempted says the same under the same id for ever, with a new attempt number each time.
    Frozen,
    /// A first firing is not behind updates and reminders.
    FirstFiringsFirst,
    /// Waits are those of the contract, within a fifth.
    WaitsKept,
    /// What the receiver asks for is kept, up to 15 minutes.
    RetryAfterKept,
    /// What is due and held by nothing is attempted.
    NotIdle,
    /// Nothing is given up before its time.
    GivenUpInTime,
    /// The rate limit of each sink.
    RateKept,
    /// After three failures in a row a sink is left alone, and then tried with one delivery.
    BreakerHolds,
    /// The fallback has a P1 within 10 s and at the first failure, and others within a minute.
    FallbackInTime,
    /// Nothing is sent to a sink that is gone.
    GoneLeftAlone,
    /// What was refused is not sent again unless an operator says so.
    RefusedFinal,
    /// Attempts and dead letters are bounded.
    Bounded,
    /// What somebody is on is not sent where it never was.
    CancelKept,
    /// A P3 or P4 that is over is not sent where it never was.
    OverDropped,
    /// What an operator sends again is sent at once.
    RetryDone,
    /// A sink is given back what it returned.
    ReceiptGiven,
}

impl DeliveryProperty {
    pub(super) const ALL: [Self; 19] = [
        Self::NothingLost,
        Self::OrderKept,
        Self::ResolveArrives,
        Self::Frozen,
        Self::FirstFiringsFirst,
        Self::WaitsKept,
        Self::RetryAfterKept,
        Self::NotIdle,
        Self::GivenUpInTime,
        Self::RateKept,
        Self::BreakerHolds,
        Self::FallbackInTime,
        Self::GoneLeftAlone,
        Self::RefusedFinal,
        Self::Bounded,
        Self::CancelKept,
        Self::OverDropped,
        Self::RetryDone,
        Self::ReceiptGiven,
    ];
}

/// Which property each bug breaks.
pub(super) const BROKEN: [(PlantedBug, DeliveryProperty); 26] = [
    (PlantedBug::ResolveOvertakes, DeliveryProperty::OrderKept),
    (PlantedBug::ResolveUnheard, DeliveryProperty::OrderKept),
    (PlantedBug::ReceiptForgotten, DeliveryProperty::ReceiptGiven),
    (
        PlantedBug::NoPrecedence,
        DeliveryProperty::FirstFiringsFirst,
    ),
    (
        PlantedBug::FailureForgotten,
        DeliveryProperty::GivenUpInTime,
    ),
    (
        PlantedBug::InFlightForgotten,
        DeliveryProperty::ResolveArrives,
    ),
    (PlantedBug::FreshIdAfterCrash, DeliveryProperty::Frozen),
    (PlantedBug::FrozenRegroups, DeliveryProperty::Frozen),
    (PlantedBug::WaitNeverGrows, DeliveryProperty::WaitsKept),
    (PlantedBug::NoWait, DeliveryProperty::WaitsKept),
    (PlantedBug::LostAttemptCounts, DeliveryProperty::WaitsKept),
    (
        PlantedBug::RetryAfterIgnored,
        DeliveryProperty::RetryAfterKept,
    ),
    (
        PlantedBug::RetryAfterUnbounded,
        DeliveryProperty::RetryAfterKept,
    ),
    (PlantedBug::RateIgnored, DeliveryProperty::RateKept),
    (PlantedBug::BreakerIgnored, DeliveryProperty::BreakerHolds),
    (PlantedBug::FallbackLate, DeliveryProperty::FallbackInTime),
    (
        PlantedBug::ResolveStaysBehind,
        DeliveryProperty::ResolveArrives,
    ),
    (PlantedBug::GoneIgnored, DeliveryProperty::GoneLeftAlone),
    (PlantedBug::RefusedRetried, DeliveryProperty::RefusedFinal),
    (PlantedBug::RefusedDropped, DeliveryProperty::NothingLost),
    (PlantedBug::DeadUnbounded, DeliveryProperty::Bounded),
    (PlantedBug::RoomIgnored, DeliveryProperty::Bounded),
    (PlantedBug::CancelIgnored, DeliveryProperty::CancelKept),
    (PlantedBug::OverSentAnyway, DeliveryProperty::OverDropped),
    (PlantedBug::WakeMissed, DeliveryProperty::NotIdle),
    (PlantedBug::RetryUndone, DeliveryProperty::RetryDone),
];

/// What must have come up in a whole run: a property about what never happened holds by itself.
pub(super) const SITUATIONS: [&str; 17] = [
    "crash before the record",
    "crash before the attempt",
    "crash before the answer",
    "crash before the receipt",
    "delivered",
    "failed",
    "throttled",
    "refused",
    "gone",
    "unanswered",
    "regrouped",
    "collapsed and sent",
    "collapsed and dropped",
    "cancelled",
    "fell back",
    "dead letter",
    "sent again by an operator",
];
