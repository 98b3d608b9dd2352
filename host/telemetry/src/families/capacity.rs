//! The families of capacity: what is in use, what is needed, what may be used, and when that runs out.

use prometheus::proto::MetricFamily;
use router_core::{
    capacity::Measure,
    view::{CapacityView, FleetView},
};

use crate::exposition::Family;

/// Nothing of it is there before the fleet was first seen, nor of the plan before there is one.
pub(super) fn families(view: Option<&FleetView>) -> impl Iterator<Item = MetricFamily> {
    let mut required = Family::gauge(
        "mcp_capacity_required",
        "Running instances that there should be room for, by the plan in force.",
    );
    let mut used = Family::gauge("mcp_capacity_used", "What is in use, by measure.");
    let mut limit = Family::gauge(
        "mcp_capacity_limit",
        "What may be used, by measure; absent where nothing bounds it.",
    );
    let mut reached = Family::gauge(
        "mcp_capacity_reached_timestamp_seconds",
        "When the plan foresees that a measure runs out, in seconds since 1970; absent where it does not.",
    );
    let mut by_policy = Family::gauge(
        "mcp_capacity_plan_by_policy",
        "1 while the plan in force is a policy's, 0 while it is the built-in rule's.",
    );
    let mut waiting = Family::gauge(
        "mcp_capacity_waiting",
        "Instances that wait for a place, since a limit is reached.",
    );
    let mut refusals = Family::counter(
        "mcp_capacity_refusals_total",
        "Starts by use that waited for a place and got none.",
    );
    if let Some(view) = view.map(|view| &view.capacity) {
        waiting.add(&[], f64::from(view.admission.waiting));
        refusals.add(&[], view.admission.refused_total as f64);
        let in_force = view.in_force.as_deref();
        let limits = in_force.map_or(&[][..], |in_force| &in_force.plan.limits);
        let bare = [Measure::Running, Measure::MemoryBytes, Measure::InFlight];
        let limited = limits.iter().map(|limit| &limit.of);
        for of in bare.iter().chain(limited.filter(|of| !bare.contains(of))) {
            add(&mut used, of, value(view, of));
        }
        for one in limits {
            add(&mut limit, &one.of, Some(one.most as f64));
        }
        if let Some(in_force) = in_force {
            required.add(&[], f64::from(in_force.plan.required));
            by_policy.add(&[], f64::from(u8::from(in_force.policy.is_some())));
            let forecasts = &in_force.plan.forecasts;
            for (at, forecast) in forecasts.iter().enumerate() {
                // The soonest of each measure: two series of the same labels are no valid text.
                let of = &forecast.of;
                if forecasts[..at].iter().all(|before| before.of != *of) {
                    add(&mut reached, of, Some(forecast.at_ms as f64 / 1000.0));
                }
            }
        }
    }
    super::finished([required, used, limit, reached, by_policy, waiting, refusals])
}

fn value(view: &CapacityView, of: &Measure) -> Option<f64> {
    view.used(of).map(|used| used as f64)
}

/// A series of a measure, unless its name is a policy's own, which bounds neither how many there are nor what is in it.
fn add(family: &mut Family, of: &Measure, value: Option<f64>) {
    let (Some(value), false) = (value, matches!(of, Measure::Other(_))) else {
        return;
    };
    let name = ("of", of.as_str());
    match of.template() {
        Some(template) => family.add(&[name, ("template", template)], value),
        None => family.add(&[name], value),
    }
}
