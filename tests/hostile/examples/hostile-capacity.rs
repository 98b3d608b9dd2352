//! A capacity policy that misbehaves as its configuration demands: what the engine and the core must survive.

use hostile_guests::{endless, trap};
use router_plugin_sdk::{
    Settings,
    capacity_policy::{CapacityPlan, CapacityPolicy, Forecast, History, Limit, Load, Measure},
};

/// The guest.
#[derive(Debug, Clone, Copy)]
pub struct Hostile;

router_plugin_sdk::export_capacity_policy!(Hostile);

impl CapacityPolicy for Hostile {
    const NAME: &'static str = "hostile-capacity";
    const SUMMARY: &'static str = "misbehaves as it is configured";

    fn plan(load: &Load, _: &History, settings: &Settings) -> CapacityPlan {
        let limit = |of: Measure, most: u64| {
            let limit = Limit::new(of, most, "as it was configured");
            CapacityPlan::new(1, "as it was configured").with_limit(limit)
        };
        match settings.text("mode").unwrap_or("nothing") {
            "loop" => endless(),
            "trap" => trap(),
            "zero" => limit(Measure::Running, 0),
            "huge" => CapacityPlan::new(u32::MAX, "more than there are people"),
            "huge-limit" => limit(Measure::MemoryBytes, u64::MAX),
            "twice" => limit(Measure::Running, 1).with_limit(Limit::new(Measure::Running, 2, "")),
            "nobody" => limit(Measure::RunningOfTemplate("nobody's".to_owned()), 1),
            mode @ ("many" | "flood") => {
                let mut plan = limit(Measure::Running, 1);
                let rows = if mode == "many" { 300 } else { 10_000 };
                plan.limits = vec![plan.limits[0].clone(); rows];
                plan
            }
            "never" => {
                let forecast = Forecast::new(Measure::Running, u64::MAX, "never");
                CapacityPlan::new(1, "as it was configured").with_forecast(forecast)
            }
            _ => CapacityPlan::new(load.instances, "one for each"),
        }
    }
}
