//! Breakers of single tools: a tool that hangs must not lock the others of its server.
//!
//! A row of the plan makes one for each tool of the instance's last list that it fits: the exact name before the longest beginning.
//! They trip and recover by the plan's thresholds, as the instance's breaker does, but for the question that HALF_OPEN asks: that an
//! instance answers a ping says nothing about a tool, so its callers probe at once. A plan changes numbers, never states: the breaker
//! of a tool that is still guarded stays as it is.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    action::{Change, GuardedTool, OperatorAction, RoutingAction, Transition},
    breaker::{
        Breaker, Verdict,
        plan::{BreakerPlan, ToolRow},
    },
    classify::ClassTable,
    id::{InstanceId, SlotKey},
    permit::{BreakerSetting, BreakerState, BreakerTotals},
    planted::Planted,
    settings::BreakerThresholds,
    step::Step,
    time::earlier,
    view::ToolBreakerView,
};

/// Tools of one instance that have breakers of their own. A list may be longer; who needs more guards the instance.
const GUARDED_MAX: usize = 256;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ToolBreakers {
    held: BTreeMap<Arc<str>, ToolBreaker>,
    /// What they were made from: the plan, …
    plan: Option<Arc<BreakerPlan>>,
    /// … and the instance's last list.
    listed: Option<Arc<[String]>>,
    /// The set of them is to be published.
    is_set_new: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct ToolBreaker {
    breaker: Breaker,
    classes: Arc<ClassTable>,
    announced: BreakerState,
    published: Option<BreakerSetting>,
}

impl ToolBreakers {
    /// Makes them fit the plan in force and the tools that are listed; `None`: nothing is ready, and the last list holds. Whether that
    /// makes another set of them.
    pub(super) fn sync(
        &mut self,
        now_ms: u64,
        plan: Option<&Arc<BreakerPlan>>,
        listed: Option<&Arc<[String]>>,
    ) -> bool {
        let plan = plan.filter(|plan| !plan.tools.is_empty());
        let is_same_plan = match (plan, &self.plan) {
            (Some(plan), Some(held)) => Arc::ptr_eq(plan, held) || plan == held,
            (plan, held) => plan.is_none() && held.is_none(),
        };
        let is_same_list = listed.is_none_or(|listed| is_same_list(self.listed.as_ref(), listed));
        // Without rows nothing is kept, not even the list.
        if is_same_plan && (plan.is_none() || is_same_list) {
            return false;
        }
        self.plan = plan.cloned();
        if let Some(listed) = listed {
            self.listed = Some(Arc::clone(listed));
        }
        let mut before = std::mem::take(&mut self.held);
        self.is_set_new = true;
        let Some(plan) = plan else {
            self.listed = None;
            return true;
        };
        let listed = self.listed.as_deref().unwrap_or_default();
        let fitting = listed
            .iter()
            .filter_map(|tool| Some((tool, fitting(&plan.tools, tool)?)));
        for (tool, row) in fitting.take(GUARDED_MAX) {
            let (name, held) = before
                .remove_entry(tool.as_str())
                .unwrap_or_else(|| (tool.as_str().into(), ToolBreaker::new(now_ms)));
            let classes = Arc::new(row.table.before(&plan.table));
            self.held.insert(name, ToolBreaker { classes, ..held });
        }
        true
    }

    /// Takes in the verdict on one call.
    pub(crate) fn verdict(
        &mut self,
        step: &mut Step<'_>,
        tool: &str,
        verdict: Verdict,
        thresholds: &BreakerThresholds,
    ) {
        let jitter = &mut step.counters.jitter;
        let mut take = |held: &mut ToolBreaker| {
            let breaker = &mut held.breaker;
            breaker.verdict(step.now_ms, verdict, thresholds, jitter, step.bugs);
        };
        if step.bugs.has(Planted::ToolTripsAll) {
            self.held.values_mut().for_each(take);
        } else if let Some(held) = self.held.get_mut(tool) {
            take(held);
        }
    }

    /// Takes in the counters of a cell.
    pub(crate) fn traffic(
        &mut self,
        step: &mut Step<'_>,
        tool: &str,
        totals: BreakerTotals,
        thresholds: &BreakerThresholds,
    ) {
        if let Some(held) = self.held.get_mut(tool) {
            let jitter = &mut step.counters.jitter;
            held.breaker
                .traffic(step.now_ms, totals, thresholds, jitter, step.bugs);
        }
    }

    /// Closes them all and forgets the past.
    pub(super) fn reset(&mut self, now_ms: u64) {
        for held in self.held.values_mut() {
            held.breaker.reset(now_ms);
        }
    }

    /// Lets time pass, and publishes what changed.
    pub(super) fn settle(
        &mut self,
        step: &mut Step<'_>,
        instance: &InstanceId,
        thresholds: &BreakerThresholds,
    ) {
        let is_set_new = std::mem::take(&mut self.is_set_new);
        let mut all = Vec::new();
        for (name, held) in &mut self.held {
            if held.breaker.tick(step.now_ms, step.bugs) {
                held.breaker.answered();
            }
            let is_new = held.publish(thresholds, step);
            if is_set_new || is_new {
                let tool = held.guarded(name, held.published.unwrap_or_default());
                if is_set_new {
                    all.push(tool);
                } else {
                    let instance = instance.clone();
                    step.push(RoutingAction::SetTool { instance, tool });
                }
            }
            held.announce(step, instance, name);
        }
        if is_set_new {
            let instance = instance.clone();
            let tools = all;
            step.push(RoutingAction::SetTools { instance, tools });
        }
    }

    /// Whether there is nothing to settle.
    pub(super) fn is_settled(&self) -> bool {
        self.held.is_empty() && !self.is_set_new
    }

    pub(super) fn next_wake(&self) -> Option<u64> {
        let wakes = self.held.values().map(|held| held.breaker.next_wake());
        wakes.fold(None, earlier)
    }

    /// Those that are not CLOSED, by name.
    pub(super) fn view(&self, now_ms: u64, thresholds: &BreakerThresholds) -> Vec<ToolBreakerView> {
        let tripped = self.held.iter();
        let tripped = tripped.filter(|(_, held)| held.breaker.state() != BreakerState::Closed);
        tripped
            .map(|(tool, held)| ToolBreakerView {
                tool: Arc::clone(tool),
                breaker: held.breaker.view(now_ms, thresholds),
            })
            .collect()
    }

    /// How many tools have breakers of their own.
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }
}

