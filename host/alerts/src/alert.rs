//! One alert: what is kept of it, and how the answers of its rule move it. Nothing here knows a sink's delivery or a timer.

mod level;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Severity},
    history::{Happening, HistoryEntry, Mute, ResolveCause},
    identity::{AlertId, AlertRef, DeliveryId},
    planted::{Bugs, Planted},
    record::RecordChange,
    settings::{EscalationStep, HISTORY_MAX},
};

/// See the module. What is written to the journal is all of it but the fields that an answer or a timer makes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Names it.
    pub id: AlertId,
    /// The rule that names its condition.
    pub rule: Arc<str>,
    /// What the rule said last.
    pub condition: Arc<Condition>,
    /// How severe it is taken for: a lower one takes effect only after a while.
    pub severity: Severity,
    /// Where it stands.
    pub state: AlertState,
    /// Since when the condition holds, in milliseconds since 1970.
    pub since_ms: u64,
    /// When it fired last, in milliseconds since 1970; `None`: never.
    pub fired_ms: Option<u64>,
    /// How often it fired; 0: never.
    pub firing: u32,
    /// Counts its steps; ids of deliveries are made of it.
    pub step: u32,
    /// When somebody said last that he is on the present firing, in milliseconds since 1970; `None`: never. What was sent or done
    /// elsewhere before that is outdated.
    #[serde(default)]
    pub acknowledged_ms: Option<u64>,
    /// Who heard that somebody is on it is to hear that nobody is.
    pub recall: bool,
    /// Ends within the window of flapping, in milliseconds since 1970.
    pub resolves: Vec<u64>,
    /// It is held firing because it comes and goes.
    pub flapping: bool,
    /// Nobody acknowledged it within the time of its severity.
    pub overdue: bool,
    /// Where it goes was decided for the present firing and severity.
    pub is_routed: bool,
    /// Where it goes, each sink with its route.
    pub targets: Vec<(Arc<str>, Arc<str>)>,
    /// How it escalates; kept as it was when it fired.
    pub escalation: Option<Escalation>,
    /// Who has, or may have, the present firing.
    pub heard: BTreeMap<Arc<str>, Heard>,
    /// Who is yet to hear that a firing is over.
    pub closings: Vec<Closing>,
    /// Since when the rule's complete answers do not name it. A restart begins anew.
    #[serde(skip)]
    pub(crate) absent_since_ms: Option<u64>,
    /// Since when the rule gives it a lower severity.
    #[serde(skip)]
    pub(crate) lower_since_ms: Option<u64>,
    /// What mutes it now.
    #[serde(skip)]
    pub(crate) mute: Option<Mute>,
    /// Its rule is silent.
    #[serde(skip)]
    pub(crate) stale: bool,
    /// Groups that it is not a member of any more.
    #[serde(skip)]
    pub(crate) left: Vec<(Arc<str>, Arc<str>)>,
    /// What waits in a group, by sink.
    #[serde(skip)]
    pub(crate) needs: BTreeMap<Arc<str>, Need>,
    /// When it must be looked at again.
    #[serde(skip)]
    pub(crate) wake_ms: Option<u64>,
    /// What happened to it, the last at the end.
    #[serde(skip)]
    pub(crate) history: VecDeque<HistoryEntry>,
    /// Entries of this step, not yet in a record.
    #[serde(skip)]
    pub(crate) fresh: usize,
    /// It differs from what the journal has.
    #[serde(skip)]
    pub(crate) dirty: bool,
}

/// Where an alert stands. Closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds, but not yet for long enough.
    Pending,
    /// It holds, and nobody is on it.
    Firing,
    /// Somebody is on it.
    Acknowledged {
        /// Who.
        by: String,
        /// When it expires, in milliseconds since 1970.
        until_ms: u64,
    },
    /// It is over.
    Resolved {
        /// Since when, in milliseconds since 1970.
        at_ms: u64,
        /// Why.
        cause: ResolveCause,
        /// Closed by hand while it held: it does not fire before it has been gone.
        holds: bool,
    },
}

impl AlertState {
    /// The names of all of them.
    pub const NAMES: [&'static str; 4] = ["pending", "firing", "acknowledged", "resolved"];

    /// The name in JSON, metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Acknowledged { .. } => "acknowledged",
            Self::Resolved { .. } => "resolved",
        }
    }
}

/// An escalation chain on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// The route that has it; its sinks hear by this route.
    pub route: Option<Arc<str>>,
    /// Its name; `None`: the alert has no chain, and is repeated as its severity demands.
    pub chain: Option<Arc<str>>,
    /// The steps as they were when it fired.
    pub steps: Vec<EscalationStep>,
    /// How many were taken.
    pub taken: u32,
    /// When it began, in milliseconds since 1970.
    pub began_ms: u64,
    /// When the next one is due, in milliseconds since 1970; `None`: it has ended, as it is meant to.
    pub due_ms: Option<u64>,
}

