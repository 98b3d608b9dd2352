//! What the operator decides about alerts: the part of the configuration that the engine reads, checked already.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    condition::{Condition, Severity},
    matcher::Matcher,
    window::MaintenanceWindow,
};

/// Most conditions that are kept at once, open ones and such as ended lately: twice what ten rules can name.
pub const ALERTS_MAX: usize = 20_000;
/// Ended alerts of which only the number of their last firing is kept.
pub const TOMBSTONES_MAX: usize = 20_000;
/// Most silences at once.
pub const SILENCES_MAX: usize = 1_000;
/// Most entries of one alert's history in memory and in the journal; the database has as many of each firing that is over.
pub const HISTORY_MAX: usize = 64;
/// Most steps of an escalation chain.
pub const ESCALATION_STEPS_MAX: usize = 20;
/// So many resolves within [`FLAP_WINDOW_MS`] are flapping: the last of them is held back.
pub const FLAP_RESOLVES: usize = 3;
/// Resolves further apart are no flapping; and so long must one that flaps be quiet until it resolves.
pub const FLAP_WINDOW_MS: u64 = 15 * 60_000;
/// So long must a lower severity hold until it takes effect: one that goes up and down pages once.
pub const LOWER_AFTER_MS: u64 = 15 * 60_000;
/// An unacknowledged P2 without a chain is repeated once, after so long.
pub const P2_REMINDER_MS: u64 = 15 * 60_000;
/// An unacknowledged P3 is overdue after an hour, as the runbook has it.
pub const P3_OVERDUE_MS: u64 = 3_600_000;
/// An unacknowledged P4 is overdue after a day.
pub const P4_OVERDUE_MS: u64 = 24 * 3_600_000;
/// Nobody waits longer than this for the journal.
pub const JOURNAL_WAIT_MS: u64 = 2_000;
/// P2 to P4 wait so long for the first answer of each rule; and a rule that has not answered for so long is silent.
pub const RULE_SILENT_MS: u64 = 60_000;
/// The auditor's pace, and how long overdue a step may be.
pub const AUDIT_MS: u64 = 60_000;
/// The engine's own conditions are evaluated at the pace of the rules'.
pub const OWN_EVALUATION_MS: u64 = 10_000;
/// A change of the router or its configuration belongs to what changed lately for so long.
pub const CHANGES_MS: u64 = 3_600_000;
/// A sink that has failed for so long delivers nothing, as far as the engine is concerned.
pub const SINK_FAILING_MS: u64 = 60_000;

/// See the module. The configuration checks that routes, chains and fallbacks name sinks that are there.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertSettings {
    /// The rules that are asked, by name.
    pub rules: Vec<Arc<str>>,
    /// What is not named for so long is resolved, in milliseconds.
    pub resolve_after_ms: u64,
    /// How long the first P3 or P4 of a group waits for others, in milliseconds.
    pub group_wait_ms: u64,
    /// Deliveries about one group are at least so far apart, in milliseconds, but for what does not wait.
    pub group_interval_ms: u64,
    /// How long an acknowledgement lasts, in milliseconds.
    pub ack_ttl_ms: u64,
    /// An unacknowledged P1 is repeated so often, in milliseconds; at least five minutes.
    pub repeat_ms: u64,
    /// Every sink, by name.
    pub sinks: BTreeMap<Arc<str>, SinkSettings>,
    /// In order; none: everything goes to every sink.
    pub routes: Vec<AlertRoute>,
    /// Escalation chains, by name.
    pub escalations: BTreeMap<Arc<str>, Vec<EscalationStep>>,
    /// Maintenance windows.
    pub maintenance: Vec<MaintenanceWindow>,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            resolve_after_ms: 30_000,
            group_wait_ms: 10_000,
            group_interval_ms: 5 * 60_000,
            ack_ttl_ms: 4 * 3_600_000,
            repeat_ms: 15 * 60_000,
            sinks: BTreeMap::new(),
            routes: Vec::new(),
            escalations: BTreeMap::new(),
            maintenance: Vec::new(),
        }
    }
}

/// A sink, as far as it matters for what is delivered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SinkSettings {
    /// How alerts come together in one delivery.
    pub grouping: Grouping,
    /// Which sink takes its place when it fails.
    pub fallback: Option<Arc<str>>,
}

/// How alerts come together in one delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Those of one route, name and severity.
    #[default]
    Group,
    /// Each alone, and none waits for others.
    None,
}

impl Grouping {
    /// The name in JSON and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::None => "none",
        }
    }
}

/// Which sinks an alert goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRoute {
    /// Names it to people, and its groups to sinks.
    pub name: Arc<str>,
    /// Which alerts.
    pub matcher: Matcher,
    /// The routes after it are tried as well.
    pub continues: bool,
    /// To which sinks.
    pub sinks: Vec<Arc<str>>,
    /// By which chain it escalates.
    pub escalation: Option<Arc<str>>,
}

/// A step of an escalation chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationStep {
    /// How long after the step before, or after it fired, in milliseconds.
    pub after_ms: u64,
    /// Who hears of it then.
    pub sinks: Vec<Arc<str>>,
}

/// Where an alert goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routing {
    /// Sinks, each with the route by which it hears of the alert first.
    pub targets: Vec<(Arc<str>, Arc<str>)>,
    /// The first matching route that has a chain, and the chain.
    pub escalation: Option<(Arc<str>, Arc<str>)>,
}

impl AlertSettings {
    /// The name of the route that is there where none is configured.
    pub const EVERYTHING: &'static str = "everything";

    /// Where such an alert goes. A sink that several routes name hears of it by the first.
    #[must_use]
    pub fn routing(&self, severity: Severity, condition: &Condition) -> Routing {
        let instance = condition.instance.as_ref().map(|id| id.as_str());
        self.routing_of(severity, &condition.name, instance, Some(&condition.key))
    }

    /// The same for an alert of which only this is known.
    #[must_use]
    pub fn routing_of(
        &self,
        severity: Severity,
        name: &str,
        instance: Option<&str>,
        key: Option<&str>,
    ) -> Routing {
        let mut routing = Routing::default();
        let mut add = |sink: &Arc<str>, route: &Arc<str>| {
            if self.sinks.contains_key(sink)
                && !routing.targets.iter().any(|(known, _)| known == sink)
            {
                routing.targets.push((sink.clone(), route.clone()));
            }
        };
        if self.routes.is_empty() {
            let route: Arc<str> = Self::EVERYTHING.into();
            self.sinks.keys().for_each(|sink| add(sink, &route));
            return routing;
        }
        for route in &self.routes {
            if !route.matcher.matches_parts(severity, name, instance, key) {
                continue;
            }
            route.sinks.iter().for_each(|sink| add(sink, &route.name));
            if routing.escalation.is_none()
                && let Some(chain) = &route.escalation
            {
                routing.escalation = Some((route.name.clone(), chain.clone()));
            }
            if !route.continues {
                break;
            }
        }
        routing
    }

    /// Whether the sink's deliveries are one alert each.
    pub(crate) fn is_alone(&self, sink: &str) -> bool {
        self.sinks
            .get(sink)
            .is_some_and(|sink| sink.grouping == Grouping::None)
    }
}
