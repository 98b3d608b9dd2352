//! What is published of an instance: to the hot path its breaker, what the ends of requests mean, and its tools; to operators that its
//! breaker changed. Each only where it differs from what was published last.

use std::sync::Arc;

use super::Instance;
use crate::{
    action::{Change, OperatorAction, RoutingAction, Transition},
    id::SlotKey,
    permit::BreakerState,
    planted::Planted,
    slot::Slot,
    step::Step,
};

impl Instance {
    /// The tools of the first ready slot are the list that rows are for. Whether it makes another set of breakers.
    pub(super) fn sync_tools(&mut self, step: &Step<'_>) -> bool {
        let listed = self.slots.values().find_map(Slot::tools);
        self.tools.sync(step.now_ms, self.planning.plan(), listed)
    }

    pub(super) fn meter_tools(&mut self, step: &mut Step<'_>) {
        let policies = &step.settings.breaker_policy;
        let is_planned = !self
            .spec
            .breaker_policy
            .as_ref()
            .unwrap_or(policies)
            .is_empty();
        let listed = self.slots.values().find_map(Slot::tools);
        self.tool_metering
            .sync(step, &self.spec.id, is_planned, listed);
    }

    pub(super) fn settle_tools(&mut self, step: &mut Step<'_>) {
        if !self.tools.is_settled() {
            let thresholds = self.thresholds(step.settings).clone();
            self.tools.settle(step, &self.spec.id, &thresholds);
        }
    }

    pub(super) fn publish_classes(&mut self, step: &mut Step<'_>) {
        let configured = self.configured(step.settings);
        if self.planning.is_table(&self.published_classes, configured)
            || step.bugs.has(Planted::ClassesForgotten)
        {
            return;
        }
        let classes = Arc::new(self.planning.table(configured));
        self.published_classes = Arc::clone(&classes);
        let instance = self.spec.id.clone();
        step.push(RoutingAction::SetClasses { instance, classes });
    }

    pub(super) fn publish_breaker(&mut self, step: &mut Step<'_>) {
        let thresholds = self.thresholds(step.settings);
        let setting = self.breaker.setting(thresholds, step.bugs);
        let setting = setting.within(self.published.as_ref());
        let withheld =
            step.bugs.has(Planted::CellForgotten) && setting.state == BreakerState::HalfOpen;
        if self.published != Some(setting) && !withheld {
            self.published = Some(setting);
            let instance = self.spec.id.clone();
            let cause = self.breaker.cause().map(Arc::new);
            step.push(RoutingAction::SetBreaker {
                instance,
                setting,
                cause,
            });
        }
        let state = (self.breaker.state(), self.breaker.isolated());
        if state != self.announced_breaker {
            let (from, _) = std::mem::replace(&mut self.announced_breaker, state);
            step.push(OperatorAction::Announce(Transition {
                key: Some(SlotKey::first(self.spec.id.clone())),
                tool: None,
                run: None,
                change: Change::Breaker { from, to: state.0 },
                reason: self.breaker.reason().to_owned(),
                detail: None,
            }));
        }
    }
}