/// What a sink has heard of the present firing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// By which route.
    pub route: Option<Arc<str>>,
    /// Under which group key.
    pub group_key: Arc<str>,
    /// The severity that its group was opened for.
    pub group_severity: Severity,
    /// The severity that it heard last.
    pub severity: Severity,
    /// It heard that somebody is on it.
    pub acknowledged: bool,
    /// When it heard last, in milliseconds since 1970.
    pub at_ms: u64,
    /// The delivery that it first heard by.
    pub delivery: DeliveryId,
    /// It refused that one, and nothing of it can have arrived.
    pub refused: bool,
}

/// A sink that is yet to hear that a firing is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// Which.
    pub sink: Arc<str>,
    /// Which firing.
    pub firing: u32,
    /// By which route it heard of it.
    pub route: Option<Arc<str>>,
    /// Under which group key.
    pub group_key: Arc<str>,
    /// The severity that its group was opened for.
    pub group_severity: Severity,
    /// The severity that it heard last.
    pub severity: Severity,
    /// The delivery that it first heard by.
    pub delivery: DeliveryId,
    /// When it heard last, in milliseconds since 1970.
    pub heard_ms: u64,
    /// When it was over, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Something that a sink is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) news: News,
    pub(crate) about: AlertRef,
    /// As severe it was when it began to wait.
    pub(crate) severity: Severity,
    pub(crate) group_key: Arc<str>,
}

/// What of an alert is news to a sink. The more important first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum News {
    First,
    Escalated,
    Severity { from: Severity },
    Reminder,
    Acknowledged { by: String },
    Resolved,
}

impl Alert {
    /// A condition that is named for the first time, or that was forgotten: `firing` is the number of its last firing.
    pub(crate) fn new(rule: Arc<str>, condition: Condition, firing: u32, now_ms: u64) -> Self {
        Self {
            id: AlertId::of(&condition.key),
            rule,
            severity: condition.severity,
            condition: Arc::new(condition),
            state: AlertState::Pending,
            since_ms: now_ms,
            fired_ms: None,
            firing,
            step: 0,
            acknowledged_ms: None,
            recall: false,
            resolves: Vec::new(),
            flapping: false,
            overdue: false,
            is_routed: false,
            targets: Vec::new(),
            escalation: None,
            heard: BTreeMap::new(),
            closings: Vec::new(),
            absent_since_ms: None,
            lower_since_ms: None,
            mute: None,
            stale: false,
            left: Vec::new(),
            needs: BTreeMap::new(),
            wake_ms: None,
            history: VecDeque::new(),
            fresh: 0,
            dirty: true,
        }
    }

    /// Whether it fires, acknowledged or not.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(
            self.state,
            AlertState::Firing | AlertState::Acknowledged { .. }
        )
    }

    /// Whether its rule has been silent for a minute.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// What keeps everybody from hearing of it.
    #[must_use]
    pub fn mute(&self) -> Option<&Mute> {
        self.mute.as_ref()
    }

    /// What happened to it lately, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &HistoryEntry> {
        self.history.iter()
    }

    /// Who is on it.
    #[must_use]
    pub fn acknowledged_by(&self) -> Option<&str> {
        match &self.state {
            AlertState::Acknowledged { by, .. } => Some(by),
            _ => None,
        }
    }

    /// Its present firing.
    #[must_use]
    pub fn present(&self) -> AlertRef {
        AlertRef {
            alert: self.id,
            firing: self.firing,
        }
    }

    pub(crate) fn note(&mut self, at_ms: u64, what: Happening) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(HistoryEntry { at_ms, what });
        self.fresh = (self.fresh + 1).min(HISTORY_MAX);
        self.dirty = true;
    }

    /// As the journal keeps it.
    pub(crate) fn kept(&self) -> Self {
        Self {
            absent_since_ms: None,
            lower_since_ms: None,
            mute: None,
            stale: false,
            left: Vec::new(),
            needs: BTreeMap::new(),
            wake_ms: None,
            history: VecDeque::new(),
            fresh: 0,
            dirty: false,
            id: self.id,
            rule: self.rule.clone(),
            condition: self.condition.clone(),
            severity: self.severity,
            state: self.state.clone(),
            since_ms: self.since_ms,
            fired_ms: self.fired_ms,
            firing: self.firing,
            step: self.step,
            acknowledged_ms: self.acknowledged_ms,
            recall: self.recall,
            resolves: self.resolves.clone(),
            flapping: self.flapping,
            overdue: self.overdue,
            is_routed: self.is_routed,
            targets: self.targets.clone(),
            escalation: self.escalation.clone(),
            heard: self.heard.clone(),
            closings: self.closings.clone(),
        }
    }

    /// What the record of a step has of it. What happened to it since the last record is in no later one.
    pub(crate) fn take_change(&mut self, bugs: Bugs) -> RecordChange {
        self.dirty = false;
        let fresh = std::mem::take(&mut self.fresh);
        let known = self.history.len().saturating_sub(fresh);
        let mut alert = Box::new(self.kept());
        if bugs.has(Planted::RecordLacksHeard) {
            alert.heard.clear();
        }
        RecordChange::Alert {
            alert,
            history: self.history.iter().skip(known).cloned().collect(),
        }
    }
}
