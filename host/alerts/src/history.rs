//! Why somebody heard of an alert, and why not: what happened to it, in closed lists.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    condition::Severity, delivery::DeliveryProgress, identity::DeliveryId, notice::Occasion,
    silence::SilenceId,
};

/// One entry of an alert's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    pub what: Happening,
}

/// What can happen to an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// A rule names the condition; it is an alert when it has held for so long.
    Pending {
        /// How long it must hold, in milliseconds.
        for_ms: u64,
    },
    /// It did not hold long enough.
    NeverFired,
    /// It fires.
    Fired {
        /// Which time.
        firing: u32,
        /// How severe.
        severity: Severity,
    },
    /// The severity in force changed.
    SeverityChanged {
        /// Before.
        from: Severity,
        /// Now.
        to: Severity,
    },
    /// The rule has not answered for a minute: nothing is known any more, and nothing is resolved.
    Stale,
    /// The rule answers again.
    Fresh,
    /// It came back so often that it is held firing until it has been quiet.
    Flapping,
    /// It is over.
    Resolved {
        /// Why.
        cause: ResolveCause,
    },
    /// The condition that somebody had closed by hand has been gone: it may fire again.
    Reopened,
    /// Somebody is on it.
    Acknowledged {
        /// Who.
        by: String,
        /// Until when, in milliseconds since 1970.
        until_ms: u64,
    },
    /// Somebody is not on it any more.
    Unacknowledged {
        /// Who took it back.
        by: String,
    },
    /// The acknowledgement expired: escalation starts again.
    AckExpired {
        /// Whose.
        by: String,
    },
    /// Which sinks hear of it, each by its route; none: nobody does.
    Routed {
        /// Sink and route.
        targets: Vec<(Arc<str>, Arc<str>)>,
        /// The escalation chain.
        escalation: Option<Arc<str>>,
    },
    /// Nobody hears of it for now.
    Muted(Mute),
    /// It would be heard again.
    Unmuted,
    /// A sink hears of it with others, later.
    Waits {
        /// Which.
        sink: Arc<str>,
        /// For what.
        by: GroupDelay,
        /// Until when, in milliseconds since 1970.
        until_ms: u64,
    },
    /// A delivery was handed over.
    Notified {
        /// To which sink.
        sink: Arc<str>,
        /// Why.
        occasion: Occasion,
        /// Which.
        delivery: DeliveryId,
    },
    /// A sink does not hear of something.
    LeftOut {
        /// Which.
        sink: Arc<str>,
        /// Why.
        reason: Omission,
    },
    /// A step of the chain is taken, counted from 1; past the last one it is repeated.
    Escalated {
        /// Which.
        step: u32,
    },
    /// Nothing further escalates it: so it is meant.
    EscalationEnded,
    /// Nobody acknowledged it within the time of its severity.
    Overdue,
    /// What became of a delivery.
    Delivery {
        /// Which.
        delivery: DeliveryId,
        /// To which sink.
        sink: Arc<str>,
        /// What.
        progress: DeliveryProgress,
    },
}

/// Why an alert is over. Closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResolveCause {
    /// The rule does not name it any more.
    Gone,
    /// The rule was taken out of `alerts.rules`.
    RuleRemoved,
    /// Somebody closed it, by this name.
    ByHand(String),
}

/// What mutes an alert, and until when in milliseconds since 1970 where that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// What.
    pub by: MutedBy,
    /// Until when.
    pub until_ms: Option<u64>,
}

/// See [`Mute`]. Closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MutedBy {
    /// After a start nobody hears of anything that the router may already have said.
    Settling,
    /// A P1 about the whole fleet fires; this is its key.
    Inhibition(String),
    /// A silence.
    Silence(SilenceId),
    /// A maintenance window, by its name.
    Window(Arc<str>),
}

impl MutedBy {
    /// The names of all of them.
    pub const NAMES: [&'static str; 4] = ["settling", "inhibition", "silence", "maintenance"];

    /// The name in JSON and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Settling => "settling",
            Self::Inhibition(_) => "inhibition",
            Self::Silence(_) => "silence",
            Self::Window(_) => "maintenance",
        }
    }
}

/// Why a sink hears of something later. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupDelay {
    /// Others of the group may come.
    GroupWait,
    /// The group was heard of not long ago.
    GroupInterval,
}

/// Why a sink does not hear of something. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Omission {
    /// It has heard of it already, and others of the step have not.
    HasHeard,
    /// It is not configured any more.
    NoSuchSink,
    /// It was over before anything was sent.
    OverBefore,
    /// It refused the firing, and so hears no resolve.
    RefusedFiring,
}
