//! Breakers of single tools: each changes its state for its own reasons only, and what they reject or count is nothing to the
//! instance's.

use std::sync::Arc;

use super::breakers::BreakerWatch;
use crate::{
    InstanceId, Run,
    action::GuardedTool,
    permit::{BreakerSetting, BreakerState, Report},
    simulation::{property::Property, world::World},
};

/// One tool's breaker as the model knows it.
#[derive(Debug)]
pub(super) struct ToolWatch {
    breaker: BreakerWatch,
    /// What its cell was given in the step in progress.
    given: Option<BreakerSetting>,
}

impl super::Watched {
    /// The instance is gone, and its tools with it.
    pub(in crate::simulation) fn forget_tools(&mut self, id: &InstanceId) {
        self.tools.retain(|(at, _), _| at != id);
    }
}

impl World {
    pub(super) fn begin_step_of_tools(&mut self) {
        for watch in self.watched.tools.values_mut() {
            watch.breaker.begin_step();
        }
    }

    pub(super) fn note_tools(&mut self, id: &InstanceId, tools: &[GuardedTool]) {
        let is_kept = |tool: &Arc<str>| tools.iter().any(|guarded| guarded.tool == *tool);
        let watches = &mut self.watched.tools;
        watches.retain(|(at, tool), _| at != id || is_kept(tool));
        for guarded in tools {
            self.note_tool(id, guarded);
        }
    }

    pub(super) fn note_tool(&mut self, id: &InstanceId, guarded: &GuardedTool) {
        let now_ms = self.now_ms;
        let key = (id.clone(), Arc::clone(&guarded.tool));
        let watch = self.watched.tools.entry(key).or_insert_with(|| ToolWatch {
            breaker: BreakerWatch::new(now_ms),
            given: None,
        });
        watch.given = Some(guarded.setting);
    }

    pub(super) fn record_tool(
        &mut self,
        (id, tool): (&InstanceId, &Arc<str>),
        run: Run,
        report: Report,
        upstream_died: bool,
    ) {
        let key = (id.clone(), Arc::clone(tool));
        if let Some(watch) = self.watched.tools.get_mut(&key) {
            watch.breaker.record(run, report, upstream_died);
        }
    }

    pub(super) fn count_tools(&mut self, id: &InstanceId) {
        for (_, watch) in self.tools_of(id) {
            watch.breaker.counted = true;
        }
    }

    pub(super) fn reset_tools(&mut self, id: &InstanceId) {
        for (_, watch) in self.tools_of(id) {
            watch.breaker.reset();
        }
    }

    fn tools_of(
        &mut self,
        id: &InstanceId,
    ) -> impl Iterator<Item = (&(InstanceId, Arc<str>), &mut ToolWatch)> {
        let all = self.watched.tools.iter_mut();
        all.filter(move |((at, _), _)| at == id)
    }

    pub(super) fn check_tool_breakers(&mut self) {
        let now_ms = self.now_ms;
        let mut watches = std::mem::take(&mut self.watched.tools);
        for ((id, tool), watch) in &mut watches {
            let thresholds = self.thresholds_before(id);
            let before = watch.breaker.state();
            let after = watch.given.map_or(before, |setting| setting.state);
            if !watch.breaker.explains(now_ms, &thresholds, after, false) {
                let how = format!("{tool} of {id} went from {before:?} to {after:?}: {watch:?}");
                self.fail(Property::ToolsApart, how);
            }
            let cell = self.tool_cells.get(&(id.clone(), Arc::clone(tool)));
            if cell.is_none_or(|cell| cell.state() != after) {
                let how = format!("{tool} of {id} is {after:?}, and its cell is {cell:?}");
                self.fail(Property::ToolsApart, how);
            }
            if watch.breaker.enter(now_ms, after) {
                match (before, after) {
                    (_, BreakerState::Open) => self.saw("tool breaker opened"),
                    (BreakerState::HalfOpen, BreakerState::Closed) => {
                        self.saw("tool breaker closed by probes");
                    }
                    _ => {}
                }
            }
            if let Some(setting) = watch.given.take() {
                watch.breaker.note(&setting);
            }
        }
        self.watched.tools = watches;
    }
}
