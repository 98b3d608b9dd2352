//! What can happen to the alert engine, and what it answers: two closed lists.

use std::sync::Arc;

use crate::{
    condition::{Condition, Severity},
    delivery::{DeliveryReport, SinkHealth},
    facts::FleetPage,
    identity::{AlertId, AlertRef, DeliveryId},
    record::Record,
    settings::AlertSettings,
    silence::{InvalidSilence, Silence, SilenceId},
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertEvent {
    /// Time has passed; sent when [`crate::AlertEngine::next_wake`] is reached.
    Tick,
    /// The journal was read: what earlier routers kept, the oldest first. Nobody hears of anything before, but for
    /// [`crate::settings::JOURNAL_WAIT_MS`].
    JournalRead(Vec<Record>),
    /// A rule answered. A rule that did not is not mentioned: only an answer changes anything.
    Answered(RuleAnswer),
    /// The configuration changed.
    SettingsApplied(Box<AlertSettings>),
    /// Somebody asks for something; answered by exactly one [`AlertAction::CommandDone`].
    Command(AlertCommand),
    /// What became of a delivery.
    Delivery(DeliveryReport),
    /// A sink takes what it is sent, or does not.
    Sink(SinkHealth),
    /// Configuration, a plugin, the router's version or an instance's tools changed, in one line.
    Changed(Arc<str>),
}

/// What a rule answered about one page of the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleAnswer {
    /// Which rule.
    pub rule: Arc<str>,
    /// Which round of questions; grows with each of a rule's.
    pub round: u64,
    /// Which page. Conditions hold as soon as they are named; what is not named any more is gone when each page of one round was
    /// answered.
    pub page: FleetPage,
    /// Every condition that holds now.
    pub conditions: Vec<Condition>,
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertCommand {
    /// Names the command in its answer; unique.
    pub id: u64,
    /// Who asks, as people see it.
    pub by: String,
    /// What to do.
    pub verb: AlertVerb,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertVerb {
    /// Somebody is on it.
    Acknowledge {
        /// Which alert.
        alert: AlertId,
        /// Which firing; `None`: the present one, whichever it is.
        firing: Option<u32>,
    },
    /// Nobody is on it any more.
    Unacknowledge {
        /// Which alert.
        alert: AlertId,
    },
    /// It is over. A condition that still holds is closed until it has been gone.
    Resolve {
        /// Which alert.
        alert: AlertId,
    },
    /// Something that somebody did elsewhere, and that is heard of later, or more than once.
    Relayed {
        /// Which firing it was about. Another one is not touched.
        about: AlertRef,
        /// When it became possible (a link was sent) or was done, in milliseconds since 1970: what somebody did after that stands.
        at_ms: u64,
        /// What.
        verb: RelayedVerb,
    },
    /// Mute some.
    AddSilence(Silence),
    /// Mute them no more.
    EndSilence(SilenceId),
    /// Send a marked test the way of such an alert, or to one sink.
    Test {
        /// Of which severity.
        severity: Severity,
        /// To this sink alone; `None`: where such an alert would go.
        sink: Option<Arc<str>>,
    },
}

/// What can be done elsewhere: by a link in a message, or at the service that a sink delivers to. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayedVerb {
    /// Somebody is on it. Who was on it first stays.
    Acknowledge,
    /// Nobody is on it any more.
    Unacknowledge,
    /// It is over.
    Resolve,
}

/// Something to be done, in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum AlertAction {
    /// Make it durable, then hand its orders to the delivery. Nothing that follows in the same step is to be said before.
    Keep(Box<Record>),
    /// A command ended.
    CommandDone {
        /// Which.
        id: u64,
        /// How.
        result: Result<AlertDone, AlertCommandError>,
    },
    /// The auditor went over every open alert.
    Audited {
        /// How many are open.
        open: usize,
        /// What is not as it should be; nothing: the heartbeat may be sent. At most [`FINDINGS_MAX`].
        findings: Vec<Finding>,
    },
    /// A rule's answer holds what cannot be taken.
    AnswerRefused {
        /// Which rule.
        rule: Arc<str>,
        /// The first few reasons, for people.
        reasons: Vec<String>,
        /// How many conditions are left out.
        left_out: usize,
    },
}

/// Most findings in one report: one is enough to withhold the heartbeat.
pub const FINDINGS_MAX: usize = 100;

/// What the auditor found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which alert; `None`: of the engine as a whole.
    pub alert: Option<AlertId>,
    /// What.
    pub what: Irregularity,
}

/// See [`Finding`]. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Irregularity {
    /// Its acknowledgement expired more than a minute ago, and nothing escalates.
    AckOverdue,
    /// Its escalation never began.
    NotEscalating,
    /// A step is overdue by more than a minute.
    StepOverdue,
    /// A sink that is to hear of it has not for more than a minute past the time.
    NotHeard,
    /// No rule answers.
    EvaluationStalled,
    /// A P1 could be delivered to nobody.
    Undeliverable,
}

impl Irregularity {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AckOverdue,
        Self::NotEscalating,
        Self::StepOverdue,
        Self::NotHeard,
        Self::EvaluationStalled,
        Self::Undeliverable,
    ];

    /// The name in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AckOverdue => "ack_overdue",
            Self::NotEscalating => "not_escalating",
            Self::StepOverdue => "step_overdue",
            Self::NotHeard => "not_heard",
            Self::EvaluationStalled => "evaluation_stalled",
            Self::Undeliverable => "undeliverable",
        }
    }
}

/// How a command ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertDone {
    /// The alert is as it was asked for; it was already, where nothing changed.
    Alert,
    /// The silence has this number.
    Silence(SilenceId),
    /// These deliveries carry the test.
    Test(Vec<DeliveryId>),
}

/// Why a command did not do what it was to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AlertCommandError {
    /// There is no such alert.
    #[error("there is no such alert")]
    UnknownAlert,
    /// It is over.
    #[error("the alert does not fire any more")]
    NotOpen,
    /// Another firing than the present one was meant.
    #[error("that firing of the alert is over")]
    FiringOver,
    /// Nobody is on it.
    #[error("nobody has acknowledged the alert")]
    NotAcknowledged,
    /// Somebody is on it already.
    #[error("somebody has acknowledged the alert already")]
    AcknowledgedAlready,
    /// Somebody has acknowledged it since.
    #[error("somebody has acknowledged the alert since then")]
    Outdated,
    /// There is no such silence.
    #[error("there is no such silence")]
    UnknownSilence,
    /// There can be no such silence.
    #[error(transparent)]
    Silence(#[from] InvalidSilence),
    /// There is no such sink.
    #[error("there is no such sink")]
    UnknownSink,
    /// No route takes such an alert.
    #[error("no route takes such an alert")]
    NoRoute,
}