impl ToolBreaker {
    fn new(now_ms: u64) -> Self {
        Self {
            breaker: Breaker::new(now_ms),
            classes: Arc::default(),
            announced: BreakerState::Closed,
            published: None,
        }
    }

    /// Notes what its cell is to hold. True: that is news.
    fn publish(&mut self, thresholds: &BreakerThresholds, step: &Step<'_>) -> bool {
        let setting = self.breaker.setting(thresholds, step.bugs);
        let setting = setting.within(self.published.as_ref());
        self.published.replace(setting) != Some(setting)
    }

    fn guarded(&self, tool: &Arc<str>, setting: BreakerSetting) -> GuardedTool {
        GuardedTool {
            tool: Arc::clone(tool),
            classes: Arc::clone(&self.classes),
            setting,
            cause: self.breaker.cause().map(Arc::new),
        }
    }

    fn announce(&mut self, step: &mut Step<'_>, instance: &InstanceId, tool: &Arc<str>) {
        let to = self.breaker.state();
        let from = std::mem::replace(&mut self.announced, to);
        if from != to {
            step.push(OperatorAction::Announce(Transition {
                key: Some(SlotKey::first(instance.clone())),
                tool: Some(Arc::clone(tool)),
                run: None,
                change: Change::Breaker { from, to },
                reason: self.breaker.reason().to_owned(),
                detail: None,
            }));
        }
    }
}

/// Lists are the same objects in nearly all steps, and are then not compared name by name.
pub(super) fn is_same_list(held: Option<&Arc<[String]>>, listed: &Arc<[String]>) -> bool {
    held.is_some_and(|held| Arc::ptr_eq(held, listed) || held == listed)
}

/// The row for a tool: the one of its name before the one of the longest beginning.
fn fitting<'a>(rows: &'a [ToolRow], tool: &str) -> Option<&'a ToolRow> {
    let exact = rows.iter().find(|row| row.tool == tool);
    let beginnings = rows.iter().filter_map(|row| {
        let beginning = row.tool.strip_suffix('*')?;
        tool.starts_with(beginning)
            .then_some((beginning.len(), row))
    });
    exact.or_else(|| {
        beginnings
            .max_by_key(|(length, _)| *length)
            .map(|(_, row)| row)
    })
}

#[cfg(test)]
mod tests;
