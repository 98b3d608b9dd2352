//! What only the engine can see, raised under its own name: a rule that does not answer, evaluation that stands still, a P1 that
//! nobody could deliver, more conditions than there is room for.

use std::{collections::BTreeSet, sync::Arc};

use super::{AlertEngine, OWN_RULE};
use crate::{
    condition::{Condition, Severity},
    settings::{ALERTS_MAX, OWN_EVALUATION_MS, SINK_FAILING_MS},
};

/// One kind of alert that the engine raises by itself.
#[derive(Debug, Clone, Copy)]
pub struct OwnAlert {
    /// Its name.
    pub name: &'static str,
    /// How soon somebody has to act.
    pub severity: Severity,
    /// A heading of `docs/runbook.md`.
    pub anchor: &'static str,
    /// What to do; `{}` stands for the rule or the route.
    remedy: &'static str,
}

/// All of them.
pub const OWN_ALERTS: [OwnAlert; 4] = [
    EVALUATION_STALLED,
    RULE_SILENT,
    UNDELIVERABLE,
    TOO_MANY_ALERTS,
];

const EVALUATION_STALLED: OwnAlert = OwnAlert {
    name: "evaluation-stalled",
    severity: Severity::P1,
    anchor: "an-alert-rule-does-not-answer",
    remedy: "`godot-mcp-router plugin list` says why the rules do not answer. Until one does, watch `GET /api/health/readiness` by other means. If all of them serve and it goes on, restart the router: instances keep running.",
};

const RULE_SILENT: OwnAlert = OwnAlert {
    name: "rule-silent",
    severity: Severity::P2,
    anchor: "an-alert-rule-does-not-answer",
    remedy: "`GET /api/plugins/{}` says why: it trapped, is in quarantine, is being compiled, or its file is missing. A corrected file, or the one before, in the plugins' folder ends it.",
};

const UNDELIVERABLE: OwnAlert = OwnAlert {
    name: "undeliverable",
    severity: Severity::P1,
    anchor: "alerts-do-not-arrive",
    remedy: "Tell people by other means that they are not paged. `godot-mcp-router deliveries` shows what the receivers answer; repair one of them, then `godot-mcp-router alerts test --severity P1` says whether it arrives.",
};

const TOO_MANY_ALERTS: OwnAlert = OwnAlert {
    name: "too-many-alerts",
    severity: Severity::P2,
    anchor: "p1-down",
    remedy: "`GET /api/health/mcp` shows the rest: look for what they share. If a rule of your own raises them, let it speak of the fleet where it speaks of each instance.",
};

impl OwnAlert {
    /// The condition of what it is about, or of the router.
    fn condition(&self, about: Option<&str>, summary: String) -> Condition {
        let name = self.name;
        let key = about.map_or_else(
            || format!("{OWN_RULE}:{name}"),
            |about| format!("{OWN_RULE}:{name}:{about}"),
        );
        Condition {
            key,
            name: name.to_owned(),
            severity: self.severity,
            summary,
            remedy: self.remedy.replace("{}", about.unwrap_or_default()),
            runbook_anchor: Some(self.anchor.to_owned()),
            instance: None,
            for_ms: 0,
            attributes: Vec::new(),
        }
    }
}

impl AlertEngine {
    pub(super) fn watch_self(&mut self) {
        let conditions = self.own_conditions();
        let is_over = conditions.is_empty()
            && self
                .sinks
                .values()
                .all(|sink| sink.failing_since_ms.is_none() && sink.gone.is_none());
        self.answer_own(conditions);
        let own = self.rules.get(OWN_RULE).map(|watch| &watch.alerts);
        let is_open = |id| {
            self.alerts
                .get(id)
                .is_some_and(crate::alert::Alert::is_open)
        };
        let has_open = own.is_some_and(|ids| ids.iter().any(is_open));
        self.own_due_ms = (!is_over || has_open).then_some(self.now_ms + OWN_EVALUATION_MS);
    }

    fn own_conditions(&self) -> Vec<Condition> {
        let asked = self
            .rules
            .iter()
            .filter(|(rule, _)| rule.as_ref() != OWN_RULE);
        let silent: Vec<_> = asked.clone().filter(|(_, watch)| watch.is_silent).collect();
        let mut conditions = Vec::new();
        if self.is_stalled() {
            conditions.push(EVALUATION_STALLED.condition(
                None,
                "No alert rule has answered for a minute: nothing that goes wrong from now on is noticed.".to_owned(),
            ));
        } else {
            conditions.extend(silent.iter().map(|(rule, _)| {
                RULE_SILENT.condition(Some(rule), format!("The alert rule {rule} has not answered for a minute: its alerts are stale, and it notices nothing new."))
            }));
        }
        conditions.extend(self.undeliverable().into_iter().map(|route| {
            UNDELIVERABLE.condition(Some(&route), format!("A P1 by the route {route} would reach nobody: each of its sinks fails, and so do their fallbacks."))
        }));
        let left_out: usize = self.overflow.values().sum();
        if left_out > 0 {
            conditions.push(TOO_MANY_ALERTS.condition(
                None,
                format!(
                    "{left_out} conditions are not alerts, because {ALERTS_MAX} are kept already."
                ),
            ));
        }
        conditions
    }

    /// No rule answers, where one is asked.
    pub(super) fn is_stalled(&self) -> bool {
        let mut asked = self
            .rules
            .iter()
            .filter(|(rule, _)| rule.as_ref() != OWN_RULE)
            .peekable();
        asked.peek().is_some() && asked.all(|(_, watch)| watch.is_silent)
    }

    /// The routes that take a P1 and cannot deliver it, by name.
    pub(super) fn undeliverable(&self) -> BTreeSet<Arc<str>> {
        let takes_urgent =
            |severities: &[Severity]| severities.is_empty() || severities.contains(&Severity::P1);
        let fails = |sinks: &mut dyn Iterator<Item = &Arc<str>>| {
            let mut sinks = sinks.peekable();
            sinks.peek().is_some() && sinks.all(|sink| !self.can_deliver(sink))
        };
        if self.settings.routes.is_empty() {
            let all_fail = fails(&mut self.settings.sinks.keys());
            let name = crate::settings::AlertSettings::EVERYTHING.into();
            return all_fail.then_some(name).into_iter().collect();
        }
        let routes = self.settings.routes.iter();
        routes
            .filter(|route| takes_urgent(&route.matcher.severity))
            .filter(|route| fails(&mut route.sinks.iter()))
            .map(|route| route.name.clone())
            .collect()
    }

    /// Whether the sink, or one that takes its place, delivers as far as is known.
    fn can_deliver(&self, sink: &Arc<str>) -> bool {
        let mut tried = BTreeSet::new();
        let mut next = Some(sink);
        // Cycles are refused with the configuration; here they only must not hang.
        while let Some(sink) = next
            && tried.insert(sink)
        {
            let Some(settings) = self.settings.sinks.get(sink) else {
                return false;
            };
            let fails = self.sinks.get(sink).is_some_and(|health| {
                let since_ms = health.failing_since_ms;
                health.gone.is_some()
                    || since_ms.is_some_and(|ms| self.now_ms.saturating_sub(ms) >= SINK_FAILING_MS)
            });
            if !fails {
                return true;
            }
            next = settings.fallback.as_ref();
        }
        false
    }
}
