//! What only the engine can see, raised under its own name: a rule that does not answer, evaluation that stands still, a P1 that
//! nobody could deliver, more conditions than there is room for.

use std::{collections::BTreeSet, sync::Arc};

use super::{AlertEngine, OWN_RULE};
use crate::{
    condition::{Condition, Severity},
    settings::{ALERTS_MAX, OWN_EVALUATION_MS, SINK_FAILING_MS},
};

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
            conditions.push(own(
                "evaluation-stalled",
                "evaluation-stalled",
                Severity::P1,
                "No alert rule has answered for a minute: nothing that goes wrong from now on is noticed.".to_owned(),
                "See GET /api/plugins for why the rules do not answer, and the log of the router; restart it if evaluation stands still.",
            ));
        } else {
            conditions.extend(silent.iter().map(|(rule, _)| {
                own(
                    &format!("rule-silent:{rule}"),
                    "rule-silent",
                    Severity::P2,
                    format!("The alert rule {rule} has not answered for a minute: its alerts are stale, and it notices nothing new."),
                    "See GET /api/plugins/{name} for why: a trap, a quarantine, a compilation that takes long, or a missing file.",
                )
            }));
        }
        conditions.extend(self.undeliverable().into_iter().map(|route| {
            own(
                &format!("undeliverable:{route}"),
                "undeliverable",
                Severity::P1,
                format!("A P1 by the route {route} would reach nobody: each of its sinks fails, and so do their fallbacks."),
                "See GET /api/deliveries for what the receivers answer, and repair one of them; `alerts test` says when it is.",
            )
        }));
        let left_out: usize = self.overflow.values().sum();
        if left_out > 0 {
            conditions.push(own(
                "too-many-alerts",
                "too-many-alerts",
                Severity::P2,
                format!("{left_out} conditions are not alerts, because {ALERTS_MAX} are kept already."),
                "Repair what raises them, or let the rule speak of the fleet where it speaks of each instance.",
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

fn own(key: &str, name: &str, severity: Severity, summary: String, remedy: &str) -> Condition {
    Condition {
        key: format!("{OWN_RULE}:{key}"),
        name: name.to_owned(),
        severity,
        summary,
        remedy: remedy.to_owned(),
        runbook_anchor: Some(name.to_owned()),
        instance: None,
        for_ms: 0,
        attributes: Vec::new(),
    }
}
