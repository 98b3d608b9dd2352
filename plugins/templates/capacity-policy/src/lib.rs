//! As many instances as memory carries: `share` of it, at what each instance takes now.

use router_plugin_sdk::{
    ConfigFault, Settings,
    capacity_policy::{CapacityPlan, CapacityPolicy, History, Limit, Load, Measure},
};

/// The policy.
pub struct Memory;

router_plugin_sdk::export_capacity_policy!(Memory);

impl CapacityPolicy for Memory {
    const NAME: &'static str = "memory-capacity";
    const SUMMARY: &'static str = "as many instances as memory carries";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        settings.check_numbers(&[("share", 0.1, 1.0)])
    }

    fn plan(load: &Load, history: &History, settings: &Settings) -> CapacityPlan {
        let share = settings.number("share").unwrap_or(0.8);
        // The most that ran at once in the last day.
        let peaks = history.minutes.iter().map(|minute| minute.peak.running);
        let required = peaks.max().unwrap_or(load.usage.running);
        let plan = CapacityPlan::new(required, "the most that ran at once in a day");
        if load.usage.running == 0 || load.usage.memory_bytes == 0 {
            return plan;
        }
        let each = load.usage.memory_bytes as f64 / f64::from(load.usage.running);
        let most = load.memory_total_bytes as f64 * share / each;
        let refusal = format!("Each takes {:.0} MiB.", each / 1_048_576.0);
        plan.with_limit(Limit::new(Measure::Running, most.max(1.0) as u64, refusal))
    }
}

#[cfg(test)]
mod tests {
    use router_plugin_sdk::{
        Settings,
        capacity_policy::{CapacityPolicy as _, History, Load, Usage},
    };

    use super::Memory;

    #[test]
    fn memory_bounds_what_runs() {
        let load = Load {
            usage: Usage {
                running: 10,
                memory_bytes: 10 << 30,
                ..Usage::default()
            },
            ..Load::default()
        };
        let plan = Memory::plan(&load, &History::default(), &Settings::default());
        // 16 GiB, of which 80 % may be used, at 1 GiB each.
        assert_eq!((plan.required, plan.limits[0].most), (10, 12));
    }
}
