//! Learns what is slow: an answer that takes `slow_factor` times as long as half of the calls do. And a server that says
//! `Internal error` (-32603) has failed.

use router_plugin_sdk::{
    ConfigFault, Settings,
    breaker_policy::{BreakerPolicy, Meaning, Outcome, Plan, Profile},
};

/// The policy.
pub struct Learning;

router_plugin_sdk::export_breaker_policy!(Learning);

/// Nothing is slow that a person does not notice.
const SLOW_MS_MIN: f64 = 500.0;

impl BreakerPolicy for Learning {
    const NAME: &'static str = "learning-breaker";
    const SUMMARY: &'static str = "slow is what is slow for this instance";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    fn check(settings: &Settings) -> Vec<ConfigFault> {
        settings.check_numbers(&[("slow_factor", 2.0, 1_000.0)])
    }

    fn plan(profile: &Profile, settings: &Settings) -> Plan {
        // The numbers of [breaker] hold, but for what is changed here.
        let mut plan =
            Plan::configured(profile).with_row(Outcome::ErrorCode(Some(-32603)), Meaning::Failure);
        let Some(p50) = profile.p50_ms else {
            return plan.because("fewer than 20 calls in 5 minutes: nothing is slow");
        };
        let factor = settings.number("slow_factor").unwrap_or(20.0);
        let slow_ms = (p50 * factor).max(SLOW_MS_MIN) as u64;
        plan.thresholds.slow_ms = Some(slow_ms);
        plan.because(format!(
            "half of the calls take {p50:.0} ms: slow is {slow_ms} ms"
        ))
    }
}

#[cfg(test)]
mod tests {
    use router_plugin_sdk::{
        Settings,
        breaker_policy::{BreakerPolicy as _, Profile},
    };

    use super::Learning;

    #[test]
    fn slow_is_what_is_slow_for_this_instance() {
        let quick = Profile {
            p50_ms: Some(100.0),
            ..Profile::default()
        };
        let plan = Learning::plan(&quick, &Settings::default());
        assert_eq!(plan.thresholds.slow_ms, Some(2_000));
        assert_eq!(
            plan.reason,
            "half of the calls take 100 ms: slow is 2000 ms"
        );
    }
}
