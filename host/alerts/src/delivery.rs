//! What the engine hands over to be delivered, and what it hears back of it.
//!
//! The engine decides *what* each sink hears and from when on; when it is attempted, how often, in which order, through which
//! fallback, and when it is given up is the schedule's. Both keep what they decide in the same journal: a delivery stands in the
//! record of the step that decided it, so that it exists before anything is sent.

mod content;
mod dead_letters;
mod ends;
mod fallback;
mod orders;
mod planted;
mod queue;
mod retry;
mod rows;
mod schedule;
#[cfg(test)]
mod simulation;
mod sink_breaker;
mod sinks;
mod view;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    condition::Severity,
    identity::{AlertRef, DeliveryId},
    notice::{DeliveryError, NoticeAlert, Occasion},
};

pub use retry::ATTEMPT_MS_MAX;
pub use rows::{DeliveryRow, DeliveryRowKey, RowChange};
pub use schedule::{Attempt, Schedule, ScheduleEffects, ScheduleEvent, ScheduleLimits};
pub use sinks::{InvalidSinks, SinkSchedule, SinkTable};
pub use view::{DeadLetter, SinkHold, SinkLoad, WaitingDelivery};

/// One message to one sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Names it.
    pub id: DeliveryId,
    /// To which sink.
    pub sink: Arc<str>,
    /// By which route, by its name; `None`: by none (a test, or a sink that had the firing as a fallback).
    pub route: Option<Arc<str>>,
    /// Names the group: receipts are kept by sink and group key. A sink without grouping has the dedup key here
    /// ([`crate::identity::dedup_key`]), and then `news` has one entry.
    pub group_key: Arc<str>,
    /// Why.
    pub occasion: Occasion,
    /// What comes first where much waits for a sink.
    pub precedence: Precedence,
    /// The severity of the group, by which the retry schedule is chosen.
    pub severity: Severity,
    /// Of which firings of which alerts this is news, at least one, the first being the one that the id is made of: that each of them
    /// is over, where `precedence` is `Resolve`, and of none of them otherwise. Order is by
    /// these: what is news of a firing waits until what was handed over before about it, to the same sink, is over.
    pub news: Vec<AlertRef>,
    /// What is shown: the alerts of the group, those that are news first, at most [`crate::notice::LISTED_MAX`].
    pub listed: Vec<NoticeAlert>,
    /// How many more there are.
    pub more: u32,
    /// What changed lately, as it is shown; at most [`crate::notice::CHANGES_MAX`].
    pub changes: Vec<Arc<str>>,
    /// When it was decided, in milliseconds since 1970.
    pub decided_ms: u64,
    /// It is not attempted before, in milliseconds since 1970.
    pub not_before_ms: u64,
}

/// In which order deliveries to one sink are attempted where several wait, the first first; within one firing of one alert the
/// order in which they were handed over goes before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precedence {
    /// Somebody hears of a firing for the first time: also by escalation.
    FirstFiring,
    /// It is over.
    Resolve,
    /// Something about a firing changed that the sink knows.
    Update,
    /// Nothing changed, and nobody has acknowledged.
    Reminder,
}

/// What the engine orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOrder {
    /// Deliver it.
    Deliver(Arc<Delivery>),
    /// Somebody is on this firing: what was never attempted and is news of it alone, with precedence `FirstFiring` or `Reminder`,
    /// is dropped, and reported as [`DeliveryProgress::Cancelled`].
    CancelUnattempted(AlertRef),
}

/// What became of a delivery, as the schedule reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryReport {
    /// Which.
    pub delivery: DeliveryId,
    /// To which sink.
    pub sink: Arc<str>,
    /// Of which firings it is news.
    pub news: Vec<AlertRef>,
    /// What it is to the sink: who has only ever been sent resolves had no firing.
    pub precedence: Precedence,
    /// The delivery's group key, under which a fallback gets it too.
    pub group_key: Arc<str>,
    /// What it said, for who records it.
    pub content: Arc<Delivery>,
    /// What happened.
    pub progress: DeliveryProgress,
}

/// See [`DeliveryReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryProgress {
    /// An attempt begins: from now on the sink may have it.
    Attempted {
        /// Which, from 1.
        attempt: u32,
    },
    /// An attempt failed; it is tried again.
    Failed {
        /// Which, from 1.
        attempt: u32,
        /// Why.
        error: DeliveryError,
        /// When it is tried again, in milliseconds since 1970.
        next_ms: u64,
    },
    /// It waits although it is due.
    Held {
        /// For what.
        by: HeldBy,
        /// Until when at the latest, in milliseconds since 1970.
        until_ms: u64,
    },
    /// The sink has it.
    Delivered {
        /// With which attempt.
        attempt: u32,
    },
    /// The same delivery goes to the sink's fallback as well: that may have the firing from now on. Reported within
    /// [`crate::settings::FLAP_WINDOW_MS`] of the end of the firing, when the engine forgets it: who gets it later is to get it with
    /// its end.
    FellBack {
        /// To which sink.
        to: Arc<str>,
        /// The delivery's id there.
        delivery: DeliveryId,
        /// Why.
        because: FallbackCause,
    },
    /// It is given up, and kept for an operator.
    DeadLetter {
        /// Why.
        reason: String,
        /// Whether an attempt may have arrived although nothing said so.
        may_have_arrived: bool,
    },
    /// An operator sends a dead letter again.
    Requeued {
        /// Who.
        by: String,
    },
    /// It was never attempted, and somebody acknowledged meanwhile.
    Cancelled,
    /// It was never attempted, and another one says the same or more.
    Collapsed {
        /// Which; `None`: its firing and its resolve were dropped together (P3 and P4).
        into: Option<DeliveryId>,
    },
}

/// Why a delivery that is due waits. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// The sink takes only so many in a time.
    RateLimit,
    /// The other side asked to be left alone (`Retry-After`).
    RetryAfter,
    /// The sink's breaker is open.
    Breaker,
    /// An earlier delivery about the same firing is not over.
    Order,
}

impl HeldBy {
    /// The same for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate limit",
            Self::RetryAfter => "Retry-After",
            Self::Breaker => "circuit breaker",
            Self::Order => "an earlier delivery about the same firing",
        }
    }
}

/// Why a delivery went to the fallback. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackCause {
    /// The first attempt at a P1 failed.
    FirstFailure,
    /// It did not succeed within a minute.
    NotInTime,
    /// The sink's breaker is open.
    Breaker,
    /// The sink refused it.
    Refused,
    /// The sink takes nothing any more.
    Gone,
}

/// Whether a sink takes what it is sent, as the schedule reports it whenever that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkHealth {
    /// Which.
    pub sink: Arc<str>,
    /// Since when its deliveries fail, in milliseconds since 1970; `None`: the last one succeeded, or there was none.
    pub failing_since_ms: Option<u64>,
    /// It said that it takes nothing any more, and why.
    pub gone: Option<String>,
}
