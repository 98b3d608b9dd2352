//! Breaker policies of the simulated world: they plan well, out of bounds, or to be observed, and may not answer at all.

use super::{check::OUT_OF_BOUNDS, world::World};
use crate::{
    breaker::plan::{BreakerPlan, BreakerProfile, PlanMode, ToolRow, builtin},
    classify::{ClassTable, KindPattern},
    permit::Class,
};

impl World {
    /// What a policy plans for an instance.
    pub(super) fn plan_for(&mut self, profile: &BreakerProfile) -> BreakerPlan {
        let mut plan = builtin(&profile.configured);
        if self.calm {
            return plan;
        }
        let thresholds = &mut plan.thresholds;
        thresholds.consecutive_failures = self.dice.between(1, 6) as u32;
        thresholds.permits = self.dice.between(1, 4) as u32;
        thresholds.successes = self.dice.between(1, 3) as u32;
        thresholds.open_first_ms = *self.dice.pick(&[10_000, 30_000]).unwrap_or(&30_000);
        thresholds.slow_ms = self.dice.chance(30).then_some(1_000);
        let rows = match self.dice.between(0, 2) {
            0 => vec![(KindPattern::ToolError, Class::Failure)],
            _ => Vec::new(),
        };
        plan.table = ClassTable::new(rows, thresholds.slow_ms);
        plan.reason = "as good as any".to_owned();
        if self.dice.chance(50) {
            let rows = [&["tool_1"][..], &["tool_*"], &["tool_2", "t*", "no_such"]];
            let rows = self.dice.pick(&rows).into_iter().copied().flatten();
            plan.tools = rows
                .map(|tool| ToolRow {
                    tool: (*tool).to_owned(),
                    table: ClassTable::default(),
                })
                .collect();
        }
        match self.dice.between(0, 99) {
            0..20 => self.spoil(&mut plan),
            20..40 => plan.mode = PlanMode::Observe,
            _ => {}
        }
        plan
    }

    /// One thing in a plan is out of bounds.
    fn spoil(&mut self, plan: &mut BreakerPlan) {
        plan.reason = OUT_OF_BOUNDS.to_owned();
        let thresholds = &mut plan.thresholds;
        match self.dice.between(0, 6) {
            0 => thresholds.consecutive_failures = 0,
            1 => thresholds.permits = 9,
            2 => thresholds.open_first_ms = u64::MAX,
            3 => thresholds.failure_share = -0.5,
            4 => thresholds.window_ms = 0,
            5 => {
                let row = (KindPattern::RpcError(Some(-32_603)), Class::Failure);
                plan.table = ClassTable::new(vec![row; 10_000], None);
            }
            _ => plan.tools.push(ToolRow {
                tool: "get_*_all".to_owned(),
                table: ClassTable::default(),
            }),
        }
    }
}
